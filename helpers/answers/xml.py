"""The format of `gsm8k_xml`: `<reasoning>steps</reasoning>`, then `<answer>…</answer>`."""

from __future__ import annotations

from helpers.answers.reading import after_thinking, single_value

TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
INSTRUCTION = (
    "Reply in exactly this shape:\n<reasoning>\nyour steps\n</reasoning>\n"
    "<answer>\nThe final answer is NUMBER.\n</answer>"
)


def target(solution: str, answer: str) -> str:
    answer = f"The final answer is {answer}."
    return f"<reasoning>\n{solution}\n</reasoning>\n<answer>\n{answer}\n</answer>"


def parts(text: str) -> list[str] | None:
    """Before, reasoning, between, answer, after: the text cut at the four tags.

    None unless each is there exactly once and in order.
    """
    cut, rest = [], text
    for tag in TAGS:
        part, found, rest = rest.partition(tag)
        if not found or text.count(tag) != 1:
            return None
        cut.append(part)
    return [*cut, rest]


def follows(text: str) -> bool:
    """Each part once, in order, not empty, and nothing around them but white space.

    >>> follows("<reasoning> 3 + 4 = 7 </reasoning><answer>7</answer>")
    True
    >>> follows("<reasoning></reasoning><answer>7</answer>")
    False
    """
    cut = parts(text)
    if cut is None:
        return False
    before, reasoning, between, answer, after = map(str.strip, cut)
    if before or between or after or not reasoning:
        return False
    return single_value(answer) is not None


def strict(text: str) -> bool:
    """Exactly the shape that SFT teaches, to the line break and the sentence.

    White space after the end is forgiven.

    >>> strict(target("3 + 4 = 7", "7")), strict("<reasoning>3</reasoning><answer>7</answer>")
    (True, False)
    """
    if not follows(text):
        return False
    before, reasoning, between, answer, _ = parts(text)
    if before or between != "\n" or not reasoning.startswith("\n") or len(reasoning) < 3:
        return False
    sentence = answer.startswith("\nThe final answer is ") and answer.endswith(".\n")
    return reasoning.endswith("\n") and sentence and answer.count("\n") == 2


def extract(text: str) -> str | None:
    """The last answer; None when its part is missing, cut off, inside the reasoning, or hedged.

    >>> extract("<reasoning>…</reasoning><answer>The final answer is 1,234.</answer>")
    '1,234'
    >>> extract("<answer>18</answer> or <answer>19</answer>"), extract("<answer>It is 18")
    (None, None)
    """
    rest = after_thinking(text) or ""
    _, closed, after = rest.rpartition("</reasoning>")
    if "<reasoning>" in after or (not closed and "<reasoning>" in rest):
        return None
    values = set()
    for block in after.split("<answer>")[1:]:
        inside, end, _ = block.partition("</answer>")
        values.add(single_value(inside) if end else None)
    return values.pop() if len(values) == 1 else None
