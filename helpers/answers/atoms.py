"""What begins an expression: each sign in ATOMS and each command of TeX in COMMANDS.

To teach the reader one more, write a function and name it in one of the two tables. Each gets the
reader, which stands behind the sign or command, and returns the node that it reads from there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from helpers.answers.tokens import CONSTANTS, FUNCTIONS, GREEK, Token
from helpers.answers.tree import Node, divide, number, symbol

if TYPE_CHECKING:
    from helpers.answers.parser import Reader

MATRICES = ("matrix", "pmatrix", "bmatrix", "smallmatrix")


def digits(reader: Reader, token: Token) -> Node:
    return number(token.text)


def letters(reader: Reader, token: Token) -> Node:
    """A function, a constant, a Greek letter's name, or letters that are multiplied."""
    word = token.text
    if word in FUNCTIONS or (word in TYPED_COMMANDS and reader.kind() in ("(", "{")):
        return reader.command(word)
    if word in GREEK or word in CONSTANTS:
        return reader.letter(word)
    # The last letter may carry a subscript or an exponent: each becomes a token of its own.
    reader.cut[reader.at - 1 : reader.at] = [Token("word", letter, False) for letter in word]
    return reader.letter(word[0])


TYPED_COMMANDS = ("sqrt", "abs", "binom")


def text(reader: Reader, token: Token) -> Node:
    """A number in a text, or words without outer brackets, blanks and full stop."""
    if re.match(r"\s*[-$]?[0-9.]", token.text):
        return reader.read(token.text)
    return Node("text", " ".join(token.text.strip(" .()[]{}:,;").split()))


def braces(reader: Reader, token: Token) -> Node:
    return reader.braced()


def group(reader: Reader, opener: Token) -> Node:
    """An expression in brackets; a pair or an interval where a comma stands in them."""
    bars, reader.bars = reader.bars, 0
    node = reader.items()
    closer = reader.need(")", "]")
    reader.bars = bars
    if node.kind == "list":
        return Node("group", opener.kind, closer, *node.args)
    return node if opener.kind + closer in ("()", "[]") else reader.fail(closer)


def members(reader: Reader, token: Token) -> Node:
    if reader.take("\\}"):
        return symbol("emptyset")
    node = reader.items()
    reader.need("\\}")
    return Node("set", *node.args) if node.kind == "list" else Node("set", node)


def absolute(reader: Reader, bar: Token) -> Node:
    reader.bars += 1
    node = reader.items()
    reader.need(bar.kind)
    reader.bars -= 1
    return Node("call", "abs", node)


def matrix(reader: Reader, begin: Token) -> Node:
    if begin.text not in MATRICES:
        reader.fail(begin.text)
    rows = [[reader.relation()]]
    while not reader.take("end"):
        if reader.need("&", "\\\\") == "&":
            rows[-1].append(reader.relation())
        elif reader.kind() != "end":
            rows.append([reader.relation()])
    return Node("matrix", *map(tuple, rows))


def dollars(reader: Reader, token: Token) -> Node:
    return Node("unit", reader.power(), "dollar")


ATOMS = {
    "number": digits,
    "word": letters,
    "text": text,
    "{": braces,
    "(": group,
    "[": group,
    "\\{": members,
    "|": absolute,
    "\\|": absolute,
    "begin": matrix,
    "\\$": dollars,
}


def fraction(reader: Reader) -> Node:
    return divide(reader.argument(), reader.argument())


def binomial(reader: Reader) -> Node:
    return Node("call", "binom", reader.argument(), reader.argument())


def absolute_value(reader: Reader) -> Node:
    return Node("call", "abs", reader.atom())


def root(reader: Reader) -> Node:
    degree = number(2)
    if reader.take("["):
        degree = reader.items()
        reader.need("]")
    if reader.kind() == "number" and len(reader.token().text) > 1:
        reader.fail("a root of several digits without braces")
    return Node("power", reader.argument(), divide(number(1), degree))


def root_sign(reader: Reader) -> Node:
    return Node("power", reader.atom(), number("1/2"))


def floor(reader: Reader) -> Node:
    node = reader.items()
    reader.need("rfloor")
    return Node("call", "floor", node)


def ceiling(reader: Reader) -> Node:
    node = reader.items()
    reader.need("rceil")
    return Node("call", "ceil", node)


COMMANDS = {
    "frac": fraction,
    "binom": binomial,
    "abs": absolute_value,
    "sqrt": root,
    "root": root_sign,
    "lfloor": floor,
    "lceil": ceiling,
}
