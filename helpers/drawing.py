"""The work of `python -m helpers plot`: reads a run's log back, also one made elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from helpers import plots, runs
from helpers.recipes import RECIPES, GRPOSettings, Recipe


def compare_runs(names: Sequence[str], out: str) -> None:
    """One figure that compares the runs, in `out` or beside the first one's figures."""
    paths = [Path(name).absolute() for name in names]
    shared = os.path.commonpath([path.parent for path in paths])
    logs = {os.path.relpath(path, shared): read_log(path) for path in paths}
    place = Path(out or folder_of(paths[0]) / "plots") / "compare.png"
    plots.save(plots.compare_runs(logs), place)
    print(place)


def draw_run(name: str, out: str) -> None:
    """A run's summary, verdicts and figures."""
    path = Path(name)
    log = read_log(path)
    run = runs.Run.read(folder_of(path))
    manifest = run.manifest if run else {}
    recipe = recipe_of(manifest)
    seconds = sum(line.get("time_per_step_s", 0) for line in log)
    print(f"{len(log)} steps, {seconds:.0f} s, {manifest.get('status', 'status unknown')}")
    print(runs.summary(log).to_string(float_format="{:.4g}".format))
    print_verdicts(log, recipe)
    weights = dict(recipe.rewards) if run else {}
    for picture in plots.save_all(log, Path(out or folder_of(path) / "plots"), weights):
        print(picture)


def print_verdicts(log: Sequence[Mapping], recipe: Recipe) -> None:
    unknown = runs.unjudged(log, recipe)
    found = runs.history(log, recipe)
    for verdict in found:
        print(verdict)
    if not found:
        judged = [name for name in runs.RULES if name not in unknown]
        print(f"healthy: nothing was seen of {', '.join(judged)}")
    for name, why in unknown.items():
        print(f"not judged: {name} ({why})")


def folder_of(run: Path) -> Path:
    return run if run.is_dir() else run.parent


def recipe_of(manifest: Mapping) -> Recipe:
    """A run's recipe with the settings that it ran with; a log that does not say is gsm8k_xml's."""
    name = manifest.get("recipe")
    if name not in list(RECIPES):
        print("judged with the settings of gsm8k_xml: the log does not say its recipe")
        return RECIPES["gsm8k_xml"]
    try:
        return replace(RECIPES[name], grpo=GRPOSettings(**manifest["settings"]["grpo"]))
    except (KeyError, TypeError):  # of another version
        return RECIPES[name]


def read_log(run: Path) -> list[dict]:
    """The log of a run's folder, or a log file. Raises ValueError if there is none."""
    path = run
    if not run.is_file():
        path = run / "log.jsonl"
    if not path.is_file():
        path = run / "grpo_training_logs.jsonl"
    if not path.is_file():
        cure = "Give a run's folder, such as outputs/gsm8k_xml/grpo, or a file of JSON lines."
        raise ValueError(f"There is no log in {run}.\n{cure}")
    lines = runs.read_lines(path)
    for line in lines or [{}]:
        if not isinstance(line, dict) or not isinstance(line.get("step"), int):
            raise ValueError(f"{path} holds no steps.\nGive the log of a run that has begun.")
    return [numbers_of(line) for line in lines]


def numbers_of(line: Mapping) -> dict:
    """A line's numbers; the names of those that are not finite stand under `not_finite`."""
    numbers = {}
    bad = []
    said = line.get("not_finite")
    if isinstance(said, list):
        bad = [key for key in said if isinstance(key, str)]
    for key, value in line.items():
        if key == "not_finite" or isinstance(value, str | list | dict):
            continue
        if value is not None and abs(value) < sys.float_info.max:
            numbers[key] = value
        elif key not in bad:
            bad.append(key)
    if bad:
        numbers["not_finite"] = bad
    return numbers
