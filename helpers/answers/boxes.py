r"""The formats that end in `\boxed{…}`.

`openr1_boxed` and `phybench_eed` reason freely, `dapo_think` between `<think>` tags.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from helpers.answers.reading import after_thinking
from helpers.answers.tokens import words

MARK = re.compile(r"\\boxed(?![A-Za-z])\s*(?P<open>\{)?|\\.|[{}]", re.DOTALL)
BARE = re.compile(r"\s*(?P<value>\\[A-Za-z]+|[^\s\\{}$])")
STEP = re.compile(r"[0-9A-Za-z)}] ?(?:[-+*/×·^÷=]|\\(?:cdot|times|div|frac|sqrt|pm)\b)")
HEDGE = re.compile(
    r"\b(?:or|either|alternatively|maybe|perhaps|possibly|otherwise)\b", re.IGNORECASE
)
CLOSING = re.compile(r"(?:[\s$.*]|\\\)|\\\])*")
THINK_TAG = re.compile("</?think>")
PHRASES = words("phrases") | {""}  # they introduce an answer, and give no reason for it


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
    depth = 0
    outer = level = None  # the mark of the box that is open, and how deep it stands
    for match in MARK.finditer(text):
        mark = match.group()
        if match["open"] or mark == "{":
            if match["open"] and outer is None:
                outer, level = match, depth
            depth += 1
        elif mark == "}" and depth:
            depth -= 1
            if outer and depth == level:
                yield Box(outer.start(), match.end(), text[outer.end() : match.start()].strip())
                outer = None
        elif mark.startswith("\\boxed") and outer is None:
            bare = BARE.match(text, match.end())
            if bare:
                yield Box(match.start(), bare.end(), bare["value"])
            else:
                yield Box(match.start(), -1, "")
    if outer:
        yield Box(outer.start(), -1, "")


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
    found = list(boxes(rest))
    if not found or not found[-1].value:
        return None
    last = found[-1]
    others = [box for box in found if box.value != last.value]
    if others:
        between = rest[others[-1].end : last.start]
        if HEDGE.search(between) or not STEP.search(between):
            return None
    return last.value


def holds(text: str) -> bool:
    """Whether a box with one answer is there, wherever else text stands."""
    return extract(text) is not None


def final_box(text: str) -> Box | None:
    """The one box of a text, where nothing but the end of its sentence follows it."""
    found = list(boxes(text))
    if len(found) == 1 and found[0].value and CLOSING.fullmatch(text, found[0].end):
        return found[0]
    return None


def follows(text: str) -> bool:
    """Some reasoning, then one box, and nothing after it but the end of its sentence."""
    rest = after_thinking(text) or ""
    box = final_box(rest)
    if box is None or text.count("<think>") > 1 or text.count("</think>") > 1:
        return False  # two replies in one
    before = THINK_TAG.sub(" ", text[: len(text) - len(rest) + box.start])
    return not {word.strip("$.,:*=()[]\\") for word in before.lower().split()} <= PHRASES


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
    """Whether a filled `<think>…</think>` and, after it, a box with one answer are there."""
    if THINK_TAG.findall(text) != ["<think>", "</think>"]:
        return False
    before, thinking, _ = THINK_TAG.split(text)
    return not before.strip() and bool(thinking.strip()) and holds(text)


def think_follows(text: str) -> bool:
    """Thinking between its tags, then one box, and nothing after it."""
    return think_holds(text) and final_box(after_thinking(text)) is not None


def think_target(solution: str, answer: str) -> str:
    return f"<think>\n{solution}\n</think>\n\nThe final answer is $\\boxed{{{answer}}}$."
