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
from helpers.answers.tokens import Token, tokens
from helpers.answers.tree import ONE, Node, Unreadable, depth, found, joined, number, symbol
from helpers.answers.unit_reader import WHOLE_WORDS, UnitReader
from helpers.answers.vocabulary import CONSTANTS, FONTS, NUMBERS, RELATIONS, words

LONGEST = 3_000  # characters; the longest public gold has about 800
DEEPEST = 60  # nodes below each other
LARGEST_DOUBLE = 300
DIGITS, DIVISOR = "([0-9]{1,1000})", "(0{0,99}[1-9][0-9]{0,999})"
PLAIN = re.compile(rf"{DIGITS}(?:/{DIVISOR})?|\\frac\{{{DIGITS}\}}\{{{DIVISOR}\}}")
SIGNS = ("+", "-", "pm", "mp")
MARKS = words("marks")

AFTER_MARK = ("!", "}", ")", "]")
SQUARE = ("mathbb E", "mathbb P", "E", "P", "Pr", "Var")  # functions with square brackets

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
    plain = plain_number(text)
    if plain:  # the commonest answers need no reader
        return number(Fraction(*plain))
    reader = Reader(tokens(text.strip().removesuffix(".").rstrip()))
    reader.physics = physics
    try:
        node = reader.items()
        if reader.kind() is not None or depth(node) > DEEPEST:
            reader.fail()
    except RecursionError:
        raise Unreadable("too deep") from None
    return node


def plain_number(text: str) -> tuple[int, int] | None:
    """Numerator and denominator of a text that is nothing but digits, or a fraction of such."""
    plain = PLAIN.fullmatch(text)
    return plain and (int(plain[1] or plain[3]), int(plain[2] or plain[4] or 1))


class Reader(UnitReader):
    """Recursive descent: items, relation, union, sum, term, product, power, atom."""

    bars = 0  # absolute values that are open
    read = staticmethod(read)  # a text within this one

    def letter(self, name: str) -> Node:
        if name not in CONSTANTS or (name == "i" and self.physics):
            return symbol(name)
        return Node("constant", CONSTANTS[name])

    # What stands between expressions, from the loosest to the tightest.

    def items(self) -> Node:
        """One answer, or a list of answers between commas, semicolons, `and`, `or`."""
        found = [self.relation()]
        while self.take(",", ";"):
            if not self.sees(","):
                found.append(self.relation())
        node = joined("list", found)
        match self.take("over", "choose"):
            case "over":
                return node / self.items()
            case "choose":
                return Node("call", "binom", node, self.items())
        return node

    def until(self, closer: str) -> Node:
        node = self.items()
        self.need(closer)
        return node

    def relation(self) -> Node:
        signs, sides = [], [self.ratio()]
        while sign := self.take(*RELATIONS):
            signs.append(RELATIONS[sign])
            sides.append(self.ratio())
        return Node("relation", " ".join(signs), *sides) if signs else sides[0]

    def ratio(self) -> Node:
        parts = [self.union()]
        while self.take(":"):
            if self.sees("number") and re.fullmatch("0[1-9]", self.token().text):
                return Node("text", f"{parts[0][1]}:{self.next().text}")  # 10:05
            parts.append(self.union())
        return joined("ratio", parts)

    def union(self) -> Node:
        parts = [self.sum()]
        while sign := self.take("cup", "cap", "setminus"):
            parts.append(self.sum())
            if sign != "cup":
                parts = [Node("call", sign, *parts)]
        return joined("union", parts)

    def sum(self) -> Node:
        parts = []
        sign = self.take(*SIGNS)
        while sign or not parts:
            term = self.term()
            if sign in ("pm", "mp"):
                term = -term if sign == "mp" else term
                parts = [Node("plusminus", joined("add", parts or [number(0)]), term)]
            elif sign == "-" and term.kind == "set" and parts:
                parts = [Node("call", "setminus", joined("add", parts), term)]
            else:
                parts.append(-term if sign == "-" else term)
            sign = self.take(*SIGNS)
        return sum_in_unit(parts)

    def term(self) -> Node:
        total = self.product()
        while not self.per_unit() and (sign := self.take("*", "/")):
            factor = self.product()
            total = total / factor if sign == "/" else total * factor
        return self.with_unit(total)

    def product(self) -> Node:
        """Factors side by side, which bind more tightly than a slash; `1 1/2` is one number."""
        factors = []
        while self.starts() and not (factors and self.unit_ahead()):
            whole = len(factors) == 1 and is_whole(factors[0])
            fraction = self.fraction_ahead()
            if self.sees("number") and factors and not (whole and fraction):
                self.after_mark(factors[-1])
            if fraction and (whole or not factors):
                units = factors[0][1] if whole else 0
                factors = [number(units + self.fraction())]
            elif whole and self.sees("frac") and self.before() == "number":
                factors = [mixed(factors[0], self.power())]
            else:
                factors.append(self.factor())
        if not factors:
            self.fail()
        return math.prod(factors, start=ONE)

    def fraction_ahead(self) -> bool:
        """Whether a typed fraction follows that is one number, such as `1/2`."""
        if self.before() == "/" or not self.ahead("number", "/", "number"):
            return False
        return self.kind(3) not in ("^", "**", "_", "!")

    def fraction(self) -> Fraction:
        above = Fraction(self.next().text)
        self.need("/")
        below = Fraction(self.next().text)
        return above / below if below else self.fail()

    def factor(self) -> Node:
        """An atom with its marks; `apply` for a letter before a bracket, see `applying`."""
        node = self.power()
        square = node[1] in SQUARE and self.sees("[")
        if node.kind != "symbol" or not (square or self.sees("(")):
            return node
        start = self.token()
        inside = self.atom()
        return Node("apply", node[1], inside, self.marks(inside, start))

    def after_mark(self, factor: Node) -> None:
        """Lets a number follow `7!`, `2^6` or `\\sqrt{3}` as a further factor, nothing else."""
        spaced = self.token().spaced and factor.kind == "power"
        if factor.kind == "symbol" and self.kind(1) in ("^", "**"):  # n2^{n-1}
            return
        if factor.kind == "number" or not (spaced or self.before() in AFTER_MARK):
            self.fail()

    def starts(self) -> bool:
        """Whether a factor can begin here."""
        kind = self.kind()
        if kind == "|":
            return self.bars == 0 or self.before() in BEFORE_BAR
        if kind == "text":
            return self.before() in BEFORE_TEXT
        if kind == "-":
            return self.before() in ("*", "/")
        if kind is None or kind in NO_FACTORS:
            return False
        return kind in FACTORS or self.token().kind == "command"

    def power(self) -> Node:
        """An atom with its marks: subscript, primes, exponent, factorial, percent, degree."""
        start = self.token()
        return self.marks(self.atom(), start)

    def marks(self, node: Node, start: Token) -> Node:
        while self.sees(*MARKS):
            node = self.mark(node, start)
        return node

    def mark(self, node: Node, start: Token) -> Node:
        """The node with the mark that follows it; a number with a subscript is in that base."""
        match self.take(*MARKS):
            case "_":
                index = self.subscript()
                base = str(NUMBERS.get(index, index))
                if start.text.isdigit() and base.isdigit():
                    return Node("base", start.text, base)
                return renamed(node, f"_{index}")
            case "^" | "**":
                return Node("power", node, self.exponent())
            case "!" if self.take("!"):
                return double_factorial(node)
            case "!":
                return Node("call", "factorial", node)
            case "'":
                return renamed(node, "'")
            case "degree":
                return Node("unit", node, "degree")
            case _:
                return Node("unit", node, "percent")

    def subscript(self) -> str:
        """In physics `k_BT` is k_B times T; typed, `v_max` has one name."""
        token = self.token()
        letters = self.physics and token.kind == "word" and len(token.text) > 1
        name = token.text.islower() or (token.text.istitle() and len(token.text) > 2)
        if letters and not name:
            self.cut[self.at] = Token("word", token.text[1:], False)
            return token.text[0]
        return self.raw()

    def exponent(self) -> Node:
        if self.ahead("number", "_"):  # v^2_0 is v_0^2
            return self.atom()
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

    def raw(self, between: str = "") -> str:
        """The text of a subscript or a unit, without fonts and braces."""
        if not self.take("{"):
            return self.next().text.strip()
        parts, opened = [], 1
        while opened:
            token = self.next()
            if token.kind in ("{", "}"):
                opened += 1 if token.kind == "{" else -1
            elif token.text not in FONTS:
                parts.append(token.text.strip())
        return between.join(parts) or self.fail()

    def atom(self) -> Node:
        kind, token = self.kind(), self.next()
        if kind in ATOMS:
            return ATOMS[kind](self, token)
        return command(self, kind) if token.kind == "command" else self.fail()


def is_whole(node: Node) -> bool:
    return node.kind == "number" and node[1].denominator == 1 and node[1] >= 0


def sum_in_unit(terms: list[Node]) -> Node:
    r"""A sum, in the unit of its last term where no other has one: `2+\sqrt{3}\text{ cm}`."""
    *others, last = terms
    alone = others and not any(found(term, "unit") or found(term, "plusminus") for term in others)
    if not alone or last.kind != "unit" or last[2] in ("percent", "degree"):
        return joined("add", terms)
    return Node("unit", joined("add", [*others, last[1]]), last[2])


def mixed(units: Node, part: Node) -> Node:
    r"""`1\frac45` is 9/5; `2\frac{a}{b}` is a product."""
    if part.kind == "unit":
        return Node("unit", mixed(units, part[1]), part[2])
    if part.kind == "number" and 0 < part[1] < 1:
        return number(units[1] + part[1])
    return units * part


def double_factorial(node: Node) -> Node:
    if not is_whole(node) or node[1] > LARGEST_DOUBLE:
        raise Unreadable("a double factorial of what is no small number")
    return number(math.prod(range(int(node[1]), 0, -2)))


def renamed(node: Node, mark: str) -> Node:
    if node.kind == "power":  # v^2_0
        return Node("power", renamed(node[1], mark), node[2])
    if mark[0] == "_" and node.kind == "symbol" and node[1].endswith("'"):  # T'_1 is T_1'
        return symbol(f"{node[1][:-1]}{mark}'")
    if node.kind not in ("symbol", "constant"):
        raise Unreadable(f"{mark!r} on something that is no symbol")
    return symbol(f"{node[1]}{mark}")
