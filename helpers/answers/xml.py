"""The format of `gsm8k_xml`: steps between `<reasoning>` tags, then the answer between `<answer>` tags."""

from __future__ import annotations

from helpers.answers.reading import after_thinking, single_value

TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
INSTRUCTION = (
    "Reply in exactly this shape:\n<reasoning>\nyour steps\n</reasoning>\n"
    "<answer>\nThe final answer is NUMBER.\n</answer>"
)


def write(solution: str, answer: str) -> str:
    """The SFT target.

    Raises ValueError when either part is empty or holds one of the four tags, because such a text cannot be read back.

    >>> print(write("3 + 4 = 7", "7"))
    <reasoning>
    3 + 4 = 7
    </reasoning>
    <answer>
    The final answer is 7.
    </answer>
    """
    solution, answer = solution.strip(), answer.strip()
    text = (
        f"<reasoning>\n{solution}\n</reasoning>\n<answer>\nThe final answer is {answer}.\n</answer>"
    )
    if extract(text) != answer or not follows(text):
        raise ValueError(
            f"Solution {solution[:60]!r} with answer {answer[:60]!r} cannot be written as XML and read back.\n"
            "Each must be non-empty, without tags; the answer one value on one line."
        )
    return text


def parts(text: str) -> tuple[str, str, str, str, str] | None:
    """The text cut at the four tags, if each is there exactly once and in order: before, reasoning, between, answer, after."""
    if any(text.count(tag) != 1 for tag in TAGS):
        return None
    cut, rest = [], text
    for tag in TAGS:
        part, found, rest = rest.partition(tag)
        if not found:
            return None
        cut.append(part)
    return cut[0], cut[1], cut[2], cut[3], rest


def follows(text: str) -> bool:
    """Each part once, in order, not empty, nothing before, between or after; any white space; the answer is one value.

    >>> follows("<reasoning> 3 + 4 = 7 </reasoning><answer>7</answer>")
    True
    >>> follows("<reasoning></reasoning><answer>7</answer>")
    False
    """
    cut = parts(text)
    if cut is None:
        return False
    before, reasoning, between, answer, after = (part.strip() for part in cut)
    return not (before or between or after) and bool(reasoning) and single_value(answer) is not None


def strict(text: str) -> bool:
    """Exactly the shape that `write` gives, to the line break and the sentence; white space after the end is forgiven.

    >>> strict(write("3 + 4 = 7", "7")), strict("<reasoning>3 + 4 = 7</reasoning><answer>7</answer>")
    (True, False)
    """
    cut = parts(text)
    if cut is None or not follows(text):
        return False
    before, reasoning, between, answer, _ = cut
    lines = reasoning.startswith("\n") and reasoning.endswith("\n") and len(reasoning) > 2
    sentence = (
        answer.startswith("\nThe final answer is ")
        and answer.endswith(".\n")
        and answer.count("\n") == 2
    )
    return before == "" and between == "\n" and lines and sentence


def extract(text: str) -> str | None:
    """The last answer, or None when the answer part is missing, cut off, inside the reasoning, or names several values.

    >>> extract("<reasoning>…</reasoning><answer>The final answer is 1,234.</answer>")
    '1,234'
    >>> extract("<reasoning>…</reasoning><answer>18</answer> or <answer>19</answer>") is None
    True
    >>> extract("<reasoning>…</reasoning><answer>The final answer is 18") is None
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
