"""What GRPO pays for. Every function here follows TRL's contract: `f(completions, **columns)` gives one number a completion.

`gsm8k_xml` has four rewards of its own: three for the form and one for the last number, wherever it stands, as published; so that
the form does not die while the number is right, the three for the form together weigh as much. The other recipes use
`accuracy_reward` and `format_reward`, which read a reply with the recipe's own format and judge it with its own score, as evaluation
does. The weights stand in the recipe.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from helpers.answers import xml
from helpers.answers.formats import Format
from helpers.answers.grading import last_number, same_number
from helpers.answers.reading import after_thinking
from helpers.recipes import Recipe
from helpers.rows import Example

Reward = Callable[..., list[float | None]]
STEPS = 6  # lines of reasoning that earn `trace_reward`


def texts(completions: Sequence) -> list[str]:
    """The text of each completion, which TRL gives as a string or as a list of messages."""
    return [c if isinstance(c, str) else c[-1]["content"] for c in completions]


def r_strict(completions, **_) -> list[float]:
    """1 for exactly the shape that SFT taught, to the line break."""
    return [float(xml.strict(text)) for text in texts(completions)]


def r_soft(completions, **_) -> list[float]:
    """1 for all four tags once, in order and filled, with any white space."""
    return [float(xml.follows(text)) for text in texts(completions)]


def r_xmlcount(completions, **_) -> list[float]:
    """A quarter for each of the four tags that is there exactly once."""
    return [sum(text.count(tag) == 1 for tag in xml.TAGS) / 4 for text in texts(completions)]


def r_correctness(completions, answer, **_) -> list[float | None]:
    """1 if the last number of the reply, after any thinking, is the answer; None, which TRL leaves out, if the gold cannot be read."""
    return [
        same_number(last_number(after_thinking(text) or ""), gold)
        for text, gold in zip(texts(completions), answer, strict=True)
    ]


def accuracy_reward(completions, answer, *, format: Format, score, **_) -> list[float | None]:
    r"""The score, 0 to 1, of the answer that stands in its place; None, which TRL leaves out, if the gold cannot be read.

    >>> from helpers.answers import BOXED, same_math
    >>> accuracy_reward([r"so \boxed{\frac12}", "so 0.5"], answer=["0.5", "0.5"], format=BOXED, score=same_math)
    [1.0, 0.0]
    """
    return [
        score(format.extract(text), gold)
        for text, gold in zip(texts(completions), answer, strict=True)
    ]


def format_reward(completions, *, format: Format, **_) -> list[float]:
    r"""1 if the parts of the format are there, filled and closed, with one answer: a box, or thinking and a box.

    >>> from helpers.answers import THINK_BOXED
    >>> format_reward([r"<think>so</think> \boxed{7}", r"\boxed{7}"], format=THINK_BOXED)
    [1.0, 0.0]
    """
    return [float(format.holds(text)) for text in texts(completions)]


def trace_reward(completions, prompts=None, **_) -> list[float]:
    """1 for at least six lines of reasoning: different from each other and from the prompt's lines, with a letter or digit in them.

    >>> trace_reward(["\\n".join("abcdef"), "\\n" * 9, "again\\n" * 9])
    [1.0, 0.0, 0.0]
    """
    asked = [
        "\n".join(texts([p]) if isinstance(p, str) else [m["content"] for m in p])
        for p in prompts or [""] * len(completions)
    ]
    return [
        float(len(steps(text) - steps(prompt)) >= STEPS)
        for text, prompt in zip(texts(completions), asked, strict=True)
    ]


def steps(text: str) -> set[str]:
    """The different lines of a text that say something."""
    return {line.strip() for line in text.splitlines() if any(c.isalnum() for c in line)}


def r_repeat(completions, completion_ids=None, **_) -> list[float]:
    """Optional: 0 down to −1 as more three-token sequences repeat (TRL's repetition penalty)."""
    from trl.rewards import get_repetition_penalty_reward

    return get_repetition_penalty_reward()(need_ids("r_repeat", completion_ids))


def r_length(
    completions, completion_ids=None, max_completion_length: int = 700, **_
) -> list[float]:
    """Optional: 0, falling to −1 over the last fifth of the allowed length (the soft punishment of DAPO, from TRL)."""
    from trl.rewards import get_soft_overlong_punishment

    return get_soft_overlong_punishment(max_completion_length, max(1, max_completion_length // 5))(
        need_ids("r_length", completion_ids)
    )


def need_ids(name: str, completion_ids):
    if completion_ids is None:
        raise ValueError(
            f"{name} needs the completions' token ids.\nCall it through GRPOTrainer, or pass completion_ids=[[…], …]."
        )
    return completion_ids


REWARDS: dict[str, Reward] = {
    f.__name__: f
    for f in (
        r_strict,
        r_soft,
        r_xmlcount,
        r_correctness,
        r_length,
        r_repeat,
        accuracy_reward,
        format_reward,
        trace_reward,
    )
}


def reward_functions(recipe: Recipe) -> tuple[list[Reward], list[float]]:
    """A recipe's functions and their weights, in the recipe's order, as GRPOTrainer takes them."""
    unknown = [name for name in recipe.rewards if name not in REWARDS]
    if unknown:
        raise ValueError(
            f"Unknown reward {unknown[0]!r} in recipe {recipe.name!r}.\nThere are: {', '.join(REWARDS)}."
        )
    return [bound(REWARDS[name], recipe) for name in recipe.rewards], list(recipe.rewards.values())


def bound(function: Reward, recipe: Recipe) -> Reward:
    """The function with what it needs from the recipe, under the same name; itself if it needs nothing."""
    needs = {
        r_length: {"max_completion_length": recipe.grpo.max_completion},
        format_reward: {"format": recipe.format},
        accuracy_reward: {"format": recipe.format, "score": recipe.score},
    }.get(function)
    if needs is None:
        return function
    ready = functools.partial(function, **needs)
    ready.__name__ = function.__name__
    return ready


def reward_table(
    recipe: Recipe, completions: Sequence[str], answers: Sequence[str], **columns
) -> dict[str, list[float]]:
    """Each reward of the recipe for each completion, and their weighted `total`. Lists of length len(completions)."""
    functions, weights = reward_functions(recipe)
    table = {f.__name__: f(completions=completions, answer=answers, **columns) for f in functions}
    table["total"] = [
        sum(w * (r or 0.0) for w, r in zip(weights, row, strict=True))
        for row in zip(*table.values(), strict=True)
    ]
    return table


def written(recipe: Recipe, example: Example) -> str:
    """A right reply in the recipe's format; numbered steps stand for its reasoning where the recipe learns from no solution."""
    worked = "\n".join(f"Step {n}" for n in range(1, STEPS + 1))
    return recipe.format.write(
        example.solution if recipe.sft and example.solution else worked, example.answer
    )


def check_golds(recipe: Recipe, examples: Sequence[Example]) -> int:
    """Proves, before training, that every right answer written in the recipe's format earns the maximum.

    Returns how many were checked. Raises ValueError with the examples that do not: a reward that does not pay for the truth
    trains nothing, and no curve shows it.
    """
    replies = [written(recipe, e) for e in examples]
    ids = [[] for _ in replies]
    totals = reward_table(recipe, replies, [e.answer for e in examples], completion_ids=ids)[
        "total"
    ]
    bad = [e for e, total in zip(examples, totals, strict=True) if total < recipe.maximum - 1e-9]
    if bad or not examples:
        shown = ", ".join(f"{e.id}: {e.answer!r}" for e in bad[:5]) or "no examples"
        raise ValueError(
            f"{len(bad)} of {len(examples)} golds do not earn the full reward ({shown}).\n"
            "Mend the recipe's read_row, format or score, or drop these rows, before training."
        )
    return len(examples)


def group_advantages(rewards: Sequence[float], group: int) -> np.ndarray:
    """GRPO's advantages: (r − mean of its group) / (std of its group + 1e-4), the std with n − 1 as TRL and torch have it.

    rewards: shape (groups × group,), a group's members side by side. Returns the same shape. A group in which all rewards are
    equal gets zeros: it teaches nothing. Source: DeepSeekMath (Shao et al., 2024), section 4.1.

    >>> group_advantages([1, 0, 0, 1, 1, 1, 1, 1], group=4).round(2).tolist()
    [0.87, -0.87, -0.87, 0.87, 0.0, 0.0, 0.0, 0.0]
    """
    values = np.asarray(rewards, dtype=float)
    if group < 2 or values.size % group:
        raise ValueError(
            f"{values.size} rewards do not divide into groups of {group}.\nGive a multiple of the group size, at least 2."
        )
    values = values.reshape(-1, group)
    spread = values.std(axis=1, ddof=1, keepdims=True)
    return ((values - values.mean(axis=1, keepdims=True)) / (spread + 1e-4)).reshape(-1)
