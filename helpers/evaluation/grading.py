"""Is it better, and how sure are we? Generates, grades with the recipe's own `extract` and `score`, and counts honestly.

Records are plain dictionaries, one a completion, with the keys of `grade`; `records` and `measures` say what they mean together.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from helpers import machine as machines
from helpers import training as checkpoints
from helpers.data import messages, prompt_text
from helpers.recipes import PENALTIES, Recipe
from helpers.rows import Example
from helpers.runs import append_lines, free_name, read_lines, write_json
from helpers.training import reward_table


def grade(recipe: Recipe, example: Example, text: str, tokens: int, finished: bool) -> dict:
    """The record of one completion. `score` is that of the extracted answer; `outcome` is exactly one of OUTCOMES."""
    extracted, flexible = recipe.format.extract(text), recipe.format.extract_flexible(text)
    score, follows = recipe.score(extracted, example.answer) or 0.0, recipe.format.follows(text)
    right_anywhere = max(score, recipe.score(flexible, example.answer) or 0.0)
    outcome = (
        "correct"
        if score == 1.0 and follows and finished
        else "truncated"
        if not finished
        else "right_wrong_format"
        if right_anywhere == 1.0
        else "no_answer"
        if extracted is None
        else "wrong"
    )
    return {
        "id": example.id,
        "question": example.question,
        "gold": example.answer,
        "completion": text,
        "tokens": tokens,
        "finished": finished,
        "extracted": extracted,
        "flexible": flexible,
        "flexible_right": right_anywhere == 1.0,
        "score": score,
        "follows": follows,
        "outcome": outcome,
        **paid(recipe, example, text),
    }


def paid(recipe: Recipe, example: Example, text: str) -> dict:
    """What training would have paid: `rewards`, each of the recipe's (but for penalties), and `reward`, their weighted sum."""
    judged = replace(
        recipe,
        rewards={name: weight for name, weight in recipe.rewards.items() if name not in PENALTIES},
    )
    table = reward_table(
        judged, [text], [example.answer], prompts=[messages(recipe, example.question)]
    )
    return {
        "reward": table.pop("total")[0],
        "rewards": {name: values[0] for name, values in table.items()},
    }


def evaluate(
    model,
    tokenizer,
    recipe: Recipe,
    examples: Sequence[Example],
    path: str | Path,
    samples: int = 0,
    seed: int = 0,
    resume: bool = True,
) -> list[dict]:
    """Answers and grades every example; the records are at `path` when all are done, and are returned.

    samples: 0 for one greedy answer a problem, else that many drawn at GRPO's temperature (records then carry `sample`).
    Records are kept batch by batch: run again after an interruption it goes on, and what was finished is read. Both only for the
    same weights, problems, settings and code, by the fingerprint beside the records; those of another model are refused and put aside.
    Raises RuntimeError if another process is writing these records.
    model: as `models.load` gives it, or a `vllm_engine.Engine`.
    """
    check_problems(recipe, examples)
    path, chosen = (
        Path(path),
        [(example, k) for example in examples for k in range(max(1, samples))],
    )
    temperature = recipe.grpo.temperature if samples else 0.0
    prompts = [prompt_text(recipe, tokenizer, e.question) for e, _ in chosen]
    made_of = fingerprint(
        model,
        recipe,
        examples,
        prompts,
        [temperature, samples, seed, recipe.grpo.max_completion, recipe.evaluation.batch],
    )
    if resume and finished(path, made_of):
        return read_lines(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with checkpoints.lock_folder(path, "evaluating into"):
        if resume:
            put_aside(path, made_of)
        part, done = take_up(path, made_of, seed) if resume else take_up(path, {}, seed)
        for places, completions in generator(model, tokenizer)(
            prompts,
            recipe.grpo.max_completion,
            temperature,
            recipe.evaluation.batch,
            path.stem,
            len(done),
        ):
            new = [
                {"place": i, **grade(recipe, chosen[i][0], c.text, c.tokens, c.finished)}
                | ({"sample": chosen[i][1]} if samples else {})
                for i, c in zip(places, completions, strict=True)
            ]
            append_lines(part, new)
            done += new
            write_json(
                beside(path), {**made_of, "done": len(done), "random": machines.random_state()}
            )
        records = [
            {key: value for key, value in record.items() if key != "place"}
            for record in sorted(done, key=lambda record: record["place"])
        ]
        write_records(path, records)
        write_json(
            beside(path), {**made_of, "done": len(done), "records": machines.file_hash(path)}
        )
        part.unlink()
    return records


def check_problems(recipe: Recipe, examples: Sequence[Example]) -> None:
    """Raises ValueError for problems that cannot be told apart or graded."""
    if not examples:
        raise ValueError(
            "There are no problems to evaluate.\nRaise the limit, or set DATASET to one with a test split."
        )
    twice = [name for name, count in Counter(e.id for e in examples).items() if count > 1]
    if twice:
        raise ValueError(
            f"{len(twice)} ids are used twice, {twice[0]!r} among them.\nGive each problem an id of its own."
        )
    unreadable = next(
        (e for e in examples if not e.answer or recipe.score(e.answer, e.answer) != 1.0), None
    )
    if unreadable:
        raise ValueError(
            f"The problem {unreadable.id!r} has the gold answer {unreadable.answer!r}, which {recipe.score.__name__} cannot read.\n"
            "Correct it or leave the problem out: every reply to it would count as wrong."
        )


def generator(model, tokenizer):
    """The function that continues prompts batch by batch: vLLM's, where the model is such an engine, else `models.in_batches`."""
    from helpers.training import in_batches

    return getattr(model, "in_batches", None) or partial(in_batches, model, tokenizer)


def fingerprint(
    model, recipe: Recipe, examples: Sequence[Example], prompts: Sequence[str], settings: list
) -> dict:
    """What decides an evaluation's records: the weights at work, problems and prompts, how they are judged and paid, code and versions."""
    from helpers.training import adapter_identity, at_work, identity, scales

    problems = hashlib.sha256(
        repr([prompts, [(e.id, e.question, e.answer) for e in examples]]).encode()
    ).hexdigest()[:16]
    by_vllm = getattr(model, "identity", None)
    weights, adapter = (
        (by_vllm, by_vllm.split(" ")[-1])
        if by_vllm
        else (identity(at_work(model)), adapter_identity(at_work(model)))
    )
    return {
        "weights": weights,
        "adapter": adapter,
        "scale": [] if by_vllm else scales(model),
        "recipe": recipe.name,
        **checkpoints.reading(recipe),
        "rewards": dict(recipe.rewards),
        "problems": problems,
        "settings": settings,
        "code": checkpoints.code_hash((*checkpoints.CODE, "evaluation/grading.py")),
        "versions": machines.versions(),
    }


def beside(path: Path) -> Path:
    return path.with_suffix(".json")


def stored_state(path: Path) -> dict:
    """What lies beside the records: their fingerprint and how far they are; {} where there is nothing that can be read."""
    try:
        state = json.loads(beside(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def state_of(path: Path, made_of: dict) -> dict:
    """What lies beside the records, if it has that fingerprint; else {}."""
    state = stored_state(path)
    return state if made_of.items() <= state.items() else {}


def put_aside(path: Path, made_of: dict) -> None:
    """Keeps whole records of another fingerprint as `<name>-before`, and says what differs: they are never read for this model."""
    if not path.is_file() or state_of(path, made_of):
        return
    state, kept = stored_state(path), free_name(path)
    changed = (
        checkpoints.differences({name: state.get(name) for name in made_of}, made_of)
        if state
        else ["no fingerprint beside them"]
    )
    os.replace(path, kept)
    if state:
        os.replace(beside(path), beside(kept))
    print(
        f"{path} held records of something else, kept as {kept.name}: "
        + "; ".join(line[:120] for line in changed[:4])
    )


def finished(path: Path, made_of: dict) -> bool:
    """Whether the records at `path` are whole and of that fingerprint."""
    return (
        path.is_file()
        and state_of(path, made_of).get("records") == machines.file_hash(path)
        and all_once(read_lines(path))
    )


def all_once(records: Sequence[dict]) -> bool:
    """Whether no answer stands twice, as where two processes wrote into one file."""
    return len({(record["id"], record.get("sample")) for record in records}) == len(records)


def take_up(path: Path, made_of: dict, seed: int) -> tuple[Path, list[dict]]:
    """The file that collects records, cut to the last whole batch, and these records; both empty for a new evaluation.

    Sets the random numbers to where that batch left them.
    """
    part, state = path.with_name(path.name + ".part"), state_of(path, made_of) if made_of else {}
    done = read_lines(part)[: state["done"]] if "random" in state and part.is_file() else []
    machines.set_seed(seed)
    if done and len(done) == state["done"] and all_once(done):
        machines.set_random_state(state["random"])
    else:
        done = []
    write_records(part, done)
    return part, done


def write_records(path: Path, records: Sequence[dict]) -> None:
    """Writes beside the file and renames, so that an interrupted evaluation leaves nothing that looks whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    new.touch()
    append_lines(new, records)
    os.replace(new, path)
