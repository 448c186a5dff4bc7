"""Answers and grades problems batch by batch; what was cut off goes on as if it had not been.

Beside the records, `<name>.jsonl`, lies `<name>.json`: what they are made of. Until they are there,
`<name>.replies` gets a line a batch: its replies, and where the random numbers stand after it.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path

from accelerate.utils import set_seed

from helpers import runs, training
from helpers.data import prompt_text
from helpers.evaluation.grading import Record, grade
from helpers.evaluation.vllm import Engine
from helpers.machine import random_state, set_random_state, versions
from helpers.recipes import Recipe
from helpers.rows import Example

CODE = (*training.CODE, "evaluation/grading.py", "evaluation/generating.py", "evaluation/vllm.py")


def evaluate(
    model,
    tokenizer,
    recipe: Recipe,
    examples: Sequence[Example],
    path: str | Path,
    samples: int = 0,
    seed: int = 0,
    resume: bool = True,
) -> list[Record]:
    """Answers and grades every example; the records are returned, and stand at `path`.

    samples: 0 for one greedy answer a problem, else so many drawn at GRPO's temperature. What was
    evaluated before is read or gone on with if weights, problems, settings, code and versions are
    the same; otherwise it is put aside. Raises RuntimeError if another process is at work here.
    """
    path = Path(path)
    numbers = range(samples) if samples else [None]
    asked = list(itertools.product(examples, numbers))
    prompts = [prompt_text(recipe, tokenizer, example.question) for example, _ in asked]
    temperature = recipe.grpo.temperature if samples else 0.0
    limit, batch = recipe.grpo.max_completion, recipe.evaluation.batch
    settings = [temperature, samples, seed, limit, batch]
    made_of = fingerprint(model, recipe, examples, prompts, settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    replies = path.with_suffix(".replies")
    with training.lock_folder(path, "evaluating into"):
        state = stored_state(path)
        if not resume or state != made_of:
            held = path if path.is_file() else replies
            if resume and held.is_file():
                put_aside(held, state, made_of)
            path.unlink(missing_ok=True)
            replies.unlink(missing_ok=True)
            runs.write_json(state_file(path), made_of)
        if path.is_file():
            return [Record(**line) for line in runs.read_lines(path)]
        set_seed(seed)
        given = (prompts, limit, temperature, batch, path.stem)
        records = []
        for place, *reply in reply_to(model, tokenizer, given, replies):
            example, number = asked[place]
            records.append(replace(grade(recipe, example, *reply), sample=number))
        runs.write_lines(path, [record.line for record in records])
        replies.unlink()
    return records


def reply_to(model, tokenizer, given: tuple, path: Path) -> list[list]:
    """Each prompt's place, and the text, tokens and end of its reply; goes on with those at `path`.

    given: as `training.in_batches` takes it.
    """
    batches = runs.read_lines(path) if path.is_file() else []
    runs.write_lines(path, batches)  # without a line that was cut in half
    found = []
    for batch in batches:
        found += batch["replies"]
        set_random_state(batch["random"])
    if isinstance(model, Engine):
        replying = model.in_batches(*given, len(found))
    else:
        replying = training.in_batches(model, tokenizer, *given, len(found))
    for places, completions in replying:
        new = []
        for place, completion in zip(places, completions, strict=True):
            new.append([place, *astuple(completion)])
        runs.append_lines(path, [{"replies": new, "random": random_state()}])
        found += new
    return sorted(found)


def fingerprint(
    model, recipe: Recipe, examples: Sequence[Example], prompts: Sequence[str], settings: list
) -> dict:
    """What decides the records: weights, problems, prompts, settings, judging, code, versions."""
    if isinstance(model, Engine):
        weights = model.identity
    else:
        at_work = list(training.at_work(model))
        weights = {
            "weights": training.identity(at_work),
            "adapter": training.adapter_identity(at_work),
            "scale": training.scales(model),
        }
    problems = repr([prompts, list(examples)])
    return {
        **weights,
        "recipe": recipe.name,
        **training.reading(recipe),
        "rewards": dict(recipe.rewards),
        "problems": hashlib.sha256(problems.encode()).hexdigest()[:16],
        "settings": settings,
        "code": training.code_hash(CODE),
        "versions": versions(),
    }


def state_file(path: Path) -> Path:
    return path.with_suffix(".json")


def stored_state(path: Path) -> dict:
    """The fingerprint of the records at `path`; {} for none."""
    cure = "Delete it; the records beside it will be put aside."
    return runs.read_object(state_file(path), {}, cure) or {}


def put_aside(path: Path, state: dict, made_of: dict) -> None:
    """Keeps records or replies of another fingerprint as `<name>-before`; says what differs."""
    kept = runs.free_name(path)
    os.replace(path, kept)
    if state:
        os.replace(state_file(path), f"{kept}.json")
    changed = [name for name in made_of if state.get(name) != made_of[name]]
    print(f"{path} held records of other {', '.join(changed)}; kept as {kept.name}")
