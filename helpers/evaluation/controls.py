"""Problems that nobody can have learned by heart: with other numbers ("twins"), and fresh ones.

A public test set may be in a model's training data. A model that remembers answers does worse on
these. (A drop can also mean that the new problems are harder: read some.)

>>> story = "Mia has 30 pens and buys 4 boxes of 9. How many has she?"
>>> mia = Example("p", story, "4 * 9 = 36\\n30 + 36 = 66", "66")
>>> twin(mia, random.Random(1)).question, twin(mia, random.Random(1)).answer
('Mia has 24 pens and buys 6 boxes of 6. How many has she?', '60')
"""

import math
import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from helpers.answers import (
    NUMBER,
    Equation,
    arithmetic_value,
    equations,
    plain_arithmetic,
    stated_number,
)
from helpers.data import Split, question_key
from helpers.evaluation import statistics
from helpers.evaluation.records import Records, per_problem
from helpers.recipes import Recipe
from helpers.rows import Example
from helpers.tiny.problems import generate

# A whole number that may become another one: no part of a fraction, a share, a power, a time.
FREE = re.compile(
    r"(?<![0-9A-Za-z.,/:%^_\\-])[1-9][0-9]{0,3}"
    r"(?![0-9A-Za-z/:%^_{}]|[.,][0-9]| ?%| percent| ?/"
    r"|[ -]days? (?:in|month|week|year)|[ -]?(?:day|hour|minute)s? in )"
)
SPOKEN = tomllib.loads(Path(__file__).with_name("spoken.toml").read_text("utf-8"))
TRIES = 200
SMALL = 12
MOST_FRESH = 200  # of generated problems there are as many as one likes


def control_problems(
    recipe: Recipe, asked: Sequence[Example], splits: Mapping[str, Split], seed: int
) -> dict[str, list[Example]]:
    """Twins of the problems asked, where there are any, and about as many fresh ones.

    A twin has the id of its problem. None of them is among the problems of the splits.
    """
    held = (*splits["train"].examples, *splits["test"].examples)
    known = {question_key(example.question) for example in held}
    rng = random.Random(seed)
    twins, fresh = [], []
    for example in asked:
        other = twin(example, rng)
        if other and question_key(other.question) not in known:
            twins.append(other)
    count = min(len(asked), MOST_FRESH)
    stories = "physics" if recipe.score.__name__ == "eed_score" else "words"
    for problem in generate("test", 3 * count, 1_000 + seed, stories):
        if question_key(problem.question) not in known:
            name = f"fresh-{seed}-{len(fresh)}"
            fresh.append(Example(name, problem.question, "", problem.result))
    found = {"twins": twins, "fresh": fresh[:count]}
    return {kind: examples for kind, examples in found.items() if examples}


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
    free = [number for number in free if number > 1 and not 1900 <= number <= 2100]  # no years
    twice = len(numbers) > len(set(numbers))
    if not free or twice or not uses(steps, question, numbers).issuperset(free):
        return None
    if truth != stated_number(example.answer):
        return None
    for _ in range(TRIES):
        changed = {number: Fraction(other_than(number, rng)) for number in free}
        answer = follow(steps, changed)
        if answer is not None and answer != truth:
            asked = exchange(FREE, question, changed)
            return replace(example, question=asked, solution="", answer=as_text(answer))
    return None


def other_than(number: int, rng: random.Random) -> int:
    """Another number with as many digits, from two thirds to three halves."""
    near = range(max(2, math.ceil(number * 2 / 3)), number * 3 // 2 + 1)
    return rng.choice([n for n in near if n != number and len(str(n)) == len(str(number))])


def uses(steps: Sequence[Equation], question: str, numbers: Sequence[Fraction]) -> set[Fraction]:
    """The numbers that a question gives in digits alone and that the equations use.

    Empty if one is in doubt: it is neither given nor an earlier result, or could be both; it is
    small and used twice (three boxes, and three children nobody counted); or a result other
    than the last is not used.
    """
    in_words = set()
    for number, words in SPOKEN.items():
        if re.search(rf"\b(?:{words})", question.replace("%", " percent"), re.IGNORECASE):
            in_words.add(Fraction(number))
    given = in_words.union(numbers)
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
    if results - went_on != {steps[-1].value}:
        return set()
    return used - in_words


def follow(steps: Sequence[Equation], changed: Mapping[Fraction, Fraction]) -> Fraction | None:
    """The last result from other numbers.

    None where a step's result is not whole or positive as it was, or has over two decimals.
    """
    now = dict(changed)
    for step in steps:
        result = arithmetic_value(exchange(NUMBER, step.left, now))
        if result is None:
            return None
        as_positive = (result > 0) == (step.value > 0)
        as_whole = (result.denominator == 1) == (step.value.denominator == 1)
        if not as_positive or not as_whole or (100 * result).denominator > 1:
            return None
        now[step.value] = result
    return result


def exchange(numbers: re.Pattern, text: str, changed: Mapping[Fraction, Fraction]) -> str:
    """The text with what the numbers in it have become."""

    def now(match: re.Match) -> str:
        number = stated_number(match.group())
        return as_text(changed[number]) if number in changed else match.group()

    return numbers.sub(now, text)


def as_text(number: Fraction) -> str:
    """As people write it, with at most two decimals where it is not whole."""
    return str(number) if number.denominator == 1 else f"{float(number):.2f}".rstrip("0")


def memory(own: Records, others: Mapping[str, Records]) -> dict[str, dict]:
    """Flexible accuracy on each set of control problems against that on the recipe's own.

    In pairs, with p, for twins; apart for fresh problems. One remembers answers in any format.
    """
    found = {}
    before = per_problem(own)["flexible"]
    for kind, records in others.items():
        after = per_problem(records)["flexible"]
        if after.index.isin(before.index).all():
            found[kind] = statistics.paired(before[after.index], after)
        else:
            found[kind] = statistics.apart(before, after) | {"n": len(after)}
    return found
