"""The work of `python -m helpers plot`: reads a run's log back, also one made elsewhere."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from helpers import plots, runs
from helpers.machine import writable_folder
from helpers.recipes import RECIPES, GRPOSettings, Recipe


def compare_runs(names: Sequence[str], out: str) -> None:
    """One figure that compares the runs, in `out` or beside the first one's figures."""
    paths = [Path(name).absolute() for name in names]
    shared = os.path.commonpath([path.parent for path in paths])
    logs = {os.path.relpath(path, shared): read_log(path) for path in paths}
    figure = plots.compare_runs(logs)
    place = writable_folder(out or folder_of(paths[0]) / "plots") / "compare.png"
    plots.save(figure, place)
    print(place)


def draw_run(name: str, out: str) -> None:
    """A run's summary, verdicts and figures."""
    log = read_log(Path(name))
    folder = folder_of(Path(name))
    place = writable_folder(out or folder / "plots")
    run = runs.Run.read(folder) or runs.Run(folder)
    recipe = recipe_of(run.manifest)
    seconds = sum(line.get("time_per_step_s") or 0 for line in log)
    print(f"{len(log)} steps, {seconds:.0f} s, {run.manifest.get('status', 'status unknown')}")
    print(runs.summary(log).to_string(float_format="{:.4g}".format))
    for name, seen in runs.report(log, recipe)["seen"].items():
        print(f"{name}: {seen}")
    weights = recipe.rewards if run.manifest else ()
    for picture in plots.save_all(log, place, weights):
        print(picture)


def folder_of(run: Path) -> Path:
    return run if run.is_dir() else run.parent


def recipe_of(manifest: Mapping) -> Recipe:
    """A run's recipe with the settings that it ran with; a log that does not say is gsm8k_xml's."""
    name = manifest.get("recipe")
    if name not in RECIPES:
        print("judged with the settings of gsm8k_xml: the log does not say its recipe")
        return RECIPES["gsm8k_xml"]
    return replace(RECIPES[name], grpo=GRPOSettings(**manifest["settings"]["grpo"]))


def read_log(run: Path) -> list[dict]:
    """The numbers of the log in a run's folder, or of a log file; a null counts as not finite.

    Raises ValueError if there is none.
    """
    places = (run, run / "log.jsonl", run / "grpo_training_logs.jsonl")
    path = next(filter(Path.is_file, places), None)
    if path is None:
        cure = "Give a run's folder, such as outputs/gsm8k_xml/grpo, or a file of JSON lines."
        raise ValueError(f"There is no log in {run}.\n{cure}")
    lines = runs.read_lines(path)
    steps = [line.get("step") if isinstance(line, dict) else None for line in lines]
    if not steps or not all(isinstance(step, int) for step in steps):
        raise ValueError(f"{path} holds no steps.\nGive the log of a run that has begun.")
    found = []
    for line in lines:
        values = {key: math.nan if value is None else value for key, value in line.items()}
        numbers = {key: value for key, value in values.items() if isinstance(value, int | float)}
        found.append(runs.finite(numbers))
    return found
