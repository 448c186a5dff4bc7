"""What the log costs a step on the embedded model: `python -m tests.bench_logging` (two minutes).

Every step does the same work (the same rows, nearly greedy replies, a learning rate of 0), and
every other one is not logged. Both sides in one run.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from helpers import data
from helpers import runs as runlog
from helpers.machine.computer import detect
from helpers.recipes import for_model, get_recipe
from helpers.training import models, private
from helpers.training import trainers as training
from helpers.training.training_run import TrainingRun
from helpers.training.watching import watch
from tests.bench import Row, show
from tests.learning import BASE

from transformers import TrainerCallback  # isort: skip  (after Unsloth)

STEPS = {"sft": 61, "grpo": 17}


def trainer_of(stage: str, out: Path):
    from trl import GRPOTrainer, SFTTrainer

    from helpers.training.rewards import reward_functions

    machine = detect()
    recipe = for_model(get_recipe("gsm8k_xml"), machine.device == "cpu", machine.device)
    recipe = replace(
        recipe,
        sft=replace(recipe.sft, learning_rate=0.0),
        grpo=replace(recipe.grpo, learning_rate=0.0, temperature=1e-3),
    )
    model, tokenizer = models.load(BASE, recipe, machine)
    model = models.add_lora(model, recipe, machine, 0)
    rows = data.load(recipe, None, "cpu")["train"].examples[:8] * STEPS[stage]
    run = TrainingRun(out, recipe, stage, machine, 0, BASE)
    if stage == "sft":
        return run, SFTTrainer(
            model=model,
            args=training.sft_config(recipe, run, machine, STEPS[stage]),
            processing_class=tokenizer,
            train_dataset=data.sft_dataset(recipe, tokenizer, rows),
        )
    return run, GRPOTrainer(
        model=model,
        reward_funcs=reward_functions(recipe)[0],
        processing_class=tokenizer,
        args=training.grpo_config(recipe, run, machine, STEPS[stage]),
        train_dataset=data.grpo_dataset(recipe, rows),
    )


class Clock(TrainerCallback):
    """CPU seconds from the beginning of each step to that of the next, logging included."""

    def __init__(self):
        self.marks: list[float] = []

    def on_step_begin(self, *_, **__):
        self.marks.append(time.process_time())


def measure(stage: str, out: Path) -> tuple[float, float]:
    """The log's own share of a logged step, and the cost of logged steps over the others.

    The share is what the log's own code takes; the cost is a ratio of median CPU times.
    """
    run, trainer = trainer_of(stage, out)
    private.train_in_float(trainer.model)
    clock, callback = Clock(), watch(trainer, run)
    trainer.add_callback(clock)
    write, writing = callback.on_log, []

    def write_every_other(args, state, control, **more):
        if state.global_step % 2:
            begun = time.perf_counter()
            write(args, state, control, **more)
            writing.append(time.perf_counter() - begun)

    callback.on_log = write_every_other
    trainer.train()
    seconds = [after - before for before, after in zip(clock.marks, clock.marks[1:], strict=False)][
        4:
    ]  # the first ones warm up
    logged, bare = seconds[0::2], seconds[1::2]
    lines = runlog.read_lines(run.log)
    share = sum(writing) / sum(line["time_per_step_s"] for line in lines)
    return share, statistics.median(logged) / statistics.median(bare)


def rows() -> list[Row]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for stage, steps in STEPS.items():
            share, ratio = measure(stage, Path(folder))
            found += [
                (f"the log's own code in a step of {stage}", f"{share:.2%}", "at most 2%"),
                (
                    f"CPU time of a logged step of {stage} over one that is not, "
                    f"medians of {steps // 2 - 2} each",
                    f"{ratio:.3f}",
                    "about 1",
                ),
            ]
    return found


if __name__ == "__main__":
    show(rows)
