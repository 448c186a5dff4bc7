"""Generated problems: word problems with two steps, and physics problems whose answer is a formula.

    Mia has 34 pens. She buys 4 boxes with 9 pens in each. How many pens does Mia have now?          → 70
    A ball of mass 3 m is at the height 5 z and holds the heat 5 Q. What is its energy?              → 15 m g z + 5 Q

`helpers/tiny/schemas.py` puts them into the rows of each recipe's dataset.

Three splits that share no problem, by construction: a problem belongs to the split that its three numbers fall into
(`split_of`), so the same three numbers, in any order, never occur in two splits, whatever the story around them.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from functools import cache

from helpers.tiny import physics

SPLITS = ("pretrain", "train", "test")

NAMES = {
    "Mia": "She",
    "Tom": "He",
    "Ana": "She",
    "Ben": "He",
    "Eva": "She",
    "Sam": "He",
    "Zoe": "She",
    "Max": "He",
    "Lea": "She",
    "Kim": "She",
    "Ali": "He",
    "Noa": "She",
}
THINGS = (
    "pens",
    "apples",
    "books",
    "coins",
    "cards",
    "stones",
    "shells",
    "beads",
    "eggs",
    "nuts",
    "cups",
    "balls",
)


@dataclass(frozen=True)
class Problem:
    """A problem with its three numbers (in the order of the question), and solutions of it that show more or less."""

    question: str
    numbers: tuple[int, int, int]
    steps: tuple[
        str, ...
    ]  # everything written out, a line each; word problems with GSM8K's calculator marks: "3 + 4 = <<3+4=7>>7 pens."
    brief: tuple[str, ...]  # the arithmetic only
    short: str  # a sentence that states the result and nothing else
    result: str


def split_of(numbers: tuple[int, int, int]) -> str:
    """The split that three numbers belong to: 3 in 5 are for pre-training, 1 for training, 1 for the test."""
    a, b, c = sorted(numbers)
    return ("pretrain", "train", "pretrain", "test", "pretrain")[
        (a + 2 * b + 3 * c + a * b * c) % 5
    ]


def calculation(left: int, sign: str, right: int) -> tuple[str, int]:
    """`3 + 4 = <<3+4=7>>7` and 7: a step as GSM8K writes it, and its value."""
    value = {"+": left + right, "-": left - right, "*": left * right}[sign]
    return f"{left} {sign} {right} = <<{left}{sign}{right}={value}>>{value}", value


def buys_boxes(rng: random.Random, name: str, he: str, things: str):
    a, k, b = rng.randint(5, 30), rng.randint(2, 4), rng.randint(2, 9)
    question = f"{name} has {a} {things}. {he} buys {k} boxes with {b} {things} in each. How many {things} does {name} have now?"
    return question, (a, k, b), (k, "*", b), (a, "+", None)


def gives_boxes(rng: random.Random, name: str, he: str, things: str):
    k, b = rng.randint(2, 4), rng.randint(3, 9)
    a = rng.randint(2, k * b - 1)
    question = f"{name} has {k} boxes with {b} {things} in each. {he} gives {a} {things} away. How many {things} are left?"
    return question, (k, b, a), (k, "*", b), (None, "-", a)


def finds_and_loses(rng: random.Random, name: str, he: str, things: str):
    a, b = rng.randint(5, 25), rng.randint(2, 15)
    c = rng.randint(2, min(15, a + b - 1))
    question = f"{name} has {a} {things} and finds {b} more. {he} loses {c} {things}. How many {things} does {name} have now?"
    return question, (a, b, c), (a, "+", b), (None, "-", c)


def loses_and_finds(rng: random.Random, name: str, he: str, things: str):
    a = rng.randint(10, 40)
    b, c = rng.randint(2, min(15, a - 2)), rng.randint(2, 20)
    question = f"{name} has {a} {things}. {he} sells {b} of them and gets {c} new {things}. How many {things} does {name} have now?"
    return question, (a, b, c), (a, "-", b), (None, "+", c)


def many_times(rng: random.Random, name: str, he: str, things: str):
    a, b, c = rng.randint(2, 10), rng.randint(2, 10), rng.randint(2, 4)
    other = rng.choice([n for n in NAMES if n != name])
    question = f"{name} has {a} red {things} and {b} blue {things}. {other} has {c} times as many. How many {things} does {other} have?"
    return question, (a, b, c), (a, "+", b), (c, "*", None)


STORIES = (buys_boxes, gives_boxes, finds_and_loses, loses_and_finds, many_times)


def word_problem(rng: random.Random) -> Problem:
    """A story with its two steps worked out; None in the second stands for the first's result."""
    name, things = rng.choice(list(NAMES)), rng.choice(THINGS)
    question, numbers, first, second = rng.choice(STORIES)(rng, name, NAMES[name], things)
    one, between = calculation(*first)
    two, result = calculation(*(between if part is None else part for part in second))
    steps = (f"{one} {things}.", f"{two} {things}.")
    return Problem(question, numbers, steps, steps, f"It is {result} {things}.", str(result))


def physics_problem(rng: random.Random) -> Problem:
    """A story with a formula as its answer."""
    story = physics.draw(rng)
    short = f"So it is {story.answer}."
    steps = (f"Given: {story.known}.", story.law, *story.working, short)
    return Problem(
        story.question,
        story.numbers,
        steps,
        tuple(line for line in story.working if "=" in line),
        short,
        story.answer,
    )


KINDS = {"words": word_problem, "physics": physics_problem}


@cache
def generate(split: str, count: int, seed: int = 0, kind: str = "words") -> tuple[Problem, ...]:
    """`count` different problems of one split and kind; the same arguments give the same problems, made once."""
    if split not in SPLITS:
        raise ValueError(f"Unknown split {split!r}.\nUse one of: {', '.join(SPLITS)}.")
    rng, problems, seen = (
        random.Random(f"{split}-{seed}" if kind == "words" else f"{kind}-{split}-{seed}"),
        [],
        set(),
    )
    for tries in itertools.count():
        if len(problems) == count:
            return tuple(problems)
        if tries > 100 * (count + 1000):
            raise ValueError(
                f"There are not {count} different problems for {split!r}; {len(problems)} were found.\nAsk for fewer."
            )
        problem = KINDS[kind](rng)
        if split_of(problem.numbers) == split and problem.question not in seen:
            seen.add(problem.question)
            problems.append(problem)
