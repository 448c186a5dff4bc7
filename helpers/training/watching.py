"""Watches a trainer: after each step a line in the log, its samples, the console line, live curves, and a warning when something is wrong.

It reads TRL's trainers and Unsloth's patched ones alike: both log through `on_log` and score a step's completions in
`_generate_and_score_completions`.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence

import torch
from accelerate.utils import gather_object, wait_for_everyone
from tqdm.std import tqdm
from transformers import PrinterCallback, TrainerCallback

from helpers import machine as machines
from helpers import runs as health
from helpers.runs import console, read_lines, rename
from helpers.training import checkpoints
from helpers.training.models import merged_weights
from helpers.training.training_run import TrainingRun

SAVE_SECONDS = {
    "tiny": 10.0,
    "gpu": 300.0,
}  # between two checkpoints: what a disconnect costs at most
DRAWING_SHARE = 0.01  # of the time, for live curves


class LogCallback(TrainerCallback):
    """Writes a step's line and samples, and says when to save. `watch` puts it on a trainer."""

    def __init__(self, run: TrainingRun, trainer):
        self.run, self.trainer = run, trainer
        self.spent, self.scored, self.log, self.warned = {}, {}, [], set()
        self.begun = self.saved = self.logging_s = 0.0
        self.counted, self.stopping, self.bar, self.live = 0, False, None, None

    def timed(self, function, what: str):
        """The same function, with the seconds that it takes added up under `what`."""

        def wrapped(*args, **kwargs):
            begun = self.clock()
            try:
                return function(*args, **kwargs)
            finally:
                self.spent[what] = self.spent.get(what, 0.0) + self.clock() - begun

        return wrapped

    def clock(self) -> float:
        if self.run.machine.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def seen(self, function):
        """`_generate_and_score_completions`, with its inputs and results kept for the step's samples."""

        def wrapped(inputs):
            outputs = function(inputs)
            self.scored = {
                "answers": gather_object([row.get("answer") for row in inputs]),
                "tokens": gather_object(outputs["completion_mask"].sum(dim=1).tolist()),
            }
            return outputs

        return wrapped

    def on_train_begin(self, args, state, control, **_):
        self.saved = time.perf_counter()
        if not self.run.machine.main:
            return
        self.log = read_lines(self.run.log) if self.run.log.is_file() else []
        self.warned = {verdict.name for verdict in health.verdicts(self.log, self.run.recipe)}
        self.live = LiveCurves(self.run) if in_notebook() else None
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc=self.run.stage,
            file=sys.stdout,
            leave=False,
            mininterval=0.5,
            ncols=78,
        )

    def on_step_begin(self, args, state, control, **_):
        self.begun, self.spent = time.perf_counter(), {}

    def on_log(self, args, state, control, logs=None, **_):
        if "loss" not in logs or not self.run.machine.main:
            return  # the summary at the end; or the first process writes for all
        begun = self.clock()
        line = {
            "step": state.global_step,
            **rename(logs, self.run.stage, getattr(args, "beta", 0.0)),
        } | ({"fp16": True} if args.fp16 else {})
        samples = self.samples() if self.run.stage == "grpo" else []
        if samples:
            advantages = torch.tensor([sample["advantage"] for sample in samples])
            line |= {
                "adv_mean": advantages.mean().item(),
                "adv_std": advantages.std().item(),
                "completions": len(samples),
            }
            line |= health.figures(self.run.recipe, samples, args.num_generations)
        line = self.run.record(line | self.times(logs, begun), samples)
        self.log.append(line)
        self.show(line, state.max_steps)
        self.logging_s += time.perf_counter() - begun
        health.stop_if_ruined(line)

    def show(self, line: Mapping, steps: int) -> None:
        self.bar.total = steps
        shown = [
            f"{name} {line[key]:.{digits}f}"
            for name, key, digits in (("reward", "reward_mean", 2), ("loss", "loss", 3))
            if line.get(key) is not None
        ]
        self.bar.set_postfix_str(" ".join(shown), refresh=False)
        self.bar.update(line["step"] - self.bar.n)
        if self.live:
            self.live.draw(self.log, steps)
        else:
            tqdm.write(console(line, self.run.recipe), file=sys.stdout)
        for verdict in health.verdicts(self.log, self.run.recipe):
            if verdict.name not in self.warned:
                self.warned.add(verdict.name)
                tqdm.write(str(verdict), file=sys.stdout)

    def on_step_end(self, args, state, control, **_):
        """Asks for a checkpoint when some minutes have passed, and when the kernel was interrupted."""
        due = (
            self.run.machine.main
            and time.perf_counter() - self.saved > SAVE_SECONDS[self.run.machine.profile]
        )
        flags = gather_object([(self.stopping, due)])
        self.stopping, due = map(any, zip(*flags, strict=True))
        control.should_save = control.should_save or self.stopping or due
        control.should_training_stop = control.should_training_stop or self.stopping
        return control

    def on_save(self, args, state, control, **_):
        wait_for_everyone()  # each process saves where its random numbers stand
        if self.run.machine.main:
            checkpoints.mark_whole(self.run.checkpoints / f"checkpoint-{state.global_step}")
            checkpoints.rotate(self.run.checkpoints)
            checkpoints.mirror(self.run)
        self.saved = time.perf_counter()

    def on_train_end(self, args, state, control, **_):
        self.close()

    def close(self, keep_curves: bool = False) -> None:
        if self.bar:
            self.bar.close()
        if self.live and not keep_curves:
            self.live.clear()

    def times(self, logs: Mapping, now: float) -> dict:
        whole = now - self.begun
        spent = {f"{what}_time_s": round(seconds, 4) for what, seconds in self.spent.items()}
        times = {
            "time_per_step_s": round(whole, 4),
            **spent,
            "other_time_s": round(whole - sum(self.spent.values()), 4),
            "memory_gb": self.memory(),
        }
        tokens = self.tokens(logs)
        if tokens is None:
            return times
        generated = {"tokens_generated": tokens} if self.run.stage == "grpo" else {}
        return times | generated | {"tokens_per_second": round(tokens / whole, 1)}

    def memory(self) -> float:
        """The most memory that was held so far, in GiB: the card's, or on the CPU this process's."""
        if self.run.machine.device == "cuda":
            return round(torch.cuda.max_memory_allocated() / 2**30, 3)
        return round(machines.peak_memory(), 3)

    def tokens(self, logs: Mapping) -> int | None:
        """The tokens of this step: those read for SFT, the prompt's included, those generated for GRPO."""
        if self.run.stage == "grpo":
            return sum(self.scored["tokens"]) if self.scored else None
        total = logs.get("num_tokens")  # counts from where this process began
        if total is None:
            return None
        step, self.counted = int(total) - self.counted, int(total)
        return step

    def samples(self) -> list[dict]:
        """The step's completions with what they earned, a group's side by side."""
        logs, weights = self.trainer._logs, self.run.recipe.rewards
        rows = []
        for i, (completion, prompt) in enumerate(
            zip(logs["completion"], logs["prompt"], strict=True)
        ):
            rewards = {name: given(values[i]) for name, values in logs["rewards"].items()}
            rows.append(
                {
                    "question": prompt if isinstance(prompt, str) else prompt[-1]["content"],
                    "completion": completion
                    if isinstance(completion, str)
                    else completion[-1]["content"],
                    "answer": self.scored["answers"][i],
                    "tokens": self.scored["tokens"][i],
                    "advantage": logs["advantages"][i],
                    "reward": sum(
                        weights.get(name, 1.0) * (value or 0.0) for name, value in rewards.items()
                    ),
                    **rewards,
                }
            )
        return rows


def given(reward: float) -> float | None:
    """A reward, None where the function gave none (TRL holds a NaN then)."""
    return None if math.isnan(reward) else reward


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this, on Colab and Kaggle too; a terminal's IPython has no kernel."""
    try:
        return hasattr(get_ipython(), "kernel")  # type: ignore[name-defined]
    except NameError:
        return False


class LiveCurves:
    """The run's curves under the training cell, drawn anew from time to time and removed when it is over. A picture, no widget."""

    def __init__(self, run: TrainingRun):
        from IPython.display import display

        self.run, self.next = run, time.perf_counter() + 3
        self.handle = display({"text/plain": ""}, raw=True, display_id=True)

    def draw(self, log: Sequence[Mapping], steps: int) -> None:
        from helpers import plots

        begun = time.perf_counter()
        if begun < self.next or len(log) < 2:
            return
        left = (steps - log[-1]["step"]) * (health.mean(log[-10:], "time_per_step_s") or 0.0) / 60
        title = f"{console(log[-1], self.run.recipe)}   of {steps} steps, about {health.duration(left)} left"
        self.handle.update(plots.picture(plots.live(log, self.run.recipe.rewards, title)), raw=True)
        now = time.perf_counter()
        self.next = now + (now - begun) / DRAWING_SHARE

    def clear(self) -> None:
        self.handle.update({"text/plain": ""}, raw=True)


def watch(trainer, run: TrainingRun) -> LogCallback:
    """Puts the log on a trainer: its rows, its samples, and the seconds of generation and of the backward pass.

    Called again, on a trainer that was interrupted, it replaces what it put there before.
    """
    callback, method = (
        LogCallback(run, trainer),
        lambda name: getattr(type(trainer), name).__get__(trainer),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(LogCallback)
    trainer.add_callback(callback)
    trainer.accelerator.backward = callback.timed(
        type(trainer.accelerator).backward.__get__(trainer.accelerator), "backward"
    )
    if run.stage == "grpo":
        trainer._step, trainer._buffered_inputs = 0, None
        trainer._generate_single_turn = callback.timed(
            with_merged_weights(trainer.model, method("_generate_single_turn")), "generation"
        )
        trainer._generate_and_score_completions = callback.seen(
            method("_generate_and_score_completions")
        )
    trainer._metrics["train"].clear()
    trainer._total_train_tokens = 0
    return callback


def with_merged_weights(model, function):
    """The same function, run while the model's 4-bit layers hold merged weights (see `models.merged_weights`)."""

    def wrapped(*args, **kwargs):
        with merged_weights(model):
            return function(*args, **kwargs)

    return wrapped
