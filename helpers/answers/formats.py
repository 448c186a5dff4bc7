"""Answer formats: how a reply is written, recognised, and read. Those with boxes are in `boxes`.

The text comes from a model, so every function takes time linear in its length, and nothing but
`write` ever raises.
"""

import re

from helpers.answers.comparing import NeedsSymbols, says_the_same
from helpers.answers.numbers import LONGEST_REPLY, last_number
from helpers.answers.tree import Unreadable
from helpers.answers.vocabulary import VOCABULARY

LONGEST_VALUE = 3_000  # characters
LABEL = re.compile(r"(?:the )?(?:final )?answer(?: is)?:? *", re.IGNORECASE)
CANDIDATES = re.compile(r"\s(?:or|and|either|maybe)\s|[;?=]|\n", re.IGNORECASE)

XML_TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
SHAPE = re.compile(
    r"\s*<reasoning>(?P<steps>.*)</reasoning>\s*<answer>(?P<answer>.*)</answer>\s*", re.DOTALL
)
MARK = re.compile(r"^[ \t]*####(?!#)(?P<value>.*)$", re.MULTILINE)
LM_EVAL = re.compile(r"#### (-?[0-9.,]+)")


def after_thinking(text: str) -> str:
    """What follows the last `</think>`; the whole text where there is no thinking.

    Empty while thinking is still open, and for a text longer than any reply.

    >>> after_thinking("<think>18?</think> It is 18."), after_thinking("<think>It is 18.")
    (' It is 18.', '')
    """
    rest = text.rpartition("</think>")[2]
    return "" if "<think>" in rest or len(text) > LONGEST_REPLY else rest


def single_value(text: str) -> str | None:
    """The value that an answer part states; None when it is empty or holds more than one."""
    text = text.strip()
    label = LABEL.match(text)
    if label:
        text = text[label.end() :]
    text = text.removesuffix(".").rstrip()
    if len(text) > LONGEST_VALUE or not text or "<" in text or CANDIDATES.search(text):
        return None
    return text


def same_value(one: str, other: str) -> bool:
    r"""Whether two texts state one value, perhaps in two dresses, as far as their trees say.

    >>> same_value("9", r"9.0\text{ pens}"), same_value("9 cm", "9 m"), same_value("x=9", "9")
    (True, False, True)
    """
    if one == other:
        return True
    try:
        return says_the_same(one, other)
    except (Unreadable, NeedsSymbols):
        return False


class Format:
    """How a reply is written, recognised, and read.

    A format of your own needs its `name`, an instruction of that name in `vocabulary.toml`, and

    target(solution, answer): what SFT teaches, unchecked.
    follows(text): whether it is exactly the shape asked for; for log and evaluation.
    extract(text): the answer, from the place where it belongs, or None.
    """

    name: str
    flexible = "the last number anywhere"  # what `extract_flexible` gives, in words

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

    def holds(self, text: str) -> bool:
        """What `format_reward` pays for: `follows`, but where a format is more lenient."""
        return self.follows(text)

    def extract_flexible(self, text: str) -> str | None:
        """The last number anywhere; for evaluation only."""
        return last_number(text)

    def lm_eval(self, text: str, gold: str) -> bool | None:
        """What lm-evaluation-harness's strict filter says; None for formats that it has not."""
        return None


class Xml(Format):
    """Of `gsm8k_xml`: `<reasoning>steps</reasoning>`, then `<answer>…</answer>`."""

    name = "xml"

    def target(self, solution: str, answer: str) -> str:
        answer = f"The final answer is {answer}."
        return f"<reasoning>\n{solution}\n</reasoning>\n<answer>\n{answer}\n</answer>"

    def follows(self, text: str) -> bool:
        """Each part once, in order, not empty, and nothing around them but white space."""
        if any(text.count(tag) != 1 for tag in XML_TAGS):
            return False
        shape = SHAPE.fullmatch(text)
        if shape is None or not shape["steps"].strip():
            return False
        return single_value(shape["answer"]) is not None

    def extract(self, text: str) -> str | None:
        """The last answer; None if its part is missing, cut off, in the reasoning, or hedged."""
        after = after_thinking(text).rpartition("</reasoning>")[2]
        if "<reasoning>" in after:
            return None
        found = None
        for block in after.split("<answer>")[1:]:
            inside, end, _ = block.partition("</answer>")
            value = single_value(inside)
            if not end or value is None or not same_value(found or value, value):
                return None
            found = value
        return found


def strict_xml(text: str) -> bool:
    """Exactly the shape that SFT teaches, to the line break and the sentence.

    White space after the end is forgiven.
    """
    shape = SHAPE.fullmatch(text)
    if shape is None or not XML.follows(text):
        return False
    return text.rstrip() == XML.target(shape["steps"][1:-1], single_value(shape["answer"]))


class Hash(Format):
    """Of `gsm8k_hash`: steps, then a line `#### value`."""

    name = "hash"

    def target(self, solution: str, answer: str) -> str:
        return f"{solution}\n#### {answer}"

    def follows(self, text: str) -> bool:
        """Some reasoning, then one `#### value` line, and nothing after it."""
        if text.count("####") != 1 or self.extract(text) is None:
            return False
        before, _, line = after_thinking(text).rstrip().rpartition("####")
        return bool(before.strip()) and "\n" not in line

    def extract(self, text: str) -> str | None:
        """The value after the last `####`: `Answer: 18 dollars` is `18 dollars`.

        None when it is missing, names several values, or when text with numbers follows it.
        """
        rest, found, end = after_thinking(text), None, 0
        for mark in MARK.finditer(rest):
            value = single_value(mark["value"])
            if value is None or "#" in mark["value"] or not same_value(found or value, value):
                return None
            found, end = value, mark.end()
        return None if re.search(r"[0-9]", rest[end:]) else found

    def lm_eval(self, text: str, gold: str) -> bool:
        """It takes the first `#### number` anywhere, also in mid-line, and compares digits.

        Source: `gsm8k.yaml`, strict-match, of lm-evaluation-harness 0.4.
        """
        first = LM_EVAL.search(text)
        answers = [first[1] if first else "[invalid]", gold]
        bare = [answer.replace(",", "").replace("$", "").removesuffix(".") for answer in answers]
        return bare[0] == bare[1]


XML = Xml()
HASH = Hash()
