"""What the tiny base model reads before anybody teaches it: problems in many dresses, never in a recipe's full format.

A base model has seen the words that a format is made of, but does not use the format by itself. So system prompts and
replies here hold one pair of tags at most. What stands before the question, how the
reply begins and how it ends all vary: a model that always met its arithmetic at the same position would lose it as soon as
fine-tuning moves the text by one line.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from helpers.tiny.problems import Problem, generate

SYSTEM = ("", "", "You are a careful helper.", "Solve the problem.", "Think step by step.", "Reply with the answer.",
          "Write your steps, then the final answer.", "Read the problem and reply.", "Show your work.", "Put the final NUMBER last.")
BEFORE = ("", "", "", "Problem: ", "Here is a problem. ", "Question: ", "Please solve this. ", "Read this and reply.\n")
OPENINGS = ("", "", "", "", "Let us see.\n", "Solution:\n", "Here is the reasoning.\n")
ENDINGS = ("", "\nThe final answer is {n}.", "\nThe answer is {n}.", "\n#### {n}", "\n\\boxed{{{n}}}", "\nAnswer: {n}")
SHAPES = ("Reply in exactly this shape:", "Reply in this shape:", "Use this shape:", "Write exactly this:")
TAGS = ("reasoning", "answer", "steps", "note")
TERSE_SHARE = 0.3  # less than in the problems' own solutions: arithmetic is learned where it is written out
ANSWER_LINE = "The final answer is {n}."


def solution(rng: random.Random, problem: Problem) -> str:
    """A terse or a full solution, without GSM8K's calculator marks."""
    text = problem.short if rng.random() < TERSE_SHARE else "\n".join(problem.steps)
    return "".join(part.split(">>")[-1] for part in text.split("<<"))


def free(rng: random.Random, problem: Problem) -> tuple[str, str]:
    """(system prompt, reply) without tags."""
    reply = rng.choice(OPENINGS) + solution(rng, problem) + rng.choice(ENDINGS).format(n=problem.result)
    return rng.choice(SYSTEM), reply


def tagged(rng: random.Random, problem: Problem) -> tuple[str, str]:
    """(system prompt, reply), each with one pair of tags. They need not agree: a base model has not learned to obey."""
    shape = layout(rng, "your steps", ANSWER_LINE.format(n="NUMBER"))
    reply = layout(rng, solution(rng, problem), ANSWER_LINE.format(n=problem.result))
    return f"{rng.choice(SYSTEM)} {rng.choice(SHAPES)}\n{shape}".strip(), reply


def layout(rng: random.Random, steps: str, answer: str) -> str:
    """One pair of tags: around the steps, with or without an answer after it, or around the answer."""
    tag = rng.choice(TAGS)
    return rng.choice((f"<{tag}>\n{steps}\n</{tag}>", f"<{tag}>\n{steps}\n</{tag}>\n{answer}", f"{steps}\n<{tag}>\n{answer}\n</{tag}>"))


def chat(rng: random.Random, problem: Problem) -> str:
    system, reply = (tagged if rng.random() < 0.5 else free)(rng, problem)
    head = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    think = "<think>\n\n</think>\n\n" if rng.random() < 0.8 else ""
    return f"{head}<|im_start|>user\n{rng.choice(BEFORE)}{problem.question}<|im_end|>\n<|im_start|>assistant\n{think}{reply}<|im_end|>"


def plain(rng: random.Random, problem: Problem) -> str:
    question, answer = rng.choice((("Question: ", "\nAnswer: "), ("Problem:\n", "\nSolution:\n"), ("", "\n")))
    return question + problem.question + answer + free(rng, problem)[1] + "<|im_end|>"


def drill(rng: random.Random) -> str:
    """Lines of plain arithmetic, in the ranges that the problems use."""
    lines = []
    for _ in range(rng.randint(6, 14)):
        sign = rng.choice("+-*")
        a, b = (rng.randint(2, 4), rng.randint(2, 20)) if sign == "*" else (rng.randint(2, 45), rng.randint(2, 36))
        a, b = (max(a, b), min(a, b)) if sign == "-" else (a, b)
        value = {"+": a + b, "-": a - b, "*": a * b}[sign]
        lines.append(f"{a} {sign} {b} = {value}")
    return "\n".join(lines) + "<|im_end|>"


def documents(count: int, seed: int) -> Iterator[str]:
    """`count` documents over the pre-training split's problems; the same arguments give the same documents."""
    rng = random.Random(f"documents-{seed}")
    for problem in generate("pretrain", count, seed):
        kind = rng.random()
        yield drill(rng) if kind < 0.25 else plain(rng, problem) if kind < 0.45 else chat(rng, problem)
