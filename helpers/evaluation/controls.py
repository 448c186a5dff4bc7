"""Problems that nobody can have learned by heart: a recipe's own with other numbers ("twins"), and freshly generated ones.

A public test set may be in a model's training data. A model that remembers answers, or stories, does worse on these; the drop is
reported with its interval. (A drop can also mean that the new problems are harder: read some.)

>>> mia = Example("p", "Mia has 30 pens and buys 4 boxes of 9. How many has she?", "4 * 9 = 36\\n30 + 36 = 66", "66")
>>> twin(mia, random.Random(1))
Example(id='p', question='Mia has 24 pens and buys 6 boxes of 6. How many has she?', solution='', answer='60')
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from helpers.answers import (
    EQUATION,
    NUMBER,
    TOKEN,
    arithmetic_value,
    plain_arithmetic,
    read_number,
)
from helpers.data import normalised
from helpers.evaluation import statistics as measures
from helpers.evaluation.records import per_problem
from helpers.recipes import Recipe
from helpers.rows import Example

FREE = re.compile(
    r"(?<![0-9A-Za-z.,/:%^_\\-])[1-9][0-9]{0,3}(?![0-9A-Za-z/:%^_{}]|[.,][0-9]| ?%| percent| ?/|[ -]days? (?:in|month|week|year)|[ -]?(?:day|hour|minute)s? in )"
)
# A number in a solution that stands in no question as digits, and the words that account for it.
SPOKEN = {
    2: "twice|double|two|half|halve|pair|couple|both",
    3: "triple|three|third|thrice",
    4: "four|quarter|fourth",
    5: "five|fifth|weekday",
    6: "six|sixth",
    7: "seven|week",
    8: "eight",
    9: "nine",
    10: "ten|dime",
    14: "two weeks|fortnight",
    12: "twelve|dozen|year|month|foot|feet|inch",
    24: "day|hour",
    25: "quarter",
    30: "month|thirty",
    52: "year|week",
    60: "hour|minute|second",
    100: "percent|%|hundred|dollar|cent|meter|metre",
    365: "year|day",
    1000: "thousand|kilo|gram|liter",
}
TRIES = 200
SMALL = 12


def twins(examples: Sequence[Example], known: Iterable[Example], seed: int = 0) -> list[Example]:
    """A twin with the same id for every example that has one and whose twin is not among the known examples."""
    asked, rng = {normalised(e.question) for e in (*known, *examples)}, random.Random(seed)
    found = [twin(example, rng) for example in examples]
    return [other for other in found if other and normalised(other.question) not in asked]


def twin(example: Example, rng: random.Random) -> Example | None:
    """The same story with other whole numbers of about the same size, and the answer that its worked solution then gives.

    None unless the solution's equations lead, each from numbers of the question or earlier results, to the answer, so that there is
    no doubt about what a number stands for.
    """
    question, chain = plain_arithmetic(example.question), steps(example)
    places = [
        m
        for m in FREE.finditer(question)
        if not 1900 <= int(m.group()) <= 2100 and int(m.group()) > 1
    ]
    numbers = [read_number(m.group()) for m in NUMBER.finditer(question)]
    free = [Fraction(m.group()) for m in places]
    used = chain and uses(chain, set(numbers) | spoken(question))
    if (
        not used
        or len(numbers) != len(set(numbers))
        or not set(free) <= used - spoken(question)
        or not free
        or chain[-1][1] != read_number(example.answer)
    ):
        return None
    for _ in range(TRIES):
        changed = {number: Fraction(other_than(int(number), rng)) for number in free}
        answer = follow(chain, changed)
        if answer is not None and answer != chain[-1][1]:
            new = (
                "".join(
                    text + str(changed[number])
                    for text, number in zip(between(question, places), free, strict=True)
                )
                + question[places[-1].end() :]
            )
            return Example(example.id, new, "", written(answer))
    return None


def between(text: str, places: Sequence[re.Match]) -> list[str]:
    """The text before each place, from the end of the one before."""
    return [
        text[start : place.start()]
        for start, place in zip([0, *(place.end() for place in places)], places, strict=False)
    ]


def steps(example: Example) -> list[tuple[str, Fraction]]:
    """The left and the right side of each equation of a worked solution; none if one of them is false."""
    found = [
        (m["left"], read_number(m["right"]))
        for m in EQUATION.finditer(plain_arithmetic(example.solution))
    ]
    return (
        found
        if all(right is not None and arithmetic_value(left) == right for left, right in found)
        else []
    )


def uses(chain: Sequence[tuple[str, Fraction]], given: set[Fraction]) -> set[Fraction]:
    """The given numbers that the equations use; empty if there is a doubt about one: it is neither given nor an earlier result, or could be
    both; it is small and used twice (three boxes, and three children nobody counted); or a result but the last is not used."""
    results, used, pending = set(), set(), set()
    for left, right in chain:
        for number in (Fraction(token.replace(",", "")) for token in NUMBER.findall(left)):
            if (number in given) == (number in results) or (number in used and number <= SMALL):
                return set()
            (pending.discard if number in results else used.add)(number)
        if right in results:
            return set()
        results.add(right)
        pending.add(right)
    return used if pending == {chain[-1][1]} else set()


def spoken(question: str) -> set[Fraction]:
    """The numbers that a question gives in words."""
    return {
        Fraction(number)
        for number, words in SPOKEN.items()
        if re.search(
            rf"(?:\b(?:{words})|%)" if "%" in words else rf"\b(?:{words})", question, re.IGNORECASE
        )
    }


def other_than(number: int, rng: random.Random) -> int:
    """A number with as many digits, from two thirds to three halves; the same only where there is no other."""
    near = [
        n
        for n in range(max(2, -(-number * 2 // 3)), number * 3 // 2 + 1)
        if n != number and len(str(n)) == len(str(number))
    ]
    return rng.choice(near) if near else number


def follow(
    chain: Sequence[tuple[str, Fraction]], changed: Mapping[Fraction, Fraction]
) -> Fraction | None:
    """The last result with other numbers at the start; None where a step is not of the old kind (whole, positive)."""
    now = dict(changed)
    for left, right in chain:
        tokens = [
            token
            if token in "+-*/x×"
            else written(now.get(number := Fraction(token.replace(",", "")), number))
            for token in TOKEN.findall(left)
        ]
        result = arithmetic_value("".join(tokens))
        if (
            result is None
            or (result <= 0) != (right <= 0)
            or (result.denominator != 1) != (right.denominator != 1)
            or (result * 100).denominator != 1
        ):
            return None
        now[right] = result
    return now[chain[-1][1]]


def written(number: Fraction) -> str:
    """A number as people write it, with at most two decimals where it is not whole."""
    return str(number.numerator) if number.denominator == 1 else f"{float(number):.2f}".rstrip("0")


def fresh(
    recipe: Recipe, count: int, known: Iterable[Example] = (), seed: int = 0
) -> list[Example]:
    """Generated problems of the recipe's kind, formulas where it asks for formulas, that are not among the known examples."""
    from helpers.tiny.problems import generate

    asked = {normalised(e.question) for e in known}
    kind = "physics" if recipe.score.__name__ == "eed_score" else "words"
    made = [
        p
        for p in generate("test", 3 * count, 1_000 + seed, kind)
        if normalised(p.question) not in asked
    ]
    return [
        Example(f"fresh-{seed}-{i}", problem.question, "", problem.result)
        for i, problem in enumerate(made[:count])
    ]


def drop(records: Sequence[Mapping], control: Sequence[Mapping], key: str = "flexible") -> dict:
    """The control's mean minus the recipe's own, with its 95 % interval: in pairs, with p, for twins; apart for fresh problems.

    Flexible accuracy by default: it is answers that one remembers, whatever their format.
    """
    own, other = per_problem(records, key), per_problem(control, key)
    if set(other.index) <= set(own.index):
        return measures.paired(own.loc[other.index], other)
    return measures.apart(own, other) | {"n": len(other)}
