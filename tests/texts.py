"""What there is to read: the notebooks and their exercises, a text's words and links."""

import ast
import copy
import inspect
import io
import re
import tokenize
from functools import cache

import nbformat
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from helpers.notebooks import NOTEBOOKS
from tests.conftest import ROOT

BOOKS = {name: nbformat.read(ROOT / name, as_version=4) for name in NOTEBOOKS}
MARKDOWN = MarkdownIt("commonmark").enable("table")
FOLDED = "<details><summary>Answers</summary>"
FORMULA = re.compile(r"(```.*?```|`[^`\n]*`)|\$\$.+?\$\$|\$[^$\n]+\$", re.DOTALL)
DOCTEST = re.compile(r"^>>>.*(?:\n.+)*", re.MULTILINE)
PLAIN = re.compile(r"(?<!\S)[A-Za-z]+[,.;:]?(?!\S)")


def prose(book) -> list[str]:
    return [cell.source for cell in book.cells if cell.cell_type == "markdown"]


def code(book) -> list:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def tagged(book, tag: str) -> list:
    return [cell for cell in code(book) if tag in cell.metadata.get("tags", ())]


def blocks(text: str) -> list[SyntaxTreeNode]:
    """Headings, paragraphs, lists, tables and code, as GitHub and Jupyter read them."""
    return SyntaxTreeNode(MARKDOWN.parse(text)).children


def numbered(found: list[SyntaxTreeNode]) -> list[tuple[str, str]]:
    """Number and Python blocks of each item; a block that is not indented belongs to none."""
    items = []
    for item in (item for block in found if block.type == "ordered_list" for item in block):
        fences = [node for node in item.walk() if node.type == "fence"]
        programs = [node.content for node in fences if node.info.strip() == "python"]
        items.append((item.info, "\n".join(programs)))
    return items


def exercises(book) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The numbered items of "## Exercises", and those of the answers folded there."""
    asked, answered = [], []
    inside = folded = False
    for block in (block for text in prose(book) for block in blocks(text)):
        if block.type == "heading" and block.tag in ("h1", "h2"):
            inside, folded = block.children[0].content == "Exercises", False
        elif block.type == "html_block":
            folded = FOLDED in block.content
        elif inside:
            (answered if folded else asked).append(block)
    return numbered(asked), numbered(answered)


def with_answers(book):
    """A copy of a notebook with a code cell for each numbered answer at its end."""
    longer = copy.deepcopy(book)
    for number, program in exercises(book)[1]:
        cell = nbformat.v4.new_code_cell(program.rstrip("\n"), id=f"answer-{number}")
        longer.cells.append(cell)
    return longer


@cache
def nodes(text: str) -> tuple[SyntaxTreeNode, ...]:
    """Every part of a text, without its formulas, whose _ and * are no emphasis."""
    found = blocks(FORMULA.sub(lambda found: found[1] or " ", text))
    return tuple(node for block in found for node in block.walk())


def contents(text: str, *kinds: str) -> list[str]:
    return [node.content for node in nodes(text) if node.type in kinds]


def words(text: str) -> set[str]:
    """Words of letters, without 's, code, addresses, tags, and names: LoRA, r64, llama.cpp."""
    read = " ".join(contents(text, "text", "html_block", "html_inline")).replace("’", "'")
    read = re.sub(r"<[^>]*>|https?://\S+", " ", read)
    found = set()
    for word in re.findall(r"\w+(?:[.']\w+)*", read):
        word = word.removesuffix("'s")
        letters = len(word) > 1 and word.replace("'", "").isalpha()
        if letters and (word.isupper() or word[1:].islower()):
            found.add(word.lower())
    return found


def remarks(program: str) -> list[str]:
    """Comments, and strings with three plain words, but for lists of words to split."""
    tree = list(ast.walk(ast.parse(program)))
    splits = [node for node in tree if isinstance(node, ast.Attribute) and node.attr == "split"]
    lists = {id(node.value) for node in splits}
    found = []
    for node in tree:
        text = node.value if isinstance(node, ast.Constant) and id(node) not in lists else None
        if isinstance(text, str) and len(PLAIN.findall(text)) >= 3:
            found.append(DOCTEST.sub("", inspect.cleandoc(text)))
    for token in tokenize.generate_tokens(io.StringIO(program).readline):
        text = token.string.lstrip("# ")
        if token.type == tokenize.COMMENT and not text.startswith(("noqa", "isort:")):
            found.append(text)
    return found


def slugs(text: str) -> list[str]:
    """The anchors that GitHub gives a text's headings; the second of a name ends in -1."""
    found, seen = [], []
    for heading in (node for node in nodes(text) if node.type == "heading"):
        parts = [part for part in heading.walk() if part.type in ("text", "code_inline")]
        plain = "".join(part.content for part in parts).lower()
        slug = re.sub(r"[^\w -]", "", plain).replace(" ", "-")
        found.append(f"{slug}-{seen.count(slug)}" if slug in seen else slug)
        seen.append(slug)
    return found


def links(text: str) -> list[str]:
    """Where a text's links, images, tags and bare addresses lead."""
    targets = [node for node in nodes(text) if node.type in ("link", "image")]
    found = [str(node.attrs.get("href") or node.attrs.get("src")) for node in targets]
    tags = " ".join(contents(text, "html_block", "html_inline"))
    bare = " ".join(contents(text, "text"))
    found += re.findall(r"""(?:href|src)=["']([^"']*)""", tags)
    return found + re.findall(r"\bhttps?://[^\s)>]+", bare)


def length(text: str) -> int:
    """The words of a text, counted as for reading: whatever begins with a letter or a digit."""
    return len(re.findall(r"\w\S*", text))
