"""The work of `python -m helpers sft|grpo|both`: settles recipe and machine, trains, and says where everything lies."""

from __future__ import annotations

import gc
import math
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from helpers import machine as processes
from helpers.recipes import for_profile, get_recipe

BUDGETS = ("quick", "published")
FLAGS = {"epochs": "--num_epochs", "rate": "--learning_rate"}


def train(
    stage: str,
    recipe: str,
    changes: Mapping,
    settings: Mapping,
    sft_output: Path | None,
    grpo_output: Path | None,
) -> None:
    """Trains "sft", "grpo" or "both". `changes`: what is other than in the recipe; `settings`: those of `stages.Job`.

    Raises ValueError, OSError, ImportError or RuntimeError with cause and cure.
    """
    processes.check_launch()
    named = get_recipe(recipe)
    if settings["budget"] not in BUDGETS:
        raise ValueError(
            f"Unknown budget {settings['budget']!r}.\nUse one of: {', '.join(BUDGETS)}."
        )
    odd = [
        name
        for name, value in changes.items()
        if isinstance(value, float) and not math.isfinite(value)
    ]
    if odd:
        raise ValueError(f"{FLAGS[odd[0]]} is {changes[odd[0]]}.\nGive a number.")
    check_outputs(stage, bool(settings["adapter"]), sft_output, grpo_output)
    from helpers import machine
    from helpers.training import stages

    here = machine.detect()
    if not here.main:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # the first process speaks for all
    settled = stages.changed(
        for_profile(named, here.profile),
        {"sft": stage != "grpo", "priming": stage != "grpo", "grpo": stage != "sft"},
        **changes,
    )
    machine.writable_folder(settings["output"])
    print(machine.describe(here))
    if stage == "grpo" and sft_output and not settings["adapter"]:
        settings = {**settings, "adapter": str(sft_output)}
    job = stages.Job(settled, here, **settings)
    first = (
        ["sft"]
        if stage == "sft" or (stage == "both" and settled.supervised and not job.adapter)
        else []
    )
    names = first + (["grpo"] if stage != "sft" else [])
    for place in (sft_output if first else None, grpo_output):
        stages.check_place(place)
    splits = stages.check(
        job, [*(settled.supervised if first else ()), *(["grpo"] if stage != "sft" else [])]
    )
    if job.mirror:
        restore(job, recipe)
    for name in names:
        adapter = getattr(stages, name)(job, splits)
        place = (
            stages.copied(adapter, sft_output if name == "sft" else grpo_output)
            if here.main
            else adapter
        )
        print(
            f"\n{name}: the adapter is in {place}, its log{' and samples' * (name == 'grpo')} in {adapter.parent}\n"
            f"draw it with: {sys.executable} -m helpers plot {shlex.quote(str(adapter.parent))}"
        )
        free()


def check_outputs(
    stage: str, adapter: bool, sft_output: Path | None, grpo_output: Path | None
) -> None:
    """Raises ValueError for flags that do not belong to a command, or stand against each other."""
    problem = (
        "SFT starts from the base and takes no --adapter"
        if stage == "sft" and adapter
        else "sft writes no --grpo_output"
        if stage == "sft" and grpo_output
        else "with --adapter there is no SFT, and so no --sft_output"
        if stage != "sft" and adapter and sft_output
        else "--sft_output and --grpo_output are one folder"
        if sft_output and grpo_output and sft_output.resolve() == grpo_output.resolve()
        else None
    )
    if problem:
        raise ValueError(
            f"{problem[0].upper()}{problem[1:]}.\nLeave one of them out, or name another; python -m helpers {stage} --help lists the flags."
        )


def restore(job, recipe: str) -> None:
    """Brings back the runs that are further in the mirror than here, as the notebooks do; the other processes wait for the first."""
    from helpers import training as checkpoints

    if job.machine.main:
        print("from the mirror:", checkpoints.restore(job.output, recipe, job.mirror))
    if job.machine.processes > 1:
        from accelerate import PartialState

        PartialState(cpu=job.machine.device == "cpu").wait_for_everyone()


def free() -> None:
    """Lets go of a stage's model and optimiser, which hold each other, before the next is loaded."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
