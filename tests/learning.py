"""A recipe from its base to GRPO, as the notebooks do it: for tests and for the README's table."""

import time
from pathlib import Path

from helpers import data, evaluation, training
from helpers.machine import Machine
from helpers.recipes import Recipe
from helpers.settings import Settings
from helpers.tiny import TINY_MODEL
from helpers.training import Adapter, stages

BASE = str(TINY_MODEL)


def job_of(recipe: Recipe, machine: Machine, seed: int, out: Path, **settings) -> stages.Job:
    """A recipe on the embedded model, with runs below `out`."""
    given = Settings(output=str(out), seed=seed, force=True, **settings)
    return stages.Job(given, recipe, machine, BASE)


def untrained(recipe: Recipe, machine: Machine):
    """(model, tokenizer): the base with new LoRA matrices."""
    model, tokenizer = training.load(BASE, recipe, machine)
    return training.add_lora(model, recipe, machine, 0), tokenizer


def supervise(recipe: Recipe, machine, seed: int, out: Path, splits, steps=0) -> Adapter | None:
    """Priming and SFT, as the recipe has them; the last adapter, None for a recipe without."""
    if not recipe.supervised:
        return None
    return stages.sft(job_of(recipe, machine, seed, out, max_steps=steps), splits)


def reinforce(
    recipe, machine, seed, out, splits, start: Adapter | None, steps=0, **settings
) -> Adapter:
    """GRPO from an adapter, or from the base."""
    settings["adapter"] = str(start.folder) if start else ""
    return stages.grpo(job_of(recipe, machine, seed, out, max_steps=steps, **settings), splits)


def measure(recipe, machine, seed, out, problems, adapter: Adapter | None) -> tuple[list, list]:
    """Greedy records and records of four samples a problem, of an adapter or of the base."""
    model, tokenizer = training.load(adapter or BASE, recipe, machine)
    name = adapter.folder.parent.name if adapter else "base"
    found = []
    for samples in (0, 4):
        path = out / "eval" / f"{name}_{samples}.jsonl"
        drawn = {"samples": samples, "seed": seed + 1}
        found.append(evaluation.evaluate(model, tokenizer, recipe, problems, path, **drawn))
    return tuple(found)


def learn(recipe, machine, seed, out, problems: int) -> tuple[dict[str, tuple], float]:
    """The whole way, measured: (greedy, sampled) records by stage, and the minutes of training."""
    splits = data.load(recipe, "", "cpu")
    asked = splits["test"].take(problems)
    found = {"base": measure(recipe, machine, seed, out, asked, None)}
    begun = time.time()
    start = supervise(recipe, machine, seed, out, splits)
    end = reinforce(recipe, machine, seed, out, splits, start)
    minutes = (time.time() - begun) / 60
    if start:
        found["sft"] = measure(recipe, machine, seed, out, asked, start)
    found["grpo"] = measure(recipe, machine, seed, out, asked, end)
    return found, minutes
