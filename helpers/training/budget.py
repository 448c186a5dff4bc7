"""The quick budget: a run on a GPU is measured as it begins, and sized to some minutes."""

from __future__ import annotations

import time

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, get_scheduler

from helpers.training.training_run import TrainingRun

QUICK_MINUTES = {
    "priming": 1.0,
    "sft": 8.0,
    "grpo": 30.0,
}  # what a stage gets; evaluation has the rest of the hour


class FitToBudget(TrainerCallback):
    """Shortens a run so that it fits into some minutes: measures the first steps, then sets the last step and the schedule.

    What it decided stands in the run's manifest, so that a run that goes on keeps to it.
    """

    def __init__(self, run: TrainingRun, minutes: float | None = None, measured: int = 5):
        self.run, self.seconds, self.measured = (
            run,
            60 * (minutes or QUICK_MINUTES[run.stage]),
            measured,
        )
        self.begun, self.first = 0.0, None

    def on_train_begin(self, args, state, control, lr_scheduler=None, **_):
        self.first = None
        fitted = self.run.manifest.get("fitted")
        if fitted and state.global_step >= fitted["at"]:
            self.shorten(args, state, lr_scheduler, fitted["steps"])

    def on_step_end(self, args, state, control, lr_scheduler=None, **_):
        """Counts from the end of this process's first step, which compiles and warms up."""
        fitted, step = self.run.manifest.get("fitted"), state.global_step
        if self.first is None:
            self.begun, self.first = time.perf_counter(), step
        if not fitted and step - self.first == self.measured - 1:
            a_step = (time.perf_counter() - self.begun) / (self.measured - 1)
            steps = min(state.max_steps, max(step + 1, int(self.seconds / a_step)))
            fitted = broadcast_object_list([{"at": step, "steps": steps}])[0]
            self.run.manifest["fitted"] = fitted
            if self.run.machine.main:
                self.run.write_manifest()
        if fitted and step == fitted["at"]:
            self.shorten(args, state, lr_scheduler, fitted["steps"])

    def shorten(self, args, state, lr_scheduler, steps: int) -> None:
        if steps >= state.max_steps:
            return
        state.max_steps = steps
        inner = getattr(lr_scheduler, "scheduler", lr_scheduler)
        shorter = get_scheduler(
            args.lr_scheduler_type, inner.optimizer, min(args.warmup_steps, steps // 10), steps
        )
        inner.lr_lambdas = shorter.lr_lambdas
        inner._last_lr = [
            base * rate(inner.last_epoch)
            for base, rate in zip(inner.base_lrs, shorter.lr_lambdas, strict=True)
        ]
        for group, rate in zip(inner.optimizer.param_groups, inner._last_lr, strict=True):
            group["lr"] = rate
