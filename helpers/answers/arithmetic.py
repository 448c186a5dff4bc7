"""Finds the arithmetic that a text states, and says whether it is true."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from helpers.answers.grading import DIGITS, SIGNS, last_number, read_number

EQUATION = re.compile(
    rf"(?<![0-9.,/*x×+-])(?<![0-9/*x×+-] )(?P<left>{DIGITS}(?: ?[-+*/x×] ?\$?{DIGITS})+)"
    rf" ?= ?\$?(?P<right>(?>-?{DIGITS}))(?! ?[-+*/×])"
)
NUMBER = re.compile(DIGITS)
TOKEN = re.compile(rf"{DIGITS}|[-+*/x×]")
DRESS = (("{,}", ","), ("\\$", "$"), ("\\times", "×"), ("\\cdot", "×"), ("\\div", "/"))
LONGEST = 100_000  # characters; a reply is far shorter
LONGEST_LEFT = 200  # of the left side


def plain_arithmetic(text: str) -> str:
    """The text with one kind of minus and blank, and without TeX's dress around numbers."""
    text = text.translate(SIGNS)
    for dress, bare in DRESS:
        text = text.replace(dress, bare)
    return text


@dataclass(frozen=True)
class Equation:
    text: str
    left: str
    value: Fraction  # of the right side
    true: bool


def equations(text: str) -> list[Equation]:
    """Every `number operation number … = number` in a text; division by zero counts as false.

    >>> [(e.text, e.true) for e in equations("3 + 4 = 7, then 7 - 2 = 6.")]
    [('3 + 4 = 7', True), ('7 - 2 = 6', False)]
    """
    found = []
    for match in EQUATION.finditer(plain_arithmetic(text[:LONGEST])):
        left, right = match["left"], read_number(match["right"])
        if right is not None and len(left) <= LONGEST_LEFT:
            found.append(Equation(match.group(), left, right, arithmetic_value(left) == right))
    return found


def arithmetic_value(expression: str) -> Fraction | None:
    """What sums and products come to, products first; None for a division by zero."""
    total, product, operation = Fraction(0), Fraction(0), "+"
    for token in TOKEN.findall(expression):
        if token in "+-*/x×":
            operation = token
            continue
        number = Fraction(re.sub(r"[^0-9.]", "", token))
        if operation in "+-":
            total += product
            product = -number if operation == "-" else number
        elif operation != "/":
            product *= number
        elif number == 0:
            return None
        else:
            product /= number
    return total + product


def hallucinates(question: str, completion: str) -> bool:
    """Our operational definition: a stated equation is false, or the answer is a number that
    neither the question holds nor any equation of the reply gives.

    >>> hallucinates("3 and 4?", "3 + 4 = 7. It is 7."), hallucinates("3 and 4?", "3 + 4 = 8.")
    (False, True)
    """
    stated = equations(completion)
    if not all(equation.true for equation in stated):
        return True
    answer = read_number(last_number(completion) or "")
    if answer is None or answer in {equation.value for equation in stated}:
        return False
    asked = NUMBER.findall(plain_arithmetic(question[:LONGEST]))
    return answer not in map(read_number, asked)
