"""A look at eight groups before GRPO: is there anything to learn, and how long will it take?"""

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

# The share of a step that generates: measured on the tiny profile; assumed for a GPU.
GENERATING = {"cpu": 0.42, "cuda": 0.7}


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
    """Samples a group for each of eight questions, and prints what GRPO would work with.

    Returns the shares and the minutes. Raises ValueError, unless force, if nothing can be learned.
    """
    grpo = recipe.grpo
    asked = [example for example in examples[:8] for _ in range(grpo.generations)]
    prompts = [prompt_text(recipe, tokenizer, example.question) for example in asked]
    begun = time.perf_counter()
    sampling = {"temperature": grpo.temperature, "seed": seed, "label": "pre-flight"}
    replies = generate(model, tokenizer, prompts, grpo.max_completion, **sampling)
    seconds = (time.perf_counter() - begun) / len(asked)  # a reply
    texts = [reply.text for reply in replies]
    golds = [example.answer for example in asked]
    columns = {
        "prompts": [messages(recipe, example.question) for example in asked],
        "completion_ids": tokenizer(texts)["input_ids"],
    }
    rewards = reward_table(recipe, texts, golds, **columns)
    totals = np.reshape(rewards["total"], (-1, grpo.generations))
    flat = float((np.ptp(totals, axis=1) < 1e-9).mean())
    cut = float(np.mean([not reply.finished for reply in replies]))
    minutes = steps * grpo.batch * seconds / GENERATING[device] / 60
    print(f"{len(totals)} questions × {grpo.generations} replies: ", end="")
    print(f"{flat:.0%} of the groups without variance, {cut:.0%} of the replies cut off")
    print(f"mean reward {totals.mean():.2f} of {recipe.maximum:.2f}")
    print(f"{steps} steps will take about {duration(minutes)}")
    reason = ""
    if flat == 1:
        reason = "every group has replies that all earn the same, so there is nothing to prefer"
    elif cut == 1:
        reason = "no reply ends within the limit"
    if reason and not force:
        cure = "More SFT, easier questions or a larger max_completion; "
        cure += "FORCE = True (in a terminal --force) trains all the same."
        raise ValueError(f"Nothing could be learned: {reason}.\n{cure}")
    return {"zero_std_groups": flat, "truncated": cut, "minutes": minutes}
