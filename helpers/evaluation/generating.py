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

from helpers import training
from helpers.data import prompt_text
from helpers.evaluation.grading import Record, grade
from helpers.evaluation.vllm import Engine
from helpers.machine import file_hash, random_state, set_random_state, set_seed, versions
from helpers.recipes import Recipe
from helpers.rows import Example
from helpers.runs import append_lines, free_name, part_of, read_lines, read_object
from helpers.runs import write_json, write_lines

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

    model: from `training.load`, or vLLM's `Engine`. samples: 0 for one greedy answer a problem,
    else so many drawn at GRPO's temperature. What was evaluated before is read or gone on with, if
    weights, problems, settings, code and versions are the same; other records are put aside.
    Raises ValueError for problems that cannot be measured, RuntimeError if another process is here.
    """
    check_problems(recipe, examples)
    path = Path(path)
    numbers = range(samples) if samples else [None]
    asked = [(example, number) for example in examples for number in numbers]
    prompts = [prompt_text(recipe, tokenizer, example.question) for example, _ in asked]
    temperature = recipe.grpo.temperature if samples else 0.0
    limit, batch = recipe.grpo.max_completion, recipe.evaluation.batch
    settings = [temperature, samples, seed, limit, batch]
    made_of = fingerprint(model, recipe, examples, prompts, settings)
    if resume and is_complete(path, made_of):
        return read_records(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with training.alone(path, "evaluating into"):
        if resume:
            put_aside(path, made_of)
        else:
            state_file(path).unlink(missing_ok=True)
        records = take_up(path, made_of, seed)
        in_batches = partial(training.in_batches, model, tokenizer)
        if isinstance(model, Engine):
            in_batches = model.in_batches
        for places, completions in in_batches(
            prompts, limit, temperature, batch, path.stem, done=len(records)
        ):
            new = []
            for place, reply in zip(places, completions, strict=True):
                example, number = asked[place]
                record = grade(recipe, example, reply.text, reply.tokens, reply.finished)
                new.append(replace(record, sample=number))
            append_lines(part_of(path), [record.line for record in new])
            records += new
            state = made_of | {"done": len(records), "random": random_state()}
            write_json(state_file(path), state)
        return complete(path, records, [(example.id, number) for example, number in asked])


def check_problems(recipe: Recipe, examples: Sequence[Example]) -> None:
    ids = {example.id for example in examples}
    if not examples or len(ids) < len(examples):
        cure = "Give at least one problem, and each an id of its own."
        raise ValueError(f"{len(examples)} problems have {len(ids)} ids.\n{cure}")
    for e in examples:
        if recipe.score(e.answer, e.answer) != 1.0:
            cure = "Correct it, or leave the problem out: every reply to it would count as wrong."
            what = f"The problem {e.id!r} has the gold answer {e.answer!r}"
            raise ValueError(f"{what}, which {recipe.score.__name__} cannot read.\n{cure}")


def fingerprint(
    model, recipe: Recipe, examples: Sequence[Example], prompts: Sequence[str], settings: list
) -> dict:
    """What decides the records: weights, problems, prompts, settings, judging, code, versions."""
    problems = repr([prompts, [(e.id, e.question, e.answer) for e in examples]])
    if isinstance(model, Engine):
        weights = model.identity
    else:
        at_work = list(training.at_work(model))
        weights = {
            "weights": training.identity(at_work),
            "adapter": training.adapter_identity(at_work),
            "scale": training.scales(model),
        }
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
    return read_object(state_file(path), {}, cure) or {}


def read_records(path: Path) -> list[Record]:
    return [Record(**line) for line in read_lines(path)]


def is_complete(path: Path, made_of: dict) -> bool:
    """Whether the records at `path` are those of this fingerprint, all of them, and unchanged."""
    state = stored_state(path)
    same = made_of.items() <= state.items()
    return same and path.is_file() and state.get("records") == file_hash(path)


def put_aside(path: Path, made_of: dict) -> None:
    """Keeps records of another fingerprint as `<name>-before`, and says what differs."""
    state = stored_state(path)
    if not path.is_file() or made_of.items() <= state.items():
        return
    changed = training.differences({name: state.get(name) for name in made_of}, made_of)
    kept = free_name(path)
    os.replace(path, kept)
    if state:
        os.replace(state_file(path), state_file(kept))
    said = "; ".join(line[:120] for line in changed[:4])
    print(f"{path} held records of something else, kept as {kept.name}: {said}")


def take_up(path: Path, made_of: dict, seed: int) -> list[Record]:
    """The records up to the last whole batch, none of them twice; [] for a new evaluation.

    Sets the random numbers to where that batch left them.
    """
    part, state, records = part_of(path), stored_state(path), []
    set_seed(seed)
    if made_of.items() <= state.items() and part.is_file():
        records = read_records(part)[: state["done"]]
        if len({(record.id, record.sample) for record in records}) == state["done"]:
            set_random_state(state["random"])
        else:  # two processes wrote here, on a file system without locks
            records = []
    write_lines(part, [record.line for record in records])
    return records


def complete(path: Path, records: Sequence[Record], order: Sequence[tuple]) -> list[Record]:
    """Writes all records, in the order in which they were asked for, to their place."""
    by_key = {(record.id, record.sample): record for record in records}
    records = [by_key[key] for key in order]
    part = part_of(path)
    write_lines(part, [record.line for record in records])
    write_json(state_file(path), stored_state(path) | {"records": file_hash(part)})
    os.replace(part, path)
    return records
