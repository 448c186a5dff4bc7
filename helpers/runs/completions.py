"""What the completions of a step say beyond their rewards: the figures that verdicts read.

A question is answered before the step learns from it, so in a run's first epoch `correct` is on
questions that GRPO has not seen (SFT may have).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from helpers.recipes import Recipe


def figures(recipe: Recipe, samples: Sequence[Mapping], group: int) -> dict[str, float]:
    """The figures of a step; one that cannot be had is left out.

    correct, follows, score: shares of the replies and their mean score, judged as in evaluation,
    but that a reply which was cut off after its answer counts as right.
    distinct: different replies of a group, as a share of it.
    repetition: share of three-word sequences that occurred before in the same reply.
    reward_gap: what a right reply earns more than a wrong one of its group, form and length equal.
    reward_length_corr: of reward and length in a group, form and rightness equal: right replies
    may be longer, for they show their steps.
    zero_std_groups: share of the groups that agree, where each reward is normalised apart, in all
    of them; else the trainer says so.
    samples: a line a completion, a group's side by side, as in samples.jsonl.
    """
    table = pd.DataFrame(samples)
    group_of = np.arange(len(table)) // group
    table["follows"] = table["completion"].map(recipe.format.follows).astype(float)
    completions = table["completion"].groupby(group_of)
    found = {
        "repetition": table["completion"].map(repeated).mean(),
        "distinct": (completions.nunique() / completions.size()).mean(),
        "follows": table["follows"].mean(),
    }
    if recipe.grpo.aggregation == "normalize_then_sum":
        different = table[list(recipe.rewards)].groupby(group_of).nunique().max(axis="columns")
        found["zero_std_groups"] = (different <= 1).mean()
    if table["answer"].notna().all():
        table["score"] = [score(recipe, sample) for sample in samples]
        table["right"] = table["follows"] * (table["score"] == 1.0)
        found |= {"correct": table["right"].mean(), "score": table["score"].mean()}
        # What each reply has more than the mean of its group, form and length (or rightness) equal;
        # left out where too little of that differs.
        columns = table[["right", "follows", "reward", "tokens"]].astype(float)
        centred = columns - columns.groupby(group_of).transform("mean")
        reward, right = without(centred, ["follows", "tokens"], ["reward", "right"])
        if right @ right > 0.5:
            found["reward_gap"] = reward @ right / (right @ right)  # the slope of a regression
        left = without(centred, ["right", "follows"], ["reward", "tokens"])
        differing = np.sum(abs(left) > 1e-6, axis=1)
        if min(differing) >= len(table) / 4:
            found["reward_length_corr"] = np.corrcoef(left)[0, 1]
    return {key: round(float(value), 4) for key, value in found.items()}


def score(recipe: Recipe, sample: Mapping) -> float:
    """A reply's score: its accuracy reward, which is the same function, where that is paid."""
    if sample.get("accuracy_reward") is not None:
        return sample["accuracy_reward"]
    return recipe.score(recipe.format.extract(sample["completion"]), sample["answer"]) or 0.0


def without(table: pd.DataFrame, explaining: list[str], names: list[str]) -> np.ndarray:
    """What is left of columns when others have explained what they can (least squares); as rows."""
    known, columns = table[explaining].to_numpy(), table[names].to_numpy()
    weights = np.linalg.lstsq(known, columns, rcond=None)[0]
    return (columns - known @ weights).T


def repeated(text: str) -> float:
    """The share of three-word sequences that were there before.

    >>> repeated("one two three four"), round(repeated("so it is " * 5), 2)
    (0.0, 0.77)
    """
    words = text.split()
    threes = list(zip(words, words[1:], words[2:], strict=False))
    if not threes:
        return 0.0
    return 1 - len(set(threes)) / len(threes)
