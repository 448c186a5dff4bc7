"""The work of `python -m helpers sft|grpo|both`: settles recipe and machine, trains, and says where everything lies."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from helpers import processes
from helpers.recipes import for_profile, get_recipe

BUDGETS = ("quick", "published")


def train(stage: str, recipe: str, changes: Mapping, settings: Mapping, sft_output: Path | None, grpo_output: Path | None) -> None:
    """Trains "sft", "grpo" or "both". `changes`: what is other than in the recipe; `settings`: those of `stages.Job`.

    Raises ValueError, OSError, ImportError or RuntimeError with cause and cure.
    """
    processes.check_launch()
    named = get_recipe(recipe)
    if settings["budget"] not in BUDGETS:
        raise ValueError(f"Unknown budget {settings['budget']!r}.\nUse one of: {', '.join(BUDGETS)}.")
    from helpers import machine, stages

    here = machine.detect()
    if not here.main:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # the first process speaks for all
    settled = stages.changed(for_profile(named, here.profile), {"sft": stage != "grpo", "priming": stage != "grpo", "grpo": stage != "sft"}, **changes)
    machine.writable_folder(settings["output"])
    print(machine.describe(here))
    if stage == "grpo" and sft_output and not settings["adapter"]:
        settings = {**settings, "adapter": str(sft_output)}
    job = stages.Job(settled, here, **settings)
    for name in ("sft", "grpo") if stage == "both" else (stage,):
        if name == "sft" and stage == "both" and (not settled.supervised or job.adapter):
            continue
        adapter = getattr(stages, name)(job)
        place = stages.copied(adapter, sft_output if name == "sft" else grpo_output) if here.main else adapter
        print(f"\n{name}: the adapter is in {place}, its log and samples in {adapter.parent}\n"
              f"draw it with: python -m helpers plot {adapter.parent}")
