"""Problems that nobody can have learned by heart: with other numbers ("twins"), and fresh ones.

A public test set may be in a model's training data. A model that remembers answers does worse on
these. (A drop can also mean that the new problems are harder: read some.)

>>> story = "Mia has 30 pens and buys 4 boxes of 9. How many has she?"
>>> mia = Example("p", story, "4 * 9 = 36\\n30 + 36 = 66", "66")
>>> twin(mia, random.Random(1)).question, twin(mia, random.Random(1)).answer
('Mia has 24 pens and buys 6 boxes of 6. How many has she?', '60')
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from helpers.answers import (
    NUMBER,
    Equation,
    arithmetic_value,
    equations,
    plain_arithmetic,
    stated_number,
)
from helpers.data import Split, normalised
from helpers.evaluation import statistics
from helpers.evaluation.grading import Record
from helpers.evaluation.records import per_problem
from helpers.recipes import Recipe
from helpers.rows import Example
from helpers.tiny.problems import generate

# A whole number that may become another one: no part of a fraction, a share, a power, a time.
FREE = re.compile(
    r"(?<![0-9A-Za-z.,/:%^_\\-])[1-9][0-9]{0,3}"
    r"(?![0-9A-Za-z/:%^_{}]|[.,][0-9]| ?%| percent| ?/"
    r"|[ -]days? (?:in|month|week|year)|[ -]?(?:day|hour|minute)s? in )"
)
# Numbers that a question can give in words.
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
    12: "twelve|dozen|year|month|foot|feet|inch",
    14: "two weeks|fortnight",
    24: "day|hour",
    25: "quarter",
    30: "month|thirty",
    52: "year|week",
    60: "hour|minute|second",
    100: "percent|hundred|dollar|cent|meter|metre",
    365: "year|day",
    1000: "thousand|kilo|gram|liter",
}
TRIES = 200
SMALL = 12
MOST_FRESH = 200  # of generated problems there are as many as one likes


def twins(examples: Sequence[Example], known: Iterable[Example], seed: int = 0) -> list[Example]:
    """A twin with the same id for every example that has one, unless it is among the known."""
    asked = {normalised(example.question) for example in (*known, *examples)}
    rng = random.Random(seed)
    found = [twin(example, rng) for example in examples]
    return [other for other in found if other and normalised(other.question) not in asked]


def twin(example: Example, rng: random.Random) -> Example | None:
    """The same story with other whole numbers of about the same size, and the answer to it.

    None unless the solution's equations lead, each from numbers of the question or earlier results,
    to the answer, so that there is no doubt about what a number stands for.
    """
    question = plain_arithmetic(example.question)
    steps = equations(example.solution)
    if not steps or not all(step.true for step in steps):
        return None
    truth = steps[-1].value
    numbers = [stated_number(text) for text in NUMBER.findall(question)]
    free = [stated_number(text) for text in FREE.findall(question)]
    free = [number for number in free if number > 1 and not 1900 <= number <= 2100]
    in_words = spoken(question)
    sure = uses(steps, in_words.union(numbers)) - in_words
    if not free or len(numbers) > len(set(numbers)) or not sure.issuperset(free):
        return None
    if truth != stated_number(example.answer):
        return None
    for _ in range(TRIES):
        changed = {number: Fraction(other_than(int(number), rng)) for number in free}
        answer = follow(steps, changed)
        if answer is not None and answer != truth:
            return Example(example.id, exchange(FREE, question, changed), "", written(answer))
    return None


def exchange(numbers: re.Pattern, text: str, changed: Mapping[Fraction, Fraction]) -> str:
    """The text with what the numbers in it have become."""

    def now(match: re.Match) -> str:
        number = stated_number(match.group())
        return written(changed.get(number, number))

    return numbers.sub(now, text)


def uses(steps: Sequence[Equation], given: set[Fraction]) -> set[Fraction]:
    """The given numbers that the equations use; none if there is a doubt about one of them.

    It is neither given nor an earlier result, or could be both; it is small and used twice (three
    boxes, and three children nobody counted); or a result other than the last is not used.
    """
    results, used, went_on = set(), set(), set()
    for step in steps:
        for number in map(stated_number, NUMBER.findall(step.left)):
            if (number in given) == (number in results) or (number in used and number <= SMALL):
                return set()
            if number in given:
                used.add(number)
            else:
                went_on.add(number)
        if step.value in results:
            return set()
        results.add(step.value)
    return used if results - went_on == {steps[-1].value} else set()


def spoken(question: str) -> set[Fraction]:
    """The numbers that a question gives in words."""
    text = question.replace("%", " percent")
    found = set()
    for number, words in SPOKEN.items():
        if re.search(rf"\b(?:{words})", text, re.IGNORECASE):
            found.add(Fraction(number))
    return found


def other_than(number: int, rng: random.Random) -> int:
    """Another number with as many digits, from two thirds to three halves, where there is one."""
    near = range(max(2, math.ceil(number * 2 / 3)), number * 3 // 2 + 1)
    near = [n for n in near if n != number and len(str(n)) == len(str(number))]
    return rng.choice(near) if near else number


def follow(steps: Sequence[Equation], changed: Mapping[Fraction, Fraction]) -> Fraction | None:
    """The last result from other numbers; None where a step is not as whole, or positive."""
    now = dict(changed)
    for step in steps:
        result = arithmetic_value(exchange(NUMBER, step.left, now))
        if result is None or (result <= 0) != (step.value <= 0):
            return None
        whole = result.denominator == 1
        if whole != (step.value.denominator == 1) or (100 * result).denominator > 1:
            return None
        now[step.value] = result
    return result


def written(number: Fraction) -> str:
    """As people write it, with at most two decimals where it is not whole."""
    return str(number) if number.denominator == 1 else f"{float(number):.2f}".rstrip("0")


def fresh(recipe: Recipe, count: int, known: Iterable[Example], seed: int) -> list[Example]:
    """Generated problems of the recipe's kind that are not among the known examples."""
    asked = {normalised(example.question) for example in known}
    kind = "physics" if recipe.score.__name__ == "eed_score" else "words"
    new = []
    for problem in generate("test", 3 * count, 1_000 + seed, kind):
        if normalised(problem.question) not in asked:
            name = f"fresh-{seed}-{len(new)}"
            new.append(Example(name, problem.question, "", problem.result))
    return new[:count]


def control_problems(
    recipe: Recipe, asked: Sequence[Example], splits: Mapping[str, Split], seed: int
) -> dict[str, list[Example]]:
    """Twins of the problems asked, where there are any, and about as many fresh ones."""
    known = [*splits["train"].examples, *splits["test"].examples]
    found = {"twins": twins(asked, known, seed)}
    found["fresh"] = fresh(recipe, min(len(asked), MOST_FRESH), known, seed)
    return {kind: examples for kind, examples in found.items() if examples}


def memory(own: Sequence[Record], others: Mapping[str, Sequence[Record]]) -> dict[str, dict]:
    """Flexible accuracy on each set of control problems against that on the recipe's own.

    In pairs, with p, for twins; apart for fresh problems. One remembers answers in any format.
    """
    found = {}
    before = per_problem(own, "flexible")
    for kind, records in others.items():
        after = per_problem(records, "flexible")
        if after.index.isin(before.index).all():
            found[kind] = statistics.paired(before[after.index], after)
        else:
            found[kind] = statistics.apart(before, after) | {"n": len(after)}
    return found
