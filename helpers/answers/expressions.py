"""Reads expressions of plain numbers as people type them, and works them out exactly.

A text is typed anew with one sign for each operation, then cut into tokens. Units between numbers
and operations are passed over; whatever may be no number is unknown, and has no value.
"""

import ast
import operator
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from helpers.answers.numbers import DASHES, NUMBER
from helpers.answers.tree import Unreadable
from helpers.answers.vocabulary import FUNCTIONS, VOCABULARY, meanings, rewritten, rules

LONGEST_TEXT = 50_000  # where arithmetic is searched
LONGEST = 200  # characters of an expression
MOST_WORDS = 5  # of a unit
MOST_BITS = 4096  # of a power
MOST_TOKENS = 200  # of a stretch without a full stop
MANY = {"dozen", *VOCABULARY["magnitudes"]}

SIGNS = str.maketrans(meanings("arithmetic_signs") | dict.fromkeys("$€£¢°", ""))
DRESS, IN_TEX = rules("arithmetic_dress"), rules("arithmetic_in_tex")
AS_TYPED = rules("arithmetic_as_typed")
PERCENTS = (Fraction(1, 100), Fraction(1))
PYTHON = {"^": "**", "%": ".percent"}
TOKEN = re.compile(
    r"(?P<end>->|[<>=!:]=+>?|=>| - (?=[^\W\d]{2})|(?:because|so|since|that|which|gives)(?!\w)"
    r"|and(?= -?[0-9(]| [^\W\d]\w* ?=))"
    rf"|(?P<number>(?!0[0-9]){NUMBER.pattern}(?![0-9]|[.,:][0-9]))"
    r"|(?P<unknown>\.?[0-9]+(?:[.,:][0-9]+)*)"  # 5:30, 1.2.3, 007
    r"|(?P<remainder>(?:with |and )?(?:an? )?remainder(?: of)?(?= [0-9])|[Rr](?= ?[0-9]))"
    r"|(?P<word>[^\W\d]\w*(?:['’-][^\W\d]\w*)*)"
    r"|(?P<equals>[=≈])|(?P<sign>[-+*/^%()])|[^ ]"
)


class Token(NamedTuple):
    kind: str  # number, remainder, word, equals, end, unknown, or the sign itself
    text: str
    start: int
    end: int


NOTHING = Token("end", "", -1, -1)
Expression = list[Token]


def plain_arithmetic(text: str) -> str:
    """The text with one kind of minus and blank, and without TeX's dress around numbers."""
    return rewritten(text.translate(DASHES), DRESS)


def typed(text: str) -> str:
    """The text with one sign for each operation, and fractions and powers as one types them."""
    text = rewritten(plain_arithmetic(text[:LONGEST_TEXT]), IN_TEX)
    return rewritten(text[:LONGEST_TEXT].translate(SIGNS), AS_TYPED)


def stretches(text: str) -> Iterator[list[Token]]:
    """Cuts a typed text into tokens: a list for each stretch up to a full stop or the like.

    A bracket without its partner, or around an equation, becomes an end too. Few tokens live at a
    time: many would set off Python's garbage collector, which stops every thread.
    """
    cut, opened = [], []
    for match in TOKEN.finditer(text):
        token = Token(match.lastgroup or "end", match.group(), *match.span())
        if token.kind == "sign":
            token = token._replace(kind=token.text)
        if token.kind == "(":
            opened.append(len(cut))
        elif token.kind == ")" and opened:
            opened.pop()
        elif token.kind == ")":
            token = token._replace(kind="end")
        elif token.kind in ("end", "equals"):
            close(cut, opened)
        cut.append(token)
        if token.kind == "end" or len(cut) == MOST_TOKENS:
            close(cut, opened)
            yield cut
            cut = []
    close(cut, opened)
    yield cut


def close(cut: list[Token], opened: list[int]):
    """The brackets that are still open become ends."""
    for at in opened:
        cut[at] = cut[at]._replace(kind="end")
    opened.clear()


def chains(text: str) -> Iterator[list[list[Token]]]:
    """What stands between the equality signs of a typed text, from one end to the next.

    All sides but the first begin with their sign.
    """
    for stretch in stretches(text):
        sides = [[]]
        for token in stretch:
            if token.kind == "end":
                yield sides
                sides = [[]]
            elif token.kind == "equals":
                sides.append([token])
            else:
                sides[-1].append(token)
        yield sides


def expressions(side: list[Token]) -> list[Expression]:
    """What one side holds, without units; what may be no plain number is unknown."""
    scanner = Scanner()
    for before, token, after in zip([NOTHING, *side], side, [*side[1:], NOTHING], strict=False):
        scanner.read(before, token, after)
    return scanner.found


class Scanner:
    """Reads tokens one by one; the last of the expressions found is still being read."""

    def __init__(self):
        self.found: list[Expression] = [[]]
        self.words = 0  # since the last token that was kept
        self.skip = False

    def read(self, before: Token, token: Token, after: Token):
        if self.skip or token.kind == "equals":
            self.skip = False
        elif token.kind == "word":
            self.word(before, token, after)
        elif token.kind in ("number", "(", "unknown"):
            self.operand(before, token)
        elif not self.unit(token, after):
            self.sign(before, token, after)

    def known(self) -> bool:
        """Whether the last token that was kept ends a number."""
        return bool(self.found[-1]) and self.found[-1][-1].kind in ("number", ")", "%", "unknown")

    def keep(self, token: Token, kind: str = ""):
        self.found[-1].append(token._replace(kind=kind or token.kind))

    def word(self, before: Token, word: Token, after: Token):
        self.words += 1
        if self.found[-1] and not (self.known() and self.names_unit(before, word, after)):
            self.keep(word, "unknown")

    def names_unit(self, before: Token, word: Token, after: Token) -> bool:
        """Whether a word names what is counted, unlike `x`, `dozen`, and `of` after a share."""
        run = self.found[-1]
        if word.text in ("a", "A"):
            return after.kind == "word"
        if word.text == "of":
            return before.kind != "%" and (len(run) == 1 or run[-2].kind != "/")
        if len(word.text) == 1:
            return before.text == "/" or (before.kind == "word" and after.kind in ("word", "end"))
        return word.text not in MANY and not any(sign.isdigit() for sign in word.text)

    def operand(self, before: Token, token: Token):
        tight = before.end == token.start
        if self.known() and (self.words or not tight):
            self.found.append([])
        if before.text in FUNCTIONS or (token.kind == "(" and before.kind == "word" and tight):
            self.keep(before, "unknown")
        self.keep(token)
        self.words = 0

    def unit(self, sign: Token, after: Token) -> bool:
        """Whether a sign is part of a unit: `km/h`, `3-day`, `cm^2`."""
        if sign.kind == "^":
            self.skip = self.known() and self.words > 0
            return self.skip
        glued = sign.kind == "/" or (sign.kind == "-" and sign.end == after.start)
        long = after.kind == "word" and (len(after.text) > 1 or self.words > 0)  # not 10/x
        return glued and long and self.known()

    def sign(self, before: Token, sign: Token, after: Token):
        if not self.found[-1] and not own_sign(sign, before, after):
            if before.kind == "end":
                return  # a list's mark
            self.keep(before, "unknown")
        if self.words > MOST_WORDS:
            self.keep(before, "unknown")
        self.keep(sign)
        self.words = 0


def own_sign(sign: Token, before: Token, after: Token) -> bool:
    """Whether a sign with no number before it is a minus: in `= -3` and `so -3`, not in `x - 3`."""
    if sign.kind != "-":
        return False
    if before.kind == "equals":
        return True
    apart = before.kind == "end" or (len(before.text) > 1 and before.end < sign.start)
    return apart and after.start == sign.end


def python(run: Expression) -> str:
    """The same in Python, with strings for numbers: `20% * 3` is `('20') .percent * ('3')`.

    What is no expression is none of Python either.
    """
    pieces = []
    for before, token in zip([NOTHING, *run], run, strict=False):
        if token.kind == "(" and before.kind in ("number", ")", "%"):
            pieces.append("*")
        if token.kind == "number":
            digits = token.text.replace(",", "")
            pieces.append(f"('{digits}')")
        else:
            pieces.append(PYTHON.get(token.kind, token.kind))
    return " ".join(pieces)


def value(node: ast.expr, percent: Fraction) -> Fraction:
    """What Python's tree of an expression comes to. Raises Unreadable or ZeroDivisionError."""
    match node:
        case ast.Constant(value=digits):
            return Fraction(digits)
        case ast.Attribute(value=share):
            return value(share, percent) * percent
        case ast.UnaryOp(op=ast.USub(), operand=inside):
            return -value(inside, percent)
        case ast.BinOp(left=left, op=sign, right=right):
            return OPERATIONS[type(sign)](value(left, percent), value(right, percent))
    raise Unreadable


def power(base: Fraction, exponent: Fraction) -> Fraction:
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if exponent.denominator > 1 or abs(exponent) * size > MOST_BITS:
        raise Unreadable
    return base**exponent.numerator


OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: power,
}


def values(run: Expression) -> list[Fraction]:
    """What an expression comes to, with 20 % as 0.2 and as 20; nothing if it divides by zero.

    Raises Unreadable for what is no expression of plain numbers, or too long.
    """
    if not run or run[-1].end - run[0].start > LONGEST:
        raise Unreadable
    try:
        tree = ast.parse(python(run), mode="eval").body
        return list(dict.fromkeys(value(tree, percent) for percent in PERCENTS))
    except SyntaxError:
        raise Unreadable from None
    except ZeroDivisionError:
        return []


def works(run: Expression) -> bool:
    return any(token.kind in "+-*/^" for token in run[1:])


def arithmetic_value(expression: str) -> Fraction | None:
    """What sums, products and powers come to; None for a division by zero.

    >>> arithmetic_value("(3 + 4) * 2"), arithmetic_value("2 hours * 3"), arithmetic_value("2x + 3")
    (Fraction(14, 1), Fraction(6, 1), None)
    """
    try:
        found = values(expressions(next(chains(typed(expression)))[0])[0])
    except Unreadable:
        return None
    return found[0] if found else None
