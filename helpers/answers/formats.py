"""Answer formats: how a reply is written, recognised, and read.

A format is four functions. `write` makes the text that SFT teaches, `follows` says whether a text has exactly the shape asked for,
`extract` reads the answer from the place where it belongs, and `extract_flexible` reads the last number anywhere.
The text comes from a model: nothing here raises on it, and every function takes time linear in its length.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from helpers.answers.grading import last_number


@dataclass(frozen=True)
class Format:
    """name; the instruction for the system prompt; and the functions that the module docstring describes."""

    name: str
    instruction: str
    write: Callable[[str, str], str]
    follows: Callable[[str], bool]
    extract: Callable[[str], str | None]
    extract_flexible: Callable[[str], str | None]


XML_TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
SENTENCE = re.compile(r"(?:the )?(?:final )?answer is:? +(?P<value>\S.*)", re.IGNORECASE)
CANDIDATES = re.compile(r"\s(?:or|and|either|maybe)\s|[;?=]|\n", re.IGNORECASE)


def after_thinking(text: str) -> str | None:
    """What follows the last `</think>`; the whole text where there is no thinking; None while thinking is still open.

    >>> after_thinking("<think>18?</think> It is 18.")
    ' It is 18.'
    >>> after_thinking("<think>It is 18.") is None
    True
    """
    rest = text.rpartition("</think>")[2]
    return None if "<think>" in rest else rest


def xml_write(solution: str, answer: str) -> str:
    """The SFT target.

    Raises ValueError when either part is empty or holds one of the four tags, because such a text cannot be read back.

    >>> print(xml_write("3 + 4 = 7", "7"))
    <reasoning>
    3 + 4 = 7
    </reasoning>
    <answer>
    The final answer is 7.
    </answer>
    """
    solution, answer = solution.strip(), answer.strip()
    text = f"<reasoning>\n{solution}\n</reasoning>\n<answer>\nThe final answer is {answer}.\n</answer>"
    if xml_extract(text) != answer or not xml_follows(text):
        raise ValueError(f"Solution {solution[:60]!r} with answer {answer[:60]!r} cannot be written as XML and read back.\n"
                         "Each must be non-empty, without tags; the answer one value on one line.")
    return text


def xml_parts(text: str) -> tuple[str, str, str, str, str] | None:
    """The text cut at the four tags, if each is there exactly once and in order: before, reasoning, between, answer, after."""
    if any(text.count(tag) != 1 for tag in XML_TAGS):
        return None
    parts, rest = [], text
    for tag in XML_TAGS:
        part, found, rest = rest.partition(tag)
        if not found:
            return None
        parts.append(part)
    return parts[0], parts[1], parts[2], parts[3], rest


def xml_follows(text: str) -> bool:
    """Each part once, in order, not empty, nothing before, between or after; any white space; the answer is one value.

    >>> xml_follows("<reasoning> 3 + 4 = 7 </reasoning><answer>7</answer>")
    True
    >>> xml_follows("<reasoning></reasoning><answer>7</answer>")
    False
    """
    parts = xml_parts(text)
    if parts is None:
        return False
    before, reasoning, between, answer, after = (part.strip() for part in parts)
    return not (before or between or after) and bool(reasoning) and single_value(answer) is not None


def xml_strict(text: str) -> bool:
    """Exactly the shape that `xml_write` gives, to the line break and the sentence; white space after the end is forgiven.

    >>> xml_strict(xml_write("3 + 4 = 7", "7")), xml_strict("<reasoning>3 + 4 = 7</reasoning><answer>7</answer>")
    (True, False)
    """
    parts = xml_parts(text)
    if parts is None or not xml_follows(text):
        return False
    before, reasoning, between, answer, _ = parts
    lines = reasoning.startswith("\n") and reasoning.endswith("\n") and len(reasoning) > 2
    sentence = answer.startswith("\nThe final answer is ") and answer.endswith(".\n") and answer.count("\n") == 2
    return before == "" and between == "\n" and lines and sentence


def xml_extract(text: str) -> str | None:
    """The last answer, or None when the answer part is missing, cut off, inside the reasoning, or names several values.

    >>> xml_extract("<reasoning>…</reasoning><answer>The final answer is 1,234.</answer>")
    '1,234'
    >>> xml_extract("<reasoning>…</reasoning><answer>18</answer> or <answer>19</answer>") is None
    True
    >>> xml_extract("<reasoning>…</reasoning><answer>The final answer is 18") is None
    True
    """
    rest = after_thinking(text)
    if rest is None:
        return None
    before, closed, after = rest.rpartition("</reasoning>")
    if "<reasoning>" in after or (not closed and "<reasoning>" in rest):
        return None
    blocks = [block.partition("</answer>") for block in after.split("<answer>")[1:]]
    if not blocks or not all(end for _, end, _ in blocks):
        return None
    values = {single_value(inside) for inside, _, _ in blocks}
    return values.pop() if len(values) == 1 else None


def single_value(text: str) -> str | None:
    """The value that an answer part states; None when it is empty or holds more than one.

    >>> single_value("The final answer is $18."), single_value("18 or 19"), single_value(" 42 ")
    ('$18', None, '42')
    """
    text = text.strip()
    sentence = SENTENCE.fullmatch(text)
    if sentence:
        text = sentence["value"].removesuffix(".").rstrip()
    elif text.endswith("."):
        text = text[:-1].rstrip()
    if not text or "<" in text or CANDIDATES.search(text):
        return None
    return text


def xml_flexible(text: str) -> str | None:
    """The last number anywhere, which is also what the published reward of `gsm8k_xml` compares."""
    return last_number(text)


XML = Format(
    name="xml",
    instruction=("Reply in exactly this shape:\n<reasoning>\nyour steps\n</reasoning>\n"
                 "<answer>\nThe final answer is NUMBER.\n</answer>"),
    write=xml_write, follows=xml_follows, extract=xml_extract, extract_flexible=xml_flexible)
