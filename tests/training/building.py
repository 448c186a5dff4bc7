"""Trainers and runs of the tiny profile as the notebooks build them, and what is read of a run."""

from __future__ import annotations

from pathlib import Path

from helpers import data
from helpers.machine import file_hash
from helpers.runs import Run
from helpers.tiny import TINY_MODEL
from helpers.training import Adapter, models, rewards
from helpers.training import trainers as training
from helpers.training.training_run import TrainingRun

from transformers import TrainerCallback  # isort: skip  (after Unsloth)
from trl import GRPOTrainer, SFTTrainer  # isort: skip

BASE = str(TINY_MODEL)
# What differs between two runs of one seed.
TIMES = ("timestamp_iso", "time_per_step_s", "tokens_per_second", "memory_gb")
TIMES += ("generation_time_s", "backward_time_s", "other_time_s")


def questions(recipe, count: int):
    return data.load(recipe, None, "tiny")["train"].examples[:count]


def sft(recipe, machine, out: Path, rows, steps: int, seed=0, mirror="", callbacks=(), tracker=""):
    """(trainer, run) of SFT on the base with new LoRA matrices."""
    model, tokenizer = models.load(BASE, recipe, machine)
    model = models.add_lora(model, recipe, machine, 0)
    run = TrainingRun(out, recipe, "sft", machine, seed, BASE, mirror=mirror)
    return sft_on(model, tokenizer, run, rows, steps, callbacks, tracker), run


def sft_on(model, tokenizer, run: TrainingRun, rows, steps: int, callbacks=(), tracker=""):
    """A trainer on that model, as when a notebook's cell is run again in the same kernel."""
    return SFTTrainer(
        model=model,
        args=training.sft_config(run.recipe, run, run.machine, steps, tracker),
        callbacks=list(callbacks),
        train_dataset=data.sft_dataset(run.recipe, rows),
        processing_class=tokenizer,
    )


def grpo(recipe, machine, out: Path, rows, steps: int, start: Adapter | None = None, callbacks=()):
    """(trainer, run) of GRPO from an adapter, or from the base."""
    model, tokenizer = models.load(start or BASE, recipe, machine)
    if start is None:
        model = models.add_lora(model, recipe, machine, 0)
    run = TrainingRun(out, recipe, "grpo", machine, 0, BASE, start)
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=rewards.reward_functions(recipe)[0],
        args=training.grpo_config(recipe, run, machine, steps),
        callbacks=list(callbacks),
        train_dataset=data.grpo_dataset(recipe, rows),
        processing_class=tokenizer,
    )
    return trainer, run


class At(TrainerCallback):
    """Does something at the end of a step, once."""

    def __init__(self, step: int, action):
        self.step, self.action = step, action

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step and self.action:
            action, self.action = self.action, None
            action()


def stop():
    raise KeyboardInterrupt


def weights(run: Run) -> str:
    return file_hash(run.adapter / "adapter_model.safetensors")


def plain(run: Run) -> list[dict]:
    """The log without what differs between two runs of one seed."""
    return [{k: v for k, v in line.items() if k not in TIMES} for line in run.read_log()]
