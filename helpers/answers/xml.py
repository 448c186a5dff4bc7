"""The format of `gsm8k_xml`: `<reasoning>steps</reasoning>`, then `<answer>…</answer>`."""

from __future__ import annotations

import re

from helpers.answers.reading import after_thinking, single_value

TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
SHAPE = re.compile(
    r"\s*<reasoning>(?P<steps>.*)</reasoning>\s*<answer>(?P<answer>.*)</answer>\s*", re.DOTALL
)
TAUGHT = re.compile(
    r"<reasoning>\n.+\n</reasoning>\n<answer>\nThe final answer is [^\n]*\.\n</answer>\s*",
    re.DOTALL,
)


def target(solution: str, answer: str) -> str:
    answer = f"The final answer is {answer}."
    return f"<reasoning>\n{solution}\n</reasoning>\n<answer>\n{answer}\n</answer>"


def follows(text: str) -> bool:
    """Each part once, in order, not empty, and nothing around them but white space."""
    if any(text.count(tag) != 1 for tag in TAGS):
        return False
    shape = SHAPE.fullmatch(text)
    if shape is None or not shape["steps"].strip():
        return False
    return single_value(shape["answer"]) is not None


def strict(text: str) -> bool:
    """Exactly the shape that SFT teaches, to the line break and the sentence.

    White space after the end is forgiven.
    """
    return follows(text) and TAUGHT.fullmatch(text) is not None


def extract(text: str) -> str | None:
    """The last answer; None when its part is missing, cut off, inside the reasoning, or hedged."""
    after = (after_thinking(text) or "").rpartition("</reasoning>")[2]
    if "<reasoning>" in after:
        return None
    values = set()
    for block in after.split("<answer>")[1:]:
        inside, end, _ = block.partition("</answer>")
        values.add(single_value(inside) if end else None)
    return values.pop() if len(values) == 1 else None
