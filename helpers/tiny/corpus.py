"""What the tiny base model is pre-trained on: problems, asked and answered in many ways.

A base model has seen the words that a format is made of, but does not use the format by itself. So
a reply holds one pair of XML tags at most, never both of `gsm8k_xml`; some end in a box, some think
first, whatever the system prompt asked for: a base model has not learned to obey, and recipes that
go straight from the base to GRPO find what pays among its habits. What stands before the question,
how the reply begins and how it ends all vary: a model that always met its arithmetic at the same
position would lose it as soon as fine-tuning moves the text by one line.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from random import Random

from helpers.answers import BOXED, HASH, THINK_BOXED
from helpers.tiny.problems import Problem, generate
from helpers.tiny.schemas import without_marks

HABITS = tomllib.loads(Path(__file__).with_name("habits.toml").read_text("utf-8"))
# The place in the list decides what is drawn, and so the model's weights.
HABITS["system"][10:10] = [BOXED.instruction, HASH.instruction, THINK_BOXED.instruction]
TURN = "<|im_start|>{}\n{}<|im_end|>"
Turns = tuple[str, str]  # system prompt, reply


def habit(rng: Random, name: str, problem: Problem) -> str:
    """One of a list of texts, with the problem's result."""
    return rng.choice(HABITS[name]).format(n=problem.result)


def solution(rng: Random, problem: Problem) -> str:
    """Terse less often than in the rows: arithmetic is learned where it is written out."""
    return without_marks(problem.solution(rng, terse=0.3))


def free(rng: Random, problem: Problem) -> Turns:
    """A reply without tags."""
    reply = rng.choice(HABITS["openings"]) + solution(rng, problem)
    reply += habit(rng, "endings", problem)
    return rng.choice(HABITS["system"]), reply


def thinking(rng: Random, problem: Problem) -> Turns:
    """A reply with the solution as thinking."""
    system = rng.choice(HABITS["system"])
    reply = f"<think>\n{solution(rng, problem)}\n</think>\n\n"
    return system, reply + habit(rng, "after_thinking", problem)


def physics(rng: Random, problem: Problem) -> Turns:
    """A reply with the full working, the arithmetic alone, or the result alone."""
    kind = rng.random()
    lines = [problem.short]
    if kind < 0.3:
        lines = problem.steps
    elif kind < 0.7:
        lines = [line for line in problem.steps if "=" in line]
    prompts = [rng.choice(HABITS["system"]) for _ in range(rng.randint(1, 3))]
    system = " ".join(dict.fromkeys(prompts)).strip()  # each of them once
    return system, "\n".join(lines) + habit(rng, "physics_endings", problem)


def tagged(rng: Random, problem: Problem) -> Turns:
    """System prompt and reply with one pair of tags each, which need not agree."""
    shape = layout(rng, "your steps", "NUMBER")
    reply = layout(rng, solution(rng, problem), problem.result)
    system = rng.choice(HABITS["system"])
    return f"{system} {rng.choice(HABITS['shapes'])}\n{shape}".strip(), reply


def layout(rng: Random, steps: str, result: str) -> str:
    """One pair of tags: around the steps, with an answer after it or none, or around the answer."""
    tag = rng.choice(HABITS["tags"])
    answer = f"The final answer is {result}."
    return rng.choice(HABITS["layouts"]).format(tag=tag, steps=steps, answer=answer)


def chat(rng: Random, problem: Problem, styles) -> str:
    """A conversation in the chat template, in one of the styles."""
    style = rng.choice(styles)
    system, reply = style(rng, problem)
    if style is not thinking and rng.random() < 0.75:
        reply = "<think>\n\n</think>\n\n" + reply
    question = rng.choice(HABITS["before"]) + problem.question
    turns = {"system": system, "user": question, "assistant": reply}
    return "\n".join(TURN.format(role, text) for role, text in turns.items() if text)


def plain(rng: Random, problem: Problem, style) -> str:
    """A question and its answer without the chat template."""
    template = rng.choice(HABITS["plain"])
    return template.format(question=problem.question, reply=style(rng, problem)[1])


def drill(rng: Random) -> str:
    """Lines of plain arithmetic, in the ranges that the problems use."""
    lines = []
    for _ in range(rng.randint(6, 14)):
        sign = rng.choice("+-*")
        a, b = [rng.randint(2, highest) for highest in HABITS["drills"][sign]]
        if sign == "-" and a < b:
            a, b = b, a
        result = {"+": a + b, "-": a - b, "*": a * b}[sign]
        lines.append(f"{a} {sign} {b} = {result}")
    return "\n".join(lines) + "<|im_end|>"


def documents(count: int, seed: int) -> Iterator[str]:
    """`count` documents over problems for pre-training; always the same for the same arguments."""
    rng = Random(f"documents-{seed}")
    formulas = iter(generate("pretrain", count // 4 + 50, seed, kind="physics"))
    for problem in generate("pretrain", count, seed):
        kind = rng.random()
        if kind < 0.2:
            if rng.random() < 0.8:
                yield chat(rng, next(formulas), [physics])
            else:
                yield plain(rng, next(formulas), physics)
        elif kind < 0.42:
            yield drill(rng)
        elif kind < 0.58:
            yield plain(rng, problem, free)
        else:
            yield chat(rng, problem, [tagged, tagged, free, free, thinking])
