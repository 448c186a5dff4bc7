"""Going on where a run was cut off: whose folder it is, and which checkpoint is whole.

A checkpoint counts only with its marker, which is written last and lists every file with its size.
So whatever a kill leaves half written, or half deleted, is never read.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from helpers.machine import file_hash
from helpers.runs import Run, write_json
from helpers.settings import AFRESH
from helpers.training.fingerprint import differences
from helpers.training.training_run import TrainingRun

MARKER = "complete.json"
KEPT = 2  # checkpoints of a run; the newest may be half written, then the one before it is whole


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
            "Stop it (a notebook's kernel goes on when its tab is closed), or set OUTPUT, in a "
            "terminal --output_dir, to another folder."
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
    changed = differences(earlier.manifest["fingerprint"], made_of)
    if finished:
        weights = run.adapter / "adapter_model.safetensors"
        if not weights.is_file() or file_hash(weights) != earlier.manifest["adapter_hash"]:
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
        marked = json.loads((checkpoint / MARKER).read_text())["files"]
    except (OSError, ValueError):
        return False
    return marked.items() <= sizes(checkpoint).items()


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def whole_ones(folder: Path) -> list[Path]:
    """The whole checkpoints in a folder, oldest first."""
    return sorted(filter(is_whole, folder.glob("checkpoint-[0-9]*")), key=step_of)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole."""
    return max(whole_ones(folder), key=step_of, default=None)


def rotate(folder: Path) -> None:
    """Deletes all but the newest whole checkpoints, and what is broken."""
    kept = whole_ones(folder)[-KEPT:]
    for path in list(folder.glob("checkpoint-[0-9]*")):
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)
