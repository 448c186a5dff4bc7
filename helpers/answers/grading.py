"""Reads numbers and mathematical answers and compares them exactly.

No rounding, no tolerance, no near misses.
"""

from __future__ import annotations

import functools
import re
from collections import deque
from fractions import Fraction

from helpers.answers import isolation
from helpers.answers.comparing import NeedsSymbols, exactly, same
from helpers.answers.parser import read
from helpers.answers.reading import LONGEST as LONGEST_REPLY
from helpers.answers.tokens import DRESSED
from helpers.answers.tree import Unreadable
from helpers.answers.units import split_unit

SIGNS = str.maketrans("−–﹣\u00a0\u202f\u2009", "---   ")
DIGITS = rf"(?:(?:{DRESSED}|[0-9]{{1,3}}(?:,[0-9]{{3}})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
TYPED = rf"{DIGITS}(?: ?/ ?{DIGITS})?"
SIGNED = re.compile(
    r"-?\\[dt]?frac\{-?[0-9]+\}\{[0-9]+\}"
    rf"|(?<![0-9A-Za-z.)}}])-?(?:\\?[$€£] ?)?{TYPED}|{TYPED}"
)
WHOLE = re.compile(r"\s*-?[0-9]+\s*")
PLAIN = re.compile(
    r"\s*(-?)(?:([0-9]+\.[0-9]*|[0-9]+/[0-9]+)|\\[dt]?frac\{([0-9]+)\}\{([0-9]+)\})\s*"
)
LONGEST = 200  # a number in words and units fits in this many characters
WINDOWS = (500, 10_000, LONGEST_REPLY)  # characters in which the last number is searched


@functools.lru_cache(maxsize=8192)
def read_number(text: str) -> Fraction | int | None:
    """The one number that a text states, exactly; None when it states none, or several.

    Currency signs, thousands separators in plain text and TeX, a unit, `million`, and a full stop
    are understood; 50 % reads as 50.

    >>> read_number("1,234"), read_number("−3.50 dollars"), read_number("10{,}080")
    (Fraction(1234, 1), Fraction(-7, 2), Fraction(10080, 1))
    >>> read_number("1,2"), read_number("3 + 4")
    (None, None)
    """
    value = plain_number(text)
    if value is not None or len(text) > LONGEST:
        return value
    try:
        node, _ = split_unit(read(text))
    except Unreadable:
        return None
    return node[1] if node.kind == "number" else None


def plain_number(text: str) -> Fraction | int | None:
    """The value of the commonest ways to write a number: whole, with decimals, as a fraction."""
    if len(text) > LONGEST:
        return None
    if WHOLE.fullmatch(text):
        return int(text)
    match = PLAIN.fullmatch(text)
    if match is None:
        return None
    minus, typed, above, below = match.groups()
    try:
        return Fraction(minus + (typed or f"{above}/{below}"))
    except ZeroDivisionError:
        return None


def last_number(text: str) -> str | None:
    r"""The last number written anywhere in a text; None when there is none.

    >>> last_number("5 - 3 = 2, so she has 1,200."), last_number("half is 1/2"), last_number("none")
    ('1,200', '1/2', None)
    """
    text = text[-LONGEST_REPLY:]
    end = max(text.rfind(digit) for digit in "0123456789") + 1
    for length in WINDOWS:  # from the end, so that a long reply need not be searched whole
        tail = text[max(0, end - length) : end + 1].translate(SIGNS)
        found = deque(SIGNED.finditer(tail), maxlen=1)
        if found and (found[0].start() > length // 2 or length >= end):
            break
    return found[0].group() if found else None


def same_number(predicted: str | None, gold: str) -> float | None:
    """1.0 if both texts state the same number, else 0.0; None when the gold cannot be read.

    >>> same_number("$1,234.50", "1234.5"), same_number("72 or 73", "72"), same_number("72", "many")
    (1.0, 0.0, None)
    """
    truth = read_number(gold)
    if truth is None:
        return None
    return float(predicted is not None and read_number(predicted) == truth)


def same_math(predicted: str | None, gold: str) -> float | None:
    r"""1.0 if both texts, in TeX or typed, say the same answer, else 0.0; None when the gold cannot
    be read.

    Numbers, expressions, equations, pairs, sets, intervals, vectors, angles, units and words.
    Rational numbers are compared here, exactly; all else by SymPy in a child process (`isolation`),
    and what takes it too long is not equal. Never raises on a text.

    >>> same_math(r"\sqrt{12}", r"2\sqrt{3}"), same_math("[2,5]", "(2,5)"), same_math("x=5", "5")
    (1.0, 0.0, 1.0)
    """
    truth, answer = plain_number(gold), plain_number(predicted or "")
    if truth is not None and answer is not None:
        return float(answer == truth)
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
