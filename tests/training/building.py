"""Trainers and runs of the embedded model as in the notebooks, and what is read of a run."""

from pathlib import Path

from safetensors.torch import load_file

from helpers import data, rewards
from helpers.machine import file_hash
from helpers.runs import Run
from helpers.tiny import TINY_MODEL
from helpers.training import models
from helpers.training import trainers as training
from helpers.training.training_run import TrainingRun

from transformers import TrainerCallback  # isort: skip  (after Unsloth)
from trl import GRPOTrainer, SFTTrainer  # isort: skip

BASE = str(TINY_MODEL)
TIMES = ("timestamp_iso", "time_per_step_s", "tokens_per_second", "memory_gb")
TIMES += ("generation_time_s", "backward_time_s", "other_time_s", "held_out_time_s")


def questions(recipe, count: int):
    return data.load(recipe, None, "cpu")["train"].examples[:count]


def build(stage, recipe, machine, out: Path, rows, steps, start=None, seed=0, base=BASE, **more):
    """(trainer, run) from an adapter, or from the base with new LoRA matrices."""
    model, tokenizer = models.load(start or base, recipe, machine)
    if start is None:
        model = models.add_lora(model, recipe, machine, 0)
    run = TrainingRun(out, recipe, stage, machine, seed, base, start, more.pop("mirror", ""))
    args = config(run, steps, more.pop("tracker", "none"))
    rows = dataset(recipe, tokenizer, stage, rows)
    return trainer_on(model, tokenizer, recipe, stage, args, rows, **more), run


def dataset(recipe, tokenizer, stage: str, rows):
    if stage == "grpo":
        return data.grpo_dataset(recipe, rows)
    return data.sft_dataset(recipe, tokenizer, rows)


def config(run: TrainingRun, steps: int, tracker: str = "none"):
    make = training.grpo_config if run.stage == "grpo" else training.sft_config
    return make(run.recipe, run, run.machine, steps, tracker)


def trainer_on(model, tokenizer, recipe, stage: str, args, rows, **more):
    """A trainer on that model, as when a notebook's cell is run again in the same kernel."""
    more |= {"model": model, "processing_class": tokenizer, "args": args, "train_dataset": rows}
    if stage == "grpo":
        return GRPOTrainer(reward_funcs=rewards.reward_functions(recipe)[0], **more)
    return SFTTrainer(**more)


class At(TrainerCallback):
    """Does something at the end of a step, or at another event of it."""

    def __init__(self, step: int, action, event: str = "on_step_end"):
        self.step, self.action = step, action
        setattr(self, event, self.act)

    def act(self, args, state, control, **_):
        if state.global_step == self.step:
            self.action()


def weights(run: Run) -> str:
    return file_hash(run.adapter / "adapter_model.safetensors")


def stored(run: Run):
    return load_file(run.adapter / "adapter_model.safetensors")


def plain(run: Run) -> list[dict]:
    """The log without what differs between two runs of one seed."""
    return [{k: v for k, v in line.items() if k not in TIMES} for line in run.read_log()]
