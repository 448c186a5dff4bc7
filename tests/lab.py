"""Makes `helpers/plots/lab.json`: `python -m tests.lab` (ten minutes on two cores)."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from helpers import data
from helpers import runs as runlog
from helpers.machine import computer as machines
from helpers.machine.computer import Machine
from helpers.plots import lab
from helpers.recipes import RECIPES, Recipe, for_model
from helpers.training import TrainingRun, models
from helpers.training import trainers as training
from tests.learning import BASE, supervise
from tests.runs import pathologies

SFT_STEPS, HELD_OUT, EVERY = 100, 100, 10
SFT_RUNS = {
    "Healthy": ("the recipe as it is", {}, 0),
    "Over-fitted": ("40 rows, 20 times each", {}, 40),
    "Broken": ("30 × the learning rate", {"learning_rate": 0.045}, 0),
}
GRPO_RUNS = {
    "Healthy": ("the recipe as it is", "", {}, None, "", ""),
    "Nothing to compare": (
        "every reply earns 1",
        "zero-variance groups",
        {},
        pathologies.constant,
        "zero_std_groups",
        "groups all equal",
    ),
    "Paid for length": (
        "a reward that counts tokens",
        "length-only reward",
        {},
        pathologies.length_only,
        "length",
        "length, of the limit",
    ),
    "Paid for the form": (
        "no reward for the answer",
        "format-only learning",
        {},
        pathologies.form_only,
        "follows",
        "in shape",
    ),
    "Cut off": (
        "at most 8 tokens",
        "truncation",
        {"max_completion": 8},
        None,
        "truncated",
        "cut off",
    ),
    "Too fast": (
        "100 × the learning rate",
        "learning rate too high",
        {"learning_rate": 0.05},
        None,
        "follows",
        "in shape",
    ),
}


def sft_log(recipe: Recipe, machine: Machine, out: Path, rows: int) -> list[dict]:
    """Loss on the rows of each step, and every ten steps that on held-out rows."""
    from trl import SFTTrainer

    model, tokenizer = models.load(BASE, recipe, machine)
    model = models.add_lora(model, recipe, machine, 0)
    splits = data.load(recipe, None, "cpu")
    learned = data.chosen(recipe, tokenizer, splits["train"], "sft", 0).examples
    run = TrainingRun(out, recipe, "sft", machine, 0, BASE)
    arguments = replace(
        training.sft_config(recipe, run, machine, SFT_STEPS),
        eval_strategy="steps",
        eval_steps=EVERY,
    )
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        processing_class=tokenizer,
        train_dataset=data.sft_dataset(recipe, tokenizer, learned[: rows or None]),
        eval_dataset=data.sft_dataset(recipe, tokenizer, splits["test"].examples[:HELD_OUT]),
    )
    trainer.train()
    held_out = {
        line["step"]: line["eval_loss"] for line in trainer.state.log_history if "eval_loss" in line
    }
    return [
        rounded(
            {"step": line["step"], "loss": line["loss"], "held_out": held_out.get(line["step"])}
        )
        for line in trainer.state.log_history
        if "loss" in line
    ]


def rounded(line: dict) -> dict:
    return {
        key: round(value, 4) if isinstance(value, float) else value
        for key, value in line.items()
        if value is not None
    }


def grpo_log(recipe: Recipe, log: list[dict], most: float) -> list[dict]:
    """What the figure draws of a log. most: what a reply can earn; 0: what a step of it earned."""
    most = most or max(line["reward_mean"] for line in log)
    return [
        rounded(
            {
                "step": line["step"],
                "paid": line["reward_mean"] / most,
                "length": line["completion_mean"] / recipe.grpo.max_completion,
                **{
                    key: line[key] for key in ("correct", "follows", "truncated", "zero_std_groups")
                },
            }
        )
        for line in log
    ]


def main() -> None:
    machine = machines.detect()
    recipe = for_model(RECIPES["gsm8k_xml"], True, "cpu")
    made: dict[str, dict] = {"sft": {}, "grpo": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, (cause, values, rows) in SFT_RUNS.items():
            other = replace(recipe, sft=replace(recipe.sft, **values))
            made["sft"][name] = {
                "cause": cause,
                "log": sft_log(other, machine, Path(folder, "s", name), rows),
            }
            print(name, made["sft"][name]["log"][-1], flush=True)
        start = supervise(recipe, machine, 0, Path(folder), data.load(recipe, None, "cpu"))
        for name, (cause, verdict, values, paid, key, label) in GRPO_RUNS.items():
            other, out = pathologies.changed(recipe, **values), Path(folder, name)
            found = pathologies.ill(other, machine, out, start, paid=paid)
            log = runlog.read_lines(out / recipe.name / "grpo" / "log.jsonl")
            step = next((v.step for v in found if v.name == verdict), 0)
            assert bool(step) == bool(verdict), (name, found)
            most = 0.0 if paid is pathologies.length_only else 1.0 if paid else recipe.maximum
            made["grpo"][name] = {
                "cause": cause,
                "verdict": verdict,
                "step": step,
                "shown_by": key,
                "label": label,
                "log": grpo_log(other, log, most),
            }
            print(
                name,
                [str(v) for v in found],
                log[-1]["reward_mean"],
                log[-1]["correct"],
                flush=True,
            )
    lab.FILE.write_text(
        json.dumps(made, indent=None, separators=(",", ":")).replace('{"step"', '\n{"step"') + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
