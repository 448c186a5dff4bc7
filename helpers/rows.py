r"""From one row of a dataset to an `Example`: an adapter for each published schema.

An adapter returns None for a row without a gold, or without the verified solution that the recipe learns from; the loader counts
those. Every adapter also takes anyone's own rows, which have `messages`, `answer_text` and `answer`.

>>> own = {"messages": [{"role": "user", "content": "2 + 3?"}], "answer_text": "2 + 3 = 5", "answer": 5}
>>> read_gsm8k(own) == read_openr1(own) == Example(id='', question='2 + 3?', solution='2 + 3 = 5', answer='5')
True
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from helpers.answers import BOXED

CALCULATOR = re.compile(r"<<[^<>]*>>")
WRAPPER = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: $Answer "
    "(without quotes) where $Answer is the answer to the problem.\n\n",
    '\n\nRemember to put your answer on its own line after "Answer:".',
)

NOTHING = ("nan", "none", "null", "n/a")


@dataclass(frozen=True)
class Example:
    """One problem: an id ("" where the row has none), the question, the worked solution ("" where there is none), and the answer."""

    id: str
    question: str
    solution: str
    answer: str


def is_own(row: Mapping) -> bool:
    """Whether a row is in this project's own schema, whatever dataset the recipe has."""
    return row.get("messages") is not None and "answer_text" in row


def plain(value: object) -> str:
    """A field as text: "" for None, NaN and words that mean nothing is there; numbers as they are written, 5.0 from a float column as 5.

    Raises TypeError for what is no text and no exact number: files hold integers from 2**53 on as floats that have lost digits.

    >>> plain(" 7 "), plain(5.0), plain(0.5), plain(None), plain(float("nan")), plain("N/A")
    ('7', '5', '0.5', '', '', '')
    """
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        if abs(value) >= 2**53:
            raise TypeError(f"{value} is not exact")
        return str(int(value)) if value == int(value) else repr(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(f"{value!r} is no text")
    text = str(value).strip()
    return "" if text.lower() in NOTHING else text


def last_user_turn(messages: Sequence[Mapping] | str) -> str:
    """The question of a conversation; from a CSV, which has no lists, the conversation as JSON or the question itself."""
    if isinstance(messages, str):
        if not messages.lstrip().startswith("["):
            return messages.strip()
        messages = json.loads(messages)
    asked = [message["content"] for message in messages if message["role"] == "user"]
    return asked[-1].strip() if asked else ""


def read_own(row: Mapping) -> Example | None:
    """A row with `messages` (the last user turn asks), `answer_text` (the worked solution, may be empty) and `answer`."""
    answer = plain(row["answer"])
    return (
        Example(
            plain(row.get("id")), last_user_turn(row["messages"]), plain(row["answer_text"]), answer
        )
        if answer
        else None
    )


def read_gsm8k(row: Mapping) -> Example | None:
    r"""A GSM8K row; None when there is no `####` line.

    The calculator's marks, `<<48/2=24>>`, are taken out: they were written for a tool that the model does not have.

    >>> read_gsm8k({"question": "2 + 3?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"})
    Example(id='', question='2 + 3?', solution='2 + 3 = 5', answer='5')
    """
    if is_own(row):
        return read_own(row)
    solution, mark, answer = plain(row["answer"]).rpartition("####")
    return (
        Example(
            plain(row.get("id")),
            row["question"].strip(),
            CALCULATOR.sub("", solution).strip(),
            answer.strip(),
        )
        if mark
        else None
    )


def read_openr1(row: Mapping) -> Example | None:
    """An OpenR1-Math-220k row with its shortest verified generation as the solution; None where no generation was verified.

    >>> read_openr1({"problem": "2 + 3?", "answer": "5", "generations": ["4", "2 + 3 = 5"], "correctness_math_verify": [False, True]}).solution
    '2 + 3 = 5'
    """
    if is_own(row):
        return read_own(row)
    found, answer = verified(row), plain(row["answer"])
    return (
        Example(plain(row.get("uuid")), row["problem"].strip(), min(found, key=len).strip(), answer)
        if found and answer
        else None
    )


def verified(row: Mapping) -> list[str]:
    """The finished generations that math-verify, or the judge where it could not tell, found right. Any of the lists may be null."""
    texts = row["generations"] or []
    checks = [
        row.get(name) or [None] * len(texts)
        for name in ("correctness_math_verify", "correctness_llama", "is_reasoning_complete")
    ]
    return [
        text
        for text, rule, judge, whole in zip(texts, *checks, strict=False)
        if text and (rule is True or judge is True) and whole is not False
    ]


def read_dapo(row: Mapping) -> Example | None:
    """A DAPO-Math row of either published schema, without the wrapper around the question; there is no solution to learn from.

    >>> read_dapo({"prompt": "2 + 3?", "solution": "5"})
    Example(id='', question='2 + 3?', solution='', answer='5')
    """
    if is_own(row):
        return read_own(row)
    processed, extra = isinstance(row["prompt"], str), row.get("extra_info")
    answer = plain(row["solution"] if processed else row["reward_model"]["ground_truth"])
    question = row["prompt"].strip() if processed else last_user_turn(row["prompt"])
    question = question.removeprefix(WRAPPER[0].strip()).removesuffix(WRAPPER[1].strip()).strip()
    return (
        Example(
            plain(extra.get("index")) if isinstance(extra, Mapping) else "", question, "", answer
        )
        if answer
        else None
    )


def read_phybench(row: Mapping) -> Example | None:
    r"""A PHYBench row; the answer, else the last box of the solution; None where neither is public.

    >>> read_phybench({"content": "The energy?", "solution": r"so \boxed{mgh}", "answer": ""}).answer
    'mgh'
    """
    if is_own(row):
        return read_own(row)
    solution = plain(row.get("solution"))
    answer = plain(row["answer"]) or BOXED.extract(solution)
    return (
        Example(plain(row.get("id")), row["content"].strip(), solution, answer) if answer else None
    )


def read_math500(row: Mapping) -> Example | None:
    """A MATH-500 row.

    >>> read_math500({"problem": "2 + 3?", "solution": "2 + 3 = 5", "answer": "5", "unique_id": "test/1"})
    Example(id='test/1', question='2 + 3?', solution='2 + 3 = 5', answer='5')
    """
    if is_own(row):
        return read_own(row)
    answer = plain(row["answer"])
    return (
        Example(
            plain(row.get("unique_id")), row["problem"].strip(), plain(row.get("solution")), answer
        )
        if answer
        else None
    )
