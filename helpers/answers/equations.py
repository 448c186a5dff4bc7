"""Finds the arithmetic that a text states, and says whether it is true.

>>> [(e.text, e.true) for e in equations("3 + 4 = 7, then 7 - 2 = 6.")]
[('3 + 4 = 7', True), ('7 - 2 = 6', False)]
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from helpers.answers.grading import DIGITS, SIGNS, last_number, read_number

EQUATION = re.compile(
    rf"(?<![0-9.,/*x×+-])(?<![0-9/*x×+-] )(?P<left>{DIGITS}(?: ?[-+*/x×] ?\$?{DIGITS})+) ?= ?\$?(?P<right>(?>-?{DIGITS}))(?! ?[-+*/×])"
)
TOKEN = re.compile(rf"{DIGITS}|[-+*/x×]")
LONGEST = 100_000  # characters; a reply is far shorter


def plain(text: str) -> str:
    """The text with one kind of minus and blank, and without TeX's dress around numbers."""
    text = text.translate(SIGNS)
    for dress, bare in (
        ("{,}", ","),
        ("\\$", "$"),
        ("\\times", "×"),
        ("\\cdot", "×"),
        ("\\div", "/"),
    ):
        text = text.replace(dress, bare)
    return text


@dataclass(frozen=True)
class Equation:
    text: str
    value: Fraction  # of the right side
    true: bool


def equations(text: str) -> list[Equation]:
    """Every `number operation number … = number` in a text; division by zero counts as false."""
    found = []
    for match in EQUATION.finditer(plain(text[:LONGEST])):
        right = read_number(match["right"])
        if right is not None and len(match["left"]) <= 200:
            found.append(Equation(match.group(), right, value(match["left"]) == right))
    return found


def value(expression: str) -> Fraction | None:
    """Sums and products, products first; None for a division by zero."""
    total, product, sign, operation = Fraction(0), None, 1, "*"
    for token in TOKEN.findall(expression):
        if token in "+-":
            total, product, sign, operation = (
                total + sign * product,
                None,
                1 if token == "+" else -1,
                "*",
            )
        elif token in "*/x×":
            operation = token
        else:
            number = Fraction(token.replace(",", ""))
            if operation == "/" and number == 0:
                return None
            product = (
                number
                if product is None
                else product / number
                if operation == "/"
                else product * number
            )
    return total + sign * product


def hallucinates(question: str, completion: str) -> bool:
    """Our operational definition: a stated equation is false, or the answer is a number that neither the question holds
    nor any equation of the reply gives.

    >>> hallucinates("3 and 4?", "3 + 4 = 7. It is 7."), hallucinates("3 and 4?", "3 + 4 = 8. It is 8."), hallucinates("3 and 4?", "It is 7.")
    (False, True, True)
    """
    stated = equations(completion)
    if not all(equation.true for equation in stated):
        return True
    answer = read_number(last_number(completion) or "")
    if answer is None:
        return False
    in_question = {read_number(number) for number in re.findall(DIGITS, plain(question[:LONGEST]))}
    return answer not in in_question and answer not in {equation.value for equation in stated}
