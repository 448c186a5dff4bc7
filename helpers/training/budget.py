"""The quick budget: a run on a GPU is measured as it begins, and sized to some minutes."""

from __future__ import annotations

import time

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from helpers.training.private import shorten_schedule
from helpers.training.training_run import TrainingRun

# What a stage gets; evaluation has the rest of the hour.
QUICK_MINUTES = {"priming": 1.0, "sft": 8.0, "grpo": 30.0}


class FitToBudget(TrainerCallback):
    """Measures a run's first steps, then sets its last step and its schedule to fit the minutes.

    What it decided stands in the run's manifest, so that a run that goes on keeps to it.
    """

    def __init__(self, run: TrainingRun, minutes: float | None = None, measured: int = 5):
        self.run = run
        self.seconds = 60 * (minutes or QUICK_MINUTES[run.stage])
        self.measured = measured
        self.first = None  # this process's first step, which compiles and warms up
        self.begun = 0.0  # when that ended

    def on_train_begin(self, args, state, control, lr_scheduler=None, **_):
        self.first = None
        self.shorten(args, state, lr_scheduler)

    def on_step_end(self, args, state, control, lr_scheduler=None, **_):
        step, manifest = state.global_step, self.run.manifest
        if self.first is None:
            self.first, self.begun = step, time.perf_counter()
        taken = step - self.first
        if taken == self.measured - 1 and "fitted" not in manifest:
            a_step = (time.perf_counter() - self.begun) / taken
            last = max(step + 1, int(self.seconds / a_step))
            fitted = {"at": step, "steps": min(last, state.max_steps)}
            manifest["fitted"] = broadcast_object_list([fitted])[0]
            if self.run.machine.main:
                self.run.write_manifest()
        self.shorten(args, state, lr_scheduler)

    def shorten(self, args, state, lr_scheduler) -> None:
        """Sets the last step, once, from the step on at which it was decided."""
        fitted = self.run.manifest.get("fitted")
        if fitted and state.global_step >= fitted["at"] and state.max_steps > fitted["steps"]:
            state.max_steps = fitted["steps"]
            shorten_schedule(args, lr_scheduler, fitted["steps"])
