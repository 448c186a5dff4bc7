"""Answer formats: how a reply is written, recognised, and read.

The text comes from a model, so every function takes time linear in its length, and nothing but
`write` ever raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from helpers.answers import boxes, xml
from helpers.answers.grading import last_number
from helpers.answers.reading import LONGEST, after_thinking, single_value
from helpers.answers.tokens import VOCABULARY


@dataclass(frozen=True)
class Format:
    """Five functions of a text: how it is written, whether it fits, and where its answer stands."""

    name: str
    target: Callable[[str, str], str]  # what SFT teaches, of solution and answer; unchecked
    follows: Callable[[str], bool]  # exactly the shape asked for: for log and evaluation
    holds: Callable[[str], bool]  # the parts are there at all: what `format_reward` pays for
    extract: Callable[[str], str | None]  # the answer, from the place where it belongs
    extract_flexible: Callable[[str], str | None]  # the last box or number; for evaluation only

    @property
    def instruction(self) -> str:
        """For the system prompt."""
        return VOCABULARY["instructions"][self.name]

    def write(self, solution: str, answer: str) -> str:
        """The SFT target. Raises ValueError when the answer cannot be read back from it.

        >>> print(HASH.write("3 + 4 = 7", "7"))
        3 + 4 = 7
        #### 7
        """
        solution, answer = solution.strip(), answer.strip()
        text = self.target(solution, answer)
        if self.extract(text) != answer or not self.follows(text):
            raise ValueError(
                f"Solution {solution[:60]!r} with answer {answer[:60]!r} cannot be written as "
                f"{self.name} and read back.\nBoth must be filled and without the format's own "
                "marks, the answer one value on one line with balanced braces."
            )
        return text


MARK = re.compile(r"^[ \t]*####(?!#)(?P<value>.*)$", re.MULTILINE)
LABEL = re.compile(r"^(?:the )?(?:final )?answer(?: is)?:? *", re.IGNORECASE)


def hash_target(solution: str, answer: str) -> str:
    return f"{solution}\n#### {answer}"


def hash_extract(text: str) -> str | None:
    """The value after the last `####`.

    None when it is missing, names several values, or when text with numbers follows it.
    """
    rest = after_thinking(text) or ""
    found, end = None, 0
    for mark in MARK.finditer(rest):
        value = hash_value(mark["value"].strip())
        if value is None or found not in (None, value):
            return None
        found, end = value, mark.end()
    return None if re.search(r"[0-9]", rest[end:]) else found


def hash_value(line: str) -> str | None:
    """The one value on a marked line: `Answer: 18 dollars` is `18 dollars`."""
    return None if "#" in line else single_value(LABEL.sub("", line, count=1))


def hash_follows(text: str) -> bool:
    """Some reasoning, then one `#### value` line, and nothing after it."""
    if text.count("####") != 1 or hash_extract(text) is None:
        return False
    before, _, line = after_thinking(text).rstrip().rpartition("####")
    return bool(before.strip()) and "\n" not in line


def last_box_or_number(text: str) -> str | None:
    r"""The last filled box anywhere, else the last number anywhere.

    >>> last_box_or_number(r"<think>\boxed{x+1}</think> 18"), last_box_or_number("It is 18.")
    ('x+1', '18')
    """
    found = last_number(text)
    for box in boxes.boxes(text[-LONGEST:]):
        found = box.value or found
    return found


XML = Format(
    "xml",
    target=xml.target,
    follows=xml.follows,
    holds=xml.follows,
    extract=xml.extract,
    extract_flexible=last_number,
)
HASH = Format(
    "hash",
    target=hash_target,
    follows=hash_follows,
    holds=hash_follows,
    extract=hash_extract,
    extract_flexible=last_number,
)
BOXED = Format(
    "boxed",
    target=boxes.target,
    follows=boxes.follows,
    holds=boxes.holds,
    extract=boxes.extract,
    extract_flexible=last_box_or_number,
)
THINK_BOXED = Format(
    "think_boxed",
    target=boxes.think_target,
    follows=boxes.think_follows,
    holds=boxes.think_holds,
    extract=boxes.extract,
    extract_flexible=last_box_or_number,
)
