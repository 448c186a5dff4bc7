"""The equations that a text states, and whether a reply makes a number up."""

import functools
import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from helpers.answers.expressions import (
    MOST_WORDS,
    Expression,
    chains,
    expressions,
    typed,
    values,
    works,
)
from helpers.answers.numbers import NUMBER, last_number, stated_number
from helpers.answers.tree import Unreadable
from helpers.answers.vocabulary import NUMBERS, VOCABULARY, meanings

LONGEST_SENTENCE = 200  # that is read for what it says in words
NAMED = {word: Fraction(n) for word, n in NUMBERS.items()}
NAMED |= {word: Fraction(value) for word, value in VOCABULARY["magnitudes"].items()}
NAMED |= {word: Fraction(value) for word, value in meanings("spoken").items()}
WORD_NUMBER = re.compile(rf"(?<![a-z])(?:{'|'.join(NAMED)})(?=s?(?![a-z]))")


@dataclass(frozen=True)
class Equation:
    text: str
    left: str  # the side that is to be worked out; of two such, the left one
    value: Fraction  # of the other side; where both are to be worked out, of the left one
    true: bool


def equations(text: str) -> list[Equation]:
    """Every equation of plain numbers with an operation; division by zero counts as false.

    >>> [(e.text, e.true) for e in equations("3 + 4 = 7, then 7 - 2 = 6.")]
    [('3 + 4 = 7', True), ('7 - 2 = 6', False)]
    >>> [e.true for e in equations("2 hours * 3 km/h = 6 km; 10/3 = 3.33; 20% of 50 = 9; x = 7")]
    [True, True, False]
    """
    return list(read_equations(typed(text)))


def read_equations(text: str) -> Iterator[Equation]:
    for sides in chains(text):
        for side, other in itertools.pairwise(sides):
            left, right = expressions(side)[-1], expressions(other)[0]
            if not left or not right or right[0] != other[1]:
                continue
            behind = sum(token.start >= left[-1].end for token in side)  # words of a unit
            if behind > MOST_WORDS or not (works(left) or works(right)):
                continue
            begin = side[1] if side[0].kind == "equals" else side[0]
            if not works(left) and (behind or left != [begin]):
                continue  # x = 5, or 6 nephews = 96/6
            try:
                equation = judged(text, left, right, other[0].text)
            except Unreadable:
                continue
            if equation:
                yield equation


def judged(text: str, left: Expression, right: Expression, sign: str) -> Equation | None:
    """None where a right side at the text's end may be cut off, or a share stands for its part."""
    found, stated = values(left), right_values(left, right)
    true = False
    for value, other in itertools.product(found, stated):
        true |= rounds(value, other, right, sign) or rounds(other, value, left, sign)
    if found and stated and not true:
        at_end = right[-1].end == len(text.rstrip()) and abs(found[0]) < 10**15
        if at_end and str(float(found[0])).startswith(right[-1].text):
            return None  # 12 + 30 = 4
        if len(left) == 3 and left[1].kind == "/" and found[0] < 1 < stated[0]:
            return None  # 2/5 = 12 pupils
    run = left if works(left) else right
    value = found if works(right) else stated
    written = text[run[0].start : run[-1].end]
    whole = text[left[0].start : right[-1].end]
    return Equation(whole, written, value[0] if value else Fraction(0), true)


def right_values(left: Expression, right: Expression) -> list[Fraction]:
    """What the right side comes to; in 3 + 4 = 7 - 2 = 5 also its first number."""
    if len(right) == 3 and right[1].kind == "remainder":
        quotient, rest, divisor = (values([token])[0] for token in (right[0], right[2], left[-1]))
        return [quotient + rest / divisor] if divisor else []
    found = values(right)
    if works(right) and right[0].kind == "number":
        found += values(right[:1])
    return found


def rounds(value: Fraction, stated: Fraction, right: Expression, sign: str) -> bool:
    """Whether a value is, rounded or cut to as many decimals, what is stated."""
    text = "".join(token.text for token in right if token.kind == "number").replace(",", "")
    _, point, decimals = text.partition(".")
    step = Fraction(1, 10 ** len(decimals))
    if works(right) or not (point or sign == "≈"):
        return value == stated
    if not point:  # ≈ 1,200
        step = Fraction(10 ** (len(text) - len(text.rstrip("0"))))
    if abs(stated) != Fraction(text):
        step /= 100  # 33.3%
    return abs(value - stated) <= step / 2 or int(value / step) * step == stated


def results(text: str) -> set[Fraction]:
    """What the expressions in a typed text come to, and each first number behind an `=`."""
    found = set()
    for sides in chains(text):
        for side in sides:
            runs = [run for run in expressions(side) if works(run)]
            if side and side[0].kind == "equals":
                runs.append([token for token in side if token.kind == "number"][:1])
            for run in runs:
                try:
                    found.update(values(run))
                except Unreadable:
                    continue
    return found


def spoken(text: str) -> list[Fraction]:
    """The numbers that a typed text gives in digits and in words."""
    text = text.lower()
    named = [NAMED[word] for word in WORD_NUMBER.findall(text)]
    digits = [stated_number(number) for number in NUMBER.findall(text)]
    return named + [number for number in digits if number is not None]


def said(answer: Fraction, text: str) -> bool:
    """Whether a sentence has an answer and two numbers that come to it: `half of 10 is 5`."""
    for sentence in re.split(r"[.!?](?![0-9])|\n", text):
        numbers = spoken(sentence) if len(sentence) <= LONGEST_SENTENCE else []
        if answer not in numbers:
            continue
        numbers.remove(answer)
        for one, two in itertools.combinations(numbers, 2):
            come_to = [one + two, abs(one - two), one * two]
            if 0 not in (one, two):
                come_to += [one / two, two / one]
            if answer in come_to:
                return True
    return False


@functools.lru_cache(maxsize=2**14)  # several tables are of the same replies
def hallucinates(question: str, completion: str) -> bool:
    """Our operational definition: a stated equation is false, or the answer is a number that
    neither the question holds nor anything in the reply comes to.

    >>> hallucinates("3 and 4?", "3 + 4 = 7. It is 7."), hallucinates("3 and 4?", "3 + 4 = 8.")
    (False, True)
    """
    text = typed(completion)
    if not all(equation.true for equation in read_equations(text)):
        return True
    answer = stated_number(last_number(completion) or "")
    if answer is None:
        return False
    known = {*spoken(typed(question)), *results(text)}
    # also a loss, a share, dollars in cents
    if not known.isdisjoint((answer, -answer, answer * 100, answer / 100)):
        return False
    if any(answer in (math.floor(value), math.ceil(value)) for value in known):
        return False
    return not said(answer, text)
