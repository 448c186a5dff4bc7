"""Reads numbers exactly and compares them. No rounding, no tolerance, no near misses.

>>> same_number("$1,234.50", "1234.5"), same_number("1/2", "0.5"), same_number("18 apples", "18"), same_number("18.01", "18")
(1.0, 1.0, 1.0, 0.0)
"""

from __future__ import annotations

import re
from fractions import Fraction

MINUS = str.maketrans({"−": "-", "–": "-", "﹣": "-", "-": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " "})
DIGITS = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
NUMBER = re.compile(
    rf"(?P<sign>[-+]?) ?(?:[$€£] ?)?(?P<late>-?)(?P<number>{DIGITS})(?: ?/ ?(?P<below>{DIGITS}))? ?(?P<percent>%?)\.?(?P<unit>(?: ?[^\W\d_]+(?:[ .²³/-][^\W\d_]+){{0,2}}\.?)?)")
SIGNED = re.compile(rf"(?<![0-9A-Za-z.)])-?(?:[$€£] ?)?{DIGITS}(?: ?/ ?{DIGITS})?|{DIGITS}(?: ?/ ?{DIGITS})?")
TEX = (("\\!", ""), ("\\,", ""), ("{,}", ","), ("\\$", "$"), ("\\%", "%"), ("\\ ", " "))
FRACTION = re.compile(r"\\[dt]?frac\{(-?[0-9]+)\}\{([0-9]+)\}")
MONEY = re.compile(r"\$(?P<inside>[^$]*)\$")
LONGEST = 200  # a number in words and units fits in this many characters; what is longer is not one number


def plain(text: str) -> str:
    """The same text with Unicode minus signs, hard spaces and TeX's dress around numbers replaced.

    >>> plain("$1{,}234$"), plain("\\\\frac{1}{2}")
    ('1,234', '1/2')
    """
    text = text.translate(MINUS).strip()
    for dress, bare in TEX:
        text = text.replace(dress, bare)
    whole = MONEY.fullmatch(text)
    return FRACTION.sub(r"\1/\2", whole["inside"] if whole else text).strip()


def read_number(text: str) -> Fraction | None:
    """The one number that a text states, exactly; None when it states none, several, or something else.

    Currency signs, thousands commas, a percent sign, a unit and a full stop are understood; 50 % reads as 50.

    >>> read_number("1,234"), read_number("−3.50 dollars"), read_number("1,2"), read_number("3 + 4")
    (Fraction(1234, 1), Fraction(-7, 2), None, None)
    """
    if len(text) > LONGEST:
        return None
    match = NUMBER.fullmatch(plain(text))
    if not match or (match["sign"] and match["late"]):
        return None
    below = Fraction(match["below"].replace(",", "")) if match["below"] else Fraction(1)
    if below == 0:
        return None
    value = Fraction(match["number"].replace(",", "")) / below
    return -value if "-" in (match["sign"], match["late"]) else value


def last_number(text: str) -> str | None:
    """The last number written anywhere in a text, with its sign, commas, decimals and fraction; None when there is none.

    >>> last_number("5 - 3 = 2, so she has 1,200."), last_number("half is 1/2"), last_number("none")
    ('1,200', '1/2', None)
    """
    found = None
    for match in SIGNED.finditer(text.translate(MINUS)):
        found = match.group()
    return found


def same_number(predicted: str | None, gold: str) -> float | None:
    """1.0 if both texts state the same number, else 0.0; None when the gold itself cannot be read.

    >>> same_number("72", "72"), same_number("72 or 73", "72"), same_number(None, "72"), same_number("72", "about 72")
    (1.0, 0.0, 0.0, None)
    """
    truth = read_number(gold)
    if truth is None:
        return None
    return float(predicted is not None and read_number(predicted) == truth)
