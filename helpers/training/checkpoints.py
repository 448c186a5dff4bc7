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
    that differs, and says in what; and for a finished one that has lost its log.
    """
    earlier = Run.read(run.folder)
    finished = earlier is not None and earlier.finished
    if earlier is None or not resume:
        run.start_afresh(made_of, keep=finished)
        return None
    changed = differences(earlier.manifest.get("fingerprint", {}), made_of)
    checkpoint = last_checkpoint(run.checkpoints)
    if finished and not changed and has_adapter(earlier):
        if not (run.log.is_file() and run.read_log()):
            raise ValueError(f"{run.log} holds no steps.\nStart afresh: {AFRESH}.")
        run.manifest = earlier.manifest
        return None
    if finished or checkpoint is None:
        run.start_afresh(made_of, keep=finished)
        if finished:
            new = changed[:8] or ["its adapter, which is missing or damaged"]
            print("new is\n  " + "\n  ".join(new))
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


def has_adapter(run: Run) -> bool:
    """Whether a finished run's weights are those that it wrote."""
    weights = run.adapter / "adapter_model.safetensors"
    return weights.is_file() and file_hash(weights) == run.manifest["adapter_hash"]


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


def found_in(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    places = folder.glob("checkpoint-*")
    return sorted((path for path in places if path.name[11:].isdecimal()), key=step_of)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole."""
    whole = [path for path in found_in(folder) if is_whole(path)]
    return whole[-1] if whole else None


def rotate(folder: Path) -> None:
    """Deletes all but the newest whole checkpoints, and what is broken."""
    found = found_in(folder)
    kept = [path for path in found if is_whole(path)][-KEPT:]
    for path in found:
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)
