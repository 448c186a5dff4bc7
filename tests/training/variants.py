"""A trainer of the embedded model with some of TRL's own settings put back: for bench_steps.py."""

import contextlib
import copy
import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.machine import detect
from helpers.training import decoding, dequantised, models, private, watching
from helpers.training.training_run import TrainingRun
from tests.training.building import BASE, config, trainer_on

import torch  # isort: skip  (after Unsloth)
from accelerate.utils import set_seed
from transformers import TrainerCallback

MACHINE = detect()


@dataclass(frozen=True)
class Levers:
    """What differs from TRL as it comes, which checkpoints gradients and holds LoRA in bfloat16.

    What TRL needs Triton for, the product with the output matrix, is Unsloth's on the CPU in all
    variants: TRL alone does not train there. All run on one thread; torch's own choice is a row for
    itself, since what it costs depends on what else the machine does.
    """

    checkpointing: bool = True
    in_float: bool = False
    threads: int = 1
    merged: bool = False
    decoded: bool = False
    dequantised: bool = False
    shared: bool = False
    logged: bool = False
    settings: tuple[tuple[str, object], ...] = ()


class Clock(TrainerCallback):
    """CPU and wall-clock seconds from each step's beginning to the next one's; the gradient."""

    def __init__(self):
        self.marks: list[tuple[float, float]] = []
        self.steps: list[tuple[float, float]] = []
        self.gradient = torch.zeros(0)

    def on_step_begin(self, *_, **__):
        self.marks.append((time.process_time(), time.perf_counter()))

    def on_pre_optimizer_step(self, *_, model=None, **__):
        found = [p.grad.detach().flatten() for p in model.parameters() if p.grad is not None]
        self.gradient = torch.cat([gradient.float() for gradient in found])

    def on_train_end(self, *_, **__):
        self.on_step_begin()
        for before, after in itertools.pairwise(self.marks):
            self.steps.append((after[0] - before[0], after[1] - before[1]))
        self.marks.clear()


class Variant(Clock):
    """A trainer with its levers set, and its clock."""

    def __init__(self, trainer, levers: Levers):
        super().__init__()
        self.trainer, self.levers = trainer, levers
        trainer.add_callback(self)

    def run(self) -> None:
        """Trains from step 1, with the same seed every time."""
        torch.set_num_threads(self.levers.threads)
        set_seed(0)
        training = contextlib.nullcontext()
        if self.levers.dequantised:
            training = dequantised.dequantised_weights(self.trainer.model)
        with training:
            self.trainer.train()
        torch.set_num_threads(1)

    def seconds(self, column: int) -> float:
        """The mean step: those of batches sorted by length differ much."""
        return statistics.fmean(step[column] for step in self.steps)

    def useful(self) -> str:
        """Tokens that are not padding in a CPU second, or the mean length of GRPO's replies."""
        if length := self.logged("completions/mean_length"):
            return f"{length:.1f} tokens a reply"
        tokens = sum(len(ids) for ids in self.trainer.train_dataset["input_ids"])
        a_step = tokens / self.trainer.args.max_steps
        return f"{a_step / self.seconds(0):,.0f} useful tokens/s"

    def logged(self, name: str) -> float | None:
        """The last step's figure of that name."""
        history = reversed(self.trainer.state.log_history)
        return next((line[name] for line in history if name in line), None)


def variant(
    stage: str, recipe, adapter, rows, levers: Levers, steps: int, out: Path, machine=MACHINE
) -> Variant:
    """The trainer as the notebook builds it, on a dataset, with these levers."""
    model, tokenizer = models.load(adapter, recipe, machine)
    run = TrainingRun(out, recipe, stage, machine, 0, BASE)
    args = config(run, steps)
    changed = {"learning_rate": 0.0, "gradient_checkpointing": levers.checkpointing}
    for name, value in {**changed, **dict(levers.settings)}.items():
        setattr(args, name, value)
    trainer = trainer_on(model, tokenizer, recipe, stage, args, rows)
    if levers.in_float:
        private.train_in_float(model)
    if levers.logged:
        watching.watch(trainer, run)
    elif levers.merged:
        private.wrap(trainer, private.GENERATE, dequantised.merged_weights(model))
    if levers.decoded:
        private.wrap(model, "generate", decoding.wrapper(model))
    if levers.shared:
        private.wrap(trainer, "compute_loss", decoding.sharing_prompts(trainer))
    return Variant(trainer, levers)


def in_turns(variants: Sequence[Variant], rounds: int) -> None:
    """Each variant's steps, once to warm up and then in turns, so that noise meets all alike."""
    for number in range(rounds + 1):
        for each in variants:
            each.run()
            if not number:
                each.steps.clear()


def with_the_same_completions(variants: Sequence[Variant]) -> None:
    """Lets every trainer take the completions that the first one generates."""
    recorded = []
    generate = getattr(variants[0].trainer, private.GENERATE)

    def record(*args, **kwargs):
        if not recorded:
            recorded.append(generate(*args, **kwargs))
        return copy.deepcopy(recorded[0])

    for each in variants:
        setattr(each.trainer, private.GENERATE, record)


def same_arithmetic(variants: dict[str, Variant]) -> dict[str, tuple[float, float]]:
    """One step each on the same rows: how far loss and gradient are from the first variant's."""
    found = {}
    for name, each in variants.items():
        each.trainer.args.max_steps = 1
        each.run()
        found[name] = (each.logged("loss"), each.gradient)
    loss, first = next(iter(found.values()))
    return {
        name: (abs(a - loss), float((gradient - first).norm() / first.norm()))
        for name, (a, gradient) in found.items()
    }
