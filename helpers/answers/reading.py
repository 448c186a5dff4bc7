"""What all formats share: where a reply's answer may stand, and whether a text states one value."""

from __future__ import annotations

import re

LONGEST = 200_000  # characters; a reply of 32,000 tokens has fewer
LONGEST_VALUE = 3_000
SENTENCE = re.compile(r"(?:the )?(?:final )?answer is:? +(?P<value>\S.*)", re.IGNORECASE)
CANDIDATES = re.compile(r"\s(?:or|and|either|maybe)\s|[;?=]|\n", re.IGNORECASE)


def after_thinking(text: str) -> str | None:
    """What follows the last `</think>`; the whole text where there is no thinking.

    None while thinking is still open, and for a text longer than any reply.

    >>> after_thinking("<think>18?</think> It is 18."), after_thinking("<think>It is 18.")
    (' It is 18.', None)
    """
    rest = text.rpartition("</think>")[2]
    return None if "<think>" in rest or len(text) > LONGEST else rest


def single_value(text: str) -> str | None:
    """The value that an answer part states; None when it is empty or holds more than one."""
    text = text.strip()
    if len(text) > LONGEST_VALUE:
        return None
    sentence = SENTENCE.fullmatch(text)
    if sentence:
        text = sentence["value"]
    text = text.removesuffix(".").rstrip()
    if not text or "<" in text or CANDIDATES.search(text):
        return None
    return text
