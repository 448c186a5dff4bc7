"""`python -m helpers run` executes the four notebooks in order (`make run` calls it); `recipes` lists what they can teach, `sft`, `grpo` and `both`
train without a notebook, also under `accelerate launch`, `plan` says what fits on which card, `plot` draws a run, `evaluate` measures any models,
`export` merges an adapter into one model, `push` gives it to others, `address` says where this repository lies."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from helpers import address as addresses
from helpers import commands
from helpers import settings as parameters
from helpers.notebooks import NOTEBOOKS, ROOT, NotebookError, execute
from helpers.recipes import get_recipe, overview

SAID = (
    OSError,
    ValueError,
    ImportError,
    RuntimeError,
    FloatingPointError,
)  # what training and evaluating stop with: the text is enough
app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def run(
    set_: Annotated[
        list[str], typer.Option("--set", help="a notebook parameter, as NAME=VALUE")
    ] = [],  # noqa: B006
    write: Annotated[
        bool, typer.Option(help="store the executed notebooks in their place")
    ] = False,
) -> None:
    """Runs 01 to 04 top to bottom and ends with the table of results."""
    given = ({"RESUME": False} if write else {}) | parse(
        set_
    )  # what is stored comes from a run of its own
    recipe = given.get("RECIPE", "gsm8k_xml")
    try:
        get_recipe(recipe)
    except ValueError as error:
        fail(str(error))
    if given.get("ADAPTER") and not Path(given["ADAPTER"], "adapter_config.json").is_file():
        fail(
            f"There is no adapter in {given['ADAPTER']}.\nSet ADAPTER to a trained adapter's folder, or leave it out."
        )
    given |= places(given) if Path.cwd() != ROOT else {}
    output = Path(given.get("OUTPUT", "outputs"))
    begun = time.time()
    for name in NOTEBOOKS:
        started = time.time()
        print(f"── {name}", flush=True)
        copy = output / recipe / "notebooks" / name
        try:
            last = (
                {"ADAPTER": ""} if name == NOTEBOOKS[-1] else {}
            )  # what is given away is what was trained just now
            execute(name, copy, given | last, write)
        except NotebookError as error:
            fail(str(error))
        except KeyboardInterrupt:
            stop(
                f"stopped in {name}; what was done is saved\nRun the same command again: it goes on from there."
            )
        print(
            "\n".join([f"\r   done in {time.time() - started:.0f} s".ljust(80), *kept(copy)]),
            flush=True,
        )
    print(results(output / recipe) + f"\nall four notebooks took {time.time() - begun:.0f} s")


@app.command()
def recipes() -> None:
    """Prints the five recipes side by side, as a Markdown table."""
    print(markdown(overview()))


@app.command()
def address(
    url: Annotated[
        str, typer.Argument(help="such as https://github.com/your-name/qwen3-reasoning-notebooks")
    ],
) -> None:
    """Writes the address of your copy of this repository into badges, set-up cells and README."""
    try:
        print(
            "written:", ", ".join(f"{name} {count}" for name, count in addresses.move(url).items())
        )
    except ValueError as error:
        fail(str(error))


@app.command("sft", help="Trains a recipe's supervised stages: priming, where it has it, and SFT.")
@app.command("grpo", help="Trains by GRPO, from the adapter of SFT where the recipe has it.")
@app.command("both", help="SFT, where the recipe has it, and then GRPO.")
def train(
    context: typer.Context,
    recipe: Annotated[str, typer.Option(help="which system to teach")] = "gsm8k_xml",
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "--model_name",
            help="a Hub id or a local folder; by default the recipe's, without a GPU the embedded one",
        ),
    ] = "",
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset", "--dataset_name", help="other rows: a Hub id, a folder or a file"
        ),
    ] = "",
    output: Annotated[
        Path, typer.Option("--output", "--output_dir", help="runs go to OUTPUT/RECIPE/STAGE")
    ] = Path("outputs"),
    epochs: Annotated[
        float | None,
        typer.Option("--epochs", "--num_epochs", min=1e-6, max=1e4, help="passes over the rows"),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            "--batch_size",
            min=1,
            help="the effective batch: rows, for GRPO completions, a step",
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--learning_rate",
            min=0.0,
            help="with both, as --num_epochs and --batch_size, for all its stages",
        ),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option("--rows", "--max_samples", min=1, help="train on at most so many rows"),
    ] = None,
    use_4bit: Annotated[
        bool | None,
        typer.Option(
            "--use_4bit/--no-use_4bit", help="the base in 4-bit; by default as the recipe says"
        ),
    ] = None,
    max_steps: Annotated[
        int, typer.Option("--max_steps", min=0, help="at most so many steps a stage")
    ] = 0,
    budget: Annotated[
        str,
        typer.Option(help="on a GPU: published, the recipe's full length, or quick, some minutes"),
    ] = "published",
    adapter: Annotated[
        str,
        typer.Option(
            "--adapter", help="the adapter that GRPO goes on from; with both there is no SFT then"
        ),
    ] = "",
    sft_output: Annotated[
        Path | None,
        typer.Option(
            "--sft_output", help="where the adapter of SFT goes too, and where grpo finds it"
        ),
    ] = None,
    grpo_output: Annotated[
        Path | None, typer.Option("--grpo_output", help="where the adapter of GRPO goes too")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    resume: Annotated[bool, typer.Option(help="go on where a run was cut off")] = True,
    mirror: Annotated[
        str, typer.Option(help="a folder that gets a copy of every run after each checkpoint")
    ] = "",
    report_to: Annotated[
        str, typer.Option("--report_to", help="wandb, tensorboard or trackio get the figures too")
    ] = "none",
    vllm: Annotated[
        str,
        typer.Option(help="who generates for grpo: colocate or server; by default transformers"),
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="train although the pre-flight sees no use in it")
    ] = False,
) -> None:
    changes = {"epochs": epochs, "batch": batch, "rate": rate, "rows": rows, "four_bit": use_4bit}
    settings = {
        "output": output,
        "model": model,
        "dataset": dataset,
        "seed": seed,
        "max_steps": max_steps,
        "budget": budget,
        "adapter": adapter,
        "resume": resume,
        "mirror": mirror,
        "report_to": report_to,
        "force": force,
        "vllm": vllm,
    }
    try:
        commands.train(context.info_name, recipe, changes, settings, sft_output, grpo_output)
    except KeyboardInterrupt as error:
        stop(
            str(error)
            or "stopped\nRun the same command again: it goes on from the last checkpoint."
        )
    except SAID as error:
        fail(str(error))


@app.command()
def evaluate(
    names: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help="adapter folders, model folders, or Hub ids"),
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="which problems, format and score; by default that of the first adapter's run, else gsm8k_xml"
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", "--dataset_name", help="other rows: a Hub id, a folder or a file"
        ),
    ] = None,
    problems: Annotated[
        int | None,
        typer.Option(
            "--problems", "--max_samples", min=1, help="how many; by default as the recipe says"
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="drawn answers a problem; by default as the recipe says"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "--output_dir", help="by default outputs/RECIPE/evaluate"),
    ] = None,
    base: Annotated[
        bool, typer.Option("--base", help="also the base of the first adapter")
    ] = False,
    control: Annotated[
        bool,
        typer.Option(
            "--control", help="also twins with other numbers and fresh problems: is it memory?"
        ),
    ] = False,
    use_4bit: Annotated[
        bool | None,
        typer.Option(
            "--use_4bit/--no-use_4bit",
            help="by default adapters as trained, whole models as stored",
        ),
    ] = None,
    vllm: Annotated[
        bool, typer.Option("--vllm", help="generate with vLLM, where it is installed")
    ] = False,
    resume: Annotated[
        bool, typer.Option(help="read and go on with what was evaluated before")
    ] = True,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Measures models on the same held-out problems: table, summary.json, figures and report.html."""
    try:
        print(
            compare_models(
                names,
                recipe,
                dataset,
                problems,
                samples,
                out,
                base,
                control,
                use_4bit,
                vllm,
                resume,
                seed,
            )
        )
    except KeyboardInterrupt:
        stop("stopped\nRun the same command again: it goes on from there.")
    except SAID as error:
        fail(str(error))


def compare_models(
    names, recipe, dataset, problems, samples, out, base, control, use_4bit, vllm, resume, seed
) -> str:
    """The work of `evaluate`; returns what it prints at the end."""
    from helpers import data
    from helpers import data as sources
    from helpers import evaluation as candidates
    from helpers import evaluation as records
    from helpers.machine import detect, writable_folder
    from helpers.recipes import for_profile

    machine, trained = detect(), candidates.recipes_of(names)
    recipe = recipe or next(iter(trained), "gsm8k_xml")
    settled = for_profile(get_recipe(recipe), machine.profile)
    print(f"judged by {recipe}")
    if len(trained) > 1:
        print(
            f"warning: the adapters are of different recipes ({', '.join(trained)}), and all are asked and judged by {recipe}"
        )
    chosen = candidates.find_candidates(names, settled, use_4bit, base)
    folder = writable_folder(out or Path("outputs") / recipe / "evaluate")
    splits = data.load(settled, dataset, machine.profile)
    found, remembered = candidates.evaluate_all(
        chosen, settled, machine, splits, folder, problems, samples, seed, resume, vllm, control
    )
    results = candidates.conclude(
        found,
        settled,
        folder,
        sources.place_of(settled.source, dataset, machine.profile),
        remembered,
    )
    tables = [
        ("greedy", records.show(results["greedy"])),
        ("sampled", records.show(results["sampled"])),
        ("sampled, rewards", records.show_rewards(results["sampled"])),
    ]
    drops = [
        f"{name}, {kind}: {records.points(part)} flexible, against the recipe's own problems, n = {part['n']}"
        for name, parts in remembered.items()
        for kind, part in parts.items()
    ]
    pairs = [
        f"{name}: {records.points(c)}, p = {c['p']:.2g}" for name, c in results["compare"].items()
    ]
    return "\n".join(
        [
            *(f"\n{title}\n{table.to_string()}" for title, table in tables),
            "",
            *pairs,
            *drops,
            "",
            f"report   {folder / 'report.html'}",
            f"summary  {folder / 'summary.json'}",
        ]
    )


@app.command()
def plan(
    recipe: Annotated[str, typer.Argument(help="one of the five")] = "gsm8k_xml",
) -> None:
    """Prints what each stage takes on each card, in GiB, and how the batch is cut there. Needs no GPU."""
    from helpers import machine as memory
    from helpers.machine import detect

    try:
        print(memory.plan_table(get_recipe(recipe), detect()).to_string(index=False))
    except ValueError as error:
        fail(str(error))
    print(
        "\nbatch: device batch × accumulation × processes. training (gradients, activations, logits) and generating take turns, so the total has the\n"
        "larger one. fits: within 90 % of a card, or a quarter of this computer.\n"
        'On cards: derived from the model\'s sizes, not measured yet. "this computer" trains the tiny model, if it has no GPU.'
    )


@app.command()
def plot(
    runs: Annotated[list[Path], typer.Argument(help="run folders, or log files")],
    out: Annotated[
        Path | None,
        typer.Option(help="where the pictures go; by default into the (first) run's plots folder"),
    ] = None,
) -> None:
    """Draws a run's figures from its log and prints its summary and what was wrong; of several runs draws one comparison."""
    from helpers import drawing

    folder = out or (runs[0] if runs[0].is_dir() else runs[0].parent) / "plots"
    try:
        (drawing.plot_one if len(runs) == 1 else drawing.plot_several)(runs, folder)
    except (OSError, ValueError) as error:
        fail(str(error))


@app.command()
def export(
    adapter: Annotated[
        Path | None,
        typer.Argument(
            help="an adapter's folder; by default that of the last stage of outputs/RECIPE"
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="of the merged model: fp32, bf16 or fp16")
    ] = "fp32",
    recipe: Annotated[str | None, typer.Option(help="by default that of the adapter's run")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "--model_name",
            help="the unquantised base; by default the one that the adapter names",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "--output_dir", help="by default outputs/RECIPE/export/merged-PRECISION"
        ),
    ] = None,
    gguf: Annotated[
        list[str],
        typer.Option("--gguf", help="also GGUF files: f16, q8_0, q4_k_m (needs llama.cpp)"),
    ] = [],  # noqa: B006
    repo: Annotated[
        str | None, typer.Option(help="your-name/model-name, which the card names")
    ] = None,
    staging: Annotated[
        Path | None,
        typer.Option(
            help="where it is made before it appears under its name, say on a larger disk"
        ),
    ] = None,
) -> None:
    """Merges an adapter into one model, reads it back in a fresh process and proves that it is the trained one."""
    from helpers import giving

    try:
        print(giving.export(adapter, precision, recipe, model, out, gguf, repo, staging))
    except KeyboardInterrupt:
        stop("stopped; what is there is not proven\nRun the same command again.")
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        fail(str(error))


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="an export's folder, or an adapter's")],
    repo: Annotated[str, typer.Argument(help="your-name/model-name on the Hub")],
    upload: Annotated[
        bool, typer.Option("--push", help="upload; without it only the plan is printed")
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help="everybody may see the repository")
    ] = False,
) -> None:
    """Prints what a push to the Hub would do; with --push does it, and checks that everything arrived."""
    from helpers import sharing as hub

    try:
        print(hub.plan_push(folder, repo, private=not public))
        if upload:
            print(
                "pushed to", hub.push(folder, repo, private=not public), "and read back: the same"
            )
        else:
            hub.check_card(folder)  # an upload would stumble over it
            print("nothing was uploaded; add --push to upload")
    except (OSError, ValueError, RuntimeError) as error:
        fail(str(error))


def markdown(columns: dict[str, dict[str, str]]) -> str:
    """A table with a column for each key, and their common keys as rows."""
    rows = [["", *(f"`{name}`" for name in columns)], ["---"] * (len(columns) + 1)]
    rows += [
        [key, *(column[key] for column in columns.values())] for key in next(iter(columns.values()))
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def places(given: dict) -> dict:
    """The paths among the parameters, absolute, because the kernels work in the project's folder. Names of the Hub stay."""
    local = [
        name
        for name in ("MODEL", "DATASET", "ADAPTER")
        if given.get(name) and Path(given[name]).exists()
    ]
    return {
        name: os.path.abspath(given.get(name, "outputs"))
        for name in ["OUTPUT", *local, *(["MIRROR"] if given.get("MIRROR") else [])]
    }


def kept(copy: Path) -> list[str]:
    """What an executed notebook said of finished runs that it put aside."""
    shown = (
        output.get("text", "")
        for cell in json.loads(copy.read_text())["cells"]
        for output in cell.get("outputs", ())
    )
    return [
        f"   {line}"
        for text in shown
        for line in "".join(text).split("\n")
        if " is kept as " in line
    ]


def parse(pairs: list[str]) -> dict:
    """NAME=VALUE pairs as notebook parameters of the right type."""
    for pair in pairs:
        if "=" not in pair:
            fail(f"--set takes NAME=VALUE, not {pair!r}.\nFor example: --set MAX_STEPS=5")
    given = dict(pair.split("=", 1) for pair in pairs)
    unknown = [name for name in given if name not in parameters.NAMES]
    if unknown:
        fail(f"There is no parameter {unknown[0]}.\nThere are {', '.join(parameters.NAMES)}.")
    try:
        return parameters.checked(given)
    except ValueError as error:
        fail(str(error))


def results(folder: Path) -> str:
    """The table at the end: each model with its accuracies, and where everything lies."""
    from helpers import runs as runlog

    summary = runlog.read_summary(folder / "eval")
    lines = [
        "",
        f"{'':8}{'strict, greedy':>24}{'strict, sampled':>24}{'flexible, greedy':>24}{'n':>6}",
    ]
    for name, part in summary["greedy"].items():
        shown = [
            f"{p['value']:.1%} [{p['low']:.1%}, {p['high']:.1%}]"
            for p in (part["strict"], summary["sampled"][name]["strict"], part["flexible"])
        ]
        lines.append(f"{name:8}" + "".join(f"{cell:>24}" for cell in shown) + f"{part['n']:>6}")
    earned = (
        "{} {value:.2f} [{low:.2f}, {high:.2f}]".format(name, **part["reward"])
        for name, part in summary["sampled"].items()
    )
    lines.append("total reward, sampled: " + ", ".join(earned))
    lines += [
        f"  {reward}: "
        + ", ".join(
            f"{name} {part['rewards'][reward]['value']:.2f}"
            for name, part in summary["sampled"].items()
        )
        for reward in next(iter(summary["sampled"].values()))["rewards"]
    ]
    lines.append(
        "95 % intervals in brackets; held-out problems; sampled: mean of the samples of each problem"
    )
    lines += verified(folder / "export" / "proof.json")
    places = (
        ("adapter", "grpo/adapter"),
        ("merged model", "export/merged-fp32"),
        ("log", "grpo/log.jsonl"),
        ("pictures", "grpo/plots"),
        ("records", "eval"),
        ("executed notebooks", "notebooks"),
    )
    return "\n".join(lines + [f"{what:20}{folder / where}" for what, where in places])


def verified(path: Path) -> list[str]:
    """What the proof of the exports found, a line each."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return [
        f"{name} read back in a fresh process: {p['same_text']} of {p['prompts']} replies the same, logits within {p['relative']:.0e} of the largest"
        for name, p in found.items()
    ]


def stop(message: str) -> None:
    """Prints a message after an interrupt and ends with the status that shells use for one."""
    print(f"\n{message}", file=sys.stderr)
    raise typer.Exit(130)


def fail(message: str) -> None:
    """Prints a message and ends with status 1."""
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
