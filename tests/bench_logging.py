"""What the log costs a step on the embedded model: `python -m tests.bench_logging` (two minutes).

Every step does the same work (the same rows, nearly greedy replies, a learning rate of 0), and
every other one is not logged. Both sides in one run.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from helpers.machine import detect
from helpers.recipes import RECIPES, for_model
from helpers.training import private
from helpers.training.watching import watch
from tests.bench import Row, seconds, show
from tests.training import building
from tests.training.variants import Clock

STEPS = {"sft": 61, "grpo": 17}


def measure(stage: str, out: Path) -> tuple[float, float]:
    """What the log's own code takes of the steps, and the CPU time of a logged one over another."""
    recipe = for_model(RECIPES["gsm8k_xml"], True, "cpu")
    sft = replace(recipe.sft, learning_rate=0.0)
    grpo = replace(recipe.grpo, learning_rate=0.0, temperature=1e-3)
    recipe = replace(recipe, sft=sft, grpo=grpo)
    rows = building.questions(recipe, 8) * STEPS[stage]
    trainer, run = building.build(stage, recipe, detect(), out, rows, STEPS[stage])
    private.train_in_float(trainer.model)
    clock, callback = Clock(), watch(trainer, run)
    trainer.add_callback(clock)
    write, writing = callback.on_log, []

    def write_every_other(args, state, control, **more):
        if state.global_step % 2:
            writing.append(seconds(lambda: write(args, state, control, **more)))

    callback.on_log = write_every_other
    trainer.train()
    spent = [cpu for cpu, _ in clock.steps[:-1]]  # from step to step, logging included
    logged, bare = spent[4::2], spent[5::2]  # the first ones warm up
    share = sum(writing) / sum(line["time_per_step_s"] for line in run.read_log())
    return share, statistics.median(logged) / statistics.median(bare)


def rows() -> list[Row]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for stage, steps in STEPS.items():
            share, ratio = measure(stage, Path(folder))
            beside = f"CPU time of a logged step of {stage} over one that is not, "
            beside += f"medians of {steps // 2 - 2} each"
            found.append((f"the log's own code in a step of {stage}", f"{share:.2%}", "at most 2%"))
            found.append((beside, f"{ratio:.3f}", "about 1"))
    return found


if __name__ == "__main__":
    show(rows)
