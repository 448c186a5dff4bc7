"""Answers and grades problems batch by batch; what was cut off goes on as if it had not been.

Beside the records, `<name>.jsonl`, lies `<name>.json`: what they were made of and how far they
are. Until they are complete they collect in `<name>.jsonl.part`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from helpers import runs, training
from helpers.data import prompt_text
from helpers.evaluation.grading import Record, grade
from helpers.evaluation.vllm import Engine
from helpers.machine import file_hash, random_state, set_random_state, set_seed, versions
from helpers.recipes import Recipe
from helpers.rows import Example
from helpers.training import Completion

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
    the same; other records are put aside. Raises RuntimeError if another process is at work here.
    """
    path = Path(path)
    part = runs.part_of(path)
    in_batches = partial(training.in_batches, model, tokenizer)
    if isinstance(model, Engine):
        in_batches = model.in_batches
    numbers = range(samples) if samples else [None]
    asked = [(example, number) for example in examples for number in numbers]
    prompts = [prompt_text(recipe, tokenizer, example.question) for example, _ in asked]
    temperature = recipe.grpo.temperature if samples else 0.0
    limit, batch = recipe.grpo.max_completion, recipe.evaluation.batch
    given = [temperature, samples, seed, limit, batch]
    made_of = fingerprint(model, recipe, examples, prompts, given)
    path.parent.mkdir(parents=True, exist_ok=True)
    with training.lock_folder(path, "evaluating into"):
        state = stored_state(path) if resume else {}
        same = made_of.items() <= state.items()
        if same and path.is_file() and state.get("records") == file_hash(path):
            return read_records(path)
        if resume and not same and path.is_file():
            put_aside(path, state, made_of)
        records = take_up(part, state if same else {}, seed)
        replying = in_batches(prompts, limit, temperature, batch, path.stem, len(records))
        for places, replies in replying:
            new = []
            for place, reply in zip(places, replies, strict=True):
                new.append(graded(recipe, *asked[place], reply))
            runs.append_lines(part, [record.line for record in new])
            records += new
            state = made_of | {"done": len(records), "random": random_state()}
            runs.write_json(state_file(path), state)
        store(path, records, asked, state)
    return records


def graded(recipe: Recipe, example: Example, sample: int | None, reply: Completion) -> Record:
    record = grade(recipe, example, reply.text, reply.tokens, reply.finished)
    return replace(record, sample=sample)


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
    problems = repr([prompts, [(e.id, e.question, e.answer) for e in examples]])
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
    """The fingerprint of the records at `path` and how far they are; {} for none."""
    cure = "Delete it; the records beside it will be put aside."
    return runs.read_object(state_file(path), {}, cure) or {}


def read_records(path: Path) -> list[Record]:
    return [Record(**line) for line in runs.read_lines(path)]


def put_aside(path: Path, state: dict, made_of: dict) -> None:
    """Keeps records of another fingerprint as `<name>-before`, and says what differs."""
    kept = runs.free_name(path)
    os.replace(path, kept)
    if state:
        os.replace(state_file(path), state_file(kept))
    changed = training.differences({name: state.get(name) for name in made_of}, made_of)
    said = "; ".join(line[:120] for line in changed[:4])
    print(f"{path} held records of something else, kept as {kept.name}: {said}")


def take_up(part: Path, state: dict, seed: int) -> list[Record]:
    """The records up to the last whole batch, with the random numbers as that batch left them."""
    records = []
    set_seed(seed)
    if "random" in state and part.is_file():
        records = read_records(part)[: state["done"]]
        set_random_state(state["random"])
    runs.write_lines(part, [record.line for record in records])
    return records


def store(path: Path, records: list[Record], asked: Sequence[tuple], state: dict) -> None:
    """Sorts all records by what was asked for, and puts them into their place."""
    part = runs.part_of(path)
    order = {(example.id, number): i for i, (example, number) in enumerate(asked)}
    records.sort(key=lambda record: order[record.id, record.sample])
    runs.write_lines(part, [record.line for record in records])
    runs.write_json(state_file(path), state | {"records": file_hash(part)})
    os.replace(part, path)
