"""Reads a mathematical answer, in TeX or as people type it, into a tree.

The text comes from a model. What cannot be read raises Unreadable; time is linear, since length
and depth are limited.

What begins an expression is read in `atoms`, what stands between or behind expressions by the
method of its level here.
"""

import functools
import math
import re
from fractions import Fraction

from helpers.answers.atoms import ATOMS, command
from helpers.answers.tokens import Cursor, Token, tokens
from helpers.answers.tree import ONE, Node, Unreadable, joined, number, symbol
from helpers.answers.vocabulary import CONSTANTS, FONTS, FUNCTIONS, GREEK, RELATIONS, words

LONGEST = 3_000  # characters; the longest public gold has about 800
DEEPEST = 80  # a bracket within a bracket counts two, a factor within a factor one
MOST_MARKS = 9  # exponents, factorials or ± signs that hang on one expression
PLAIN = re.compile(r"([0-9]+)(?:/(0*[1-9][0-9]*))?|\\frac\{([0-9]+)\}\{(0*[1-9][0-9]*)\}")
SIGNS = ("+", "-", "pm", "mp")
MARKS = words("marks")

SHORT_UNITS = words("short_units")
WORD_UNIT = re.compile(r"(?=.*[aeiou])[a-z]{4,}")
AFTER_UNIT = words("after_unit")
NO_UNITS = words("no_units")
WHOLE_WORDS = FUNCTIONS | GREEK | CONSTANTS.keys()

FACTORS = words("factors")
NO_FACTORS = words("no_factors") | RELATIONS.keys()
BEFORE_BAR = words("before_bar") | {None}  # here it opens an absolute value
BEFORE_TEXT = words("before_text") | {None}


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
    plain = PLAIN.fullmatch(text)
    if plain:  # the commonest answers need no reader
        return number("/".join(part for part in plain.groups() if part))
    reader = Reader(tokens(text.strip().removesuffix(".").rstrip()))
    reader.physics = physics
    try:
        node = reader.items()
    except RecursionError:
        raise Unreadable("too deep") from None
    if reader.kind() is not None:
        reader.fail()
    return node


class Reader(Cursor):
    """Recursive descent: items, relation, union, sum, term, product, power, atom."""

    physics = False
    depth = 0
    bars = 0  # absolute values that are open
    read = staticmethod(read)  # a text within this one

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail()

    def marked(self, marks: int) -> int:
        """One mark more; a chain of marks would make a tree as deep as it is long."""
        return marks + 1 if marks < MOST_MARKS else self.fail()

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

    def until(self, closer: str) -> Node:
        node = self.items()
        self.need(closer)
        return node

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
                parts.append(-term if sign == "-" else term)
            sign = self.take(*SIGNS)
        return joined("add", parts)

    def term(self) -> Node:
        total = self.product()
        while sign := self.take("*", "/"):
            minus = self.take("-")
            factor = self.product()
            if minus:
                factor = -factor
            total = total / factor if sign == "/" else total * factor
        return self.with_unit(total)

    def product(self) -> Node:
        """Factors side by side, which bind more tightly than a slash; `1 1/2` is one number."""
        factors = []
        while self.starts() and not self.unit_font():
            whole = len(factors) == 1 and is_whole(factors[0])
            fraction = self.ahead("number", "/", "number") and self.kind(3) not in ("^", "_", "!")
            if self.sees("number") and factors and not (whole and fraction):
                self.fail()
            if fraction:
                value = Fraction(self.next().text)
                self.need("/")
                below = Fraction(self.next().text)
                value = value / below if below else self.fail()
                factors = [number(value + sum(factor[1] for factor in factors))]
            elif whole and self.sees("frac") and self.before() == "number":
                factors = [mixed(factors[0], self.power())]
            else:
                factors.append(self.power())
            if self.unit_word():
                break
        if not factors:
            self.fail()
        return math.prod(factors, start=ONE)

    def starts(self) -> bool:
        """Whether a factor can begin here."""
        kind = self.kind()
        if kind == "|":
            return self.bars == 0 or self.before() in BEFORE_BAR
        if kind == "text":
            return self.before() in BEFORE_TEXT
        if kind is None or kind in NO_FACTORS:
            return False
        return kind in FACTORS or self.token().kind == "command"

    def with_unit(self, node: Node) -> Node:
        r"""The node with its unit: `\text{ cm}^2`, `dollars per hour`, `\mathrm{km}/\mathrm{h}`."""
        parts = []
        while self.sees("text") or self.unit_font() or self.unit_word(begun=bool(parts)):
            if self.unit_font():
                self.at += 2
            parts.append(self.next().text.strip())
            self.take("}")
            if self.take("^"):
                parts[-1] += "^" + self.raw()
            if self.sees("/") and (self.kind(1) in ("word", "text") or self.unit_font(1)):
                parts.append(self.need("/"))
        name = " ".join(parts).lower().strip(" .")
        if NO_UNITS & set(name.split()):
            self.fail()
        return Node("unit", node, name) if name else node

    def unit_font(self, ahead: int = 0) -> bool:
        r"""`\mathrm{cm}` after a number or in a quotient of units."""
        if self.physics or self.before(ahead) not in ("number", "/"):
            return False
        if not self.ahead("mathrm", "{", "word", "}", skip=ahead):
            return False
        return self.cut[self.at + ahead + 2].text not in FUNCTIONS | {"e", "i"}

    def unit_word(self, begun: bool = False) -> bool:
        """A bare word, of lower-case letters with a vowel, that ends the answer after a number.

        Any word where a unit has begun.
        """
        if begun:
            return self.sees("word")
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
        """The node with the mark that follows it; a number with a subscript is in that base."""
        if self.take_all("^", "circ") or self.take_all("^", "{", "circ", "}"):
            return Node("unit", node, "degree")
        if self.take("'") or self.take_all("^", "prime") or self.take_all("^", "{", "prime", "}"):
            return renamed(node, "'")
        match self.take(*MARKS):
            case "_":
                index = self.raw()
                if node.kind == "number" and start.text.isdigit() and index.isdigit():
                    return Node("base", start.text, index)
                return renamed(node, f"_{index}")
            case "^" | "**":
                return Node("power", node, self.exponent())
            case "!":
                return Node("call", "factorial", node)
            case _:
                return Node("unit", node, "percent")

    def exponent(self) -> Node:
        if self.take("-"):
            return -self.power()
        return self.braces_or_letter() or self.power()

    def argument(self) -> Node:
        r"""What `\frac` or `\sqrt` takes: an expression in braces, a digit, letter, or command."""
        token = self.token()
        if token.kind == "number" and token.text.isdigit() and len(token.text) > 1:
            self.cut[self.at] = Token("number", token.text[1:], False)
            return number(token.text[0])
        return self.braces_or_letter() or self.atom()

    def braces_or_letter(self) -> Node | None:
        """An expression in braces, or the first letter of a word, which TeX takes alone."""
        if self.take("{"):
            return self.until("}")
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
        return text or self.fail()

    def atom(self) -> Node:
        kind, token = self.kind(), self.next()
        if kind in ATOMS:
            return ATOMS[kind](self, token)
        return command(self, kind) if token.kind == "command" else self.fail()


def is_whole(node: Node) -> bool:
    return node.kind == "number" and node[1].denominator == 1 and node[1] >= 0


def mixed(units: Node, part: Node) -> Node:
    r"""`1\frac45` is 9/5; `2\frac{a}{b}` is a product."""
    if part.kind == "unit":
        return Node("unit", mixed(units, part[1]), part[2])
    if part.kind == "number" and 0 < part[1] < 1:
        return number(units[1] + part[1])
    return units * part


def renamed(node: Node, mark: str) -> Node:
    if node.kind not in ("symbol", "constant"):
        raise Unreadable(f"{mark!r} on something that is no symbol")
    return symbol(f"{node[1]}{mark}")
