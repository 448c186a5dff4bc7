"""What the tiny base model reads before anybody teaches it: problems in many dresses.

A base model has seen the words that a format is made of, but does not use the format by itself. So
a reply holds one pair of XML tags at most, never both of `gsm8k_xml`; some end in a box, some think
first, whatever the system prompt asked for: a base model has not learned to obey, and recipes that
go straight from the base to GRPO find what pays among its habits. What stands before the question,
how the reply begins and how it ends all vary: a model that always met its arithmetic at the same
position would lose it as soon as fine-tuning moves the text by one line.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from random import Random

from helpers.answers import BOXED, HASH, THINK_BOXED
from helpers.tiny.problems import SIGNS, Problem, generate
from helpers.tiny.schemas import without_marks

HABITS = tomllib.loads((Path(__file__).parent / "habits.toml").read_text("utf-8"))
HABITS["system"][10:10] = [BOXED.instruction, HASH.instruction, THINK_BOXED.instruction]
TURN = "<|im_start|>{}\n{}<|im_end|>"
Dress = tuple[str, str]  # system prompt, reply
ANSWER = "The final answer is {n}."
PHYSICS_SHARE = 0.2
TERSE_SHARE = 0.3  # less than in the rows: arithmetic is learned where it is written out


def habit(rng: Random, name: str, problem: Problem) -> str:
    """One of a list of texts, with the problem's result."""
    return rng.choice(HABITS[name]).format(n=problem.result)


def solution(rng: Random, problem: Problem) -> str:
    """A terse or a full solution, without GSM8K's calculator marks."""
    return without_marks(problem.solution(rng, TERSE_SHARE))


def free(rng: Random, problem: Problem) -> Dress:
    """(system prompt, reply) without tags."""
    opening = rng.choice(HABITS["openings"])
    steps = solution(rng, problem)
    ending = habit(rng, "endings", problem)
    return rng.choice(HABITS["system"]), opening + steps + ending


def thinking(rng: Random, problem: Problem) -> Dress:
    """(system prompt, reply) with the solution as thinking."""
    system = rng.choice(HABITS["system"])
    thought = solution(rng, problem)
    ending = habit(rng, "after_thinking", problem)
    return system, f"<think>\n{thought}\n</think>\n\n{ending}"


def physics(rng: Random, problem: Problem) -> Dress:
    """(system prompt, reply): the full working, the arithmetic alone, or the result alone."""
    kind = rng.random()
    lines = [problem.short]
    if kind < 0.3:
        lines = problem.steps
    elif kind < 0.7:
        lines = [line for line in problem.steps if "=" in line]
    prompts = [rng.choice(HABITS["system"]) for _ in range(rng.randint(1, 3))]
    system = " ".join(dict.fromkeys(prompts)).strip()  # each of them once
    return system, "\n".join(lines) + habit(rng, "physics_endings", problem)


def tagged(rng: Random, problem: Problem) -> Dress:
    """(system prompt, reply), each with one pair of tags, which need not agree."""
    shape = layout(rng, "your steps", ANSWER.format(n="NUMBER"))
    reply = layout(rng, solution(rng, problem), ANSWER.format(n=problem.result))
    system = rng.choice(HABITS["system"])
    return f"{system} {rng.choice(HABITS['shapes'])}\n{shape}".strip(), reply


def layout(rng: Random, steps: str, answer: str) -> str:
    """One pair of tags: around the steps, with an answer after it or none, or around the answer."""
    tag = rng.choice(HABITS["tags"])
    return rng.choice(HABITS["layouts"]).format(tag=tag, steps=steps, answer=answer)


def chat(rng: Random, problem: Problem, styles) -> str:
    """A conversation in the chat template, in one of the styles."""
    style = rng.choice(styles)
    system, reply = style(rng, problem)
    if style is not thinking and rng.random() < 0.75:
        reply = "<think>\n\n</think>\n\n" + reply
    text = ""
    if system:
        text += TURN.format("system", system) + "\n"
    text += TURN.format("user", rng.choice(HABITS["before"]) + problem.question) + "\n"
    return text + TURN.format("assistant", reply)


def plain(rng: Random, problem: Problem, style) -> str:
    """A question and its answer without the chat template."""
    template = rng.choice(HABITS["plain"])
    _, reply = style(rng, problem)
    return template.format(question=problem.question, reply=reply)


def drill(rng: Random) -> str:
    """Lines of plain arithmetic, in the ranges that the problems use."""
    lines = []
    for _ in range(rng.randint(6, 14)):
        sign = rng.choice("+-*")
        a, b = [rng.randint(2, highest) for highest in HABITS["drills"][sign]]
        if sign == "-":
            a, b = max(a, b), min(a, b)
        lines.append(f"{a} {sign} {b} = {SIGNS[sign](a, b)}")
    return "\n".join(lines) + "<|im_end|>"


def documents(count: int, seed: int) -> Iterator[str]:
    """`count` documents over problems for pre-training; always the same for the same arguments."""
    rng = Random(f"documents-{seed}")
    formulas = iter(generate("pretrain", count // 4 + 50, seed, kind="physics"))
    for problem in generate("pretrain", count, seed):
        kind = rng.random()
        if kind < PHYSICS_SHARE:
            if rng.random() < 0.8:
                yield chat(rng, next(formulas), (physics,))
            else:
                yield plain(rng, next(formulas), physics)
        elif kind < 0.42:
            yield drill(rng)
        elif kind < 0.58:
            yield plain(rng, problem, free)
        else:
            yield chat(rng, problem, (tagged, tagged, free, free, thinking))
