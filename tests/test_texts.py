"""What a reader sees in README, notebooks and package.

Spelling, links, reading times, exercises and the shape of the text.
"""

import ast
import copy
import json
import re
import urllib.error
import urllib.request

import nbformat
import pytest
from spellchecker import SpellChecker

from helpers.notebooks import NOTEBOOKS, address
from tests.conftest import ROOT
from tests.exercises import FOLDED, answers, blocks, exercises, prose, with_answers
from tests.texts import length, links, nodes, remarks, slugs, words

BOOKS = {name: json.loads((ROOT / name).read_text()) for name in NOTEBOOKS}
PAGES = {"README.md": [(ROOT / "README.md").read_text()]} | {
    name: prose(book) for name, book in BOOKS.items()
}
PROGRAMS = {
    name: ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]
    for name, book in BOOKS.items()
}
EXTRA = (ROOT / "tests" / "words.txt").read_text().split()


@pytest.fixture(scope="module")
def read():
    """Each word with the files in which it stands."""
    texts = PAGES | {
        name: PAGES[name] + [text for cell in cells for text in remarks(cell)]
        for name, cells in PROGRAMS.items()
    }
    texts |= {
        str(path.relative_to(ROOT)): remarks(path.read_text())
        for path in sorted((ROOT / "helpers").rglob("*.py"))
    }
    found: dict[str, list[str]] = {}
    for name, parts in texts.items():
        for word in set().union(*map(words, parts)):
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
    assert remarks(program) == ["Says what is.\n\n", "is here.\nGo home now.", "why so"]


def test_words_are_spelled_right(read, english):
    assert len(read) > 1500 and not {
        word: files for word, files in read.items() if word not in english and word not in EXTRA
    }


def test_the_extra_words_are_few(read, english):
    assert sorted(set(EXTRA)) == EXTRA and not [
        word for word in EXTRA if word not in read or word in english
    ]


def leads(target, page):
    """Whether a page's relative link ends at a file of the repository, its anchor at a heading."""
    path, _, anchor = target.partition("#")
    name = path or page
    kept = (ROOT / name).is_file() and not name.startswith(("outputs/", ".venv/", "/"))
    return kept and (
        not anchor
        or name in PAGES
        and anchor in [slug for text in PAGES[name] for slug in slugs(text)]
    )


def external(name):
    return [
        target for text in PAGES[name] for target in links(text) if re.match(r"[a-z]+:", target)
    ]


def test_slugs_are_those_of_github():
    text = (
        "# 01 · SFT: teach `it`\n\n## Set-up (skip _this_)\n\n## What you'll see\n\n"
        "## Set-up (skip this)\n\ntext\n\n### r_strict, **always**\n"
    )
    assert slugs(text) == [
        "01--sft-teach-it",
        "set-up-skip-this",
        "what-youll-see",
        "set-up-skip-this-1",
        "r_strict-always",
    ]


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    targets = {target for text in PAGES[name] for target in links(text)}
    assert len(targets) >= 4 and not [
        target for target in targets - set(external(name)) if not leads(target, name)
    ]
    assert not [target for target in external(name) if not re.fullmatch(r"https://[^\s%]+", target)]
    assert not [
        node.content
        for text in PAGES[name]
        for node in nodes(text)
        if node.type == "text" and "](" in node.content
    ]  # as with a space in it


@pytest.mark.parametrize("name", PAGES)
def test_images_have_a_text(name):
    for node in (node for text in PAGES[name] for node in nodes(text)):
        assert node.type != "image" or node.content.strip(), node.attrs
        assert not node.type.startswith("html_") or not re.search(
            r"""<img(?![^>]*\balt=["'][^"'])""", node.content
        ), node.content


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_badges_open_this_notebook(name):
    opened = [target for target in external(name) if ".ipynb" in target]
    assert [re.match(r"https://([a-z.]+)", target)[1] for target in opened] == [
        "colab.research.google.com",
        "kaggle.com",
        "github.com",
    ]
    assert all(target.endswith(f"/{address()}/blob/main/{name}") for target in opened)
    assert f'REPOSITORY = "https://github.com/{address()}"' in PROGRAMS[name][0]


def status(target):
    """The HTTP status of an address, or None where nobody answered within ten seconds."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(target, headers={"User-Agent": "Mozilla/5.0"}), timeout=10
        ) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


@pytest.mark.soak
def test_external_links_answer():
    """All but those to this repository, whose address is set by whoever copies the project."""
    found = {
        target: status(target)
        for target in {target for name in PAGES for target in external(name)}
        if address() not in target
    }
    assert found
    if set(found.values()) == {None}:
        pytest.skip(f"no network: none of {', '.join(sorted(found))} answered")
    assert not {
        target: got
        for target, got in found.items()
        if got is None or got >= 400 and got not in (403, 429)
    }


def reading_minutes(book):
    """200 words a minute and 15 lines of code.

    Empty lines, the set-up and the parameters cells are left out.
    """
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"][1:]
    lines = [
        line
        for cell in cells
        if "parameters" not in cell["metadata"].get("tags", [])
        for line in "".join(cell["source"]).split("\n")
    ]
    return sum(map(length, prose(book))) / 200 + sum(bool(line.strip()) for line in lines) / 15


def test_reading_minutes_of_a_small_notebook():
    cells = [
        nbformat.v4.new_code_cell("set_up()\n" * 30),
        nbformat.v4.new_markdown_cell("word " * 300 + "| — |"),
        nbformat.v4.new_code_cell("A = 1\n" * 9, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("a = 1\n\n" * 30),
    ]
    assert reading_minutes(nbformat.v4.new_notebook(cells=cells)) == 1.5 + 2


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_reading_time_is_true(name):
    minutes = reading_minutes(BOOKS[name])
    stated = re.search(r"Reading time\W+about (\d+) minutes", "\n".join(PAGES[name][:2]))
    assert stated, f'{name} does not say at its top: "Reading time: about {minutes:.0f} minutes"'
    assert int(stated[1]) == pytest.approx(minutes, rel=0.25)


ITEM = '{0}. Text.\n\n   ```python\n   if True:\n       print("{0}")\n   ```\n'
MADE_UP = f"""## Exercises\n\n1. First?\n2. Second?\n3. Third?\n\n{FOLDED}\n
{ITEM.format(1)}   and\n   ```python\n   more = 1\n   ```
2. Not Python:\n\n   ```text\n   1. no code\n   ```
3. Not under its number:\n\n```python\nnobodys = 1\n```\n\n</details>

## When it went wrong\n\n{ITEM.format(1)}"""


def test_answers_of_a_made_up_notebook(capsys):
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("1"), nbformat.v4.new_markdown_cell(MADE_UP)]
    )
    before = copy.deepcopy(book)
    assert answers(book) == ['if True:\n    print("1")\n\nmore = 1\n', "", ""]
    assert [[number for number, _ in items] for items in exercises(book)] == [["1", "2", "3"]] * 2
    exec(answers(book)[0], {})
    assert capsys.readouterr().out == "1\n"
    longer = with_answers(book)
    nbformat.validate(longer)
    assert book == before and longer["cells"][:2] == before["cells"]
    assert [cell["source"] for cell in longer["cells"][2:]] == [
        program.rstrip("\n") for program in answers(book)
    ]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_exercise_has_an_answer_that_is_a_program(name):
    asked, answered = exercises(BOOKS[name])
    numbers = [number for number, _ in asked]
    assert len(numbers) >= 3 and numbers == [number for number, _ in answered] == [
        str(place) for place in range(1, len(numbers) + 1)
    ]
    lacking = [number for number, program in answered if not program]
    assert not lacking, (
        f"{name}: no ```python block, indented under its number, in the answers "
        f"{', '.join(lacking)}"
    )
    longer = with_answers(BOOKS[name])
    nbformat.validate(longer)
    added = longer["cells"][len(BOOKS[name]["cells"]) :]
    assert len({cell["id"] for cell in longer["cells"]}) == len(longer["cells"]) and not any(
        cell["metadata"] for cell in added
    )
    assert [ast.parse(cell["source"]) for cell in added]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_long_cells_have_a_shape(name):
    shaped = {"heading", "bullet_list", "ordered_list", "table"}
    assert not [
        text
        for text in PAGES[name]
        if length(text) > 170
        and "$" not in text
        and not shaped & {block.type for block in blocks(text)}
    ]


def wide(cell):
    """Lines over 140 characters that a code cell shows as plain text.

    140: a question with its gold, a line of the package. Tables, HTML and cards have another form
    beside it, which is drawn.
    """
    plain = (
        output
        for output in cell.get("outputs", ())
        if output.get("data", {}).keys() <= {"text/plain"}
    )
    shown = (output.get("text") or output["data"]["text/plain"] for output in plain)
    return [line for text in shown for line in "".join(text).split("\n") if len(line) > 140]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_outputs_are_not_wider_than_a_page(name):
    assert not {cell["id"]: wide(cell) for cell in BOOKS[name]["cells"] if wide(cell)}
