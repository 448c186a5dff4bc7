"""From one row of a dataset to an `Example`: a reader for each published schema.

A reader returns None for a row without a gold, or without the verified solution that the recipe
learns from; the loader counts those. Every reader also takes anyone's own rows (see `or_own`).
"""

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from helpers.answers import BOXED

CALCULATOR = re.compile(r"<<[^<>]*>>")
CHECKS = ("correctness_math_verify", "correctness_llama", "is_reasoning_complete")
NOTHING = ("nan", "none", "null", "n/a")
WRAPPER = (  # what DAPO-Math's prompts have before and after the question
    "Solve the following math problem step by step. The last line of your response should be of "
    "the form Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n",
    '\n\nRemember to put your answer on its own line after "Answer:".',
)


@dataclass(frozen=True)
class Example:
    """One problem. `id` and `solution` are "" where the row has none.

    columns: what the row holds beside them for rewards that ask for it.
    """

    id: str
    question: str
    solution: str
    answer: str
    columns: Mapping[str, object] = field(default_factory=dict)


Reader = Callable[[Mapping], Example | None]


def plain(value: object) -> str:
    """A field as text: "" for None, NaN and words that mean nothing is there; a float's 5.0 as 5.

    Raises TypeError for what is no text and no exact number: files hold integers from 2**53 on as
    floats that have lost digits.

    >>> plain(" 7 "), plain(5.0), plain(0.5), plain(None), plain(float("nan")), plain("N/A")
    ('7', '5', '0.5', '', '', '')
    """
    if value is None or value != value:
        return ""
    if isinstance(value, float) and abs(value) < 2**53:
        return repr(value).removesuffix(".0")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError("no text and no exact number")
    text = str(value).strip()
    return "" if text.lower() in NOTHING else text


def last_user_turn(messages: Sequence[Mapping] | str) -> str:
    """The question of a conversation; a CSV, which has no lists, holds it as JSON or plain text."""
    if isinstance(messages, str):
        if not messages.lstrip().startswith("["):
            return messages.strip()
        messages = json.loads(messages)
    asked = [message["content"] for message in messages if message["role"] == "user"]
    return asked[-1].strip() if asked else ""


def example(identity: object, question: str, solution: object, answer: object) -> Example | None:
    """The fields of a row as an example; None where there is no answer."""
    answer = plain(answer)
    if not answer:
        return None
    return Example(plain(identity), question.strip(), plain(solution), answer)


def or_own(read_row: Reader) -> Reader:
    """Lets a reader also take anyone's own rows, whatever the dataset is.

    They have `messages` (the last user turn asks), `answer_text` (may be empty) and `answer`.
    """

    @functools.wraps(read_row)
    def read(row: Mapping) -> Example | None:
        if row.get("messages") is None or "answer_text" not in row:
            return read_row(row)
        question = last_user_turn(row["messages"])
        return example(row.get("id"), question, row["answer_text"], row["answer"])

    return read


@or_own
def read_gsm8k(row: Mapping) -> Example | None:
    r"""A GSM8K row; None when there is no `####` line.

    The calculator's marks are taken out: they were written for a tool that the model does not have.

    >>> read_gsm8k({"question": "2 + 3?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"})
    Example(id='', question='2 + 3?', solution='2 + 3 = 5', answer='5')
    """
    solution, mark, answer = plain(row["answer"]).rpartition("####")
    if not mark:
        return None
    return example(row.get("id"), row["question"], CALCULATOR.sub("", solution), answer)


@or_own
def read_openr1(row: Mapping) -> Example | None:
    """An OpenR1-Math-220k row with its shortest verified generation; None where none was verified.

    Verified: math-verify, or the judge where it could not tell, found it right; and it is finished.

    >>> row = {"problem": "2 + 3?", "answer": "5", "generations": ["6", "so 5", "It is 5."]}
    >>> read_openr1(row | {"correctness_math_verify": [False, True, True]}).solution
    'so 5'
    """
    solutions = []
    checks = [row.get(name) or [] for name in CHECKS]  # each may be null
    for text, rule, judge, finished in zip_longest(row["generations"] or [], *checks):
        right = rule is True or judge is True
        if text and right and finished is not False:
            solutions.append(text)
    if not solutions:
        return None
    return example(row.get("uuid"), row["problem"], min(solutions, key=len), row["answer"])


@or_own
def read_dapo(row: Mapping) -> Example | None:
    """A DAPO-Math row of either published schema, without its wrapper; it has no solution.

    >>> read_dapo({"prompt": "2 + 3?", "solution": "5"})
    Example(id='', question='2 + 3?', solution='', answer='5')
    """
    if isinstance(row["prompt"], str):
        question, answer = row["prompt"].strip(), row["solution"]
    else:
        question, answer = last_user_turn(row["prompt"]), row["reward_model"]["ground_truth"]
    before, after = WRAPPER
    question = question.removeprefix(before).removesuffix(after)
    extra = row.get("extra_info") or {}
    return example(extra.get("index"), question, "", answer)


@or_own
def read_phybench(row: Mapping) -> Example | None:
    r"""A PHYBench row; the answer, else the last box of the solution; None where none is public.

    >>> read_phybench({"content": "The energy?", "solution": r"\boxed{mgh}", "answer": ""}).answer
    'mgh'
    """
    solution = plain(row.get("solution"))
    answer = plain(row["answer"]) or BOXED.extract(solution)
    return example(row.get("id"), row["content"], solution, answer)


@or_own
def read_math500(row: Mapping) -> Example | None:
    """A MATH-500 row."""
    return example(row.get("unique_id"), row["problem"], row.get("solution"), row["answer"])
