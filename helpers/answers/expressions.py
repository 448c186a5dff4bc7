"""Reads expressions of plain numbers as people type them, and works them out exactly.

A text is typed anew with one sign for each operation, then cut into tokens. Units between numbers
and operations are passed over; whatever may be no number is "?", and has no value.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from helpers.answers.numbers import DASHES, NUMBER
from helpers.answers.tree import Unreadable
from helpers.answers.vocabulary import FUNCTIONS, VOCABULARY

LONGEST_TEXT = 50_000  # where arithmetic is searched
LONGEST = 200  # characters of an expression
MOST_WORDS = 5  # of a unit
MOST_BITS = 4096  # of a power
MOST_TOKENS = 200  # of a stretch without a full stop
DEEPEST = 10  # brackets in brackets
MANY = {"dozen", *VOCABULARY["magnitudes"]}

DRESS = (("{,}", ","), ("\\$", "$"), ("\\times", "×"), ("\\cdot", "×"), ("\\div", "/"))
SIGNS = {"×": "*", "·": "*", "⋅": "*", "∙": "*", "÷": "/", "⁄": "/", "√": "sqrt", "≈": " ≈ "}
SIGNS |= dict(zip("{}[]", "()()", strict=True)) | dict.fromkeys("$€£¢°", "") | {"&": " "}
SIGNS = str.maketrans(SIGNS)
HIGH = "⁰¹²³⁴⁵⁶⁷⁸⁹"
HALVES = {"½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}"}
IN_TEX = (  # in order, each in linear time
    ("[½¼¾]", lambda found: HALVES[found[0]]),
    (f"[{HIGH}]+", lambda found: "^" + "".join(str(HIGH.index(digit)) for digit in found[0])),
    (r"\\(?:text|mathrm|textbf|mathbf|boxed) ?\{([^{}]{0,200})\}", r" \1 "),
    (r"(?<![0-9])([0-9]{1,9}) ?\\[dtc]?frac\{([0-9]{1,9})\}\{([0-9]{1,9})\}", r"(\1+\2/\3)"),
    (r"\\[dtc]?frac\{([^{}]{1,99})\}\{([^{}]{1,99})\}", r"((\1)/(\2))"),
    (r"\\\\", "\n"),
    (r"\\approx", "≈"),
    (r"\\%", "%"),
    (r"\\(?:begin|end)\{[a-z]+\*?\}", " "),
    (r"\\[dtc]?frac ?([0-9])([0-9])", r"((\1)/(\2))"),
    (
        r"(?<![0-9.])([0-9]{1,9}\.[0-9]{0,9})\\overline\{([0-9]{1,9})\}",
        lambda found: found[1] + 3 * found[2],
    ),
    (r"\\(?:left|right)(?![a-z])", ""),
    (r"\\(?:q?quad|displaystyle)(?![a-z])|\\[\[\](),;!: ]", " "),
)
AS_TYPED = (
    (r"(?<=[0-9)]) squared(?![a-z])", "^2"),
    (r"(?<=[0-9)]) cubed(?![a-z])", "^3"),
    (r" ?\(?,? ?(?:with )?(?:a )?(?:remainder|rem\.?)(?: of)? ?([0-9]{1,9})\)?", r" remainder \1"),
    (r"(?<=[0-9)])\*\*(?=[0-9(])|(?<=[0-9)] )\*\*(?= [0-9(])", "^"),
    (r"\*\*", ""),  # bold
    (r"(?<![0-9.,])([1-9][0-9]{0,2}(?: [0-9]{3})+)(?![0-9])", lambda f: f[1].replace(" ", "")),
    (r"(?<![0-9.,/])([0-9]{1,9}) ([0-9]{1,2}/[0-9]{1,2})(?![0-9/]|[.,][0-9])", r"(\1+\2)"),
    (r"/ ([0-9]{1,9}/[0-9]{1,9})(?![0-9])", r"/ (\1)"),
    (r"(?<=[0-9)]/[0-9])(?:th|rd|nd)s?(?![a-z])", ""),
    (r"(?:(?<=[0-9)%])|(?<=[0-9a-z)%] ))[xX](?= ?[0-9.(])", "*"),
    (r" ?(?:percent|per cent)(?![a-z])", "%"),
    (r"(?<=[0-9%)]) of (?=[0-9(])", " * "),
    (r"(?<= )plus(?= [0-9(])", "+"),
    (r"(?<= )minus(?= [0-9(])", "-"),
    (r"(?<= )(?:times|multiplied by)(?= [0-9(])", "*"),
    (r"(?<= )divided by(?= [0-9(])", "/"),
    (r"(?<= )(?:equals|is equal to)(?= [0-9(])", "="),
    (r"\n(?= {0,4}[=≈])", " "),
)
TOKEN = re.compile(
    r"(?P<end>->|[<>=!:]=+>?|=>| - (?=[^\W\d]{2})|(?:because|so|since|that|which|gives)(?!\w))"
    r"|(?P<number>[0-9]+(?:[.,:][0-9]+)*|\.[0-9]+)"
    r"|(?P<remainder>(?:with |and )?(?:an? )?remainder(?: of)?(?= [0-9])|[Rr](?= ?[0-9]))"
    r"|(?P<word>[^\W\d]\w*(?:['’-][^\W\d]\w*)*)"
    r"|(?P<equals>[=≈])|(?P<sign>[-+*/^%()])|(?P<other>[^ ])"
)


class Token(NamedTuple):
    kind: str  # number, remainder, word, equals, end, "?" for an unknown, or the sign itself
    text: str
    start: int
    end: int


NOTHING = Token("end", "", -1, -1)
Expression = list[Token]


def plain_arithmetic(text: str) -> str:
    """The text with one kind of minus and blank, and without TeX's dress around numbers."""
    text = text.translate(DASHES)
    for dress, bare in DRESS:
        text = text.replace(dress, bare)
    return text


def typed(text: str) -> str:
    """The text with one sign for each operation, and fractions and powers as one types them."""
    text = plain_arithmetic(text[:LONGEST_TEXT])
    for pattern, new in IN_TEX:
        text = re.sub(pattern, new, text)
    text = text[:LONGEST_TEXT].translate(SIGNS)
    for pattern, new in AS_TYPED:
        text = re.sub(pattern, new, text)
    return text


def stretches(text: str) -> Iterator[list[Token]]:
    """Cuts a typed text into tokens: a list for each stretch up to a full stop or the like.

    A bracket without its partner, or around an equation, becomes an end too. Few tokens live at a
    time: many would set off Python's garbage collector, which stops every thread.
    """
    cut, opened = [], []
    for match in TOKEN.finditer(text):
        token = Token(kind_of(match), match.group(), *match.span())
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


def kind_of(match: re.Match) -> str:
    kind, part = match.lastgroup, match.group()
    if kind == "number" and (not NUMBER.fullmatch(part) or re.match("0[0-9]", part)):
        return "?"  # 5:30, 1.2.3, 007
    return {"sign": part, "other": "end"}.get(kind, kind)


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
    """What one side holds, without units; with "?" for each thing that may be no plain number."""
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
        elif token.kind in ("number", "(", "?"):
            self.operand(before, token)
        elif not self.unit(token, after):
            self.sign(before, token, after)

    def known(self) -> bool:
        """Whether the last token that was kept ends a number."""
        return bool(self.found[-1]) and self.found[-1][-1].kind in ("number", ")", "%", "?")

    def keep(self, token: Token, kind: str = ""):
        self.found[-1].append(token._replace(kind=kind or token.kind))

    def word(self, before: Token, word: Token, after: Token):
        self.words += 1
        if self.found[-1] and not (self.known() and self.names_unit(before, word, after)):
            self.keep(word, "?")

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
            self.keep(before, "?")
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
            self.keep(before, "?")
        if self.words > MOST_WORDS:
            self.keep(before, "?")
        self.keep(sign)
        self.words = 0


def own_sign(sign: Token, before: Token, after: Token) -> bool:
    """Whether a sign with no number before it is a minus: in `= -3` and `so -3`, not in `x - 3`."""
    if sign.kind != "-" or before.kind == "equals":
        return sign.kind == "-"
    apart = before.kind == "end" or (len(before.text) > 1 and before.end < sign.start)
    return apart and after.start == sign.end


class Reader:
    """Works out an expression; Unreadable if it is none, ZeroDivisionError if it has no value."""

    def __init__(self, cut: Expression, percent: Fraction):
        self.cut = cut
        self.percent = percent
        self.at = 0
        self.depth = 0

    def sees(self, *kinds: str) -> bool:
        return self.at < len(self.cut) and self.cut[self.at].kind in kinds

    def take(self, *kinds: str) -> str | None:
        if not self.sees(*kinds):
            return None
        self.at += 1
        return self.cut[self.at - 1].text

    def whole(self) -> Fraction:
        if not self.cut or self.cut[-1].end - self.cut[0].start > LONGEST:
            raise Unreadable
        value = self.sum()
        if self.at < len(self.cut):
            raise Unreadable
        return value

    def sum(self) -> Fraction:
        total = self.product()
        while sign := self.take("+", "-"):
            value = self.product()
            total += value if sign == "+" else -value
        return total

    def product(self) -> Fraction:
        value = self.factor()
        while self.sees("*", "/", "("):  # 3(4 + 5)
            divided = self.take("*", "/") == "/"
            other = self.factor()
            value = value / other if divided else value * other
        return value

    def factor(self) -> Fraction:
        sign = 1
        while self.take("-"):
            sign = -sign
        value = self.atom()
        if self.take("^"):
            value = power(value, self.factor())
        if self.take("%"):
            value *= self.percent
        return sign * value

    def atom(self) -> Fraction:
        if text := self.take("number"):
            return Fraction(text.replace(",", ""))
        if not self.take("(") or self.depth == DEEPEST:
            raise Unreadable
        self.depth += 1
        value = self.sum()
        self.depth -= 1
        if not self.take(")"):
            raise Unreadable
        return value


def power(base: Fraction, exponent: Fraction) -> Fraction:
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if exponent.denominator > 1 or abs(exponent) * size > MOST_BITS:
        raise Unreadable
    return base**exponent.numerator


def values(run: Expression) -> list[Fraction]:
    """What an expression comes to, with 20 % as 0.2 and as 20; nothing if it divides by zero."""
    readings = [Fraction(1, 100)]
    if any(token.kind == "%" for token in run):
        readings.append(Fraction(1))
    try:
        return [Reader(run, percent).whole() for percent in readings]
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
