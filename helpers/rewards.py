"""What GRPO pays for. Every function here follows TRL's contract: `f(completions, **columns)` gives one number a completion.

The published rewards of `gsm8k_xml` are four: three for the form and one for the number. Their weights stand in the recipe.
`r_correctness` pays for the last number wherever it stands, as published; so that the form does not die while the number is
right, the three rewards for the form together weigh as much as it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from helpers.answers.formats import XML_TAGS, xml_follows, xml_strict
from helpers.answers.grading import last_number, same_number
from helpers.recipes import Example, Recipe

Reward = Callable[..., list[float | None]]


def texts(completions: Sequence) -> list[str]:
    """The text of each completion, which TRL gives as a string or as a list of messages."""
    return [c if isinstance(c, str) else c[-1]["content"] for c in completions]


def r_strict(completions, **_) -> list[float]:
    """1 for exactly the shape that SFT taught, to the line break."""
    return [float(xml_strict(text)) for text in texts(completions)]


def r_soft(completions, **_) -> list[float]:
    """1 for all four tags once, in order and filled, with any white space."""
    return [float(xml_follows(text)) for text in texts(completions)]


def r_xmlcount(completions, **_) -> list[float]:
    """A quarter for each of the four tags that is there exactly once."""
    return [sum(text.count(tag) == 1 for tag in XML_TAGS) / 4 for text in texts(completions)]


def r_correctness(completions, answer, **_) -> list[float | None]:
    """1 if the last number of the reply is the answer; None, which TRL leaves out, if the gold cannot be read."""
    return [same_number(last_number(text), gold) for text, gold in zip(texts(completions), answer, strict=True)]


def r_repeat(completions, completion_ids=None, **_) -> list[float]:
    """Optional: 0 down to −1 as more three-token sequences repeat (TRL's repetition penalty)."""
    from trl.rewards import get_repetition_penalty_reward

    return get_repetition_penalty_reward()(need_ids("r_repeat", completion_ids))


def r_length(completions, completion_ids=None, max_completion_length: int = 700, **_) -> list[float]:
    """Optional: 0, falling to −1 over the last fifth of the allowed length (the soft punishment of DAPO, from TRL)."""
    from trl.rewards import get_soft_overlong_punishment

    return get_soft_overlong_punishment(max_completion_length, max(1, max_completion_length // 5))(need_ids("r_length", completion_ids))


def need_ids(name: str, completion_ids):
    if completion_ids is None:
        raise ValueError(f"{name} needs the completions' token ids.\nCall it through GRPOTrainer, or pass completion_ids=[[…], …].")
    return completion_ids


REWARDS: dict[str, Reward] = {f.__name__: f for f in (r_strict, r_soft, r_xmlcount, r_correctness, r_length, r_repeat)}


def reward_functions(recipe: Recipe) -> tuple[list[Reward], list[float]]:
    """A recipe's functions and their weights, in the recipe's order, as GRPOTrainer takes them."""
    unknown = [name for name in recipe.rewards if name not in REWARDS]
    if unknown:
        raise ValueError(f"Unknown reward {unknown[0]!r} in recipe {recipe.name!r}.\nThere are: {', '.join(REWARDS)}.")
    return [with_limit(REWARDS[name], recipe) for name in recipe.rewards], list(recipe.rewards.values())


def with_limit(function: Reward, recipe: Recipe) -> Reward:
    """`r_length` for this recipe's completion limit, under the same name; every other function as it is."""
    if function is not r_length:
        return function
    limited = functools.partial(r_length, max_completion_length=recipe.grpo.max_completion)
    limited.__name__ = r_length.__name__
    return limited


def reward_table(recipe: Recipe, completions: Sequence[str], answers: Sequence[str], **columns) -> dict[str, list[float]]:
    """Each reward of the recipe for each completion, and their weighted `total`. Lists of length len(completions)."""
    functions, weights = reward_functions(recipe)
    table = {f.__name__: f(completions=completions, answer=answers, **columns) for f in functions}
    table["total"] = [sum(w * (r or 0.0) for w, r in zip(weights, row, strict=True)) for row in zip(*table.values(), strict=True)]
    return table


def maximum(recipe: Recipe) -> float:
    """The most that a completion can earn: penalties add nothing."""
    return sum(weight for name, weight in recipe.rewards.items() if name not in ("r_length", "r_repeat"))


def check_golds(recipe: Recipe, examples: Sequence[Example]) -> int:
    """Proves, before training, that every right answer written in the recipe's format earns the maximum.

    Returns how many were checked. Raises ValueError with the examples that do not: a reward that does not pay for the truth
    trains nothing, and no curve shows it.
    """
    written = [recipe.format.write(e.solution or "…", e.answer) for e in examples]
    ids = [[] for _ in written]
    totals = reward_table(recipe, written, [e.answer for e in examples], completion_ids=ids)["total"]
    bad = [e for e, total in zip(examples, totals, strict=True) if total < maximum(recipe) - 1e-9]
    if bad or not examples:
        shown = ", ".join(f"{e.id}: {e.answer!r}" for e in bad[:5]) or "no examples"
        raise ValueError(f"{len(bad)} of {len(examples)} golds do not earn the full reward ({shown}).\n"
                         "Mend the recipe's read_row, format or score, or drop these rows, before training.")
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
        raise ValueError(f"{values.size} rewards do not divide into groups of {group}.\nGive a multiple of the group size, at least 2.")
    values = values.reshape(-1, group)
    spread = values.std(axis=1, ddof=1, keepdims=True)
    return ((values - values.mean(axis=1, keepdims=True)) / (spread + 1e-4)).reshape(-1)
