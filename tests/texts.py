"""What there is to read in a text or a program: its words, and where its links lead."""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from functools import cache

from markdown_it.tree import SyntaxTreeNode

from tests.exercises import blocks

FORMULA = re.compile(r"(```.*?```|`[^`\n]*`)|\$\$.+?\$\$|\$[^$\n]+\$", re.DOTALL)
DOCTEST = re.compile(r"^>>>.*(?:\n.+)*", re.MULTILINE)
PLAIN = re.compile(r"(?<!\S)[A-Za-z]+[,.;:]?(?!\S)")


@cache
def nodes(text: str) -> tuple[SyntaxTreeNode, ...]:
    """Every part of a text, without its formulas, whose _ and * are no emphasis."""
    return tuple(
        node
        for block in blocks(FORMULA.sub(lambda found: found[1] or " ", text))
        for node in block.walk()
    )


def words(text: str) -> set[str]:
    """Words of letters only, in lower case, without 's.

    None of code, addresses and tags, and no identifiers: LoRA, r64, llama.cpp.
    """
    read = " ".join(
        re.sub(r"<[^>]*>|https?://\S+", " ", node.content)
        for node in nodes(text)
        if node.type in ("text", "html_block", "html_inline")
    )
    found = (
        word.removesuffix("'s") for word in re.findall(r"\w+(?:[.']\w+)*", read.replace("’", "'"))
    )
    return {
        word.lower()
        for word in found
        if len(word) > 1
        and word.replace("'", "").isalpha()
        and (word.isupper() or word[1:].islower())
    }


def remarks(program: str) -> list[str]:
    """Comments, and strings with three plain words: docstrings, messages, prompts.

    Strings that are lists of words to split are left out.
    """
    tree = list(ast.walk(ast.parse(program)))
    lists = {
        id(node.value) for node in tree if isinstance(node, ast.Attribute) and node.attr == "split"
    }
    strings = [
        node.value
        for node in tree
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in lists
    ]
    comments = [
        token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(program).readline)
        if token.type == tokenize.COMMENT
    ]
    return [
        DOCTEST.sub("", inspect.cleandoc(text)) for text in strings if len(PLAIN.findall(text)) >= 3
    ] + [text for text in comments if not text.startswith(("noqa", "isort:"))]


def slugs(text: str) -> list[str]:
    """The anchors that GitHub gives a text's headings.

    Lower case, letters, digits, _ and -, which spaces become; the second of a name ends in -1.
    """
    plain = [
        "".join(part.content for part in node.walk() if part.type in ("text", "code_inline"))
        for node in nodes(text)
        if node.type == "heading"
    ]
    found = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in plain]
    return [
        slug + (f"-{before}" if (before := found[:place].count(slug)) else "")
        for place, slug in enumerate(found)
    ]


def links(text: str) -> list[str]:
    """Where a text's links, images, tags and bare addresses lead."""
    found = [
        str(node.attrs.get("href") or node.attrs.get("src"))
        for node in nodes(text)
        if node.type in ("link", "image")
    ]
    tags = " ".join(
        node.content for node in nodes(text) if node.type in ("html_block", "html_inline")
    )
    bare = " ".join(node.content for node in nodes(text) if node.type == "text")
    return (
        found
        + re.findall(r"""(?:href|src)=["']([^"']*)""", tags)
        + re.findall(r"\bhttps?://[^\s)>]+", bare)
    )


def length(text: str) -> int:
    """The words of a text, counted as for reading: whatever begins with a letter or a digit."""
    return len(re.findall(r"\w\S*", text))
