"""What the tiny base model reads before anybody teaches it: problems in many dresses.

A base model has seen the words that a format is made of, but does not use the format by itself. So a reply holds one pair of
XML tags at most, never both of `gsm8k_xml`; some end in a box, some think first, whatever the system prompt asked for: a base model
has not learned to obey, and recipes that go straight from the base to GRPO find what pays among its habits. What stands before
the question, how the reply begins and how it ends all vary: a model that always met its arithmetic at the same position would lose it as
soon as fine-tuning moves the text by one line.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from helpers.answers import BOXED, HASH, THINK_BOXED
from helpers.tiny.problems import Problem, generate
from helpers.tiny.schemas import without_marks

SYSTEM = (
    "",
    "",
    "You are a careful helper.",
    "Solve the problem.",
    "Think step by step.",
    "Reply with the answer.",
    "Write your steps, then the final answer.",
    "Read the problem and reply.",
    "Show your work.",
    "Put the final NUMBER last.",
    BOXED.instruction,
    HASH.instruction,
    THINK_BOXED.instruction,
    "Solve the physics problem.",
    "Write each step on a line of its own.",
)
BEFORE = (
    "",
    "",
    "",
    "Problem: ",
    "Here is a problem. ",
    "Question: ",
    "Please solve this. ",
    "Read this and reply.\n",
)
OPENINGS = ("", "", "", "", "Let us see.\n", "Solution:\n", "Here is the reasoning.\n")
ENDINGS = (
    "",
    "\nThe final answer is {n}.",
    "\nThe answer is {n}.",
    "\n#### {n}",
    "\n\\boxed{{{n}}}",
    "\nAnswer: {n}",
)
SHAPES = (
    "Reply in exactly this shape:",
    "Reply in this shape:",
    "Use this shape:",
    "Write exactly this:",
)
TAGS = ("reasoning", "answer", "steps", "note")
PHYSICS_SHARE = 0.2
TERSE_SHARE = (
    0.3  # less than in the problems' own solutions: arithmetic is learned where it is written out
)
ANSWER_LINE = "The final answer is {n}."
AFTER_THINKING = (
    "\\boxed{{{n}}}",
    "The final answer is $\\boxed{{{n}}}$.",
    "The answer is {n}.",
    "The final answer is {n}.",
    "It is {n}.",
    "#### {n}",
)
PHYSICS_ENDINGS = (
    "",
    "\nThe answer is {n}.",
    "\nThe final answer is {n}.",
    "\nAnswer: {n}",
    "\n\\boxed{{{n}}}",
    "\n\nThe final answer is $\\boxed{{{n}}}$.",
    "",
)


def solution(rng: random.Random, problem: Problem) -> str:
    """A terse or a full solution, without GSM8K's calculator marks."""
    return without_marks(problem.short if rng.random() < TERSE_SHARE else "\n".join(problem.steps))


def free(rng: random.Random, problem: Problem) -> tuple[str, str]:
    """(system prompt, reply) without tags."""
    reply = (
        rng.choice(OPENINGS) + solution(rng, problem) + rng.choice(ENDINGS).format(n=problem.result)
    )
    return rng.choice(SYSTEM), reply


def thinking(rng: random.Random, problem: Problem) -> tuple[str, str]:
    """(system prompt, reply) with the solution as thinking."""
    return (
        rng.choice(SYSTEM),
        f"<think>\n{solution(rng, problem)}\n</think>\n\n{rng.choice(AFTER_THINKING).format(n=problem.result)}",
    )


def physics(rng: random.Random, problem: Problem) -> tuple[str, str]:
    """(system prompt, reply): the full working, the arithmetic alone, or the result alone."""
    kind = rng.random()
    text = (
        "\n".join(problem.steps if kind < 0.3 else problem.brief) if kind < 0.7 else problem.short
    )
    system = " ".join(dict.fromkeys(rng.choice(SYSTEM) for _ in range(rng.randint(1, 3)))).strip()
    return system, text + rng.choice(PHYSICS_ENDINGS).format(n=problem.result)


def tagged(rng: random.Random, problem: Problem) -> tuple[str, str]:
    """(system prompt, reply), each with one pair of tags. They need not agree: a base model has not learned to obey."""
    shape = layout(rng, "your steps", ANSWER_LINE.format(n="NUMBER"))
    reply = layout(rng, solution(rng, problem), ANSWER_LINE.format(n=problem.result))
    return f"{rng.choice(SYSTEM)} {rng.choice(SHAPES)}\n{shape}".strip(), reply


def layout(rng: random.Random, steps: str, answer: str) -> str:
    """One pair of tags: around the steps, with or without an answer after it, or around the answer."""
    tag = rng.choice(TAGS)
    return rng.choice(
        (
            f"<{tag}>\n{steps}\n</{tag}>",
            f"<{tag}>\n{steps}\n</{tag}>\n{answer}",
            f"{steps}\n<{tag}>\n{answer}\n</{tag}>",
        )
    )


def chat(
    rng: random.Random, problem: Problem, styles=(tagged, tagged, free, free, thinking)
) -> str:
    style = rng.choice(styles)
    system, reply = style(rng, problem)
    head = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    think = "<think>\n\n</think>\n\n" if style is not thinking and rng.random() < 0.75 else ""
    return f"{head}<|im_start|>user\n{rng.choice(BEFORE)}{problem.question}<|im_end|>\n<|im_start|>assistant\n{think}{reply}<|im_end|>"


def plain(rng: random.Random, problem: Problem, style=free) -> str:
    question, answer = rng.choice(
        (("Question: ", "\nAnswer: "), ("Problem:\n", "\nSolution:\n"), ("", "\n"))
    )
    return question + problem.question + answer + style(rng, problem)[1] + "<|im_end|>"


def drill(rng: random.Random) -> str:
    """Lines of plain arithmetic, in the ranges that the problems use."""
    lines = []
    for _ in range(rng.randint(6, 14)):
        sign = rng.choice("+-*")
        a, b = (
            (rng.randint(2, 4), rng.randint(2, 25))
            if sign == "*"
            else (rng.randint(2, 45), rng.randint(2, 36))
        )
        a, b = (max(a, b), min(a, b)) if sign == "-" else (a, b)
        value = {"+": a + b, "-": a - b, "*": a * b}[sign]
        lines.append(f"{a} {sign} {b} = {value}")
    return "\n".join(lines) + "<|im_end|>"


def documents(count: int, seed: int) -> Iterator[str]:
    """`count` documents over the pre-training split's problems; the same arguments give the same documents."""
    rng = random.Random(f"documents-{seed}")
    formulas = iter(
        generate("pretrain", round(count * PHYSICS_SHARE * 1.1) + 50, seed, kind="physics")
    )
    for problem in generate("pretrain", count, seed):
        kind = rng.random()
        if kind < PHYSICS_SHARE:
            formula = next(formulas)
            yield (
                chat(rng, formula, (physics,))
                if rng.random() < 0.8
                else plain(rng, formula, physics)
            )
        else:
            yield (
                drill(rng)
                if kind < 0.42
                else plain(rng, problem)
                if kind < 0.58
                else chat(rng, problem)
            )
