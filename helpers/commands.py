"""The work of `python -m helpers`: a function a command.

What is heavy is imported where it is used, so that the light commands answer at once.
"""

from __future__ import annotations

import gc
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from helpers import machine, notebooks
from helpers.recipes import RECIPES, Recipe, for_profile, get_recipe, overview
from helpers.settings import DEFAULT_RECIPE, Settings

ASKED = 16  # prompts of an export's proof: generated problems, which need no network
ADAPTER_FILES = {
    "adapter_config.json",
    "adapter_model.safetensors",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer_config.json",
    "README.md",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
}


def run(pairs: Sequence[str], settings: Settings) -> None:
    """The four notebooks, with NAME=VALUE pairs as their parameters."""
    notebooks.run(notebooks.parse(pairs), settings.write)


def sft(settings: Settings) -> None:
    train(["sft"], settings)


def grpo(settings: Settings) -> None:
    if settings.sft_output and not settings.adapter:
        settings = replace(settings, adapter=settings.sft_output, sft_output="")
    train(["grpo"], settings)


def both(settings: Settings) -> None:
    supervised = get_recipe(settings.recipe or DEFAULT_RECIPE).sft and not settings.adapter
    train(["sft", "grpo"] if supervised else ["grpo"], settings)


def train(names: Sequence[str], settings: Settings) -> None:
    """Trains "sft", "grpo" or both, also under `accelerate launch`, and says where all lies."""
    machine.check_launch()
    check_outputs(names, settings)
    from helpers.training import stages

    job = stages.open_job(settings)
    if not job.machine.main:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  the first one speaks
    print(machine.describe(job.machine))
    splits = stages.check(job, names)
    stages.restore_runs(job)
    places = {"sft": settings.sft_output, "grpo": settings.grpo_output}
    for name in names:
        stage = getattr(stages, name)
        adapter = stage(job, splits)
        folder = adapter.folder
        if job.machine.main:
            folder = copy_adapter_to(folder, places[name])
        log = adapter.run.folder
        print(f"\n{name}: the adapter is in {folder}, its log in {log}")
        print(f"draw it with: {sys.executable} -m helpers plot {shlex.quote(str(log))}")
        free_memory()


def check_outputs(names: Sequence[str], settings: Settings) -> None:
    """Raises ValueError or FileExistsError for places where an adapter cannot go."""
    problem = ""
    if names == ["sft"] and settings.adapter:
        problem = "SFT starts from the base and takes no --adapter"
    elif "grpo" not in names and settings.grpo_output:
        problem = "sft writes no --grpo_output"
    elif "sft" not in names and settings.sft_output:
        problem = "There is no SFT here, and so no --sft_output"
    elif settings.sft_output and is_same(settings.sft_output, settings.grpo_output):
        problem = "--sft_output and --grpo_output are one folder"
    if problem:
        raise ValueError(f"{problem}.\nLeave one of them out, or name another.")
    check_place(settings.sft_output)
    check_place(settings.grpo_output)


def is_same(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()


def check_place(folder: str) -> None:
    """Raises FileExistsError unless an adapter can go there: into an empty folder, or over one."""
    place = Path(folder)
    if not folder or not place.exists():
        return
    if not place.is_dir() or {path.name for path in place.iterdir()} - ADAPTER_FILES:
        cure = "Name another folder, or an empty one."
        raise FileExistsError(f"{folder} holds something that is no adapter.\n{cure}")


def copy_adapter_to(adapter: Path, folder: str) -> Path:
    """The adapter, also in `folder`, if one is given; it appears there when it is whole."""
    place = Path(folder).resolve()
    if not folder or place == adapter.resolve():
        return adapter
    check_place(folder)
    part = place.with_name(place.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(adapter, part)
    shutil.rmtree(place, ignore_errors=True)
    os.replace(part, place)
    return place


def free_memory() -> None:
    """Lets go of a stage's model and optimiser, which hold each other, before the next loads."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def evaluate(names: Sequence[str], settings: Settings) -> None:
    """Measures models on the same held-out problems and prints what was found.

    They are judged by `--recipe`, else by that of the first adapter's run, else by the default.
    """
    from helpers import data, evaluation

    here = machine.detect()
    trained = evaluation.recipes_of(names)
    judge = settings.recipe or next(iter(trained), DEFAULT_RECIPE)
    recipe = for_profile(get_recipe(judge), here.profile)
    print(f"judged by {judge}")
    if len(trained) > 1:
        several = ", ".join(trained)
        print(f"warning: the adapters are of different recipes ({several}), judged by {judge}")
    chosen = evaluation.find_candidates(names, recipe, settings.use_4bit, settings.base)
    folder = machine.writable_folder(settings.out or Path("outputs", judge, "evaluate"))
    splits = data.load(recipe, settings.dataset, here.profile)
    part = recipe.evaluation
    problems = settings.problems or part.problems
    samples = settings.samples or part.samples
    recipe = replace(recipe, evaluation=replace(part, problems=problems, samples=samples))
    found, remembered = evaluation.evaluate_all(
        chosen,
        recipe,
        here,
        splits,
        folder,
        seed=settings.seed,
        resume=settings.resume,
        vllm=bool(settings.vllm),
        control=settings.control,
    )
    where = data.place_of(recipe.source, settings.dataset, here.profile)
    results = evaluation.conclude(found, recipe, folder, where, remembered)
    tables = {
        "greedy": evaluation.show(results["greedy"]),
        "sampled": evaluation.show(results["sampled"]),
        "sampled, rewards": evaluation.show_rewards(results["sampled"]),
    }
    for title, table in tables.items():
        print(f"\n{title}\n{table.to_string()}")
    print()
    for name, change in results["compare"].items():
        print(f"{name}: {evaluation.points(change)}, p = {change['p']:.2g}")
    if remembered:
        print(evaluation.show_control(remembered).to_string())
    print(f"\nreport   {folder / 'report.html'}\nsummary  {folder / 'summary.json'}")


def plan(settings: Settings) -> None:
    """Prints what each stage takes on each card, in GiB, and how the batch is cut there."""
    recipe = get_recipe(settings.recipe or DEFAULT_RECIPE)
    table = machine.plan_table(recipe, machine.detect())
    print(table.to_string(index=False))
    print(
        "\nbatch: device batch × accumulation × processes. training (gradients, activations,"
        "\nlogits) and generating take turns, so the total has the larger one. fits: within 90 %"
        "\nof a card, or a quarter of this computer. On cards: derived from the model's sizes, not"
        '\nmeasured yet. "this computer" trains the tiny model, if it has no GPU.'
    )


def recipes(settings: Settings) -> None:
    """Prints the recipes side by side, as the Markdown table that the README shows."""
    columns = overview()
    print("|  | " + " | ".join(f"`{name}`" for name in columns) + " |")
    print("| --- " * (len(columns) + 1) + "|")
    first = next(iter(columns.values()))
    for key in first:
        print(f"| {key} | " + " | ".join(column[key] for column in columns.values()) + " |")


def address(url: str, settings: Settings) -> None:
    """Writes the address of your copy of this repository wherever it stands."""
    counts = notebooks.move(url)
    print("written:", ", ".join(f"{name} {count}" for name, count in counts.items()))


def plot(runs: Sequence[str], settings: Settings) -> None:
    """Draws a run and prints its summary and verdicts; of several runs draws one figure."""
    from helpers import drawing

    if len(runs) == 1:
        drawing.draw_run(runs[0], settings.out)
    else:
        drawing.compare_runs(runs, settings.out)


def export(settings: Settings) -> None:
    """Merges an adapter into one model, proves it in a fresh process, and writes its card."""
    from helpers import data, runs, sharing, training

    folder = settings.adapter or last_adapter(settings.recipe)
    adapter = training.Adapter.read(folder, settings.model or None)
    made_by = adapter.run.manifest if adapter.run else {}
    name = settings.recipe or made_by.get("recipe") or DEFAULT_RECIPE
    recipe = for_profile(get_recipe(name), machine.detect().profile)
    base = settings.model or sharing.unquantised_name(adapter.base)
    if settings.gguf:
        sharing.check_gguf(settings.gguf)
    place = Path(settings.out or Path("outputs", name, "export", f"merged-{settings.precision}"))
    staging = settings.staging or None
    merged = sharing.merge(base, adapter, place, settings.precision, staging)
    print(f"adapter  {adapter.folder}\nmerged   {place}, {merged.megabytes:.2f} MB", flush=True)
    examples = data.load(recipe, "", "tiny")["train"].examples[:ASKED]
    prompts = [data.prompt_text(recipe, adapter.tokenizer, e.question) for e in examples]
    limit = min(256, recipe.grpo.max_completion)
    proof = sharing.prove(merged, base, adapter, prompts, limit)
    runs.write_json(place.parent / f"{place.name}-proof.json", asdict(proof))
    print_proof(proof)
    write_card(merged, adapter, recipe, settings.repo)
    if settings.gguf:
        made = sharing.to_gguf(merged, place.with_name("gguf"), recipe, settings.gguf, staging)
        print(f"gguf     {made.folder / settings.gguf}.gguf")


def print_proof(proof) -> None:
    tied = ""
    if proof.same_text < proof.prompts:
        tied = " (rounding turns a reply where two tokens are nearly tied)"
    print(
        f"proved   {proof.same_text} of {proof.prompts} greedy replies are those of base + adapter"
        f"{tied}; logits within {proof.relative:.1e} of the largest"
        f" (beyond rounding {proof.beyond_rounding:.1e})"
    )


def write_card(merged, adapter, recipe: Recipe, repo: str) -> None:
    """The model card of an export, where its adapter's run is finished and was evaluated."""
    from helpers import runs, sharing

    try:
        summary = runs.read_summary(adapter.folder.parents[1] / "eval")
        if summary and adapter.run and adapter.run.finished:
            repo = repo or f"{sharing.OWNER}{recipe.name}"
            sharing.write_card(merged, recipe, adapter.run, summary, repo)
            print(f"card     {merged.folder / 'README.md'}")
    except ValueError as error:
        print(f"no card  {error}")


def last_adapter(recipe: str) -> Path:
    """The adapter of the last stage under outputs/. Raises FileNotFoundError if there is none."""
    for name in [recipe] if recipe else RECIPES:
        for stage in ("grpo", "sft"):
            adapter = Path("outputs", name, stage, "adapter")
            if (adapter / "adapter_config.json").is_file():
                return adapter
    cure = "Train one (make run), or name an adapter's folder."
    raise FileNotFoundError(f"There is no adapter under outputs/.\n{cure}")


def push(folder: str, settings: Settings) -> None:
    """Prints what a push to the Hub would do; with --push does it, and checks what arrived."""
    from helpers import sharing

    private = not settings.public
    print(sharing.plan_push(folder, settings.repo, private))
    if settings.push:
        url = sharing.push(folder, settings.repo, private)
        print(f"pushed to {url} and read back: the same")
    else:
        sharing.check_card(Path(folder))  # an upload would stumble over it
        print("nothing was uploaded; add --push to upload")
