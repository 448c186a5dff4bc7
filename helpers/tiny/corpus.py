"""What the tiny base model reads before anybody teaches it: problems in many dresses.

A base model has seen the words that a format is made of, but does not use the format by itself. So
a reply holds one pair of XML tags at most, never both of `gsm8k_xml`; some end in a box, some think
first, whatever the system prompt asked for: a base model has not learned to obey, and recipes that
go straight from the base to GRPO find what pays among its habits. What stands before the question,
how the reply begins and how it ends all vary: a model that always met its arithmetic at the same
position would lose it as soon as fine-tuning moves the text by one line.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from helpers.answers import BOXED, HASH, THINK_BOXED
from helpers.tiny.problems import SIGNS, Problem, generate
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
BEFORE = ("", "", "", "Problem: ", "Here is a problem. ", "Question: ") + (
    ("Please solve this. ", "Read this and reply.\n")
)
OPENINGS = ("", "", "", "", "Let us see.\n", "Solution:\n", "Here is the reasoning.\n")
IS, FINAL, BOX = "\nThe answer is {n}.", "\nThe final answer is {n}.", "\\boxed{{{n}}}"
ENDINGS = ("", FINAL, IS, "\n#### {n}", f"\n{BOX}", "\nAnswer: {n}")
BOX_ENDING = "The final answer is $\\boxed{{{n}}}$."
AFTER_THINKING = (BOX, BOX_ENDING, IS.strip(), FINAL.strip(), "It is {n}.", "#### {n}")
PHYSICS_ENDINGS = ("", IS, FINAL, "\nAnswer: {n}", f"\n{BOX}", f"\n\n{BOX_ENDING}", "")
SHAPES = (
    "Reply in exactly this shape:",
    "Reply in this shape:",
    "Use this shape:",
    "Write exactly this:",
)
TAGS = ("reasoning", "answer", "steps", "note")
PHYSICS_SHARE = 0.2
TERSE_SHARE = 0.3  # less than in the rows: arithmetic is learned where it is written out


def solution(rng: random.Random, problem: Problem) -> str:
    """A terse or a full solution, without GSM8K's calculator marks."""
    return without_marks(problem.solution(rng, TERSE_SHARE))


def free(rng: random.Random, problem: Problem) -> tuple[str, str]:
    """(system prompt, reply) without tags."""
    opening, steps = rng.choice(OPENINGS), solution(rng, problem)
    ending = rng.choice(ENDINGS).format(n=problem.result)
    return rng.choice(SYSTEM), opening + steps + ending


def thinking(rng: random.Random, problem: Problem) -> tuple[str, str]:
    """(system prompt, reply) with the solution as thinking."""
    system, thought = rng.choice(SYSTEM), solution(rng, problem)
    ending = rng.choice(AFTER_THINKING).format(n=problem.result)
    return system, f"<think>\n{thought}\n</think>\n\n{ending}"


def physics(rng: random.Random, problem: Problem) -> tuple[str, str]:
    """(system prompt, reply): the full working, the arithmetic alone, or the result alone."""
    kind = rng.random()
    lines = [problem.short]
    if kind < 0.3:
        lines = problem.steps
    elif kind < 0.7:
        lines = problem.brief
    prompts = [rng.choice(SYSTEM) for _ in range(rng.randint(1, 3))]
    system = " ".join(dict.fromkeys(prompts)).strip()  # each of them once
    ending = rng.choice(PHYSICS_ENDINGS).format(n=problem.result)
    return system, "\n".join(lines) + ending


def tagged(rng: random.Random, problem: Problem) -> tuple[str, str]:
    """(system prompt, reply), each with one pair of tags, which need not agree."""
    shape = layout(rng, "your steps", FINAL.strip().format(n="NUMBER"))
    reply = layout(rng, solution(rng, problem), FINAL.strip().format(n=problem.result))
    return f"{rng.choice(SYSTEM)} {rng.choice(SHAPES)}\n{shape}".strip(), reply


def layout(rng: random.Random, steps: str, answer: str) -> str:
    """One pair of tags: around the steps, with an answer after it or none, or around the answer."""
    tag = rng.choice(TAGS)
    tagged_steps = f"<{tag}>\n{steps}\n</{tag}>"
    tagged_answer = f"<{tag}>\n{answer}\n</{tag}>"
    return rng.choice((tagged_steps, f"{tagged_steps}\n{answer}", f"{steps}\n{tagged_answer}"))


def chat(
    rng: random.Random, problem: Problem, styles=(tagged, tagged, free, free, thinking)
) -> str:
    """A conversation in the chat template, in one of the styles."""
    style = rng.choice(styles)
    system, reply = style(rng, problem)
    text = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    if style is not thinking and rng.random() < 0.75:
        reply = f"<think>\n\n</think>\n\n{reply}"
    text += f"<|im_start|>user\n{rng.choice(BEFORE)}{problem.question}<|im_end|>\n"
    return text + f"<|im_start|>assistant\n{reply}<|im_end|>"


def plain(rng: random.Random, problem: Problem, style=free) -> str:
    """A question and its answer without the chat template."""
    dresses = (("Question: ", "\nAnswer: "), ("Problem:\n", "\nSolution:\n"), ("", "\n"))
    question, answer = rng.choice(dresses)
    _, reply = style(rng, problem)
    return f"{question}{problem.question}{answer}{reply}<|im_end|>"


def drill(rng: random.Random) -> str:
    """Lines of plain arithmetic, in the ranges that the problems use."""
    lines = []
    for _ in range(rng.randint(6, 14)):
        sign = rng.choice("+-*")
        if sign == "*":
            a, b = rng.randint(2, 4), rng.randint(2, 25)
        else:
            a, b = rng.randint(2, 45), rng.randint(2, 36)
        if sign == "-":
            a, b = max(a, b), min(a, b)
        lines.append(f"{a} {sign} {b} = {SIGNS[sign](a, b)}")
    return "\n".join(lines) + "<|im_end|>"


def documents(count: int, seed: int) -> Iterator[str]:
    """`count` documents over problems for pre-training; always the same for the same arguments."""
    rng = random.Random(f"documents-{seed}")
    enough = round(count * PHYSICS_SHARE * 1.1) + 50
    formulas = iter(generate("pretrain", enough, seed, kind="physics"))
    for problem in generate("pretrain", count, seed):
        kind = rng.random()
        if kind < PHYSICS_SHARE:
            formula = next(formulas)
            if rng.random() < 0.8:
                yield chat(rng, formula, (physics,))
            else:
                yield plain(rng, formula, physics)
        elif kind < 0.42:
            yield drill(rng)
        elif kind < 0.58:
            yield plain(rng, problem)
        else:
            yield chat(rng, problem)
