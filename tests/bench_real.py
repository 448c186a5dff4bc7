"""What a real model costs on the CPU: `python -m tests.bench_real ADAPTER` (a quarter of an hour).

ADAPTER: SmolLM2-135M's of `gsm8k_hash` after SFT, as `make run MODEL=smollm2 RECIPE=gsm8k_hash`
leaves it. A step beside TRL with LoRA in float32, an evaluation beside one prompt at a time, with
the number type and the threads that are chosen for it. Both sides in one run.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from helpers import data, machine, training
from helpers.recipes import RECIPES, for_model
from helpers.runs import read_lines
from tests.bench import Row, show
from tests.bench_evaluation import speed
from tests.bench_steps import CHECKPOINTING, OURS, costs
from tests.training import variants

STEPS = {"grpo": 1, "sft": 8}  # a round
PROBLEMS = 64  # two batches, for two cores


def rows() -> list[Row]:
    adapter = training.Adapter.read(sys.argv[1])
    here = machine.for_size(machine.detect(), machine.shape_of(adapter.base).parameters)
    recipe = for_model(RECIPES["gsm8k_hash"], False, "cpu")
    recipe = data.fit(recipe, adapter.tokenizer, adapter.base).recipe
    splits = data.load(recipe, "embedded", "cpu")
    chosen = f"{here.dtype}, threads: {here.threads}"
    found = [("a real model is computed in", chosen, "")]
    for stage, steps in STEPS.items():
        examples = splits["train"].examples[: 64 * steps]
        if stage == "grpo":
            dataset = data.grpo_dataset(recipe, examples)
        else:
            dataset = data.sft_dataset(recipe, adapter.tokenizer, examples)
        levers = {"TRL with LoRA in float32": CHECKPOINTING, "ours": OURS[stage]}
        with tempfile.TemporaryDirectory() as folder:
            sides = {}
            for name, each in levers.items():
                each = replace(each, threads=here.threads)
                place = Path(folder, name)
                given = (stage, recipe, adapter, dataset, each, steps, place)
                sides[name] = variants.variant(*given, machine=here)
            variants.in_turns(list(sides.values()), rounds=1)
            found += costs(stage, sides)
            if stage == "grpo":
                [log] = Path(folder, "ours").rglob("log.jsonl")
                [*_, line] = read_lines(log)
                share = line["generation_time_s"] / line["time_per_step_s"]
                found.append(("generation's share of a GRPO step", f"{share:.0%}", ""))
    model, tokenizer = training.load(adapter, recipe, here)
    asked = splits["test"].examples[:PROBLEMS]
    for name, chosen in (("base", model.disable_adapter()), ("adapter", nullcontext())):
        with chosen:
            ratio, same = speed(model, tokenizer, recipe, asked)
        what = f"evaluation of {PROBLEMS} problems, {name}: times as fast as one prompt at a time"
        found.append((what, f"{ratio:.1f}; {same} of {PROBLEMS} texts the same", "at least 5"))
    return found


if __name__ == "__main__":
    show(rows)
