"""The quick budget: a run on a GPU is measured as it begins, and sized to some minutes."""

from __future__ import annotations

import time

from transformers import TrainerCallback

from helpers import machine as processes
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
        self.begun = 0.0
        self.first = None

    def on_train_begin(self, args, state, control, lr_scheduler=None, **_):
        self.first = None
        fitted = self.run.manifest.get("fitted")
        if fitted and state.global_step >= fitted["at"]:
            self.shorten(args, state, lr_scheduler, fitted["steps"])

    def on_step_end(self, args, state, control, lr_scheduler=None, **_):
        """Counts from the end of this process's first step, which compiles and warms up."""
        step = state.global_step
        if self.first is None:
            self.begun, self.first = time.perf_counter(), step
        if "fitted" not in self.run.manifest and step - self.first == self.measured - 1:
            a_step = (time.perf_counter() - self.begun) / (self.measured - 1)
            steps = min(state.max_steps, max(step + 1, int(self.seconds / a_step)))
            self.run.manifest["fitted"] = processes.agreed({"at": step, "steps": steps})
            if self.run.machine.main:
                self.run.write_manifest()
        fitted = self.run.manifest.get("fitted")
        if fitted and step == fitted["at"]:
            self.shorten(args, state, lr_scheduler, fitted["steps"])

    def shorten(self, args, state, lr_scheduler, steps: int) -> None:
        if steps < state.max_steps:
            state.max_steps = steps
            shorten_schedule(args, lr_scheduler, steps)
