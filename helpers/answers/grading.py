"""Reads numbers and mathematical answers and compares them exactly. No rounding, no tolerance, no near misses.

>>> same_number("$1,234.50", "1234.5"), same_number("1/2", "0.5"), same_number("18 apples", "18"), same_number("18.01", "18")
(1.0, 1.0, 1.0, 0.0)
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction

from helpers.answers import isolation
from helpers.answers.comparing import NeedsSymbols, exactly, same, split_unit
from helpers.answers.latex import DRESSED, Unreadable, read
from helpers.answers.reading import LONGEST as LONGEST_REPLY

SIGNS = str.maketrans(
    {"−": "-", "–": "-", "﹣": "-", "-": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " "}
)
DIGITS = rf"(?:(?:{DRESSED}|[0-9]{{1,3}}(?:,[0-9]{{3}})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
SIGNED = re.compile(
    rf"-?\\[dt]?frac\{{-?[0-9]+\}}\{{[0-9]+\}}|(?<![0-9A-Za-z.)}}])-?(?:\\?[$€£] ?)?{DIGITS}(?: ?/ ?{DIGITS})?|{DIGITS}(?: ?/ ?{DIGITS})?"
)
PLAIN = re.compile(
    r"\s*(-?)(?:([0-9]+)(?:\.([0-9]*))?|\\[dt]?frac\{([0-9]+)\}\{([0-9]+)\}|([0-9]+)/([0-9]+))\s*"
)
LONGEST = 200  # a number in words and units fits in this many characters; what is longer is not one number


def read_number(text: str) -> Fraction | None:
    """The one number that a text states, exactly; None when it states none, several, or something else.

    Currency signs, thousands separators in plain text and TeX, a unit, `million`, and a full stop are understood; 50 % reads as 50.

    >>> read_number("1,234"), read_number("−3.50 dollars"), read_number("1,2"), read_number("3 + 4"), read_number("10{,}080")
    (Fraction(1234, 1), Fraction(-7, 2), None, None, Fraction(10080, 1))
    """
    return number_of(text) if len(text) <= LONGEST else None


@functools.lru_cache(maxsize=8192)
def number_of(text: str) -> Fraction | None:
    value = plain_number(text)
    if value is not None:
        return Fraction(value)
    try:
        node, _ = split_unit(read(text))
    except Unreadable:
        return None
    return node.args[0] if node.kind == "number" else None


def plain_number(text: str) -> int | Fraction | None:
    """The value of the commonest ways to write a number: whole, with decimals, as a fraction. None for all else."""
    match = PLAIN.fullmatch(text) if len(text) <= LONGEST else None
    if match is None:
        return None
    minus, whole, decimals, above, below, left, right = match.groups()
    sign = -1 if minus else 1
    if whole:
        return sign * (Fraction(f"{whole}.{decimals}") if decimals else int(whole))
    below = int(below or right)
    return Fraction(sign * int(above or left), below) if below else None


def last_number(text: str) -> str | None:
    """The last number written anywhere in a text, with its sign, commas, decimals and fraction; None when there is none.

    >>> last_number("5 - 3 = 2, so she has 1,200."), last_number("half is 1/2"), last_number(r"\\frac{1}{2}"), last_number("none")
    ('1,200', '1/2', '\\\\frac{1}{2}', None)
    """
    text = text[-LONGEST_REPLY:]
    end = max(text.rfind(digit) for digit in "0123456789") + 1
    for length in (
        500,
        10_000,
        LONGEST_REPLY,
    ):  # from the end, so that a long reply need not be searched whole
        tail, found = text[max(0, end - length) : end + 1].translate(SIGNS), None
        for found in SIGNED.finditer(tail):
            pass
        if found and (found.start() > length // 2 or length >= end):
            break
    return found.group() if found else None


def same_number(predicted: str | None, gold: str) -> float | None:
    """1.0 if both texts state the same number, else 0.0; None when the gold itself cannot be read.

    >>> same_number("72", "72"), same_number("72 or 73", "72"), same_number(None, "72"), same_number("72", "about 72")
    (1.0, 0.0, 0.0, None)
    """
    truth = read_number(gold)
    if truth is None:
        return None
    return float(predicted is not None and read_number(predicted) == truth)


def same_math(predicted: str | None, gold: str) -> float | None:
    r"""1.0 if both texts, in TeX or typed, say the same mathematical answer, else 0.0; None when the gold itself cannot be read.

    Numbers, expressions, equations, pairs, sets, intervals, vectors, angles, units and words. Rational numbers are compared here,
    exactly; all else by SymPy in a child process (`isolation`), and what takes it too long is not equal. Never raises on a text.

    >>> same_math(r"\sqrt{12}", r"2\sqrt{3}"), same_math("0.333", r"\frac13"), same_math("[2,5]", "(2,5)"), same_math("x=5", "5")
    (1.0, 0.0, 0.0, 1.0)
    """
    if (
        predicted is not None
        and (value := plain_number(gold)) is not None
        and (answer := plain_number(predicted)) is not None
    ):
        return float(answer == value)
    try:
        truth = read(gold)
    except Unreadable:
        return None
    try:
        return float(predicted is not None and same(read(predicted), truth, exactly))
    except Unreadable:
        return 0.0
    except NeedsSymbols:
        return isolation.ask("same_symbols", predicted, gold) or 0.0
