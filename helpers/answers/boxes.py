"""The formats that end in `\\boxed{…}`: `openr1_boxed` and `phybench_eed` reason freely, `dapo_think` between `<think>` tags."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from helpers.answers.reading import after_thinking

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
PHRASES = frozenset("so thus therefore hence the final answer is we get have it".split()) | {""}


class Box(NamedTuple):
    start: int  # where the mark begins
    end: int  # after its brace; -1 where it is cut off
    value: str


def boxes(text: str) -> Iterator[Box]:
    r"""The boxes of a text in order, a box within a box as part of the outer one. One pass, so linear in the text's length.

    >>> [box.value for box in boxes(r"\boxed{\frac{1}{2}} and \boxed 5")]
    ['\\frac{1}{2}', '5']
    """
    open_braces: list[
        int
    ] = []  # where the box of each open brace begins, -1 for a brace of its own
    nested = 0
    for match in MARK.finditer(text):
        mark = match.group()
        if match["open"]:
            open_braces.append(match.start())
            nested += 1
        elif mark == "{":
            open_braces.append(-1)
        elif mark == "}" and open_braces:
            start = open_braces.pop()
            nested -= start >= 0
            if start >= 0 and not nested:
                yield Box(
                    start, match.end(), text[MARK.match(text, start).end() : match.start()].strip()
                )
        elif mark.startswith("\\boxed") and not nested:
            bare = BARE.match(text, match.end())
            yield Box(match.start(), bare.end() if bare else -1, bare["value"] if bare else "")
    unclosed = next((start for start in open_braces if start >= 0), None)
    if unclosed is not None:
        yield Box(unclosed, -1, "")


def last_two(text: str) -> tuple[Box | None, Box | None]:
    """The last box, and the last one before it that has another value."""
    last = other = None
    for box in boxes(text):
        if last is not None and box.value != last.value:
            other = last
        last = box
    return last, other


def extract(text: str) -> str | None:
    r"""The content of the last box after the thinking; None when there is none, when it is empty or cut off, or when it is hedged.

    An earlier box with another value is an intermediate result if some working stands between the two, else a second candidate.

    >>> extract(r"<think>\boxed{3}?</think> It is \boxed{\frac{1}{2}}."), extract(r"It is \boxed{18} or \boxed{19}.")
    ('\\frac{1}{2}', None)
    >>> extract(r"First \boxed{13} remain, then $9\cdot 2=\boxed{18}$."), extract(r"It is \boxed{18")
    ('18', None)
    """
    rest = after_thinking(text)
    last, other = last_two(rest) if rest is not None else (None, None)
    if last is None or last.end < 0 or not last.value:
        return None
    return (
        last.value
        if other is None or (other.end >= 0 and derived(rest[other.end : last.start]))
        else None
    )


def derived(between: str) -> bool:
    """Whether the text between two boxes works towards the second one, instead of offering it as another candidate."""
    return bool(STEP.search(between)) and not HEDGE.search(between)


def only_box(text: str | None) -> Box | None:
    """The box of a text that has exactly one."""
    found = list(islice(boxes(text), 2)) if text is not None else []
    return found[0] if len(found) == 1 else None


def reasons(text: str) -> bool:
    """Whether a text holds more than the phrases that introduce an answer."""
    return any(word.strip("$.,:*=()[]\\") not in PHRASES for word in text.lower().split())


def holds(text: str) -> bool:
    r"""Whether a box with one answer is there, wherever else text stands.

    >>> holds(r"It is \boxed{18}, I think."), holds(r"It is \boxed{}.")
    (True, False)
    """
    return extract(text) is not None


def follows(text: str) -> bool:
    r"""Some reasoning, then one box, and nothing after it but the end of its sentence.

    >>> follows(r"3 + 4 = 7, so the answer is $\boxed{7}$."), follows(r"\boxed{7}"), follows(r"3 + 4 = 7: \boxed{7}, I think")
    (True, False, False)
    """
    if text.count("<think>") > 1 or text.count("</think>") > 1:
        return False  # two replies in one
    rest = after_thinking(text)
    box = only_box(rest)
    if box is None or not box.value or box.end < 0:
        return False
    thinking = text[: len(text) - len(rest)].replace("<think>", " ").replace("</think>", " ")
    return reasons(thinking + rest[: box.start]) and bool(CLOSING.fullmatch(rest, box.end))


def unboxed(solution: str) -> str:
    r"""A solution with its boxes opened, so that the answer has the only one.

    >>> unboxed(r"Hence $x = \boxed{\frac{1}{2}}$.")
    'Hence $x = \\frac{1}{2}$.'
    """
    for box in [box for box in boxes(solution) if box.end >= 0][::-1]:
        solution = solution[: box.start] + box.value + solution[box.end :]
    return solution


def write(solution: str, answer: str) -> str:
    r"""The SFT target. Raises ValueError when the answer cannot be read back, as with unbalanced braces.

    >>> print(write("3 + 4 = 7", "7"))
    3 + 4 = 7
    <BLANKLINE>
    The final answer is $\boxed{7}$.
    """
    answer = answer.strip()
    return checked(
        f"{unboxed(solution.strip())}\n\nThe final answer is $\\boxed{{{answer}}}$.",
        answer,
        follows,
    )


def think_parts(text: str) -> tuple[str, str] | None:
    """(thinking, rest) when the tags are there once each, in order, with something between them and nothing before."""
    if text.count("<think>") != 1 or text.count("</think>") != 1:
        return None
    before, _, tail = text.partition("<think>")
    thinking, closed, rest = tail.partition("</think>")
    return (thinking, rest) if closed and thinking.strip() and not before.strip() else None


def think_holds(text: str) -> bool:
    r"""Whether both a filled `<think>…</think>` and, after it, a box with one answer are there.

    >>> think_holds(r"<think>so</think> It is \boxed{18}."), think_holds(r"<think>\boxed{18}</think>")
    (True, False)
    """
    return think_parts(text) is not None and extract(text) is not None


def think_follows(text: str) -> bool:
    r"""Thinking between its tags, then one box, and nothing after it.

    >>> think_follows(r"<think>3 + 4 = 7</think> \boxed{7}"), think_follows(r"<think></think> \boxed{7}")
    (True, False)
    """
    parts = think_parts(text)
    box = only_box(parts[1]) if parts else None
    return (
        box is not None and extract(text) is not None and bool(CLOSING.fullmatch(parts[1], box.end))
    )


def think_write(solution: str, answer: str) -> str:
    r"""The target with the solution as thinking. Raises ValueError when it cannot be read back.

    >>> print(think_write("3 + 4 = 7", "7"))
    <think>
    3 + 4 = 7
    </think>
    <BLANKLINE>
    The final answer is $\boxed{7}$.
    """
    answer = answer.strip()
    return checked(
        f"<think>\n{solution.strip()}\n</think>\n\nThe final answer is $\\boxed{{{answer}}}$.",
        answer,
        think_follows,
    )


def checked(text: str, answer: str, shape) -> str:
    if extract(text) != answer or not shape(text):
        raise ValueError(
            f"A solution with the answer {answer[:60]!r} cannot be written in a box and read back.\n"
            "The solution must be non-empty and without thinking tags, the answer non-empty with balanced braces."
        )
    return text
