"""`python -m helpers run` executes the four notebooks in order (`make run` calls it); `recipes` lists what they can teach, `plot` draws a run,
`evaluate` measures any models."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from helpers import overview
from helpers.notebooks import NOTEBOOKS, NotebookError, execute
from helpers.recipes import RECIPES, get_recipe

NUMBERS = ("SEED", "MAX_STEPS", "PROBLEMS")
SWITCHES = ("PUSH", "RESUME", "FORCE")
app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def run(
    set_: Annotated[list[str], typer.Option("--set", help="a notebook parameter, as NAME=VALUE")] = [],  # noqa: B006
    write: Annotated[bool, typer.Option(help="store the executed notebooks in their place")] = False,
) -> None:
    """Runs 01 to 04 top to bottom and ends with the table of results."""
    parameters = ({"RESUME": False} if write else {}) | parse(set_)  # what is stored comes from a run of its own
    recipe = parameters.get("RECIPE", "gsm8k_xml")
    try:
        get_recipe(recipe)
    except ValueError as error:
        fail(str(error))
    output = Path(parameters.get("OUTPUT", "outputs"))
    begun = time.time()
    for name in NOTEBOOKS:
        started = time.time()
        print(f"── {name}", flush=True)
        try:
            execute(name, output / recipe / "notebooks" / name, parameters, write)
        except NotebookError as error:
            fail(str(error))
        print(f"\r   done in {time.time() - started:.0f} s".ljust(80), flush=True)
    print(results(output / recipe) + f"\nall four notebooks took {time.time() - begun:.0f} s")


@app.command()
def recipes() -> None:
    """Prints the five recipes side by side, as a Markdown table."""
    print(markdown(overview.table()))


@app.command()
def evaluate(
    names: Annotated[list[str], typer.Argument(metavar="MODEL...", help="adapter folders, model folders, or Hub ids")],
    recipe: Annotated[str, typer.Option(help="which problems, format and score")] = "gsm8k_xml",
    dataset: Annotated[str | None, typer.Option("--dataset", "--dataset_name", help="other rows: a Hub id, a folder or a file")] = None,
    problems: Annotated[int | None, typer.Option("--problems", "--max_samples", min=1, help="how many; by default as the recipe says")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="drawn answers a problem; by default as the recipe says")] = None,
    out: Annotated[Path | None, typer.Option("--out", "--output_dir", help="by default outputs/RECIPE/evaluate")] = None,
    base: Annotated[bool, typer.Option("--base", help="also the base of the first adapter")] = False,
    control: Annotated[bool, typer.Option("--control", help="also twins with other numbers and fresh problems: is it memory?")] = False,
    use_4bit: Annotated[bool | None, typer.Option("--use_4bit/--no-use_4bit", help="by default adapters as trained, whole models as stored")] = None,
    vllm: Annotated[bool, typer.Option("--vllm", help="generate with vLLM, where it is installed")] = False,
    resume: Annotated[bool, typer.Option(help="read and go on with what was evaluated before")] = True,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Measures models on the same held-out problems: table, summary.json, figures and report.html."""
    try:
        print(compare_models(names, recipe, dataset, problems, samples, out, base, control, use_4bit, vllm, resume, seed))
    except (OSError, ValueError, ImportError) as error:
        fail(str(error))


def compare_models(names, recipe, dataset, problems, samples, out, base, control, use_4bit, vllm, resume, seed) -> str:
    """The work of `evaluate`; returns what it prints at the end."""
    from helpers import candidates, data, records, sources
    from helpers.machine import detect, writable_folder
    from helpers.recipes import for_profile

    machine = detect()
    settled = for_profile(get_recipe(recipe), machine.profile)
    chosen = candidates.candidates(names, settled, use_4bit, base)
    folder = writable_folder(out or Path("outputs") / recipe / "evaluate")
    splits = data.load(settled, dataset, machine.profile)
    found, remembered = candidates.evaluate(chosen, settled, machine, splits, folder, problems, samples, seed, resume, vllm, control)
    results = candidates.conclude(found, settled, folder, sources.place_of(settled.source, dataset, machine.profile), remembered)
    tables = [("greedy", records.show(results["greedy"])), ("sampled", records.show(results["sampled"])), ("sampled, rewards", records.show_rewards(results["sampled"]))]
    drops = [f"{name}, {kind}: {records.points(part)} flexible, against the recipe's own problems, n = {part['n']}"
             for name, parts in remembered.items() for kind, part in parts.items()]
    pairs = [f"{name}: {records.points(c)}, p = {c['p']:.2g}" for name, c in results["compare"].items()]
    return "\n".join([*(f"\n{title}\n{table.to_string()}" for title, table in tables), "", *pairs, *drops, "", f"report   {folder / 'report.html'}",
                      f"summary  {folder / 'summary.json'}"])


@app.command()
def plot(
    runs: Annotated[list[Path], typer.Argument(help="run folders, or log files")],
    out: Annotated[Path | None, typer.Option(help="where the pictures go; by default into the (first) run's plots folder")] = None,
) -> None:
    """Draws a run's figures from its log and prints its summary and what was wrong; of several runs draws one comparison."""
    from helpers import plots

    folder = out or (runs[0] if runs[0].is_dir() else runs[0].parent) / "plots"
    try:
        if len(runs) == 1:
            plot_one(runs[0], folder)
        else:
            plots.save(plots.compare_runs({name: read_log(run) for name, run in zip(distinct(runs), runs, strict=True)}), folder / "compare.png")
            print(folder / "compare.png")
    except (OSError, ValueError) as error:
        fail(str(error))


def distinct(runs: list[Path]) -> list[str]:
    """The runs' paths without the folders that all of them begin with."""
    shared = os.path.commonpath([run.absolute().parent for run in runs])
    return [os.path.relpath(run.absolute(), shared) for run in runs]


def plot_one(run: Path, folder: Path) -> None:
    """A run's summary, verdicts and figures."""
    from helpers import health, plots
    from helpers.runlog import read_manifest, summary

    log, manifest = read_log(run), read_manifest(run if run.is_dir() else run.parent) or {}
    recipe = recipe_of(manifest)
    print(f"{len(log)} steps, {sum(line.get('time_per_step_s') or 0 for line in log):.0f} s, {manifest.get('status', 'status unknown')}")
    print(summary(log).to_string(float_format="{:.4g}".format))
    found, unknown = health.history(log, recipe), health.unjudged(log, recipe)
    judged = [name for name in health.RULES if name not in unknown]
    print("\n".join(map(str, found)) or "healthy: nothing was seen of " + ", ".join(judged))
    print("".join(f"not judged: {name} ({why})\n" for name, why in unknown.items()), end="")
    for path in plots.save_all(log, folder, dict(recipe.rewards) if manifest else {}):
        print(path)


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
    from helpers.runlog import read_lines

    path = run if run.is_file() else next((run / name for name in ("log.jsonl", "grpo_training_logs.jsonl") if (run / name).is_file()), None)
    if path is None:
        raise ValueError(f"There is no log in {run}.\nGive a run's folder, such as outputs/gsm8k_xml/grpo, or a file of JSON lines.")
    lines = read_lines(path)
    if not lines or any(not isinstance(line, dict) or not isinstance(line.get("step"), int) for line in lines):
        raise ValueError(f"{path} holds no steps.\nGive the log of a run that has begun.")
    return [numbers(line) for line in lines]


def numbers(line: dict) -> dict:
    """A line's numbers; the names of those that are no finite ones (null, NaN, Infinity) under `not_finite`."""
    def known(value) -> bool:
        return isinstance(value, int | float) and abs(value) < sys.float_info.max

    said = line.get("not_finite") if isinstance(line.get("not_finite"), list) else []
    line = {key: value for key, value in line.items() if key != "not_finite"}
    bad = [key for key, value in line.items() if value is None or (isinstance(value, int | float) and not known(value))]
    bad += [key for key in said if isinstance(key, str) and key not in bad]
    return {key: value for key, value in line.items() if known(value)} | ({"not_finite": bad} if bad else {})


def markdown(columns: dict[str, dict[str, str]]) -> str:
    """A table with a column for each key, and their common keys as rows."""
    rows = [["", *(f"`{name}`" for name in columns)], ["---"] * (len(columns) + 1)]
    rows += [[key, *(column[key] for column in columns.values())] for key in next(iter(columns.values()))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def parse(pairs: list[str]) -> dict:
    """NAME=VALUE pairs as notebook parameters of the right type."""
    parameters: dict = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            fail(f"--set takes NAME=VALUE, not {pair!r}.\nFor example: --set MAX_STEPS=5")
        if name in NUMBERS and not value.isdigit():
            fail(f"{name} is {value!r}.\nGive a whole number.")
        parameters[name] = int(value) if name in NUMBERS else value.lower() in ("1", "true", "yes") if name in SWITCHES else value
    return parameters


def results(folder: Path) -> str:
    """The table at the end: each model with its accuracies, and where everything lies."""
    summary = json.loads((folder / "eval" / "summary.json").read_text())
    lines = ["", f"{'':8}{'strict, greedy':>24}{'strict, sampled':>24}{'flexible, greedy':>24}{'n':>6}"]
    for name, part in summary["greedy"].items():
        shown = [f"{p['value']:.1%} [{p['low']:.1%}, {p['high']:.1%}]" for p in
                 (part["strict"], summary["sampled"][name]["strict"], part["flexible"])]
        lines.append(f"{name:8}" + "".join(f"{cell:>24}" for cell in shown) + f"{part['n']:>6}")
    earned = ("{} {value:.2f} [{low:.2f}, {high:.2f}]".format(name, **part["reward"]) for name, part in summary["sampled"].items())
    lines.append("total reward, sampled: " + ", ".join(earned))
    lines += [f"  {reward}: " + ", ".join(f"{name} {part['rewards'][reward]['value']:.2f}" for name, part in summary["sampled"].items())
              for reward in next(iter(summary["sampled"].values()))["rewards"]]
    lines.append("95 % intervals in brackets; held-out problems; sampled: mean of the samples of each problem")
    places = (("adapter", "grpo/adapter"), ("merged model", "export/merged-fp32"), ("log", "grpo/log.jsonl"), ("pictures", "grpo/plots"),
              ("records", "eval"), ("executed notebooks", "notebooks"))
    return "\n".join(lines + [f"{what:20}{folder / where}" for what, where in places])


def fail(message: str) -> None:
    """Prints a message and ends with status 1."""
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
