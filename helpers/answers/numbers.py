"""Reads the numbers of a text, exactly: no rounding, no near misses."""

import functools
import re
from collections import deque
from fractions import Fraction

from helpers.answers.parser import read
from helpers.answers.tokens import DRESSED
from helpers.answers.tree import Unreadable
from helpers.answers.units import split_unit

LONGEST_REPLY = 200_000  # characters; a reply of 32,000 tokens has fewer
LONGEST = 200  # a number in words and units
WINDOWS = (500, 10_000, LONGEST_REPLY)  # characters in which the last number is searched

DASHES = str.maketrans("−–﹣\u00a0\u202f\u2009", "---   ")
DIGITS = rf"(?:(?:{DRESSED}|[0-9]{{1,3}}(?:,[0-9]{{3}})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
NUMBER = re.compile(DIGITS)
FRACTION = r"\\[cdt]?frac ?(?:\{-?[0-9]+\}|[0-9]) ?(?:\{[0-9]+\}|[0-9])"
MIXED = rf" ?[¼-¾⅐-⅞]|(?: |\\,)?{FRACTION}| [0-9]+/[0-9]+| and [0-9]+/[0-9]+(?= )"
APART = r"[1-9][0-9]{0,2}(?: [0-9]{3})+(?![0-9])"  # thousands, by blanks
TYPED = rf"(?:{APART}|{DIGITS}(?:{MIXED}| ?/ ?{DIGITS})?|[¼-¾⅐-⅞])"
SIGNED = re.compile(  # no exponents
    rf"-?{FRACTION}|(?<![0-9A-Za-z.)}}^])(?<![\^_]\{{)-?(?:\\?[$€£] ?)?{TYPED}"
    rf"|(?<!\^)(?<!\^\{{)(?<!\^-)(?<!\^\{{-)(?<!\^[0-9])(?<!\^\{{[0-9]){TYPED}"
)
TERM = rf"\(?(?:\\?\$)?(?:{FRACTION}|{DIGITS})\)?"
SIGN = r" ?(?:[×÷]|\\(?:times|cdot|div)) ?| [-+*x] | ?/ ?"
CUT_OFF = re.compile(  # at the end: `3+4 =`, `3 +`, `3 + 4`, `30/6`
    rf"(?<![0-9.,]){TERM}(?:(?:(?:{SIGN}|[-+*]){TERM})*+(?: ?=| [-+*/×÷])|(?:(?:{SIGN}){TERM})+)\Z"
)


@functools.lru_cache(maxsize=8192)
def stated_number(text: str) -> Fraction | None:
    """The one number that a text states, exactly; None when it states none, or several.

    Currency signs, thousands separators in plain text and TeX, a unit, `million`, and a full stop
    are understood; 50 % reads as 50.

    >>> stated_number("1,234"), stated_number("−3.50 dollars"), stated_number("10{,}080")
    (Fraction(1234, 1), Fraction(-7, 2), Fraction(10080, 1))
    >>> stated_number("1,2"), stated_number("3 + 4")
    (None, None)
    """
    if len(text) > LONGEST:
        return None
    try:
        node, _ = split_unit(read(text))
    except Unreadable:
        return None
    return node[1] if node.kind == "number" else None


def last_number(text: str) -> str | None:
    r"""The last number written anywhere in a text, but in arithmetic that breaks off at its end.

    >>> last_number("5 - 3 = 2, so she has 1,200."), last_number("half is 1/2"), last_number("none")
    ('1,200', '1/2', None)
    >>> last_number("It is 2 1/2 cups."), last_number("For 7 days she needs 3 + 4")
    ('2 1/2', '7')
    """
    text = text[-LONGEST_REPLY:].rstrip()
    tail = text[-LONGEST:].translate(DASHES)
    cut_off = CUT_OFF.search(tail)
    value = cut_off and stated_number(cut_off.group())
    if cut_off and (value is None or value.denominator == 1):
        text = text[: len(text) - len(tail) + cut_off.start()]
    end = max(text.rfind(digit) for digit in "0123456789¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞") + 1
    for length in WINDOWS:  # from the end, so that a long reply need not be searched whole
        tail = text[max(0, end - length) : end + 1].translate(DASHES)
        found = deque(SIGNED.finditer(tail), maxlen=1)
        if found and (found[0].start() > length // 2 or length >= end):
            break
    return found[0].group() if found else None


def same_number(predicted: str | None, gold: str) -> float | None:
    """1.0 if both texts state the same number, else 0.0; None when the gold cannot be read.

    >>> same_number("$1,234.50", "1234.5"), same_number("72 or 73", "72"), same_number("72", "many")
    (1.0, 0.0, None)
    """
    truth = stated_number(gold)
    if truth is None:
        return None
    return float(predicted is not None and stated_number(predicted) == truth)
