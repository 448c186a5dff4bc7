r"""From one row of a dataset to an `Example`: an adapter for each published schema.

An adapter returns None for a row without a gold, or without the verified solution that the recipe learns from; the loader counts
those. Every adapter also takes anyone's own rows, which have `messages`, `answer_text` and `answer`.

>>> own = {"messages": [{"role": "user", "content": "2 + 3?"}], "answer_text": "2 + 3 = 5", "answer": 5}
>>> read_gsm8k(own) == read_openr1(own) == Example(id='', question='2 + 3?', solution='2 + 3 = 5', answer='5')
True
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from helpers.answers import BOXED

CALCULATOR = re.compile(r"<<[^<>]*>>")
WRAPPER = ("Solve the following math problem step by step. The last line of your response should be of the form Answer: $Answer "
           "(without quotes) where $Answer is the answer to the problem.\n\n", '\n\nRemember to put your answer on its own line after "Answer:".')


@dataclass(frozen=True)
class Example:
    """One problem: an id ("" where the row has none), the question, the worked solution ("" where there is none), and the answer."""

    id: str
    question: str
    solution: str
    answer: str


def is_own(row: Mapping) -> bool:
    """Whether a row is in this project's own schema, whatever dataset the recipe has."""
    return "messages" in row and "answer_text" in row


def read_own(row: Mapping) -> Example | None:
    """A row with `messages` (the last user turn asks), `answer_text` (the worked solution, may be empty) and `answer`."""
    asked = [message["content"] for message in row["messages"] if message["role"] == "user"]
    answer = "" if row["answer"] is None else str(row["answer"]).strip()
    return Example(str(row.get("id") or ""), asked[-1].strip() if asked else "", (row["answer_text"] or "").strip(), answer) if answer else None


def read_gsm8k(row: Mapping) -> Example | None:
    r"""A GSM8K row; None when there is no `####` line.

    The calculator's marks, `<<48/2=24>>`, are taken out: they were written for a tool that the model does not have.

    >>> read_gsm8k({"question": "2 + 3?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"})
    Example(id='', question='2 + 3?', solution='2 + 3 = 5', answer='5')
    """
    if is_own(row):
        return read_own(row)
    solution, mark, answer = row["answer"].rpartition("####")
    if not mark:
        return None
    return Example(str(row.get("id") or ""), row["question"].strip(), CALCULATOR.sub("", solution).strip(), answer.strip())


def read_openr1(row: Mapping) -> Example | None:
    """An OpenR1-Math-220k row with its shortest verified generation as the solution; None where no generation was verified.

    >>> read_openr1({"problem": "2 + 3?", "answer": "5", "generations": ["4", "2 + 3 = 5"], "correctness_math_verify": [False, True]}).solution
    '2 + 3 = 5'
    """
    if is_own(row):
        return read_own(row)
    found = verified(row)
    if not found or not row["answer"]:
        return None
    return Example(str(row.get("uuid") or ""), row["problem"].strip(), min(found, key=len).strip(), row["answer"].strip())


def verified(row: Mapping) -> list[str]:
    """The finished generations that math-verify, or the judge where it could not tell, found right. Any of the lists may be null."""
    texts = row["generations"] or []
    checks = [row.get(name) or [None] * len(texts) for name in ("correctness_math_verify", "correctness_llama", "is_reasoning_complete")]
    return [text for text, rule, judge, whole in zip(texts, *checks, strict=False) if text and (rule or judge) and whole is not False]


def read_dapo(row: Mapping) -> Example | None:
    """A DAPO-Math row of either published schema, without the wrapper around the question; there is no solution to learn from.

    >>> read_dapo({"prompt": "2 + 3?", "solution": "5"})
    Example(id='', question='2 + 3?', solution='', answer='5')
    """
    if is_own(row):
        return read_own(row)
    identity = str((row.get("extra_info") or {}).get("index") or "")
    answer = row["solution"] if isinstance(row["prompt"], str) else row["reward_model"]["ground_truth"]
    if not answer:
        return None
    question = row["prompt"] if isinstance(row["prompt"], str) else row["prompt"][0]["content"].removeprefix(WRAPPER[0]).removesuffix(WRAPPER[1])
    return Example(identity, question.strip(), "", answer.strip())


def read_phybench(row: Mapping) -> Example | None:
    r"""A PHYBench row; the answer, else the last box of the solution; None where neither is public.

    >>> read_phybench({"content": "The energy?", "solution": r"so \boxed{mgh}", "answer": ""}).answer
    'mgh'
    """
    if is_own(row):
        return read_own(row)
    answer = (row["answer"] or "").strip() or BOXED.extract(row["solution"])
    return Example(str(row.get("id") or ""), row["content"].strip(), row["solution"].strip(), answer) if answer else None


def read_math500(row: Mapping) -> Example | None:
    """A MATH-500 row.

    >>> read_math500({"problem": "2 + 3?", "solution": "2 + 3 = 5", "answer": "5", "unique_id": "test/1"})
    Example(id='test/1', question='2 + 3?', solution='2 + 3 = 5', answer='5')
    """
    if is_own(row):
        return read_own(row)
    return Example(str(row.get("unique_id") or ""), row["problem"].strip(), row["solution"].strip(), row["answer"].strip()) if row["answer"] else None
