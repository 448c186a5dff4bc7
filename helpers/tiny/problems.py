"""Generated problems: word problems with two steps, and physics problems with a formula as answer.

    Mia has 34 pens. She buys 4 boxes with 9 pens in each. How many pens does Mia have now?
    A ball of mass 3 m is at the height 5 z and holds the heat 5 Q. What is its energy?

The answers are 70 and 15 m g z + 5 Q. The stories are in `stories.toml`; `schemas.py` puts the
problems into the rows of each recipe's dataset.

Three splits that share no problem, by construction: a problem belongs to the split that its three
numbers fall into (`split_of`), so the same three numbers, in any order, never occur in two splits,
whatever the story around them.
"""

import operator
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

STORIES = tomllib.loads(Path(__file__).with_name("stories.toml").read_text("utf-8"))
SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
STEP = "{0} {1} {2} = {3}"
MARKED_STEP = "{0} {1} {2} = <<{0}{1}{2}={3}>>{3} {{things}}."  # as GSM8K: with what a tool reads
SPLIT_OF_FIVE = ("pretrain", "train", "pretrain", "test", "pretrain")


@dataclass(frozen=True)
class Problem:
    """A problem, and solutions of it that show more or less."""

    question: str
    steps: tuple[str, ...]  # everything written out, a line each; with the calculator's marks
    short: str  # a sentence that states the result and nothing else
    result: str

    @property
    def numbers(self) -> tuple[int, ...]:
        """Its three numbers, in the order of the question."""
        return tuple(int(number) for number in re.findall(r"\d+", self.question))

    def solution(self, rng: Random, terse: float) -> str:
        """The short solution in a share of the cases, else all steps."""
        if rng.random() < terse:
            return self.short
        return "\n".join(self.steps)


def split_of(numbers: Sequence[int]) -> str:
    """The split of three numbers: 3 in 5 are for pre-training, 1 for training, 1 for the test."""
    a, b, c = sorted(numbers)
    return SPLIT_OF_FIVE[(a + 2 * b + 3 * c + a * b * c) % 5]


def value_of(formula: str, values: dict) -> int:
    """A formula such as "a * b - 1", from left to right."""
    result, sign = 0, "+"
    for word in formula.split():
        if word in SIGNS:
            sign = word
        else:
            result = SIGNS[sign](result, int(word) if word.isdigit() else values[word])
    return result


def draw(rng: Random, story: dict) -> dict:
    """The numbers and letters of a story."""
    values = {}
    for name, choices in story["draw"].items():
        if isinstance(choices, str):
            values[name] = rng.choice(choices)
            continue
        lowest, highest, *formula = choices
        if formula:
            highest = min(highest, value_of(*formula, values))
        values[name] = rng.randint(lowest, highest)
    return values


def work_out(story: dict, values: dict, step: str) -> tuple[str, ...]:
    """The lines of a story's working, with its arithmetic written as `step`.

    Its results are added to the values, and `top`, a height that a story can name.
    """
    values["top"] = values["b"] + values["c"]
    lines = []
    for line in story["working"]:
        if "=" in line:
            formula, name = line.split(" = ")
            values[name] = value_of(formula, values)
            left, sign, right = formula.split()
            line = step.format(values[left], sign, values[right], values[name])
        lines.append(line.format(**values))
    return tuple(lines)


def word_problem(rng: Random, split: str) -> Problem | None:
    """A story with its two steps worked out; None if its numbers are of another split."""
    name, things = rng.choice(STORIES["names"]), rng.choice(STORIES["things"])
    values = {"name": name, "things": things, "he": "She"}
    if name in STORIES["men"]:
        values["he"] = "He"
    story = rng.choice(STORIES["words"])
    drawn = draw(rng, story)
    if "{other}" in story["question"]:
        values["other"] = rng.choice([other for other in STORIES["names"] if other != name])
    if split_of([drawn["a"], drawn["b"], drawn["c"]]) != split:  # early: most are dropped
        return None
    values |= drawn
    steps = work_out(story, values, MARKED_STEP)
    question = story["question"].format(**values)
    return Problem(question, steps, "It is {end} {things}.".format(**values), str(values["end"]))


def physics_problem(rng: Random, split: str) -> Problem | None:
    """A story with a formula as its answer; the products are such as a small model can know.

    None if its numbers are of another split.
    """
    story = rng.choice(STORIES["physics"])
    values = {"body": rng.choice(STORIES["bodies"])}
    values |= draw(rng, story)
    working = work_out(story, values, STEP)
    question, known, answer = (story[k].format(**values) for k in ("question", "known", "answer"))
    short = f"So it is {answer}."
    steps = (f"Given: {known}.", story["law"], *working, short)
    problem = Problem(question, steps, short, answer)
    return problem if split_of(problem.numbers) == split else None


KINDS = {"words": ("", word_problem), "physics": ("physics-", physics_problem)}


@cache
def generate(split: str, count: int, seed: int = 0, kind: str = "words") -> tuple[Problem, ...]:
    """`count` different problems of one split ("pretrain", "train", "test") and kind.

    The same arguments give the same problems, made once.
    """
    prefix, make = KINDS[kind]
    rng = Random(f"{prefix}{split}-{seed}")
    problems = {}  # by question
    while len(problems) < count:
        problem = make(rng, split)
        if problem:
            problems.setdefault(problem.question, problem)
    return tuple(problems.values())
