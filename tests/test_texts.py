"""What a reader sees: spelling, links, reading times, exercises and the shape of the text."""

import ast
import re

import nbformat
import pytest
import requests
from spellchecker import SpellChecker

from helpers.notebooks import NOTEBOOKS, address
from tests import texts
from tests.conftest import ROOT
from tests.texts import BOOKS, FOLDED, blocks, code, exercises, length, links, prose, words

PAGES = {"README.md": [(ROOT / "README.md").read_text()]}
PAGES |= {name: prose(book) for name, book in BOOKS.items()}
EXTRA = (ROOT / "tests" / "words.txt").read_text().split()
every_page = pytest.mark.parametrize("name", PAGES)
every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


@pytest.fixture(scope="module")
def read():
    """Each word with the files in which it stands."""
    written = {name: list(cells) for name, cells in PAGES.items()}
    for name, book in BOOKS.items():
        for cell in code(book):
            written[name] += texts.remarks(cell.source)
    for path in sorted((ROOT / "helpers").rglob("*.py")):
        written[str(path.relative_to(ROOT))] = texts.remarks(path.read_text())
    found: dict[str, list[str]] = {}
    for name, pieces in written.items():
        for word in set().union(*map(words, pieces)):
            found.setdefault(word, []).append(name)
    return found


@pytest.fixture(scope="module")
def english():
    return SpellChecker(language="en")


def test_words_leave_out_what_is_no_prose():
    text = (
        'A cat\'s "Hat" `catt` of LoRA, r64 and x_y in llama.cpp; $catt_a$ <b>bold</b> '
        "[link](catt.md) https://catt.org\n\n"
        "```text\ncatt\n```\n| one |\n|---|\n| GRPO |\n"
    )
    assert words(text) == {"cat", "hat", "of", "and", "in", "bold", "link", "one", "grpo"}
    program = (
        '"""Says what is.\n\n>>> catt\n"""\nx = "kg mm km mph".split()\n'
        'raise ValueError(f"No {x} is here.\\nGo home now.")  # why so\ny = 1  # noqa: catt\n'
    )
    assert texts.remarks(program) == ["Says what is.\n\n", "is here.\nGo home now.", "why so"]


def test_words_are_spelled_right(read, english):
    unknown = {word: files for word, files in read.items() if word not in english}
    assert len(read) > 1500 and not unknown.keys() - set(EXTRA), unknown


def test_the_extra_words_are_few(read, english):
    assert sorted(set(EXTRA)) == EXTRA
    assert not [word for word in EXTRA if word not in read or word in english]


def leads(target, page):
    """Whether a page's relative link ends at a file of the repository, its anchor at a heading."""
    path, _, anchor = target.partition("#")
    name = path or page
    if not (ROOT / name).is_file() or name.startswith(("outputs/", ".venv/", "/")):
        return False
    headings = [slug for text in PAGES.get(name, ()) for slug in texts.slugs(text)]
    return not anchor or anchor in headings


def external(name):
    targets = [target for text in PAGES[name] for target in links(text)]
    return [target for target in targets if re.match(r"[a-z]+:", target)]


def test_slugs_are_those_of_github():
    text = (
        "# 01 · SFT: teach `it`\n\n## Set-up (skip _this_)\n\n## What you'll see\n\n"
        "## Set-up (skip this)\n\ntext\n\n### r_strict, **always**\n"
    )
    set_up = "set-up-skip-this"
    found = ["01--sft-teach-it", set_up, "what-youll-see", f"{set_up}-1", "r_strict-always"]
    assert texts.slugs(text) == found


@every_page
def test_links_lead_somewhere(name):
    targets = {target for text in PAGES[name] for target in links(text)}
    assert len(targets) >= 4
    for target in targets:
        if target in external(name):
            assert re.fullmatch(r"https://[^\s%]+", target)
        else:
            assert leads(target, name), target
    plain = [part for text in PAGES[name] for part in texts.contents(text, "text")]
    assert not [part for part in plain if "](" in part]  # as with a space in it


@every_page
def test_images_have_a_text(name):
    for node in (node for text in PAGES[name] for node in texts.nodes(text)):
        assert node.type != "image" or node.content.strip(), node.attrs
        if node.type.startswith("html_"):
            assert not re.search(r"""<img(?![^>]*\balt=["'][^"'])""", node.content), node.content


@every_notebook
def test_badges_open_this_notebook(name):
    opened = [target for target in external(name) if ".ipynb" in target]
    sites = [re.match(r"https://([a-z.]+)", target)[1] for target in opened]
    assert sites == ["colab.research.google.com", "kaggle.com", "github.com"]
    assert all(target.endswith(f"/{address()}/blob/main/{name}") for target in opened)
    assert f'REPOSITORY = "https://github.com/{address()}"' in code(BOOKS[name])[0].source


def status(target):
    """The HTTP status of an address, or None where nobody answered within ten seconds."""
    try:
        return requests.get(target, headers={"User-Agent": "Mozilla/5.0"}, timeout=10).status_code
    except requests.RequestException:
        return None


@pytest.mark.soak
def test_external_links_answer():
    """All but those to this repository, whose address is set by whoever copies the project."""
    targets = {target for name in PAGES for target in external(name) if address() not in target}
    found = {target: status(target) for target in targets}
    assert found
    if set(found.values()) == {None}:
        pytest.skip(f"no network: none of {', '.join(sorted(found))} answered")
    for target, got in found.items():
        assert got and (got < 400 or got in (403, 429)), (target, got)


@every_notebook
def test_reading_time_is_true(name):
    """200 words a minute and 15 lines of code; a first time, which fits into forty minutes."""
    whole, deep = (reading_minutes(cells) for cells in (BOOKS[name].cells, deeper(BOOKS[name])))
    stated = re.search(
        r"Reading time\W+about (\d+) minutes; .* that is (\d+) minutes less", PAGES[name][1]
    )
    assert stated, f"{name} does not say at its top: about {whole:.0f} minutes, {deep:.0f} less"
    assert int(stated[1]) == pytest.approx(whole, rel=0.1), (whole, deep)
    assert int(stated[2]) == pytest.approx(deep, abs=0.6), (whole, deep)
    assert whole - deep < 38  # and two to run


def reading_minutes(cells) -> float:
    """Without the cells of set-up and parameters."""
    minutes = 0.0
    for cell in cells:
        if cell.cell_type == "markdown":
            minutes += length(cell.source) / 200
        elif "parameters" not in cell.metadata.get("tags", ()) and "REPOSITORY" not in cell.source:
            minutes += sum(bool(line.strip()) for line in cell.source.split("\n")) / 15
    return minutes


def deeper(book) -> list:
    """The cells of the sections whose headings end with "deeper"."""
    found, inside = [], False
    for cell in book.cells:
        headings = re.findall(r"^## .*$", cell.source, re.MULTILINE)
        if cell.cell_type == "markdown" and headings:
            inside = headings[-1].endswith("· deeper")
        if inside:
            found.append(cell)
    return found


ITEM = '{0}. Text.\n\n   ```python\n   if True:\n       print("{0}")\n   ```\n'
MADE_UP = f"""## Exercises\n\n1. First?\n2. Second?\n3. Third?\n\n{FOLDED}\n
{ITEM.format(1)}   and\n   ```python\n   more = 1\n   ```
2. Not Python:\n\n   ```text\n   1. no code\n   ```
3. Not under its number:\n\n```python\nnobodys = 1\n```\n\n</details>

## When it went wrong\n\n{ITEM.format(1)}"""


def test_answers_of_a_made_up_notebook():
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(MADE_UP)])
    asked, answered = exercises(book)
    assert asked == [("1", ""), ("2", ""), ("3", "")]
    program = 'if True:\n    print("1")\n\nmore = 1'
    assert answered == [("1", program + "\n"), ("2", ""), ("3", "")]
    assert [cell.source for cell in texts.with_answers(book).cells] == [MADE_UP, program, "", ""]
    assert len(book.cells) == 1


@every_notebook
def test_every_exercise_has_an_answer_that_is_a_program(name):
    asked, answered = exercises(BOOKS[name])
    numbers = [str(place + 1) for place in range(len(asked))]
    assert [number for number, _ in asked] == [number for number, _ in answered] == numbers
    assert len(numbers) >= 3
    lacking = ", ".join(number for number, program in answered if not program)
    assert not lacking, f"{name}: no ```python block, indented under its number: {lacking}"
    longer = texts.with_answers(BOOKS[name])
    nbformat.validate(longer)
    assert len({cell.id for cell in longer.cells}) == len(longer.cells)
    for _, program in answered:
        ast.parse(program)


@every_notebook
def test_long_cells_have_a_shape(name):
    shaped = {"heading", "bullet_list", "ordered_list", "table"}
    for text in PAGES[name]:
        if length(text) > 170 and "$" not in text:
            assert shaped & {block.type for block in blocks(text)}, text


@every_notebook
def test_outputs_are_not_wider_than_a_page(name):
    """Plain text: tables, HTML and cards have another form beside it, which is drawn."""
    for output in (output for cell in code(BOOKS[name]) for output in cell.outputs):
        if output.get("data", {}).keys() <= {"text/plain"}:
            shown = output.get("text") or output["data"]["text/plain"]
            assert max(map(len, shown.split("\n"))) <= 140, shown
