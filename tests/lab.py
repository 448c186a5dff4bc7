"""Makes `helpers/plots/lab.json`: `python -m tests.lab` (ten minutes on two cores)."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd

from helpers import data, training
from helpers.machine import Machine, detect
from helpers.plots import lab
from helpers.recipes import RECIPES, Recipe, for_model
from helpers.runs import Run
from tests.learning import BASE, supervise
from tests.runs.pathologies import ILLNESSES, ill

from trl import SFTTrainer  # isort: skip  (after Unsloth)

SFT_STEPS, HELD_OUT, EVERY = 100, 100, 10
SFT_RUNS = {
    "Healthy": ("the recipe as it is", {}, 0),
    "Over-fitted": ("40 rows, 20 times each", {}, 40),
    "Broken": ("30 × the learning rate", {"learning_rate": 0.045}, 0),
}
GRPO_RUNS = {  # cause, verdict
    "Healthy": ("the recipe as it is", ""),
    "Nothing to compare": ("every reply earns 1", "zero-variance groups"),
    "Paid for brevity": ("a reward for few tokens", "length-only reward"),
    "Paid for the form": ("no reward for the answer", "format-only learning"),
    "Cut off": ("at most 8 tokens", "truncation"),
    "Too fast": ("100 × the learning rate", "learning rate too high"),
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
    model, tokenizer = training.load(BASE, recipe, machine)
    model = training.add_lora(model, recipe, machine, 0)
    splits = data.load(recipe, None, "cpu")
    learned = data.chosen(recipe, tokenizer, splits["train"], "sft", 0).examples
    run = training.TrainingRun(out, recipe, "sft", machine, 0, BASE)
    arguments = training.sft_config(recipe, run, machine, SFT_STEPS)
    trainer = SFTTrainer(
        model=model,
        args=replace(arguments, eval_strategy="steps", eval_steps=EVERY),
        processing_class=tokenizer,
        train_dataset=data.sft_dataset(recipe, tokenizer, learned[: rows or None]),
        eval_dataset=data.sft_dataset(recipe, tokenizer, splits["test"].examples[:HELD_OUT]),
    )
    trainer.train()
    lines = {}
    for line in trainer.state.log_history:
        drawn = lines.setdefault(line["step"], {"step": line["step"]})
        for name, key in (("loss", "loss"), ("eval_loss", "held_out")):
            if name in line:
                drawn[key] = round(line[name], 4)
    return list(lines.values())


def grpo_log(log: list[dict], limit: int, most: float) -> list[dict]:
    """What the figure draws of a log. limit: of tokens; most: what a reply can earn."""
    table = pd.DataFrame(log)
    table["paid"] = table["reward_mean"] / most
    table["length"] = table["completion_mean"] / limit
    return table[["step", "paid", "length", *SHARES]].round(4).to_dict("records")


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
        for name, (cause, verdict) in GRPO_RUNS.items():
            out, changes = Path(folder, name), ILLNESSES.get(verdict, {})
            found = ill(recipe, machine, out, start, **changes)
            step = next((v.step for v in found if v.name == verdict), 0)
            assert bool(step) == bool(verdict), (name, found)
            log = Run(out / recipe.name / "grpo").read_log()
            most = 1.0 if "paid" in changes else recipe.maximum
            shown_by, label = SHOWN_BY[verdict]
            grpo[name] = {"cause": cause, "verdict": verdict, "step": step}
            grpo[name] |= {"shown_by": shown_by, "label": label}
            limit = changes.get("max_completion", recipe.grpo.max_completion)
            grpo[name]["log"] = grpo_log(log, limit, most)
            print(name, [str(v) for v in found], log[-1]["reward_mean"], log[-1]["correct"])
    text = json.dumps({"sft": sft, "grpo": grpo}, separators=(",", ":"))
    lab.FILE.write_text(text.replace('{"step"', '\n{"step"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
