"""Reads a mathematical answer, in TeX or as people type it, into a tree.

The text comes from a model. What cannot be read raises Unreadable; time is linear, since length
and depth are limited.

What begins an expression is read in `atoms`, what stands between or behind expressions by the
method of its level here.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction

from helpers.answers.atoms import ATOMS, command
from helpers.answers.tokens import (
    CONSTANTS,
    FONTS,
    FUNCTIONS,
    GREEK,
    RELATIONS,
    Cursor,
    Token,
    tokens,
    words,
)
from helpers.answers.tree import (
    Node,
    Unreadable,
    divide,
    joined,
    multiply,
    negative,
    number,
    symbol,
)

LONGEST = 3_000  # characters; the longest public gold has about 800
DEEPEST = 80  # a bracket within a bracket counts two, a factor within a factor one
SIGNS = ("+", "-", "pm", "mp")
MARKS = ("_", "^", "**", "'", "!", "%", "\\%")
MOST_MARKS = 9  # exponents, factorials or ± signs that hang on one expression

SHORT_UNITS = words("short_units")
WORD_UNIT = re.compile(r"(?=.*[aeiou])[a-z]{4,}")
AFTER_UNIT = frozenset(("word", "^", "number", "text", "/", ","))
NO_UNITS = words("no_units")
WHOLE_WORDS = FUNCTIONS | GREEK | CONSTANTS.keys()

FACTORS = frozenset(("number", "word", "(", "[", "{", "\\{", "begin", "\\$", "\\|"))
NO_FACTORS = ("cup", "cap", "setminus", "backslash", "pm", "mp", "circ", "rfloor", "rceil")
BEFORE_BAR = (None, "+", "-", "*", "/", "(", "|", "=", "{")  # here it opens an absolute value
BEFORE_TEXT = (None, ",", ";", "=", "(", "+", "-", "{", "\\{")


@functools.lru_cache(maxsize=8192)
def read(text: str, physics: bool = False) -> Node:
    """The tree of one answer. In `physics` all letters are symbols, also `i` and bare units.

    Raises Unreadable when the text is empty, cut off, too long or deep, or no answer.

    >>> read("1,234"), read("1 1/2")
    (('number', Fraction(1234, 1)), ('number', Fraction(3, 2)))
    >>> read("2x")
    ('multiply', ('number', Fraction(2, 1)), ('symbol', 'x'))
    """
    if len(text) > LONGEST:
        raise Unreadable("too long")
    reader = Reader(tokens(text.strip().removesuffix(".").rstrip()), physics)
    try:
        node = reader.items()
    except RecursionError:
        raise Unreadable("too deep") from None
    if reader.kind() is not None:
        reader.fail(reader.token().text)
    return node


class Reader(Cursor):
    """Recursive descent: items → relation → union → sum → term → product → power → atom."""

    def __init__(self, cut: list[Token], physics: bool):
        super().__init__(cut)
        self.physics = physics
        self.depth = 0
        self.bars = 0  # absolute values that are open

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unreadable("too deep")

    def marked(self, marks: int) -> int:
        """One mark more; a chain of marks would make a tree as deep as it is long."""
        return marks + 1 if marks < MOST_MARKS else self.fail("a long chain of marks")

    def read(self, text: str) -> Node:
        """The tree of a text within this one."""
        return read(text)

    def letter(self, name: str) -> Node:
        if name not in CONSTANTS or (name == "i" and self.physics):
            return symbol(name)
        return Node("constant", CONSTANTS[name])

    # What stands between expressions, from the loosest to the tightest.

    def items(self) -> Node:
        """One answer, or a list of answers between commas, semicolons, `and`, `or`."""
        self.deeper()
        found = [self.relation()]
        while self.take(",", ";"):
            if not self.sees(","):
                found.append(self.relation())
        self.depth -= 1
        return joined("list", found)

    def relation(self) -> Node:
        first = self.union()
        if self.take(":"):
            return Node("ratio", first, self.union())
        signs, sides = [], [first]
        while sign := self.take(*RELATIONS):
            signs.append(RELATIONS[sign])
            sides.append(self.union())
        return Node("relation", " ".join(signs), *sides) if signs else first

    def union(self) -> Node:
        parts, marks = [self.sum()], 0
        while sign := self.take("cup", "cap", "setminus", "backslash"):
            parts.append(self.sum())
            if sign != "cup":
                marks = self.marked(marks)
                parts = [Node("call", sign, *parts)]
        return joined("union", parts)

    def sum(self) -> Node:
        parts, marks = [], 0
        sign = self.take(*SIGNS)
        while sign or not parts:
            term = self.term()
            if sign in ("pm", "mp"):
                marks = self.marked(marks)
                parts = [Node("plusminus", joined("add", parts or [number(0)]), term)]
            else:
                parts.append(negative(term) if sign == "-" else term)
            sign = self.take(*SIGNS)
        return joined("add", parts)

    def term(self) -> Node:
        total = self.product()
        while sign := self.take("*", "/"):
            minus = self.take("-")
            factor = self.product()
            if minus:
                factor = negative(factor)
            total = divide(total, factor) if sign == "/" else multiply(total, factor)
        return self.with_unit(total)

    def product(self) -> Node:
        """Factors side by side, which bind more tightly than a slash; `1 1/2` is one number."""
        factors = []
        while self.starts() and not self.unit_font():
            whole = len(factors) == 1 and is_whole(factors[0])
            fraction = self.ahead("number", "/", "number") and self.kind(3) not in ("^", "_", "!")
            if self.sees("number") and factors and not (whole and fraction):
                self.fail("a number after a factor")
            if whole and self.sees("frac") and self.before() == "number":
                factors.append(mixed(factors.pop(), self.power()))
            elif not fraction:
                factors.append(self.power())
            elif whole:
                factors.append(number(factors.pop()[1] + self.slash()))
            else:
                factors.append(number(self.slash()))
            if self.unit_word():
                break
        if not factors:
            self.fail(self.token().text)
        return multiply(*factors)

    def slash(self) -> Fraction:
        above = Fraction(self.next().text)
        self.need("/")
        below = Fraction(self.next().text)
        return above / below if below else self.fail("a division by zero")

    def starts(self) -> bool:
        """Whether a factor can begin here."""
        kind = self.kind()
        if kind == "|":
            return self.bars == 0 or self.before() in BEFORE_BAR
        if kind == "text":
            return self.before() in BEFORE_TEXT
        if kind is None or kind in NO_FACTORS or kind in RELATIONS:
            return False
        return kind in FACTORS or self.token().kind == "command"

    def with_unit(self, node: Node) -> Node:
        r"""The node with its unit: `\text{ cm}^2`, `dollars per hour`, `\mathrm{km}/\mathrm{h}`."""
        words = []
        while self.unit_follows(bool(words)):
            if self.unit_font():
                self.at += 2
            words.append(self.next().text.strip())
            self.take("}")
            if self.take("^"):
                words[-1] += "^" + self.raw()
            if self.sees("/") and (self.kind(1) in ("word", "text") or self.unit_font(1)):
                words.append(self.need("/"))
        name = " ".join(words).lower().strip(" .")
        if NO_UNITS & set(name.split()):
            self.fail(name)
        return Node("unit", node, name) if name else node

    def unit_follows(self, begun: bool) -> bool:
        if self.sees("text") or self.unit_font():
            return True
        return self.sees("word") if begun else self.unit_word()

    def unit_font(self, ahead: int = 0) -> bool:
        r"""`\mathrm{cm}` after a number or in a quotient of units."""
        if self.physics or self.before(ahead) not in ("number", "/"):
            return False
        if not self.ahead("mathrm", "{", "word", "}", skip=ahead):
            return False
        return self.cut[self.at + ahead + 2].text not in FUNCTIONS | {"e", "i"}

    def unit_word(self) -> bool:
        """A bare word, of lower-case letters with a vowel, that ends the answer after a number."""
        if self.physics or not self.sees("word") or self.before() != "number":
            return False
        _, word, spaced = self.token()
        known = WORD_UNIT.fullmatch(word) or word in SHORT_UNITS
        if not spaced or not known:
            return False
        return all(token.kind in AFTER_UNIT for token in self.cut[self.at + 1 :])

    def power(self) -> Node:
        """An atom with its marks: subscript, primes, exponent, factorial, percent, degree."""
        self.deeper()
        start = self.token()
        node = self.atom()
        marks = 0
        while self.sees(*MARKS):
            marks = self.marked(marks)
            node = self.mark(node, start)
        self.depth -= 1
        return node

    def mark(self, node: Node, start: Token) -> Node:
        """The node with the mark that follows it."""
        if self.take_all("^", "circ") or self.take_all("^", "{", "circ", "}"):
            return Node("unit", node, "degree")
        if self.take("'") or self.take_all("^", "prime") or self.take_all("^", "{", "prime", "}"):
            return renamed(node, "'")
        match self.take(*MARKS):
            case "_":
                return subscript(node, self.raw(), start)
            case "^" | "**":
                return Node("power", node, self.exponent())
            case "!":
                return Node("call", "factorial", node)
            case _:
                return Node("unit", node, "percent")

    def exponent(self) -> Node:
        if self.take("-"):
            return negative(self.power())
        if self.take("{"):
            return self.until("}")
        return self.first_letter() or self.power()

    def argument(self) -> Node:
        r"""What `\frac` or `\sqrt` takes: an expression in braces, a digit, letter, or command."""
        token = self.token()
        if self.take("{"):
            return self.until("}")
        if token.kind == "number" and token.text.isdigit() and len(token.text) > 1:
            self.cut[self.at] = Token("number", token.text[1:], False)
            return number(token.text[0])
        return self.first_letter() or self.atom()

    def until(self, closer: str) -> Node:
        node = self.items()
        self.need(closer)
        return node

    def first_letter(self) -> Node | None:
        """The first letter of a word, which TeX takes alone; None where no such word stands."""
        token = self.token()
        if token.kind != "word" or len(token.text) == 1 or token.text in WHOLE_WORDS:
            return None
        self.cut[self.at] = Token("word", token.text[1:], False)
        return self.letter(token.text[0])

    def raw(self) -> str:
        """The text of a subscript or a unit's exponent, without fonts and braces."""
        if not self.take("{"):
            return self.next().text.strip()
        text, depth = "", 1
        while depth:
            token = self.next()
            if token.kind in ("{", "}"):
                depth += 1 if token.kind == "{" else -1
            elif token.text not in FONTS:
                text += token.text.strip()
        return text or self.fail("an empty subscript")

    def atom(self) -> Node:
        kind, token = self.kind(), self.next()
        if kind in ATOMS:
            return ATOMS[kind](self, token)
        return command(self, kind) if token.kind == "command" else self.fail(token.text)


def mixed(units: Node, part: Node) -> Node:
    r"""`1\frac45` is 9/5; `2\frac{a}{b}` is a product."""
    if part.kind == "unit":
        return Node("unit", mixed(units, part[1]), part[2])
    if part.kind == "number" and 0 < part[1] < 1:
        return number(units[1] + part[1])
    return multiply(units, part)


def is_whole(node: Node) -> bool:
    return node.kind == "number" and node[1].denominator == 1 and node[1] >= 0


def renamed(node: Node, mark: str) -> Node:
    if node.kind not in ("symbol", "constant"):
        raise Unreadable(f"{mark!r} on something that is no symbol")
    return symbol(f"{node[1]}{mark}")


def subscript(node: Node, mark: str, start: Token) -> Node:
    """A symbol with its subscript; a number with one is written in that base."""
    if node.kind == "number" and start.text.isdigit() and mark.isdigit():
        return Node("base", start.text, mark)
    return renamed(node, f"_{mark}")
