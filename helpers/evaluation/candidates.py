"""`python -m helpers evaluate`: adapters, merged folders and Hub ids on the same problems, each base loaded once."""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from helpers import data, plots
from helpers import data as sources
from helpers import training as models
from helpers.evaluation import controls, records, report
from helpers.evaluation import grading as evaluation
from helpers.machine import Machine, file_hash
from helpers.recipes import Recipe
from helpers.rows import Example
from helpers.runs import Run, read_object, write_json

from safetensors.torch import load_file  # isort: skip  (after Unsloth)

FRESH = 200  # generated problems, of which there are as many as one likes
Answers = tuple[list[dict], list[dict]]  # greedy and sampled records


@dataclass(frozen=True)
class Candidate:
    """label: its name in tables and files; base: Hub id or folder; adapter: None for a whole model; four_bit: how the base is loaded."""

    label: str
    base: str
    adapter: models.Adapter | None
    four_bit: bool


def find_candidates(
    names: Sequence[str], recipe: Recipe, use_4bit: bool | None = None, with_base: bool = False
) -> list[Candidate]:
    """What the names mean: a folder with an adapter, which knows its base, or a whole model (a folder or a Hub id).

    use_4bit: None for an adapter's base as the recipe trained it, and for a whole model as it is stored. with_base: the base of the
    first adapter is a candidate, too, and the first. Raises ValueError or FileNotFoundError for what cannot be one.
    """
    found: list[Candidate] = []
    for name in names:
        if not models.is_adapter(name):
            found.append(Candidate(label_of(name, found), name, None, bool(use_4bit)))
            continue
        adapter = models.Adapter.read(name)
        if adapter.base.startswith("/") and not Path(adapter.base).exists():
            raise FileNotFoundError(
                f"The adapter {name} was trained on {adapter.base}, which is not there.\n"
                "Put that model there, or train the adapter anew."
            )
        four_bit = recipe.lora.load_in_4bit if use_4bit is None else use_4bit
        if with_base:
            found.insert(0, Candidate(label_of("base", found), adapter.base, None, four_bit))
            with_base = False
        found.append(Candidate(label_of(name, found), adapter.base, adapter, four_bit))
    if with_base:
        raise ValueError(
            "None of these is an adapter, so there is no base to add.\nLeave --base out, or name the base itself."
        )
    return found


def recipes_of(names: Sequence[str]) -> list[str]:
    """The recipes of the adapters and exports among the names, each once, the first one's first."""
    said = [learned(Path(name)).get("recipe") for name in names]
    return list(dict.fromkeys(recipe for recipe in said if isinstance(recipe, str)))


def learned(folder: Path) -> dict:
    """What an export says of itself, or of an adapter its run; {} for all else."""
    run = Run.read(folder.parent) if models.is_adapter(folder) else None
    return read_object(folder / "export.json", {}, "Export it again.") or (
        run.manifest if run else {}
    )


def label_of(name: str, taken: Sequence[Candidate]) -> str:
    """A short name that is not taken: the run's for `…/grpo/adapter`, else the last part of a path or id."""
    path = Path(name)
    label = re.sub(
        r"[^A-Za-z0-9_-]",
        "-",
        (path.parent if path.name == "adapter" and path.parent.name else path.absolute()).name,
    )
    return next(
        new
        for n in range(1, len(taken) + 2)
        if (new := label if n == 1 else f"{label}-{n}") not in [c.label for c in taken]
    )


def ready(
    chosen: Sequence[Candidate], recipe: Recipe, machine: Machine, vllm: bool
) -> Iterator[tuple[Candidate, object, object]]:
    """Each candidate with the model at work and the tokenizer; a base is loaded once for all that stand on it."""
    groups: dict[tuple[str, bool], list[Candidate]] = {}
    for candidate in chosen:
        groups.setdefault((candidate.base, candidate.four_bit), []).append(candidate)
    for (base, four_bit), members in groups.items():
        settled = replace(recipe, lora=replace(recipe.lora, load_in_4bit=four_bit))
        yield from (by_vllm if vllm else by_switching)(base, members, settled, machine)
        gc.collect()


def by_switching(base: str, members: Sequence[Candidate], recipe: Recipe, machine: Machine):
    adapters = [c for c in members if c.adapter]
    model, tokenizer = models.load(adapters[0].adapter if adapters else base, recipe, machine)
    for candidate in adapters:
        model.load_adapter(
            str(candidate.adapter.folder), adapter_name=f"{candidate.label}_"
        )  # none that the model has: what was loaded with it is its "default"
    for candidate in members:
        if candidate.adapter:
            model.set_adapter(f"{candidate.label}_")
        with (
            model.disable_adapter()
            if adapters and not candidate.adapter
            else contextlib.nullcontext()
        ):
            yield candidate, model, tokenizer


def by_vllm(base: str, members: Sequence[Candidate], recipe: Recipe, machine: Machine):
    from transformers import AutoTokenizer

    from helpers.evaluation.vllm import Engine

    tokenizer = AutoTokenizer.from_pretrained(
        str(members[0].adapter.folder if members[0].adapter else base)
    )
    engine = Engine(base, recipe, machine, tokenizer)
    for candidate in members:
        engine.choose(candidate.adapter.folder if candidate.adapter else None)
        yield candidate, engine, tokenizer


def evaluate_all(
    chosen: Sequence[Candidate],
    recipe: Recipe,
    machine: Machine,
    splits: Mapping[str, data.Split],
    folder: Path,
    problems: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    resume: bool = True,
    vllm: bool = False,
    control: bool = False,
) -> tuple[dict[str, Answers], dict[str, dict]]:
    """The records of every candidate, greedy and sampled, and with control=True what `memory` says of each."""
    draws, examples = (
        samples or recipe.evaluation.samples,
        splits["test"].take(problems or recipe.evaluation.problems),
    )
    found, remembered, asked = {}, {}, None
    for candidate, model, tokenizer in ready(chosen, recipe, machine, vllm):
        asked = asked or data.short_enough(recipe, tokenizer, examples, "grpo").examples

        def answers(label: str, questions: Sequence[Example], drawn: int) -> list[dict]:
            path = folder / f"{label}.jsonl"
            return evaluation.evaluate(
                model,
                tokenizer,
                recipe,
                questions,
                path,
                samples=drawn,
                seed=seed + 1,
                resume=resume,
            )  # noqa: B023

        found[candidate.label] = (
            answers(f"{candidate.label}_greedy", asked, 0),
            answers(f"{candidate.label}_sampled", asked, draws),
        )
        if control:
            remembered[candidate.label] = memory(
                found[candidate.label][1],
                {
                    name: answers(f"{name}_{candidate.label}", questions, draws)
                    for name, questions in control_problems(recipe, asked, splits, seed).items()
                },
            )
    return {c.label: found[c.label] for c in chosen}, {
        c.label: remembered[c.label] for c in chosen if c.label in remembered
    }


def control_problems(
    recipe: Recipe, asked: Sequence[Example], splits: Mapping[str, data.Split], seed: int
) -> dict[str, list[Example]]:
    """Twins of the problems asked, where there are any, and as many freshly generated ones as problems asked, up to FRESH."""
    known = [*splits["train"].examples, *splits["test"].examples]
    found = {
        "twins": controls.twins(asked, known, seed),
        "fresh": controls.fresh(recipe, min(len(asked), FRESH), known, seed),
    }
    return {name: examples for name, examples in found.items() if examples}


def memory(own: Sequence[dict], others: Mapping[str, Sequence[dict]]) -> dict[str, dict]:
    """Flexible accuracy on each set of control problems against that on the recipe's own."""
    return {name: controls.drop(own, lines) for name, lines in others.items()}


def conclude(
    found: Mapping[str, Answers],
    recipe: Recipe,
    folder: Path,
    where: str,
    remembered: Mapping[str, dict],
) -> dict:
    """Writes summary.json, the figures and report.html into the folder, and returns what summary.json holds."""
    weights = adapter_hashes(found, folder)
    results = (
        records.results(found, recipe.score)
        | {"recipe": recipe.name, "data": where, "weights": weights}
        | ({"control": remembered} if remembered else {})
    )
    if (
        "sft" in weights
        and weights.get("grpo")
        and parent_of(folder.parent / "grpo") != weights["sft"]
    ):  # of another grpo it says nothing
        print(
            "grpo was trained from another sft: their comparison says nothing; run 02 again, without ADAPTER"
        )
    write_json(folder / "summary.json", results)
    n = next(iter(results["greedy"].values()))["n"]
    pictures = figures(results, {name: sampled for name, (_, sampled) in found.items()})
    for name, figure in pictures.items():
        plots.save(figure, folder / f"{name}.png")
    report.write(
        folder / "report.html",
        f"{recipe.title}: {', '.join(found)}",
        f"{n} problems of {'the embedded generator' if where == sources.EMBEDDED else where}; 95 % intervals in brackets.",
        {name: greedy for name, (greedy, _) in found.items()},
        results,
        pictures,
    )
    return results


def parent_of(folder: Path) -> str | None:
    run = Run.read(folder)
    return run.manifest.get("parent_hash") if run else None


def adapter_hashes(labels: Iterable[str], folder: Path) -> dict[str, str | None]:
    """The SHA-256 of each label's adapter, for the runs beside `folder`; None where the adapter there is not the one that answered."""
    found: dict[str, str | None] = {}
    for label in labels:
        file = folder.parent / label / "adapter" / "adapter_model.safetensors"
        answered = {
            evaluation.stored_state(folder / f"{label}_{kind}.jsonl").get("adapter")
            for kind in ("greedy", "sampled")
        } - {None}
        if file.is_file() and answered:
            found[label] = (
                file_hash(file) if all(is_in(file, adapter) for adapter in answered) else None
            )
    return found


def is_in(file: Path, adapter: str) -> bool:
    """Whether a file holds the adapter that an evaluation's fingerprint names: vLLM by the file's hash, else by its type and values."""
    kind, values, _ = adapter.partition(" ")
    return adapter == (
        models.adapter_identity(load_file(file).items(), kind) if values else file_hash(file)
    )


def figures(results: Mapping, sampled: Mapping[str, Sequence[dict]]) -> dict:
    """The figures of an evaluation, by name."""
    return {
        "accuracy": plots.accuracy_bars(results["sampled"]),
        "outcomes": plots.outcomes(results["sampled"]),
        "scores": plots.scores(sampled),
        "tokens": plots.token_counts(results["sampled"]),
        "agreement": plots.calibration(results["agreement"]),
    }
