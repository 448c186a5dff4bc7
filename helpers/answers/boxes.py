r"""The formats that end in `\boxed{…}`.

`openr1_boxed` and `phybench_eed` reason freely, `dapo_think` between `<think>` tags.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from helpers.answers.reading import after_thinking
from helpers.answers.tokens import words

INSTRUCTION = "Reason step by step, and put your final answer within \\boxed{}."
THINK_INSTRUCTION = (
    "First think between <think> and </think>, step by step. "
    "Then give your final answer within \\boxed{}."
)
MARK = re.compile(r"\\boxed(?![A-Za-z])\s*(?P<open>\{)?|\\.|[{}]", re.DOTALL)
BARE = re.compile(r"\s*(?P<value>\\[A-Za-z]+|[^\s\\{}$])")
STEP = re.compile(r"[0-9A-Za-z)}] ?(?:[-+*/×·^÷=]|\\(?:cdot|times|div|frac|sqrt|pm)\b)")
HEDGE = re.compile(
    r"\b(?:or|either|alternatively|maybe|perhaps|possibly|otherwise)\b", re.IGNORECASE
)
CLOSING = re.compile(r"(?:[\s$.*]|\\\)|\\\])*")
PHRASES = words("phrases") | {""}


class Box(NamedTuple):
    start: int  # where the mark begins
    end: int  # after its brace; -1 where it is cut off
    value: str  # empty where it is cut off


def boxes(text: str) -> Iterator[Box]:
    r"""The boxes of a text in order, a box within a box as part of the outer one.

    One pass, so linear in the text's length.

    >>> [box.value for box in boxes(r"\boxed{\frac{1}{2}} and \boxed 5")]
    ['\\frac{1}{2}', '5']
    """
    opened = []  # of each open brace: where the mark of its box stands, None for a lone brace
    nested = 0
    for match in MARK.finditer(text):
        mark = match.group()
        if match["open"]:
            opened.append(match.span())
            nested += 1
        elif mark == "{":
            opened.append(None)
        elif mark == "}" and opened:
            box = opened.pop()
            nested -= box is not None
            if box and not nested:
                yield Box(box[0], match.end(), text[box[1] : match.start()].strip())
        elif mark.startswith("\\boxed") and not nested:
            bare = BARE.match(text, match.end())
            if bare:
                yield Box(match.start(), bare.end(), bare["value"])
            else:
                yield Box(match.start(), -1, "")
    if nested:
        yield Box(next(filter(None, opened))[0], -1, "")


def extract(text: str) -> str | None:
    r"""The content of the last box after the thinking.

    None when there is none, when it is empty or cut off, or when it is hedged: an earlier box with
    another value is an intermediate result only if some working stands between the two.

    >>> extract(r"<think>\boxed{3}?</think> It is \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    >>> extract(r"First \boxed{9}, then $9\cdot 2=\boxed{18}$."), extract(r"\boxed{18}, \boxed{19}")
    ('18', None)
    """
    rest = after_thinking(text) or ""
    last = other = None  # the last box, and the last one before it that has another value
    for box in boxes(rest):
        if last and box.value != last.value:
            other = last
        last = box
    if last is None or not last.value:
        return None
    if other is not None:
        between = rest[other.end : last.start]
        if HEDGE.search(between) or not STEP.search(between):
            return None
    return last.value


def only_box(text: str) -> Box | None:
    """The box of a text that has exactly one, and a filled one."""
    found = list(islice(boxes(text), 2))
    return found[0] if len(found) == 1 and found[0].value else None


def reasons(text: str) -> bool:
    """Whether a text holds more than the phrases that introduce an answer."""
    said = {word.strip("$.,:*=()[]\\") for word in text.lower().split()}
    return not said <= PHRASES


def holds(text: str) -> bool:
    r"""Whether a box with one answer is there, wherever else text stands.

    >>> holds(r"It is \boxed{18}, I think."), holds(r"It is \boxed{}.")
    (True, False)
    """
    return extract(text) is not None


def follows(text: str) -> bool:
    r"""Some reasoning, then one box, and nothing after it but the end of its sentence.

    >>> follows(r"3 + 4 = 7, so the answer is $\boxed{7}$."), follows(r"\boxed{7}")
    (True, False)
    """
    if text.count("<think>") > 1 or text.count("</think>") > 1:
        return False  # two replies in one
    rest = after_thinking(text) or ""
    box = only_box(rest)
    if box is None or not CLOSING.fullmatch(rest, box.end):
        return False
    before = text[: len(text) - len(rest) + box.start]
    return reasons(before.replace("<think>", " ").replace("</think>", " "))


def target(solution: str, answer: str) -> str:
    r"""The solution with its own boxes opened, so that the answer has the only one.

    >>> print(target(r"Hence $x = \boxed{\frac{1}{2}}$.", "0.5"))
    Hence $x = \frac{1}{2}$.
    <BLANKLINE>
    The final answer is $\boxed{0.5}$.
    """
    for box in reversed(list(boxes(solution))):
        if box.end >= 0:
            solution = solution[: box.start] + box.value + solution[box.end :]
    return f"{solution}\n\nThe final answer is $\\boxed{{{answer}}}$."


def think_holds(text: str) -> bool:
    r"""Whether a filled `<think>…</think>` and, after it, a box with one answer are there.

    >>> think_holds(r"<think>so</think> \boxed{18}"), think_holds(r"<think>\boxed{18}</think>")
    (True, False)
    """
    if text.count("<think>") != 1 or text.count("</think>") != 1:
        return False
    before, thinking, _ = re.split("</?think>", text)
    ordered = text.index("<think>") < text.index("</think>")
    return ordered and bool(thinking.strip()) and not before.strip() and holds(text)


def think_follows(text: str) -> bool:
    r"""Thinking between its tags, then one box, and nothing after it.

    >>> think_follows(r"<think>3 + 4 = 7</think> \boxed{7}"), think_follows(r"\boxed{7}")
    (True, False)
    """
    if not think_holds(text):
        return False
    rest = after_thinking(text)
    box = only_box(rest)
    return box is not None and bool(CLOSING.fullmatch(rest, box.end))


def think_target(solution: str, answer: str) -> str:
    return f"<think>\n{solution}\n</think>\n\nThe final answer is $\\boxed{{{answer}}}$."
