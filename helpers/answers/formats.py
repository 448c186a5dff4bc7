"""Answer formats: how a reply is written, recognised, and read.

A format is a handful of functions. `write` makes the text that SFT teaches, `follows` says whether a text has exactly the shape asked
for, `holds` whether the parts are there at all, `extract` reads the answer from the place where it belongs, and `extract_flexible`
reads the last box or number anywhere, for evaluation only. `write` raises ValueError for what it could not read back; nothing else
here ever raises. The text comes from a model, so every function takes time linear in its length.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from helpers.answers import boxes, xml
from helpers.answers.grading import last_number
from helpers.answers.reading import LONGEST, after_thinking, single_value


@dataclass(frozen=True)
class Format:
    """name; the instruction for the system prompt; and the functions that the module docstring describes."""

    name: str
    instruction: str
    write: Callable[[str, str], str]
    follows: Callable[[str], bool]
    holds: Callable[[str], bool]
    extract: Callable[[str], str | None]
    extract_flexible: Callable[[str], str | None]


MARK = re.compile(r"^[ \t]*####(?!#)(?P<value>.*)$", re.MULTILINE)
LABEL = re.compile(r"(?:the )?(?:final )?answer(?: is)?:? *", re.IGNORECASE)


def hash_write(solution: str, answer: str) -> str:
    """The SFT target: the solution, then `#### answer` on a line of its own. Raises ValueError when it cannot be read back.

    >>> print(hash_write("3 + 4 = 7", "7"))
    3 + 4 = 7
    #### 7
    """
    solution, answer = solution.strip(), answer.strip()
    text = f"{solution}\n#### {answer}"
    if hash_extract(text) != answer or not hash_follows(text):
        raise ValueError(
            f"Solution {solution[:60]!r} with answer {answer[:60]!r} cannot be written with #### and read back.\n"
            "The solution must be non-empty and without ####, the answer one value on one line."
        )
    return text


def hash_extract(text: str) -> str | None:
    r"""The value after the last `####`; None when it is missing, names several values, or when text with numbers follows it.

    >>> hash_extract("9 * 2 = 18\n#### $18"), hash_extract("#### 18 or 19"), hash_extract("#### 18\n#### 19")
    ('$18', None, None)
    """
    rest, found, end = after_thinking(text) or "", None, 0
    for mark in MARK.finditer(rest):
        value = hash_value(mark["value"])
        if value is None or found not in (None, value):
            return None
        found, end = value, mark.end()
    return None if re.search(r"[0-9]", rest[end:]) else found


def hash_value(line: str) -> str | None:
    """The one value on a marked line: `Answer: 18 dollars` is `18 dollars`."""
    line = line.strip()
    label = LABEL.match(line)
    return single_value(line[label.end() :] if label else line) if "#" not in line else None


def hash_follows(text: str) -> bool:
    r"""Some reasoning, then one `#### value` line, and nothing after it.

    >>> hash_follows("3 + 4 = 7\n#### 7"), hash_follows("#### 7"), hash_follows("3 + 4 = 7\n#### 7\nDone.")
    (True, False, False)
    """
    if text.count("####") != 1 or hash_extract(text) is None:
        return False
    rest = after_thinking(text)
    mark = MARK.search(rest)
    return bool(rest[: mark.start()].strip()) and not rest[mark.end() :].strip()


def last_box_or_number(text: str) -> str | None:
    r"""The last filled box anywhere, else the last number anywhere.

    >>> last_box_or_number(r"<think>\boxed{x+1}</think> 18"), last_box_or_number("It is 18.")
    ('x+1', '18')
    """
    found = None
    for box in boxes.boxes(text[-LONGEST:]):
        found = box.value or found
    return found or last_number(text)


XML = Format("xml", xml.INSTRUCTION, xml.write, xml.follows, xml.follows, xml.extract, last_number)
HASH = Format(
    "hash",
    "Reason step by step. End with a line of its own: #### NUMBER",
    hash_write,
    hash_follows,
    hash_follows,
    hash_extract,
    last_number,
)
BOXED = Format(
    "boxed",
    boxes.INSTRUCTION,
    boxes.write,
    boxes.follows,
    boxes.holds,
    boxes.extract,
    last_box_or_number,
)
THINK_BOXED = Format(
    "think_boxed",
    boxes.THINK_INSTRUCTION,
    boxes.think_write,
    boxes.think_follows,
    boxes.think_holds,
    boxes.extract,
    last_box_or_number,
)
