"""From one row of a dataset to an `Example`: a reader for each published schema.

A reader returns None for a row without a gold (its right answer), or without the verified solution
that the recipe learns from; the loader counts those. With `or_own` it takes anyone's own rows, too.
"""

import ast
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
QUESTIONS = ("messages", "conversations", "question", "problem", "prompt", "content", "instruction")
SOLUTIONS = ("answer_text", "solution", "output")
IDS = ("id", "uuid", "unique_id")
FORMS = {"conversations": "in ShareGPT's form ", "instruction": "in alpaca's form "}
ROLES = {"human": "user", "gpt": "assistant"}  # ShareGPT's names
# One number to some people and two to others; 1,234 is one to all recipes
DECIMAL_COMMA = re.compile(r"[-−+$\s]*(?:0,[0-9]+|[0-9.]+,(?:[0-9]{1,2}|[0-9]{4,}))(?![0-9,]).*")
FLOAT = re.compile(r"-?[0-9]+\.0")
# What is left of TeX in JSON that was written with one backslash: `\frac`, `\beta`, `\times`,
# `\right`, `\nabla`. A tab or a line break alone says nothing, nor one before a whole word.
LOST = re.compile(
    r"\x08|\x0c(?:rac|orall|box)|\r(?:ight|ho\b|floor|ceil)|\n(?:abla|otin)"
    r"|(?<![A-Za-z]{2})\neq\b(?! ?[.:(])"  # but no line that begins with `eq. 3`
    r"|\t(?:imes|heta|frac|riangle|ilde|herefore|ext[a-z]{0,2}\{|an ?[({^\\]|o [\\0-9-])"
)
WRAPPER = (  # what DAPO-Math's prompts have before and after the question
    "Solve the following math problem step by step. The last line of your response should be of "
    "the form Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n",
    '\n\nRemember to put your answer on its own line after "Answer:".',
)


class Unusable(ValueError):
    """A row that cannot be used; its text is the reason, as the loader counts it."""


@dataclass(frozen=True, slots=True)
class Example:
    """One problem. `id` and `solution` are "" where the row has none.

    columns: what the row holds beside them for rewards that ask for it.
    """

    id: str
    question: str
    solution: str
    answer: str
    columns: Mapping[str, object] = field(default_factory=dict, repr=False)


Reader = Callable[[Mapping], Example | None]


def plain(value: object) -> str:
    r"""A field as text: "" for None, NaN and words that mean nothing is there; 5.0 as 5.

    Raises TypeError for what is no text and no exact number: files hold integers from 2**53 on as
    floats that have lost digits; Unusable for what is left of `\frac` written with one backslash.

    >>> plain(" 7 "), plain(5.0), plain("0.5"), plain(None), plain(float("nan")), plain("N/A")
    ('7', '5', '0.5', '', '', '')
    """
    if value is None or value != value:
        return ""
    if isinstance(value, float) and abs(value) < 2**53:
        value = repr(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError("no text and no exact number")
    text = str(value)
    if LOST.search(text):
        raise Unusable("with a backslash lost in JSON, where it is written twice")
    text = text.strip()
    if FLOAT.fullmatch(text):
        return text.removesuffix(".0")
    return "" if text.lower() in NOTHING else text


def unboxed(answer: str) -> str:
    r"""An answer that is one box and nothing else, without it; any other as it is.

    >>> unboxed(r"$\boxed{\frac{1}{2}}$."), unboxed(r"\boxed{1} or \boxed{2}")
    ('\\frac{1}{2}', '\\boxed{1} or \\boxed{2}')
    """
    before, mark, after = answer.partition("\\boxed")
    if not mark or before.strip("$ \\(["):
        return answer
    box = mark + after.rstrip("$ .\\)]")
    value = BOXED.extract(box)
    whole = f"\\boxed{{{value}}}"
    return value if box.replace(" ", "") == whole.replace(" ", "") else answer


def conversation(turns: Sequence[Mapping] | str) -> tuple[str, str]:
    r"""(question, reply) of a conversation: its last turn, if the assistant's, is the reply.

    All before it is the question. A single turn stands as it is; of several, system turns do, and
    the others begin with who speaks; an empty line is between them. There is no question without a
    filled turn of the user. A CSV, which has no lists, holds the turns as JSON or one plain text.

    >>> turns = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "3 + 4?"}]
    >>> conversation([*turns, {"role": "assistant", "content": "7"}])
    ('Be short.\n\n3 + 4?', '7')
    >>> conversation([*turns, {"role": "assistant", "content": "7"}, turns[1]])[0]
    'Be short.\n\nUser: 3 + 4?\n\nAssistant: 7\n\nUser: 3 + 4?'
    """
    if isinstance(turns, str):
        if not re.match(r"\s*\[\s*\{", turns):
            return plain(turns), ""
        try:
            turns = json.loads(turns)
        except ValueError:
            turns = ast.literal_eval(turns)  # as Python and pandas write a list
    said = []
    for turn in turns:
        role = turn.get("from") or turn["role"]
        text = turn["value"] if turn.get("from") else turn["content"]
        said.append((ROLES.get(role, role), plain(text)))
    reply = said.pop()[1] if said and said[-1][0] == "assistant" else ""
    if not any(text for role, text in said if role == "user"):
        return "", reply
    several = sum(role != "system" for role, _ in said) > 1
    parts = []
    for role, text in said:
        speaker = f"{role.capitalize()}: " if several and role != "system" else ""
        parts.append(speaker + text)
    return "\n\n".join(parts), reply


def example(identity: object, question: str, solution: object, answer: object) -> Example | None:
    """The fields of a row as an example; None where there is no answer."""
    answer = unboxed(plain(answer))
    if not answer:
        return None
    return Example(plain(identity), plain(question), plain(solution), answer)


def filled(row: Mapping, names: Sequence[str]) -> str | None:
    """The name of the first of the columns that holds something; None where none does."""
    for name in names:
        if row.get(name) not in (None, ""):
            return name
    return None


def read_own(row: Mapping) -> Example | None:
    """Anyone's own row: a question, its `answer` and, for SFT, a worked solution.

    The question is a conversation in `messages` (`conversations` in ShareGPT's rows), or a text in
    `question`, `problem`, `prompt`, `content` or, in alpaca's rows, `instruction` and `input`. The
    solution is `answer_text`, `solution` or `output`, what stands before `####` in the answer, or
    the conversation's last reply. A row without `answer` has it in the solution's box, as in MATH.

    >>> read_own({"question": "2 + 3?", "answer": 5})
    Example(id='', question='2 + 3?', solution='', answer='5')
    """
    asked = filled(row, QUESTIONS)
    if asked is None:
        raise KeyError("question")
    solution = plain(row.get(filled(row, SOLUTIONS)))
    truth = row["answer"] if "answer" in row else BOXED.extract(solution)
    if truth is None and "answer" not in row:
        raise Unusable(FORMS.get(asked, "") + "without 'answer'")
    question, reply = conversation(row[asked])
    if asked == "instruction":
        question = f"{question}\n\n{plain(row.get('input'))}"
    worked, _, answer = plain(truth).rpartition("####")
    if DECIMAL_COMMA.fullmatch(answer):
        raise Unusable("with an answer such as 3,5 (write 3.5, or 3, 5 for two numbers)")
    solution = solution or CALCULATOR.sub("", worked) or reply
    return example(row.get(filled(row, IDS)), question, solution, answer)


def or_own(read_row: Reader) -> Reader:
    """Lets a reader also take anyone's own rows, whatever the dataset is."""

    @functools.wraps(read_row)
    def read(row: Mapping) -> Example | None:
        if row.get("messages") is not None and "answer_text" in row:
            return read_own(row)
        try:
            return read_row(row)
        except KeyError:
            if filled(row, QUESTIONS) is None:
                if any(name in row for name in QUESTIONS):
                    raise Unusable("without a question") from None
                raise
        return read_own(row)

    return read


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
    if "answer" in row:
        return read_own(row)
    question, _ = conversation(row["prompt"])
    truth = row["solution"] if isinstance(row["prompt"], str) else row["reward_model"]
    if isinstance(truth, Mapping):
        truth = truth["ground_truth"]
    before, after = WRAPPER
    question = question.replace(before, "").removesuffix(after)
    extra = row.get("extra_info") or {}
    return example(extra.get("index"), question, "", truth)


def read_gsm8k(row: Mapping) -> Example | None:
    r"""A GSM8K row: the solution stands before `####`, the answer after it.

    The calculator's marks are taken out: they were written for a tool that the model does not have.

    >>> read_gsm8k({"question": "2 + 3?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"})
    Example(id='', question='2 + 3?', solution='2 + 3 = 5', answer='5')
    """
    return read_own(row)


@or_own
def read_phybench(row: Mapping) -> Example | None:
    r"""A PHYBench row; the answer, else the last box of the solution; None where none is public.

    >>> read_phybench({"content": "The energy?", "solution": r"\boxed{mgh}", "answer": ""}).answer
    'mgh'
    """
    answer = plain(row["answer"]) or BOXED.extract(plain(row.get("solution")))
    return read_own({**row, "answer": answer})


@or_own
def read_math500(row: Mapping) -> Example | None:
    """A MATH-500 row."""
    return example(row["unique_id"], row["problem"], row["solution"], row["answer"])
