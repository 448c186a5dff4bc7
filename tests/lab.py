"""Makes `helpers/plots/lab.json`: `python -m tests.lab` (ten minutes on two cores)."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from helpers import data
from helpers.machine import Machine, detect
from helpers.plots import lab
from helpers.recipes import RECIPES, Recipe, for_model
from helpers.runs import Run
from helpers.training import TrainingRun, sft_config
from tests.learning import BASE, supervise, untrained
from tests.runs import pathologies
from tests.runs.pathologies import constant, form_only, length_only

from trl import SFTTrainer  # isort: skip  (after Unsloth)

SFT_STEPS, HELD_OUT, EVERY = 100, 100, 10
SFT_RUNS = {
    "Healthy": ("the recipe as it is", {}, 0),
    "Over-fitted": ("40 rows, 20 times each", {}, 40),
    "Broken": ("30 × the learning rate", {"learning_rate": 0.045}, 0),
}
GRPO_RUNS = {  # cause, verdict, settings that differ, the one reward
    "Healthy": ("the recipe as it is", "", {}, None),
    "Nothing to compare": ("every reply earns 1", "zero-variance groups", {}, constant),
    "Paid for length": ("a reward that counts tokens", "length-only reward", {}, length_only),
    "Paid for the form": ("no reward for the answer", "format-only learning", {}, form_only),
    "Cut off": ("at most 8 tokens", "truncation", {"max_completion": 8}, None),
    "Too fast": (
        "100 × the learning rate",
        "learning rate too high",
        {"learning_rate": 0.05},
        None,
    ),
}
SHOWN_BY = {  # by verdict: what gives it away in the log, and its label
    "": ("", ""),
    "zero-variance groups": ("zero_std_groups", "groups all equal"),
    "length-only reward": ("length", "length, of the limit"),
    "format-only learning": ("follows", "in shape"),
    "truncation": ("truncated", "cut off"),
    "learning rate too high": ("follows", "in shape"),
}
SHARES = ("correct", "follows", "truncated", "zero_std_groups")


def sft_log(recipe: Recipe, machine: Machine, out: Path, rows: int) -> list[dict]:
    """Loss on the rows of each step, and every ten steps that on held-out rows."""
    model, tokenizer = untrained(recipe, machine)
    splits = data.load(recipe, None, "cpu")
    learned = data.chosen(recipe, tokenizer, splits["train"], "sft", 0).examples
    run = TrainingRun(out, recipe, "sft", machine, 0, BASE)
    arguments = sft_config(recipe, run, machine, SFT_STEPS)
    trainer = SFTTrainer(
        model=model,
        args=replace(arguments, eval_strategy="steps", eval_steps=EVERY),
        processing_class=tokenizer,
        train_dataset=data.sft_dataset(recipe, tokenizer, learned[: rows or None]),
        eval_dataset=data.sft_dataset(recipe, tokenizer, splits["test"].examples[:HELD_OUT]),
    )
    trainer.train()
    lines, held_out = [], {}
    for line in trainer.state.log_history:
        if "loss" in line:
            lines.append({"step": line["step"], "loss": line["loss"]})
        elif "eval_loss" in line:
            held_out[line["step"]] = {"held_out": line["eval_loss"]}
    return [rounded(line | held_out.get(line["step"], {})) for line in lines]


def rounded(line: dict) -> dict:
    found = {}
    for key, value in line.items():
        found[key] = round(value, 4) if isinstance(value, float) else value
    return found


def grpo_log(recipe: Recipe, log: list[dict], most: float) -> list[dict]:
    """What the figure draws of a log. most: what a reply can earn; 0: what a step of it earned."""
    most = most or max(line["reward_mean"] for line in log)
    found = []
    for line in log:
        drawn = {"step": line["step"], "paid": line["reward_mean"] / most}
        drawn["length"] = line["completion_mean"] / recipe.grpo.max_completion
        found.append(rounded(drawn | {key: line[key] for key in SHARES}))
    return found


def main() -> None:
    machine, recipe = detect(), for_model(RECIPES["gsm8k_xml"], True, "cpu")
    sft, grpo = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (cause, values, rows) in SFT_RUNS.items():
            other = replace(recipe, sft=replace(recipe.sft, **values))
            log = sft_log(other, machine, Path(folder, "s", name), rows)
            sft[name] = {"cause": cause, "log": log}
            print(name, log[-1], flush=True)
        start = supervise(recipe, machine, 0, Path(folder), data.load(recipe, None, "cpu"))
        for name, (cause, verdict, values, paid) in GRPO_RUNS.items():
            other, out = pathologies.changed(recipe, **values), Path(folder, name)
            found = pathologies.ill(other, machine, out, start, paid=paid)
            step = next((v.step for v in found if v.name == verdict), 0)
            assert bool(step) == bool(verdict), (name, found)
            log = Run(out / recipe.name / "grpo").read_log()
            most = 0.0 if paid is length_only else 1.0 if paid else recipe.maximum
            grpo[name] = {"cause": cause, "verdict": verdict, "step": step}
            grpo[name] |= dict(zip(("shown_by", "label"), SHOWN_BY[verdict], strict=True))
            grpo[name]["log"] = grpo_log(other, log, most)
            print(name, [str(v) for v in found], log[-1]["reward_mean"], log[-1]["correct"])
    text = json.dumps({"sft": sft, "grpo": grpo}, separators=(",", ":"))
    lab.FILE.write_text(text.replace('{"step"', '\n{"step"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
