"""A look at eight groups before GRPO begins: is there anything to learn, and how long will it take?"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from helpers.data import messages, prompt_text
from helpers.recipes import Recipe
from helpers.rows import Example
from helpers.runs import duration
from helpers.training.models import generate
from helpers.training.rewards import reward_table

GENERATING = {
    "cpu": 0.42,
    "cuda": 0.7,
}  # the share of a step that generates: measured on the tiny profile; assumed for a GPU


def preflight(
    model,
    tokenizer,
    recipe: Recipe,
    examples: Sequence[Example],
    steps: int,
    device: str,
    seed: int = 0,
    force: bool = False,
) -> dict:
    """Samples a group for each of eight questions and prints what GRPO would have to work with, and about how long it will take.

    Returns the shares and the minutes. Raises ValueError, unless force, where nothing could be learned: all groups are without
    variance, or no reply ends.
    """
    group, asked = (
        recipe.grpo.generations,
        [e for e in examples[:8] for _ in range(recipe.grpo.generations)],
    )
    begun = time.perf_counter()
    replies = generate(
        model,
        tokenizer,
        [prompt_text(recipe, tokenizer, e.question) for e in asked],
        recipe.grpo.max_completion,
        temperature=recipe.grpo.temperature,
        seed=seed,
        label="pre-flight",
    )
    seconds = time.perf_counter() - begun
    totals = np.array(
        reward_table(
            recipe,
            [r.text for r in replies],
            [e.answer for e in asked],
            prompts=[messages(recipe, e.question) for e in asked],
            completion_ids=[tokenizer(r.text)["input_ids"] for r in replies],
        )["total"]
    ).reshape(-1, group)
    flat, cut = (
        float((np.ptp(totals, axis=1) < 1e-9).mean()),
        float(np.mean([not r.finished for r in replies])),
    )
    minutes = steps * seconds * recipe.grpo.batch / len(asked) / GENERATING[device] / 60
    print(
        f"{len(totals)} questions × {group} replies: {flat:.0%} of the groups without variance, {cut:.0%} of the replies cut off\n"
        f"mean reward {totals.mean():.2f} of {recipe.maximum:.2f}\n{steps} steps will take about {duration(minutes)}"
    )
    reason = (
        "every group has replies that all earn the same, so there is nothing to prefer"
        if flat == 1
        else "no reply ends within the limit"
        if cut == 1
        else None
    )
    if reason and not force:
        raise ValueError(
            f"Nothing could be learned: {reason}.\nMore SFT, easier questions or a larger max_completion; FORCE = True (in a terminal --force) trains all the same."
        )
    return {"zero_std_groups": flat, "truncated": cut, "minutes": minutes}
