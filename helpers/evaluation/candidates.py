"""`python -m helpers evaluate`: adapters, merged folders and Hub ids on the same problems."""

from __future__ import annotations

import gc
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path

from transformers import AutoTokenizer

from helpers import data, plots, training
from helpers.evaluation import records, report
from helpers.evaluation.controls import control_problems, memory
from helpers.evaluation.generating import evaluate, stored_state
from helpers.evaluation.records import Answers
from helpers.evaluation.vllm import Engine
from helpers.machine import Machine, file_hash
from helpers.recipes import Recipe
from helpers.runs import Run, read_object, write_json
from helpers.training import Adapter, is_adapter

from safetensors.torch import load_file  # isort: skip  (after Unsloth)


@dataclass(frozen=True)
class Candidate:
    """A model to evaluate: a base, or an adapter on its base, and its name in tables and files."""

    label: str
    base: str
    adapter: Adapter | None
    four_bit: bool


def find_candidates(
    names: Sequence[str], recipe: Recipe, use_4bit: bool | None = None, with_base: bool = False
) -> list[Candidate]:
    """What the names mean: folders with an adapter, which know their base, or whole models.

    use_4bit: None for an adapter's base as the recipe trained it, and for a whole model as stored.
    with_base: the base of the first adapter is a candidate, too. Raises ValueError for no adapter.
    """
    trained = recipe.lora.load_in_4bit if use_4bit is None else use_4bit
    labels = ["base"] if with_base else []
    found = []
    for name in names:
        labels.append(label_of(name, labels))
        if is_adapter(name):
            adapter = Adapter.read(name)
            found.append(Candidate(labels[-1], adapter.base, adapter, trained))
        else:
            found.append(Candidate(labels[-1], name, None, bool(use_4bit)))
    if with_base:
        bases = [candidate.base for candidate in found if candidate.adapter]
        if not bases:
            cure = "Leave --base out, or name the base itself."
            raise ValueError(f"None of these is an adapter, so there is no base to add.\n{cure}")
        found.insert(0, Candidate("base", bases[0], None, trained))
    return found


def label_of(name: str, taken: Sequence[str]) -> str:
    """The run's name for `…/grpo/adapter`, else the last part of a path or id; a free one."""
    path = Path(name).absolute()
    if path.name == "adapter":
        path = path.parent
    plain = label = re.sub(r"[^A-Za-z0-9_-]", "-", path.name)
    numbers = itertools.count(2)
    while label in taken:
        label = f"{plain}-{next(numbers)}"
    return label


def recipes_of(names: Sequence[str]) -> list[str]:
    """The recipes that the adapters and exports among the names learned, each once."""
    found = []
    for folder in map(Path, names):
        learned = read_object(folder / "export.json", {}, "Export it again.")
        run = Run.read(folder.parent)
        if learned is None and run and is_adapter(folder):
            learned = run.manifest
        if learned and learned["recipe"] not in found:
            found.append(learned["recipe"])
    return found


def at_work(
    chosen: Sequence[Candidate], recipe: Recipe, machine: Machine, vllm: bool
) -> Iterator[tuple[Candidate, object, object]]:
    """Each candidate with its model and tokenizer; a base is loaded once for all that need it."""
    loaded = attrgetter("base", "four_bit")
    by = by_vllm if vllm else by_switching
    for (_, four_bit), members in itertools.groupby(sorted(chosen, key=loaded), loaded):
        settled = replace(recipe, lora=replace(recipe.lora, load_in_4bit=four_bit))
        yield from by(list(members), settled, machine)
        gc.collect()


def by_switching(members: Sequence[Candidate], recipe: Recipe, machine: Machine):
    adapters = [candidate.adapter for candidate in members if candidate.adapter]
    first = adapters[0] if adapters else members[0].base
    model, tokenizer = training.load(first, recipe, machine)
    for candidate in members:
        if candidate.adapter:
            name = f"{candidate.label}_"  # the one loaded with the model is called "default"
            model.load_adapter(str(candidate.adapter.folder), adapter_name=name)
            model.set_adapter(name)
        off = adapters and not candidate.adapter
        with model.disable_adapter() if off else nullcontext():
            yield candidate, model, tokenizer


def by_vllm(members: Sequence[Candidate], recipe: Recipe, machine: Machine):
    first = members[0]
    source = first.adapter.folder if first.adapter else first.base
    tokenizer = AutoTokenizer.from_pretrained(source)
    engine = Engine(first.base, recipe, machine, tokenizer)
    for number, candidate in enumerate(members, 1):
        engine.adapter, engine.number = candidate.adapter, number
        yield candidate, engine, tokenizer


def evaluate_all(
    chosen: Sequence[Candidate],
    recipe: Recipe,
    machine: Machine,
    splits: Mapping[str, data.Split],
    folder: Path,
    seed: int = 0,
    resume: bool = True,
    vllm: bool = False,
    control: bool = False,
) -> tuple[dict[str, Answers], dict[str, dict]]:
    """Each candidate's greedy and sampled records, and with control=True what `memory` says.

    How many problems and samples stands in the recipe's evaluation settings.
    """
    draws = recipe.evaluation.samples
    examples = splits["test"].take(recipe.evaluation.problems)
    found = {candidate.label: None for candidate in chosen}  # in the order asked for
    remembered = dict.fromkeys(found) if control else {}
    asked = None
    for candidate, model, tokenizer in at_work(chosen, recipe, machine, vllm):
        label = candidate.label
        asked = asked or data.short_enough(recipe, tokenizer, examples, "grpo").examples
        answers = partial(evaluate, model, tokenizer, recipe, seed=seed + 1, resume=resume)
        greedy = answers(asked, folder / f"{label}_greedy.jsonl")
        sampled = answers(asked, folder / f"{label}_sampled.jsonl", samples=draws)
        found[label] = (greedy, sampled)
        if control:
            others = {}
            for kind, new in control_problems(recipe, asked, splits, seed).items():
                others[kind] = answers(new, folder / f"{kind}_{label}.jsonl", samples=draws)
            remembered[label] = memory(sampled, others)
    return found, remembered


def conclude(
    found: Mapping[str, Answers], recipe: Recipe, folder: Path, where: str, remembered: Mapping
) -> dict:
    """Writes summary.json, figures and report.html; returns what summary.json holds.

    where: the place of the problems. remembered: what `memory` says of each model; {} for nothing.
    """
    weights = adapter_hashes(found, folder)
    results = records.results(found, recipe.score)
    results |= {"recipe": recipe.name, "data": where, "weights": weights}
    if remembered:
        results["control"] = remembered
    write_json(folder / "summary.json", results)
    grpo = Run.read(folder.parent / "grpo")
    parent = grpo.manifest.get("parent_hash") if grpo else None
    if "sft" in weights and weights.get("grpo") and weights["sft"] != parent:
        print("grpo was trained from another sft: their comparison says nothing; run 02 again")
    greedy, sampled = {}, {}
    for name, answers in found.items():
        greedy[name], sampled[name] = answers
    summaries = results["sampled"]
    figures = {
        "accuracy": plots.accuracy_bars(summaries),
        "outcomes": plots.outcomes(summaries),
        "scores": plots.scores(sampled),
        "tokens": plots.token_counts(summaries),
        "agreement": plots.calibration(results["agreement"]),
    }
    for name, figure in figures.items():
        plots.save(figure, folder / f"{name}.png")
    report.write(folder, recipe.title, greedy, results, list(figures))
    return results


def adapter_hashes(labels: Iterable[str], folder: Path) -> dict[str, str | None]:
    """SHA-256 of the adapter of each run beside `folder`; None where another one answered."""
    found = {}
    for label in labels:
        file = folder.parent / label / "adapter" / "adapter_model.safetensors"
        answered = stored_state(folder / f"{label}_sampled.jsonl").get("adapter")
        if file.is_file() and answered:
            dtype = answered.split()[0]
            now = training.adapter_identity(load_file(file).items(), dtype)
            found[label] = file_hash(file) if now == answered else None
    return found
