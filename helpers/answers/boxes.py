r"""The formats that end in `\boxed{…}`."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from helpers.answers.formats import Format, after_thinking
from helpers.answers.numbers import LONGEST_REPLY, last_number
from helpers.answers.vocabulary import words

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


def final_box(text: str) -> Box | None:
    """The one box of a text, where nothing but the end of its sentence follows it."""
    found = list(boxes(text))
    if len(found) == 1 and found[0].value and CLOSING.fullmatch(text, found[0].end):
        return found[0]
    return None


class Boxed(Format):
    r"""Of `openr1_boxed` and `phybench_eed`: free reasoning that ends in `\boxed{…}`."""

    name = "boxed"
    flexible = "the last box, else the last number, anywhere"

    def target(self, solution: str, answer: str) -> str:
        """The solution with its own boxes opened, so that the answer has the only one."""
        for box in reversed(list(boxes(solution))):
            if box.end >= 0:
                solution = solution[: box.start] + box.value + solution[box.end :]
        return f"{solution}\n\nThe final answer is $\\boxed{{{answer}}}$."

    def follows(self, text: str) -> bool:
        """Some reasoning, then one box, and nothing after it but the end of its sentence."""
        rest = after_thinking(text)
        box = final_box(rest)
        if box is None or text.count("<think>") > 1 or text.count("</think>") > 1:
            return False  # two replies in one
        before = THINK_TAG.sub(" ", text[: len(text) - len(rest) + box.start])
        return not {word.strip("$.,:*=()[]\\") for word in before.lower().split()} <= PHRASES

    def holds(self, text: str) -> bool:
        """Whether a box with one answer is there, wherever else text stands."""
        return self.extract(text) is not None

    def extract(self, text: str) -> str | None:
        r"""The content of the last box after the thinking.

        None when there is none, when it is empty or cut off, or when it is hedged: an earlier box
        with another value is an intermediate result only if some working stands between the two.

        >>> BOXED.extract(r"<think>\boxed{3}?</think> It is \boxed{\frac{1}{2}}.")
        '\\frac{1}{2}'
        >>> BOXED.extract(r"First \boxed{9}, then $9\cdot 2=\boxed{18}$.")
        '18'
        """
        rest = after_thinking(text)
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

    def extract_flexible(self, text: str) -> str | None:
        r"""The last filled box anywhere, else the last number anywhere.

        >>> BOXED.extract_flexible(r"<think>\boxed{x+1}</think> 18")
        'x+1'
        """
        found = last_number(text)
        for box in boxes(text[-LONGEST_REPLY:]):
            found = box.value or found
        return found


class ThinkBoxed(Boxed):
    """Of `dapo_think`: reasoning between `<think>` tags, then a box."""

    name = "think_boxed"

    def target(self, solution: str, answer: str) -> str:
        return f"<think>\n{solution}\n</think>\n\nThe final answer is $\\boxed{{{answer}}}$."

    def follows(self, text: str) -> bool:
        """Thinking between its tags, then one box, and nothing after it."""
        return self.holds(text) and final_box(after_thinking(text)) is not None

    def holds(self, text: str) -> bool:
        """Whether a filled `<think>…</think>` and, after it, a box with one answer are there."""
        if THINK_TAG.findall(text) != ["<think>", "</think>"]:
            return False
        before, thinking, _ = THINK_TAG.split(text)
        return not before.strip() and bool(thinking.strip()) and super().holds(text)


BOXED = Boxed()
THINK_BOXED = ThinkBoxed()
