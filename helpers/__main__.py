"""`python -m helpers run` executes the four notebooks in order (`make run` calls it); `recipes` lists what they can teach, `plot` draws a run."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from helpers import overview
from helpers.recipes import RECIPES, get_recipe

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ("01_sft.ipynb", "02_grpo.ipynb", "03_eval.ipynb", "04_export_push.ipynb")
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
        execute(name, output / recipe / "notebooks" / name, parameters, write)
        print(f"\r   done in {time.time() - started:.0f} s".ljust(80), flush=True)
    print(results(output / recipe) + f"\nall four notebooks took {time.time() - begun:.0f} s")


@app.command()
def recipes() -> None:
    """Prints the five recipes side by side, as a Markdown table."""
    print(markdown(overview.table()))


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


def execute(name: str, copy: Path, parameters: dict, write: bool) -> None:
    """Runs one notebook with papermill; its progress bars appear as they come."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"Cannot write to {copy.parent} ({error.strerror}).\nSet OUTPUT to a folder you can write to.")
    try:
        with without_kernel_log():
            papermill.execute_notebook(ROOT / name, copy, parameters=parameters, kernel_name="python3", cwd=ROOT, progress_bar=False,
                                       stdout_file=ProgressOnly() if sys.stdout.isatty() else None)
    except PapermillExecutionError as error:
        fail(f"{name}, cell {error.exec_count}: {error.ename}: {error.evalue}\n(the whole notebook: {copy})")
    except DeadKernelError:
        fail(f"{name}: the kernel died, most likely for lack of memory.\nClose other programs, or take a smaller MODEL.")
    tidy(copy)
    if write:
        store(copy, ROOT / name)


@contextlib.contextmanager
def without_kernel_log():
    """Keeps the kernels' start-up notices off the terminal. Errors of the notebooks do not go this way: papermill raises them."""
    sys.stderr.flush()
    ours, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)
        os.close(nowhere)


class ProgressOnly:
    """Shows the notebooks' progress bars on one line of the terminal, and leaves their other prints to the notebooks."""

    def write(self, text: str) -> None:
        if "\r" in text:
            sys.stdout.write("\r   " + text.rstrip("\r\n").rpartition("\r")[2][:76].ljust(76))

    def flush(self) -> None:
        sys.stdout.flush()


def tidy(path: Path) -> None:
    """Joins what was printed in pieces and resolves carriage returns, so that a progress bar that is over leaves nothing behind."""
    book = json.loads(path.read_text())
    for cell in (cell for cell in book["cells"] if cell["cell_type"] == "code"):
        joined: list[dict] = []
        for output in cell["outputs"]:
            if output["output_type"] == "stream" and joined and joined[-1].get("name") == output["name"]:
                joined[-1]["text"] = "".join(joined[-1]["text"]) + "".join(output["text"])
            else:
                joined.append(output)
        for output in (output for output in joined if output["output_type"] == "stream"):
            output["text"] = "\n".join(overwritten(line) for line in "".join(output["text"]).split("\n"))
        cell["outputs"] = [output for output in joined if shows(output)]
    path.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n")


def shows(output: dict) -> bool:
    """Whether an output has anything in it; live curves that are over have not."""
    return bool("".join(output.get("text", "x")).strip()) and output.get("data", {"": "x"}) not in ({"text/plain": ""}, {"text/plain": []})


def overwritten(line: str) -> str:
    """What a terminal shows of a line with carriage returns: later text over earlier text."""
    shown = ""
    for part in line.split("\r"):
        shown = part + shown[len(part):]
    return shown.rstrip(" ") if "\r" in line else line


def store(copy: Path, place: Path) -> None:
    """Puts an executed copy in the notebook's place, without what papermill added."""
    book = json.loads(copy.read_text())
    book["metadata"].pop("papermill", None)
    book["metadata"].pop("widgets", None)
    book["cells"] = [cell for cell in book["cells"] if "injected-parameters" not in cell["metadata"].get("tags", [])]
    for count, cell in enumerate((c for c in book["cells"] if c["cell_type"] == "code"), 1):
        cell["execution_count"] = count
        for output in cell["outputs"]:
            if "execution_count" in output:
                output["execution_count"] = count
    for cell in book["cells"]:
        for key in ("papermill", "execution"):
            cell["metadata"].pop(key, None)
        if not cell["metadata"].get("tags", True):
            del cell["metadata"]["tags"]
    place.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n")


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
