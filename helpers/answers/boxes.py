r"""The formats that end in `\boxed{…}`."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from helpers.answers.formats import Format, after_thinking, same_value
from helpers.answers.numbers import LONGEST_REPLY, last_number
from helpers.answers.vocabulary import words

MARK = r"\\{}(?![A-Za-z])\s*(?P<open>\{{)?|\\.|[{{}}]"
BOXED_MARK, FRAMED_MARK = (re.compile(MARK.format(name), re.DOTALL) for name in ("boxed", "fbox"))
BARE = re.compile(r"\s*(?P<value>\\[A-Za-z]+|[A-Za-z](?![A-Za-z])|[^\sA-Za-z\\{}$]|(?=\S))")
FILLER = re.compile(  # in a box that is only named, or shown as an example
    r"""(?i)(?:[\s{}$.,:;…?_~`'"()\[\]]|\\(?:[ ,;:!_]|\Z|[lcdv]?dots[bcm]?|q?quad|square|phantom)"""
    r"|\\(?:text|math|boxed)[a-z]*"
    r"|<?(?:your|the|final|answer|result|value|number|letter|here)\b>?)*+"
)
STEP = re.compile(r"[0-9A-Za-z)}] ?(?:[-+*/×·^÷=]|\\(?:cdot|times|div|frac|sqrt|pm)\b)")
HEDGE = re.compile(
    r"(?i)\b(?:(?:or|either|alternatively|maybe|perhaps|possibly|otherwise)\b"
    r"|(?:not|nor|rather than|instead of)[\s$*(]*\Z)"
)
CORRECTION = re.compile(
    r"(?is)(?!.*\b(?:also|both|could|might|may)\b)"
    r".*?\b(?:wait|oops|sorry|actually|correction|mistaken"
    r"|no(?=\s*[,.:;!—–-])|(?:wrong|incorrect)(?=\s*[).!])|mistake(?=!)|scratch that"
    r"|(?:is|was|looks|['’]s) (?:wrong|incorrect|not right|not correct)"
    r"|(?:that|this|it) (?:(?:is|was)n['’]t|can(?:not| not|['’]t) be) (?:right|correct|true)"
    r"|on second thoughts?|let me correct|misread|redo (?:this|that|it|the)"
    r"|(?:made|is|was) an? (?:\w+ )?(?:mistake|error|slip)|(?:it|that|this|answer) should be"
    r"|(?:right|correct|corrected|revised) (?:value|answer|result|number)"
    r"(?: is| should be|(?=:)))\b"
)
PART = re.compile(r"(?i)(?:(?:^|\n)[ *]*\(?|\s\()([a-f]|i{1,3}|i?v)\)|\bpart \(?([a-f1-6])\b")
SAYS = r"(?<![\w\\])(?!it\b|answer\b|that\b)(\\?[a-z][\w{}()]*) *(?:=|:|is\b|has\b)[\s$*]*"
NAMED = re.compile(rf"(?i){SAYS}\Z")
AND_NAMED = re.compile(  # from one box to the next: `, y =`, ` cm and the height is`
    r"(?i)[^\w,;]*+(?:\w+[^\w,;]*+)?(?:[,;]\W*+(?:and\W++)?|and\W++)(?:the |q?quad ?)?" + SAYS
)
CLOSING = re.compile(r"(?:[\s$.*]|\\\)|\\\])*")
THINK_TAG = re.compile("</?think>")
LONGEST_NAME = 80  # characters before a box in which its name is searched
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
    marks = BOXED_MARK if "\\boxed" in text else FRAMED_MARK
    for match in marks.finditer(text):
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
        elif mark.startswith(("\\boxed", "\\fbox")) and outer is None:
            bare = BARE.match(text, match.end())
            if bare:
                yield Box(match.start(), bare.end(), bare["value"])
            else:
                yield Box(match.start(), -1, "")
    if outer:
        yield Box(outer.start(), -1, "")


def answers(text: str) -> list[Box]:
    r"""The boxes of a text without those that are only named: `\boxed{}`, `\boxed{your answer}`."""
    return [box for box in boxes(text) if box.end < 0 or not FILLER.fullmatch(box.value)]


def in_parts(text: str, found: list[Box]) -> str | None:
    """The values of `(a) … (b) …` or `x = … and y = …`, where each box answers another part."""
    values, end = {}, 0
    for box in found:
        before, end = text[end : box.start], box.end
        label = PART.search(before) or AND_NAMED.fullmatch(before)
        if not values:
            label = label or NAMED.search(before[-LONGEST_NAME:])
        if label is None:
            return None
        if values.setdefault(label[label.lastindex].lower(), box.value) != box.value:
            return None
    return ", ".join(values.values())


def final_box(text: str) -> Box | None:
    """The one box of a text, where nothing but the end of its sentence follows it."""
    found = answers(text)
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
        said = {word.strip("$.,:*=()[]\\") for word in before.lower().split()}
        return not said <= PHRASES

    def holds(self, text: str) -> bool:
        """Whether a box with one answer is there, wherever else text stands."""
        return self.extract(text) is not None

    def extract(self, text: str) -> str | None:
        r"""The content of the last box after the thinking.

        None when there is none, when it is cut off, or when it is hedged: an earlier box with
        another value must be corrected, or be an intermediate result with some working after it.
        Boxes that answer a part each are read as a list.

        >>> BOXED.extract(r"<think>\boxed{3}?</think> It is \boxed{\frac{1}{2}}.")
        '\\frac{1}{2}'
        >>> BOXED.extract(r"First \boxed{9}, then $9\cdot 2=\boxed{18}$.")
        '18'
        """
        rest = after_thinking(text)
        found = answers(rest)
        if not found or found[-1].end < 0:
            return None
        last, others = found[-1], found[:-1]
        while others and same_value(others[-1].value, last.value):
            others.pop()
        if not others:
            return last.value
        between = rest[others[-1].end : last.start]
        if HEDGE.search(between):
            return None
        parts = in_parts(rest, found)
        if parts or AND_NAMED.fullmatch(between):
            return parts
        return last.value if STEP.search(between) or CORRECTION.match(between) else None

    def extract_flexible(self, text: str) -> str | None:
        r"""The last filled box anywhere, else the last number anywhere.

        >>> BOXED.extract_flexible(r"<think>\boxed{x+1}</think> 18")
        'x+1'
        """
        found = last_number(text)
        for box in answers(text[-LONGEST_REPLY:]):
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
        """Whether a filled `<think>…</think>` and, after it, a box with one answer are there.

        `<think>` may be missing: there are chat templates that open it in the prompt.
        """
        thinking, end, rest = text.partition("</think>")
        thinking = thinking.strip().removeprefix("<think>")
        if not end or not thinking.strip() or THINK_TAG.search(f"{thinking} {rest}"):
            return False
        return super().holds(text)


BOXED = Boxed()
THINK_BOXED = ThinkBoxed()
