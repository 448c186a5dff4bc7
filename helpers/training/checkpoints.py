"""Going on where a run was cut off: the lock on its folder, its fingerprint, its checkpoints.

A kill costs the steps after the last whole checkpoint (SAVE_SECONDS in watching.py says how many
seconds apart they are), the unfinished one included; before the first, all. Log and samples are
cut there (`TrainingRun.go_on`), so that no step stands in them twice. On a CPU the end is the same
to the bit, unless the quick budget of a real model counts the steps by the clock.

A fingerprint is what a run was made of: settings, data, code, versions, and where it began.

A checkpoint counts only with its marker, which is written last and lists every file with its size.
So whatever a kill leaves half written, or half deleted, is never read.
"""

import contextlib
import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from helpers.machine import file_hash, versions
from helpers.recipes import Recipe
from helpers.runs import Run, read_object, write_json
from helpers.settings import AFRESH
from helpers.tiny import is_embedded
from helpers.training.adapter import identity
from helpers.training.models import at_work
from helpers.training.training_run import TrainingRun

MARKER = "complete.json"
KEPT = 2  # checkpoints of a run; the newest may be half written, then the one before it is whole
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
    "rewards.py",
    "training/decoding.py",
    "training/dequantised.py",
    "training/models.py",
    "training/replies.py",
    "training/private.py",
    "training/trainers.py",
)


@contextlib.contextmanager
def lock_folder(place: Path, doing: str) -> Iterator[None]:
    """Holds a folder or file for this process; the system frees it when that ends, even by a kill.

    Raises RuntimeError if another process holds it. doing: what that does, such as "training in".
    """
    lock = FileLock(place.with_name(f".{place.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise RuntimeError(
            f"Another process is {doing} {place}.\n"
            "Stop it (a kernel goes on when its tab is closed), or set OUTPUT to another folder."
        ) from error
    except (OSError, NotImplementedError):
        pass  # a file system without locks
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)  # while it is held: nobody else's is removed
        lock.release()


def begin(run: TrainingRun, made_of: Mapping, resume: bool = True) -> Path | None:
    """Opens the run's folder; returns the checkpoint to go on from, None for a start afresh.

    A finished run with this fingerprint is left as it is (`run.finished` says so); one that differs
    is kept beside, as `<stage>-before`. Raises ValueError for an unfinished run with a checkpoint
    that differs, and says in what.
    """
    earlier = Run.read(run.folder)
    finished = earlier is not None and earlier.finished
    checkpoint = last_checkpoint(run.checkpoints)
    if not resume or earlier is None or not (finished or checkpoint):
        run.start_afresh(made_of, keep=finished)
        return None
    changed = differences(earlier.manifest.get("fingerprint", {}), made_of)
    if finished:
        weights = run.adapter / "adapter_model.safetensors"
        if not weights.is_file() or file_hash(weights) != earlier.manifest.get("adapter_hash"):
            changed.append("its adapter, which is missing or damaged")
        if changed:
            run.start_afresh(made_of, keep=True)
            print("new is\n  " + "\n  ".join(changed[:8]))
        else:
            run.manifest = earlier.manifest
        return None
    step = step_of(checkpoint)
    if changed:
        raise ValueError(
            f"{run.folder} holds an unfinished run, at step {step}, that was made otherwise:\n  "
            + "\n  ".join(changed[:8])
            + f"\nSet this back to go on with it, or start afresh: {AFRESH}."
        )
    run.go_on(earlier.manifest, step)
    print(f"going on from step {step} of the run that was cut off")
    return checkpoint


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
        "budget": "" if is_embedded(run.base) else budget,
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
        "system turn": recipe.system_turn,
        "thinking": recipe.thinking,
        "opened": recipe.opened,
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
    """A hash of a reward function's source, so that a change in a notebook is noticed."""
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


def sizes(checkpoint: Path) -> dict[str, int]:
    """Its files, but for the marker, and their bytes."""
    found = {}
    for path in sorted(checkpoint.rglob("*")):
        if path.is_file() and path.name != MARKER:
            found[str(path.relative_to(checkpoint))] = path.stat().st_size
    return found


def mark_whole(checkpoint: Path) -> None:
    """Writes the marker, after everything else."""
    write_json(checkpoint / MARKER, {"files": sizes(checkpoint)})


def is_whole(checkpoint: Path) -> bool:
    try:
        marked = read_object(checkpoint / MARKER, {"files": dict}, "Delete the checkpoint.")
    except (OSError, ValueError):
        return False
    return marked is not None and marked["files"].items() <= sizes(checkpoint).items()


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def whole_ones(folder: Path) -> list[Path]:
    """The whole checkpoints in a folder, oldest first."""
    return sorted(filter(is_whole, folder.glob("checkpoint-[0-9]*")), key=step_of)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole."""
    whole = whole_ones(folder)
    return whole[-1] if whole else None


def rotate(folder: Path) -> None:
    """Deletes all but the newest whole checkpoints, and what is broken."""
    kept = whole_ones(folder)[-KEPT:]
    for path in list(folder.glob("checkpoint-[0-9]*")):
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)
