"""A trainer of the tiny profile with some of TRL's own settings put back, measured in turns with others: for `tests/bench_steps.py`."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers.machine import computer as machines
from helpers.recipes import Recipe
from helpers.training import models, rewards, watching
from helpers.training import trainers as training
from helpers.training.training_run import TrainingRun
from tests.learning import BASE

import torch  # isort: skip  (after Unsloth)
from transformers import TrainerCallback
from trl import GRPOTrainer, SFTTrainer

MACHINE = machines.detect()


@dataclass(frozen=True)
class Levers:
    """What differs from TRL as it comes, which checkpoints gradients and holds LoRA on a 4-bit base in bfloat16. A processor without instructions
    for bfloat16 computes in it several times as slowly as in float32.

    What TRL needs Triton for, the product with the output matrix, is Unsloth's on the CPU in all variants: TRL alone does not train there.

    All run on one thread; torch's own choice is a row for itself, since what it costs depends on what else the machine does.
    """

    checkpointing: bool = True
    in_float: bool = False
    threads: int = 1
    merged: bool = False
    logged: bool = False
    settings: tuple[tuple[str, object], ...] = ()


class Clock(TrainerCallback):
    """CPU and wall-clock seconds from the beginning of each step to that of the next, logging included; and the step's gradient."""

    def __init__(self):
        self.marks: list[tuple[float, float]] = []
        self.steps: list[tuple[float, float]] = []
        self.gradient = torch.zeros(0)

    def mark(self) -> None:
        self.marks.append((time.process_time(), time.perf_counter()))

    def on_step_begin(self, *_, **__):
        self.mark()

    def on_pre_optimizer_step(self, *_, model=None, **__):
        self.gradient = torch.cat(
            [p.grad.detach().flatten().float() for p in model.parameters() if p.grad is not None]
        )

    def on_train_end(self, *_, **__):
        self.mark()
        self.steps += [
            (b[0] - a[0], b[1] - a[1]) for a, b in zip(self.marks, self.marks[1:], strict=False)
        ]
        self.marks = []


@dataclass
class Variant:
    """A trainer with its levers set, and what its steps took."""

    trainer: object
    levers: Levers
    clock: Clock = field(default_factory=Clock)
    length: float | None = None  # of the last step's completions, in tokens

    def run(self) -> None:
        """Trains from step 1, with the same seed every time."""
        torch.set_num_threads(self.levers.threads)
        machines.set_seed(0)
        self.trainer.train()
        torch.set_num_threads(1)

    def seconds(self, column: int) -> float:
        """The mean step: those of batches sorted by length differ much."""
        return statistics.fmean(step[column] for step in self.clock.steps)

    def useful(self) -> str:
        """Tokens that are not padding in a CPU second; the mean length of GRPO's replies, which says whether the work was the same."""
        if self.length:
            return f"{self.length:.1f} tokens a reply"
        tokens = (
            sum(len(ids) for ids in self.trainer.train_dataset["input_ids"])
            / self.trainer.args.max_steps
        )
        return f"{tokens / self.seconds(0):,.0f} useful tokens/s"

    def logged(self, name: str) -> float | None:
        """The last step's figure of that name."""
        return next(
            (line[name] for line in reversed(self.trainer.state.log_history) if name in line), None
        )


def configured(config, levers: Levers):
    config = copy.copy(config)
    for name, value in {
        "learning_rate": 0.0,
        "gradient_checkpointing": levers.checkpointing,
        **dict(levers.settings),
    }.items():
        setattr(config, name, value)
    return config


def variant(
    stage: str, recipe: Recipe, adapter: Path, rows, levers: Levers, steps: int, out: Path
) -> Variant:
    """The trainer as the notebook builds it, with these levers."""
    model, tokenizer = models.load(str(adapter), recipe, MACHINE)
    run = TrainingRun(out, recipe, stage, MACHINE, 0, BASE)
    make = training.grpo_config if stage == "grpo" else training.sft_config
    shared = dict(
        model=model,
        args=configured(make(recipe, run, MACHINE, steps), levers),
        processing_class=tokenizer,
        train_dataset=rows,
    )
    trainer = (
        GRPOTrainer(reward_funcs=rewards.reward_functions(recipe)[0], **shared)
        if stage == "grpo"
        else SFTTrainer(**shared)
    )
    if levers.in_float:
        training.train_in_float(model)
    if levers.logged:
        watching.watch(trainer, run)
    elif levers.merged:
        trainer._generate_single_turn = watching.with_merged_weights(
            model, trainer._generate_single_turn
        )
    made = Variant(trainer, levers)
    trainer.add_callback(made.clock)
    return made


def in_turns(variants: Sequence[Variant], rounds: int) -> None:
    """Each variant's steps, once to warm up and then in turns, so that what else runs on the machine meets all alike."""
    for number in range(rounds + 1):
        for each in variants:
            each.run()
            each.length = each.logged("completions/mean_length")
            if not number:
                each.clock.steps.clear()


def with_the_same_completions(variants: Sequence[Variant]) -> None:
    """Lets every trainer take the completions that the first one generates."""
    first, recorded = variants[0].trainer, []
    generate = first._generate_single_turn

    def record(*args, **kwargs):
        if not recorded:
            recorded.append(generate(*args, **kwargs))
        return copy.deepcopy(recorded[0])

    for each in variants:
        each.trainer._generate_single_turn = record


def same_arithmetic(variants: dict[str, Variant]) -> dict[str, tuple[float, float]]:
    """One step each on the same rows: by how much loss and gradient (relative) differ from the first variant's."""
    found = {}
    for name, each in variants.items():
        each.trainer.args.max_steps = 1
        each.run()
        found[name] = (each.logged("loss"), each.clock.gradient)
    loss, gradient = next(iter(found.values()))
    return {
        name: (abs(a - loss), float((b - gradient).norm() / gradient.norm()))
        for name, (a, b) in found.items()
    }
