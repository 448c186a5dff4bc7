"""What a run was made of: two runs of one fingerprint give equal weights."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from helpers.machine import versions
from helpers.recipes import Recipe
from helpers.training.models import at_work, identity
from helpers.training.training_run import TrainingRun

# Settings that may differ, by how their names begin: where things go, what is said, how often a
# run is saved, and how the effective batch is cut for a machine.
FREE = ("output_dir", "run_name", "project", "trackio_space_id", "hub_", "push_", "save_")
FREE += ("logging_", "log_level", "disable_tqdm", "local_rank", "dataloader_")
FREE += ("per_device_", "gradient_accumulation_steps", "steps_per_generation")
# What training reads: if one of these files changed, a run cannot be gone on with.
CODE = (
    "answers/*.py",
    "answers/vocabulary.toml",
    "rows.py",
    "data/*.py",
    "training/rewards.py",
    "training/models.py",
    "training/private.py",
    "training/trainers.py",
)


def fingerprint(trainer, run: TrainingRun, budget: str, start: Mapping) -> dict:
    """What makes a run what it is, as plain values by names that a reader knows.

    start: the weights that training starts from.
    """
    recipe, weights = run.recipe, at_work(trainer.model)
    found = {
        "recipe": recipe.name,
        **reading(recipe),
        "base weights": identity(pair for pair in weights if "lora_" not in pair[0]),
        "parent adapter": run.parent.hash if run.parent else None,
        "starting adapter": identity(start.items()),
        "budget": budget if run.machine.profile == "gpu" else "",
        "device": run.machine.device,
        "dtype": run.machine.dtype,
        "data": short_hash(serialised(trainer.train_dataset)),
        "code": code_hash(),
    }
    for name, value in trainer.args.to_dict().items():
        if isinstance(value, int | float | str) and not name.startswith(FREE):
            found[name] = value
    for name, value in asdict(recipe.lora).items():
        found[f"lora.{name}"] = value
    if run.stage == "grpo":
        for name, weight in recipe.rewards.items():
            found[f"reward.{name}"] = weight
        for function in trainer.reward_funcs:
            found[f"function.{function.__name__}"] = source_hash(function)
    for name, version in versions().items():
        found[f"version.{name}"] = version
    return json.loads(json.dumps(found))  # as it will be read back: tuples as lists


def reading(recipe: Recipe) -> dict:
    """How a recipe asks, reads and judges."""
    return {
        "system prompt": recipe.system,
        "thinking": recipe.thinking,
        "format": recipe.format.name,
        "score": getattr(recipe.score, "__name__", str(type(recipe.score))),
    }


def serialised(dataset) -> Iterator[bytes]:
    """The content of a datasets.Dataset, the same in every process."""
    for table in dataset.with_format("arrow").iter(1000):
        for batch in table.combine_chunks().to_batches():
            yield batch.serialize()


def code_hash(patterns: Iterable[str] = CODE) -> str:
    """A hash of the package's files of such names."""
    files = []
    for pattern in patterns:
        files += Path(__file__).parents[1].glob(pattern)
    return short_hash(path.read_bytes() for path in sorted(files))


def short_hash(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


def source_hash(function: Callable) -> str | None:
    """Of a reward function's source, so that a change in a notebook is noticed; None without."""
    try:
        source = inspect.getsource(getattr(function, "func", function))
    except (OSError, TypeError):
        return None
    return short_hash([source.encode()])


def differences(before: Mapping, now: Mapping) -> list[str]:
    """One readable line for each value that is not as it was."""
    lines = []
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            lines.append(f"{name}: {before.get(name)} → {now.get(name)}")
    return lines
