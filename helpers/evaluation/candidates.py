"""`python -m helpers evaluate`: adapters, merged folders and Hub ids on the same problems."""

import gc
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from helpers import data, training
from helpers.evaluation.controls import control_problems, memory
from helpers.evaluation.generating import Engine, evaluate
from helpers.evaluation.records import Answers
from helpers.machine import Machine, missing
from helpers.recipes import Recipe
from helpers.rows import Example
from helpers.runs import Run, read_object
from helpers.training import Adapter, is_adapter

LIMITS = ("max_prompt", "max_completion", "temperature")


@dataclass(frozen=True)
class Candidate:
    """A model to evaluate: a base, or an adapter on its base, and its name in tables and files."""

    label: str
    base: str
    adapter: Adapter | None
    four_bit: bool

    def __str__(self) -> str:
        return f"{self.label:9} {self.adapter.folder if self.adapter else self.base}"

    def fit(self, recipe: Recipe) -> Recipe:
        """The recipe as this chat template and these weights need it; ValueError if none does."""
        tokenizer = self.adapter.tokenizer if self.adapter else data.load_tokenizer(self.base)
        recipe = replace(recipe, lora=replace(recipe.lora, load_in_4bit=self.four_bit))
        return data.fit(recipe, tokenizer, self.base).recipe


def find_candidates(
    names: Sequence[str],
    recipe: Recipe,
    use_4bit: bool | None = None,
    with_base: bool = False,
    base: str | None = None,
) -> list[Candidate]:
    """What the names mean: folders with an adapter, which know their base, or whole models.

    Labels are the run's name for `…/grpo/adapter`, else the last part of a path or id.
    use_4bit: None for an adapter's base as it was trained on, and for a whole model as stored.
    base: where the adapters' base lies now, if elsewhere. with_base: the base of the first adapter
    is a candidate, too. Raises ValueError for no adapter.
    """
    labels = ["base"] if with_base else []
    found = []
    for name in names:
        path = Path(name).absolute()
        if path.name == "adapter":
            path = path.parent
        plain = label = re.sub(r"[^A-Za-z0-9_-]", "-", path.name)
        numbers = itertools.count(2)
        while label in labels:
            label = f"{plain}-{next(numbers)}"
        labels.append(label)
        if is_adapter(name):
            adapter = Adapter.read(name, base)
            four_bit = use_4bit
            if four_bit is None:
                four_bit = as_trained(recipe, [adapter]).lora.load_in_4bit
            found.append(Candidate(label, adapter.base, adapter, four_bit))
        else:
            found.append(Candidate(label, name, None, bool(use_4bit)))
    if with_base:
        trained = [candidate for candidate in found if candidate.adapter]
        if not trained:
            cure = "Leave --base out, or name the base itself."
            raise ValueError(f"None of these is an adapter, so there is no base to add.\n{cure}")
        found.insert(0, Candidate("base", trained[0].base, None, trained[0].four_bit))
    return found


def recipes_of(names: Sequence[str]) -> list[str]:
    """The recipes that the adapters and exports among the names learned, each once."""
    found = []
    for name in names:
        folder = Path(name).absolute()
        said = read_object(folder / "export.json", {}, "Export it again.")
        run = Run.read(folder.parent)
        if said is None and run and is_adapter(folder):
            said = run.manifest
        recipe = (said or {}).get("recipe")  # an adapter from elsewhere names none
        if recipe and recipe not in found:
            found.append(recipe)
    return found


def recorded_rows(adapters: Iterable[Adapter]) -> str:
    """Where the rows lay that the first of these adapters learned from; "" if none says so."""
    return next((a.run.manifest.get("dataset", "") for a in adapters if a.run), "")


def rows_of(adapters: Iterable[Adapter]) -> str:
    """`recorded_rows`; raises FileNotFoundError if that was a path where nothing lies now."""
    place = recorded_rows(adapters)
    if missing(place):
        raise FileNotFoundError(
            f"The adapter learned from {place}, which is not here.\n"
            "Set DATASET to where those rows lie now, or to embedded."
        )
    return place


def learned_from(
    adapters: Iterable[Adapter], recipe: Recipe, problems: Sequence[Example], place: str
) -> int:
    """How many of these problems, of another place, the first adapter learned from.

    0 where its own rows do not lie on this machine any more.
    """
    own = recorded_rows(adapters)
    if own == place or not os.path.exists(own):
        return 0
    try:
        plain = replace(recipe, rewards={}, shaping={})  # questions alone
        rows = data.load(plain, own, "cpu")["train"].examples
    except ValueError:  # they are of another recipe
        return 0
    known = {data.question_key(example.question) for example in rows}
    return sum(data.question_key(problem.question) in known for problem in problems)


def as_trained(recipe: Recipe, adapters: Iterable[Adapter]) -> Recipe:
    """The recipe with limits and 4-bit weights as the first adapter of it was trained with."""
    for adapter in adapters:
        if adapter.run and adapter.run.manifest.get("recipe") == recipe.name:
            held = adapter.run.manifest.get("settings", {})
            grpo, lora = held.get("grpo", {}), held.get("lora", {})
            limits = {name: grpo[name] for name in LIMITS if name in grpo}
            four_bit = lora.get("load_in_4bit", recipe.lora.load_in_4bit)
            return replace(
                recipe,
                grpo=replace(recipe.grpo, **limits),
                lora=replace(recipe.lora, load_in_4bit=four_bit),
            )
    return recipe


def loaded(
    chosen: Sequence[Candidate], recipe: Recipe, machine: Machine, vllm: bool
) -> Iterator[tuple[Candidate, object, object]]:
    """Each candidate with its model and tokenizer; a base is loaded once for all that need it.

    A model is good until the next candidate is asked for.
    """
    for base, four_bit in sorted({(candidate.base, candidate.four_bit) for candidate in chosen}):
        members = [c for c in chosen if c.base == base and c.four_bit == four_bit]
        first = next((member.adapter for member in members if member.adapter), base)
        ranks = [member.adapter.config.r for member in members if member.adapter]
        largest = max([recipe.lora.r, *ranks])
        settled = replace(recipe, lora=replace(recipe.lora, load_in_4bit=four_bit, r=largest))
        if vllm:
            model = Engine(first, base, settled, machine)
            for number, candidate in enumerate(members, start=1):
                model.number, model.adapter = number, candidate.adapter
                yield candidate, model, model.tokenizer
        else:
            model, tokenizer = training.load(first, settled, machine)
            for candidate in members:
                switched = nullcontext()
                if candidate.adapter:
                    name = f"{candidate.label}_"  # the one loaded first is called "default"
                    model.load_adapter(str(candidate.adapter.folder), adapter_name=name)
                    model.set_adapter(name)
                elif first is not base:  # it was loaded with an adapter on it
                    switched = model.disable_adapter()
                with switched:
                    yield candidate, model, tokenizer
        del model
        gc.collect()


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
    fitted = {candidate.label: candidate.fit(recipe) for candidate in chosen}
    remembered = dict.fromkeys(found) if control else {}
    asked = None
    for candidate, model, tokenizer in loaded(chosen, recipe, machine, vllm):
        label = candidate.label
        own = fitted[label]
        if asked is None:
            fitting = data.short_enough(own, tokenizer, examples, "grpo")
            asked = fitting.examples
            print(f"asked     {len(asked)} problems (left out: {fitting.left_out})")
        answers = partial(evaluate, model, tokenizer, own, seed=seed + 1, resume=resume)
        greedy = answers(asked, folder / f"{label}_greedy.jsonl")
        sampled = answers(asked, folder / f"{label}_sampled.jsonl", samples=draws)
        found[label] = (greedy, sampled)
        if control:
            others = {}
            for kind, new in control_problems(recipe, asked, splits, seed).items():
                others[kind] = answers(new, folder / f"{kind}_{label}.jsonl", samples=draws)
            remembered[label] = memory(sampled, others)
        del model, answers  # so that the next base has room
    return found, remembered
