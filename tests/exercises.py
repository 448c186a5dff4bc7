"""The exercises of a notebook, and the code of their answers as cells that run."""

from __future__ import annotations

import copy

import nbformat
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

MARKDOWN = MarkdownIt("commonmark").enable("table")
FOLDED = "<details><summary>Answers</summary>"


def prose(book: dict) -> list[str]:
    """The text of each markdown cell."""
    return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "markdown"]


def blocks(text: str) -> list[SyntaxTreeNode]:
    """A text's headings, paragraphs, lists, tables and code.

    They are as CommonMark and so GitHub and Jupyter read them.
    """
    return SyntaxTreeNode(MARKDOWN.parse(text)).children


def numbered(found: list[SyntaxTreeNode]) -> list[tuple[str, str]]:
    """Number and Python blocks of each item of the numbered lists.

    A block that is not indented under its item belongs to none.
    """
    return [
        (
            item.info,
            "\n".join(
                node.content
                for node in item.walk()
                if node.type == "fence" and node.info.strip() == "python"
            ),
        )
        for block in found
        if block.type == "ordered_list"
        for item in block.children
    ]


def exercises(book: dict) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The numbered items of "## Exercises", and those of the answers folded there.

    Each list is empty where there are none.
    """
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


def answers(book: dict) -> list[str]:
    """For each numbered answer its Python blocks, joined and without the list's indent.

    An answer without one has "".
    """
    return [code for _, code in exercises(book)[1]]


def with_answers(book: dict) -> dict:
    """A copy of a notebook (format 4.5) with a code cell for each answer at its end.

    The cells are `answer-1`, `answer-2` and so on, without tags.
    """
    longer = copy.deepcopy(book)
    longer["cells"] += [
        nbformat.v4.new_code_cell(code.rstrip("\n"), id=f"answer-{number}")
        for number, code in enumerate(answers(book), 1)
    ]
    return longer
