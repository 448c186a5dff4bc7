"""A recipe from its base to GRPO, as the notebooks do it: for the tests and for the table of results in the README."""

from __future__ import annotations

import time
from pathlib import Path

from helpers import data, evaluation, models, rewards, runlog, training
from helpers.machine import Machine
from helpers.recipes import Recipe

BASE = str(models.TINY_MODEL)


def supervise(recipe: Recipe, machine: Machine, seed: int, out: Path, splits, steps: int | None = None) -> Path | None:
    """Priming and SFT, as the recipe has them; the last adapter, None for a recipe without."""
    from trl import SFTTrainer

    adapter = None
    if recipe.supervised:
        model, tokenizer = models.load(BASE, recipe, machine)
        model = models.add_lora(model, recipe, machine, seed)
    for stage in recipe.supervised:
        rows = data.chosen(recipe, tokenizer, splits["train"], stage, seed).examples
        run = runlog.Run(out, recipe, stage, machine, seed, BASE, parent=adapter)
        count = training.steps_of(recipe, stage, len(rows), steps)
        trainer = SFTTrainer(model=model, args=training.sft_config(recipe, run, machine, count, len(tokenizer)),
                             train_dataset=data.sft_dataset(recipe, rows), processing_class=tokenizer)
        adapter = training.train(trainer, run)
    return adapter


def reinforce(recipe: Recipe, machine: Machine, seed: int, out: Path, splits, start: Path | None, steps: int | None = None) -> Path:
    """GRPO from an adapter, or from the base."""
    from trl import GRPOTrainer

    model, tokenizer = models.load(str(start or BASE), recipe, machine)
    if start is None:
        model = models.add_lora(model, recipe, machine, seed)
    rows = data.chosen(recipe, tokenizer, splits["train"], "grpo", seed).examples
    run = runlog.Run(out, recipe, "grpo", machine, seed, BASE, parent=start)
    count = training.steps_of(recipe, "grpo", len(rows), steps)
    trainer = GRPOTrainer(model=model, reward_funcs=rewards.reward_functions(recipe)[0], processing_class=tokenizer,
                          args=training.grpo_config(recipe, run, machine, count, len(tokenizer)), train_dataset=data.grpo_dataset(recipe, rows))
    return training.train(trainer, run)


def measure(recipe: Recipe, machine: Machine, seed: int, out: Path, problems, adapter: Path | None) -> tuple[list[dict], list[dict]]:
    """Greedy records and records of four samples a problem, of an adapter or of the base."""
    model, tokenizer = models.load(str(adapter or BASE), recipe, machine)
    name = adapter.parent.name if adapter else "base"
    return tuple(evaluation.evaluate(model, tokenizer, recipe, problems, out / "eval" / f"{name}_{k}.jsonl", samples=k, seed=seed + 1) for k in (0, 4))


def learn(recipe: Recipe, machine: Machine, seed: int, out: Path, problems: int) -> tuple[dict[str, tuple], float]:
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
