"""A recipe from its base to GRPO, as the notebooks do it: for the tests and for the table of results in the README."""

from __future__ import annotations

import time
from pathlib import Path

from helpers import data, evaluation
from helpers.machine.computer import Machine
from helpers.recipes import Recipe
from helpers.training import models, stages

BASE = str(models.TINY_MODEL)


def supervise(
    recipe: Recipe, machine: Machine, seed: int, out: Path, splits, steps: int = 0
) -> Path | None:
    """Priming and SFT, as the recipe has them; the last adapter, None for a recipe without."""
    return (
        stages.sft(stages.Job(recipe, machine, out, seed=seed, max_steps=steps), splits)
        if recipe.supervised
        else None
    )


def reinforce(
    recipe: Recipe,
    machine: Machine,
    seed: int,
    out: Path,
    splits,
    start: Path | None,
    steps: int = 0,
) -> Path:
    """GRPO from an adapter, or from the base."""
    return stages.grpo(
        stages.Job(
            recipe, machine, out, seed=seed, max_steps=steps, adapter=str(start or ""), force=True
        ),
        splits,
    )


def measure(
    recipe: Recipe, machine: Machine, seed: int, out: Path, problems, adapter: Path | None
) -> tuple[list[dict], list[dict]]:
    """Greedy records and records of four samples a problem, of an adapter or of the base."""
    model, tokenizer = models.load(str(adapter or BASE), recipe, machine)
    name = adapter.parent.name if adapter else "base"
    return tuple(
        evaluation.evaluate(
            model,
            tokenizer,
            recipe,
            problems,
            out / "eval" / f"{name}_{k}.jsonl",
            samples=k,
            seed=seed + 1,
        )
        for k in (0, 4)
    )


def learn(
    recipe: Recipe, machine: Machine, seed: int, out: Path, problems: int
) -> tuple[dict[str, tuple], float]:
    """The whole way: (greedy, sampled) records under "base", "sft" (where there is one) and "grpo", and the minutes of training."""
    splits = data.load(recipe, None, "tiny")
    asked = splits["test"].take(problems)
    found = {"base": measure(recipe, machine, seed, out, asked, None)}
    begun = time.time()
    start = supervise(recipe, machine, seed, out, splits)
    end = reinforce(recipe, machine, seed, out, splits, start)
    minutes = (time.time() - begun) / 60
    if start:
        found["sft"] = measure(recipe, machine, seed, out, asked, start)
    return found | {"grpo": measure(recipe, machine, seed, out, asked, end)}, minutes
