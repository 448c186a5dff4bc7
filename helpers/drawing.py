"""Reads runs back for `python -m helpers plot`: their logs, summaries, verdicts and figures."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from helpers import plots
from helpers import runs as health
from helpers.recipes import RECIPES
from helpers.runs import Run, read_lines, summary


def plot_several(runs: Sequence[Path], folder: Path) -> None:
    """One figure that compares the runs."""
    plots.save(
        plots.compare_runs(
            {name: read_log(run) for name, run in zip(distinct(runs), runs, strict=True)}
        ),
        folder / "compare.png",
    )
    print(folder / "compare.png")


def distinct(runs: Sequence[Path]) -> list[str]:
    """The runs' paths without the folders that all of them begin with."""
    shared = os.path.commonpath([run.absolute().parent for run in runs])
    return [os.path.relpath(run.absolute(), shared) for run in runs]


def plot_one(runs: Sequence[Path], folder: Path) -> None:
    """The summary, verdicts and figures of a run, the only one."""
    [run] = runs
    log, manifest = read_log(run), manifest_of(run if run.is_dir() else run.parent)
    recipe = recipe_of(manifest)
    print(
        f"{len(log)} steps, {sum(line.get('time_per_step_s') or 0 for line in log):.0f} s, {manifest.get('status', 'status unknown')}"
    )
    print(summary(log).to_string(float_format="{:.4g}".format))
    found, unknown = health.history(log, recipe), health.unjudged(log, recipe)
    judged = [name for name in health.RULES if name not in unknown]
    print("\n".join(map(str, found)) or "healthy: nothing was seen of " + ", ".join(judged))
    print("".join(f"not judged: {name} ({why})\n" for name, why in unknown.items()), end="")
    for path in plots.save_all(log, folder, dict(recipe.rewards) if manifest else {}):
        print(path)


def manifest_of(folder: Path) -> dict:
    run = Run.read(folder)
    return run.manifest if run else {}


def recipe_of(manifest: dict):
    """The recipe of a run with the settings that it ran with. A log that does not say its recipe is judged as gsm8k_xml, and that is said."""
    from dataclasses import replace

    from helpers.recipes import GRPOSettings

    if manifest.get("recipe") not in list(RECIPES):
        print("judged with the settings of gsm8k_xml: the log does not say its recipe")
        return RECIPES["gsm8k_xml"]
    recipe = RECIPES[manifest["recipe"]]
    try:
        return replace(recipe, grpo=GRPOSettings(**manifest["settings"]["grpo"]))
    except (KeyError, TypeError):  # of another version
        return recipe


def read_log(run: Path) -> list[dict]:
    """The log of a run's folder, or of a log file; text where a number belongs is left out. Raises ValueError if there is none."""
    path = (
        run
        if run.is_file()
        else next(
            (
                run / name
                for name in ("log.jsonl", "grpo_training_logs.jsonl")
                if (run / name).is_file()
            ),
            None,
        )
    )
    if path is None:
        raise ValueError(
            f"There is no log in {run}.\nGive a run's folder, such as outputs/gsm8k_xml/grpo, or a file of JSON lines."
        )
    lines = read_lines(path)
    if not lines or any(
        not isinstance(line, dict) or not isinstance(line.get("step"), int) for line in lines
    ):
        raise ValueError(f"{path} holds no steps.\nGive the log of a run that has begun.")
    return [numbers(line) for line in lines]


def numbers(line: dict) -> dict:
    """A line's numbers; the names of those that are no finite ones (null, NaN, Infinity) under `not_finite`."""

    def known(value) -> bool:
        return isinstance(value, int | float) and abs(value) < sys.float_info.max

    said = line.get("not_finite") if isinstance(line.get("not_finite"), list) else []
    line = {key: value for key, value in line.items() if key != "not_finite"}
    bad = [
        key
        for key, value in line.items()
        if value is None or (isinstance(value, int | float) and not known(value))
    ]
    bad += [key for key in said if isinstance(key, str) and key not in bad]
    return {key: value for key, value in line.items() if known(value)} | (
        {"not_finite": bad} if bad else {}
    )
