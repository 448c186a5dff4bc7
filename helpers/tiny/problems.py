"""Generated problems: word problems with two steps, and physics problems with a formula as answer.

    Mia has 34 pens. She buys 4 boxes with 9 pens in each. How many pens does Mia have now?
    A ball of mass 3 m is at the height 5 z and holds the heat 5 Q. What is its energy?

The answers are 70 and 15 m g z + 5 Q. `helpers/tiny/schemas.py` puts the problems into the rows of
each recipe's dataset.

Three splits that share no problem, by construction: a problem belongs to the split that its three
numbers fall into (`split_of`), so the same three numbers, in any order, never occur in two splits,
whatever the story around them.
"""

from __future__ import annotations

import operator
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from helpers.tiny import physics

NAMES = ("Mia", "Tom", "Ana", "Ben", "Eva", "Sam", "Zoe", "Max", "Lea", "Kim", "Ali", "Noa")
MEN = ("Tom", "Ben", "Sam", "Max", "Ali")
THINGS = ("pens", "apples", "books", "coins", "cards", "stones", "shells", "beads", "eggs") + (
    ("nuts", "cups", "balls")
)
SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
STEP = "{0} {1} {2} = <<{0}{1}{2}={3}>>{3}"  # as GSM8K writes it, with the calculator's mark
SPLIT_OF_FIVE = ("pretrain", "train", "pretrain", "test", "pretrain")


@dataclass(frozen=True)
class Problem:
    """A problem, and solutions of it that show more or less."""

    question: str
    steps: tuple[str, ...]  # everything written out, a line each; with the calculator's marks
    brief: tuple[str, ...]  # the arithmetic only
    short: str  # a sentence that states the result and nothing else
    result: str

    @property
    def numbers(self) -> tuple[int, ...]:
        """Its three numbers, in the order of the question."""
        return tuple(int(number) for number in re.findall(r"\d+", self.question))

    def solution(self, rng: random.Random, terse: float) -> str:
        """The short solution in a share of the cases, else all steps."""
        if rng.random() < terse:
            return self.short
        return "\n".join(self.steps)


def split_of(numbers: Sequence[int]) -> str:
    """The split of three numbers: 3 in 5 are for pre-training, 1 for training, 1 for the test."""
    a, b, c = sorted(numbers)
    return SPLIT_OF_FIVE[(a + 2 * b + 3 * c + a * b * c) % 5]


def buys_boxes(rng: random.Random) -> tuple[int, int, int]:
    return rng.randint(5, 30), rng.randint(2, 4), rng.randint(2, 9)


def gives_boxes(rng: random.Random) -> tuple[int, int, int]:
    boxes, inside = rng.randint(2, 4), rng.randint(3, 9)
    return boxes, inside, rng.randint(2, boxes * inside - 1)


def finds_and_loses(rng: random.Random) -> tuple[int, int, int]:
    has, finds = rng.randint(5, 25), rng.randint(2, 15)
    return has, finds, rng.randint(2, min(15, has + finds - 1))


def sells_and_gets(rng: random.Random) -> tuple[int, int, int]:
    has = rng.randint(10, 40)
    return has, rng.randint(2, min(15, has - 2)), rng.randint(2, 20)


def many_times(rng: random.Random) -> tuple[int, int, int]:
    return rng.randint(2, 10), rng.randint(2, 10), rng.randint(2, 4)


class Story(NamedTuple):
    """A way to draw three numbers, a question, and the two steps that answer it."""

    draw: Callable[[random.Random], tuple[int, int, int]]
    question: str
    first: tuple[int, str, int]  # which number, sign, which number
    second: tuple[int, str, int]  # number 3 is the first step's result


STORIES = (
    Story(
        buys_boxes,
        "{name} has {0} {things}. {he} buys {1} boxes with {2} {things} in each. "
        "How many {things} does {name} have now?",
        (1, "*", 2),
        (0, "+", 3),
    ),
    Story(
        gives_boxes,
        "{name} has {0} boxes with {1} {things} in each. {he} gives {2} {things} away. "
        "How many {things} are left?",
        (0, "*", 1),
        (3, "-", 2),
    ),
    Story(
        finds_and_loses,
        "{name} has {0} {things} and finds {1} more. {he} loses {2} {things}. "
        "How many {things} does {name} have now?",
        (0, "+", 1),
        (3, "-", 2),
    ),
    Story(
        sells_and_gets,
        "{name} has {0} {things}. {he} sells {1} of them and gets {2} new {things}. "
        "How many {things} does {name} have now?",
        (0, "-", 1),
        (3, "+", 2),
    ),
    Story(
        many_times,
        "{name} has {0} red {things} and {1} blue {things}. {other} has {2} times as many. "
        "How many {things} does {other} have?",
        (0, "+", 1),
        (2, "*", 3),
    ),
)


def word_problem(rng: random.Random, split: str) -> Problem | None:
    """A story with its two steps worked out; None where its numbers are of another split."""
    words = {"name": rng.choice(NAMES), "things": rng.choice(THINGS)}
    words["he"] = "He" if words["name"] in MEN else "She"
    story = rng.choice(STORIES)
    numbers = list(story.draw(rng))
    if "{other}" in story.question:
        words["other"] = rng.choice([name for name in NAMES if name != words["name"]])
    if split_of(numbers) != split:
        return None
    question = story.question.format(*numbers, **words)
    steps = []
    for left, sign, right in (story.first, story.second):
        result = SIGNS[sign](numbers[left], numbers[right])
        step = STEP.format(numbers[left], sign, numbers[right], result)
        steps.append(f"{step} {words['things']}.")
        numbers.append(result)
    short = f"It is {result} {words['things']}."
    return Problem(question, tuple(steps), tuple(steps), short, str(result))


def physics_problem(rng: random.Random, split: str) -> Problem | None:
    """A story with a formula as its answer; None where its numbers are of another split."""
    story = physics.draw(rng)
    short = f"So it is {story.answer}."
    steps = (f"Given: {story.known}.", story.law, *story.working, short)
    brief = tuple(line for line in story.working if "=" in line)
    problem = Problem(story.question, steps, brief, short, story.answer)
    return problem if split_of(problem.numbers) == split else None


KINDS = {"words": word_problem, "physics": physics_problem}


@cache
def generate(split: str, count: int, seed: int = 0, kind: str = "words") -> tuple[Problem, ...]:
    """`count` different problems of one split ("pretrain", "train", "test") and kind.

    The same arguments give the same problems, made once.
    """
    name = f"{split}-{seed}"
    if kind != "words":
        name = f"{kind}-{name}"
    rng = random.Random(name)
    problems = {}  # by question
    for _ in range(100 * (count + 1000)):
        if len(problems) == count:
            return tuple(problems.values())
        problem = KINDS[kind](rng, split)
        if problem:
            problems.setdefault(problem.question, problem)
    raise ValueError(f"There are not {count} different problems for {split!r}.\nAsk for fewer.")
