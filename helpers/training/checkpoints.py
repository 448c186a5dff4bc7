"""Going on where a run was cut off: what a run was made of, which checkpoint is whole, and a copy of the folder elsewhere.

A checkpoint counts only with its marker, which is written last and lists every file with its size. So whatever a kill leaves half
written, or half deleted, is never read.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from helpers import machine as machines
from helpers import machine as setting_up
from helpers.recipes import Recipe
from helpers.runs import Run, free_name, read_lines, write_json
from helpers.settings import AFRESH
from helpers.training.models import at_work, identity
from helpers.training.training_run import TrainingRun, own_folder

MARKER = "complete.json"
# Settings that may differ: where things go, and how the effective batch is cut.
FREE = (
    "output_dir",
    "run_name",
    "project",
    "report_to",
    "trackio_space_id",
    "gradient_accumulation_steps",
    "steps_per_generation",
    "local_rank",
    "disable_tqdm",
    "log_level",
    "log_level_replica",
)
KEPT = 2  # checkpoints of a run; the newest may be half written, then the one before it is whole
# What training reads: if one of these files changed, a run cannot be gone on with.
CODE = (
    "answers/*.py",
    "answers/vocabulary.toml",
    "rows.py",
    "data/*.py",
    "training/rewards.py",
    "training/models.py",
    "training/budget.py",
    "training/trainers.py",
)


def fingerprint(trainer, run: TrainingRun, budget: str, start: str) -> dict:
    """What makes a run what it is; two runs with equal fingerprints give equal weights. Plain values under names a reader knows.

    start: a hash of the adapter that training starts from.
    How the effective batch is cut for this machine is left out: a run may go on on another card.
    """
    recipe = run.recipe
    settings = {
        name: value
        for name, value in trainer.args.to_dict().items()
        if isinstance(value, int | float | str)
        and name not in FREE
        and not name.startswith(
            ("hub_", "logging_", "save_", "push_", "dataloader_", "per_device_")
        )
    }
    lora = {f"lora.{name}": value for name, value in asdict(recipe.lora).items()}
    paid = (
        {f"reward.{name}": weight for name, weight in recipe.rewards.items()}
        if run.stage == "grpo"
        else {}
    )
    own = {
        f"function.{f.__name__}": source_hash(f)
        for f in getattr(trainer, "reward_funcs", [])
        if callable(f)
    }
    versions = {f"version.{name}": version for name, version in machines.versions().items()}
    found = {
        "recipe": recipe.name,
        **reading(recipe),
        "base weights": identity(at_work(trainer.model, adapters=False)),
        "parent adapter": run.parent.hash if run.parent else None,
        "starting adapter": start,
        "budget": budget if run.machine.profile == "gpu" else "",
        "device": run.machine.device,
        "dtype": run.machine.dtype,
        "data": data_hash(trainer.train_dataset),
        "code": code_hash(),
        **settings,
        **lora,
        **paid,
        **own,
        **versions,
    }
    return json.loads(json.dumps(found))  # as it will be read back: tuples as lists


def reading(recipe: Recipe) -> dict:
    """How a recipe asks, reads and judges."""
    return {
        "system prompt": recipe.system,
        "thinking": recipe.thinking,
        "format": recipe.format.name,
        "score": getattr(recipe.score, "__name__", str(type(recipe.score))),
    }


def data_hash(dataset) -> str:
    """Of the content of a datasets.Dataset, the same in every process."""
    digest = hashlib.sha256()
    for table in dataset.with_format("arrow").iter(1000):
        for batch in table.combine_chunks().to_batches():
            digest.update(batch.serialize())
    return digest.hexdigest()[:16]


def code_hash(patterns: Iterable[str] = CODE) -> str:
    here, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(path for pattern in patterns for path in here.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def source_hash(function: Callable) -> str | None:
    """Of a reward function's source, so that one changed in a notebook is noticed; None where Python cannot find it."""
    try:
        return hashlib.sha256(
            inspect.getsource(getattr(function, "func", function)).encode()
        ).hexdigest()[:16]
    except (OSError, TypeError):
        return None


def differences(before: Mapping, now: Mapping) -> list[str]:
    """One readable line for each value that is not as it was."""
    return [
        f"{name}: {before.get(name)} → {now.get(name)}"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]


@contextlib.contextmanager
def alone(place: Path, doing: str) -> Iterator[None]:
    """Holds a folder or file for this process. Raises RuntimeError if another one does; the system frees it when that ends, however it ends.

    doing: what the other one is doing there, such as "training in".
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    lock = place.with_name(f".{place.name}.lock")
    with open(lock, "a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not lock.exists() or not os.path.samestat(
                lock.stat(), os.fstat(file.fileno())
            ):  # one that another process has just removed
                raise BlockingIOError
        except (BlockingIOError, PermissionError, FileNotFoundError) as error:
            raise RuntimeError(
                f"Another process is {doing} {place}.\n"
                "Stop it (a notebook's kernel goes on when its tab is closed), or set OUTPUT, in a terminal --output_dir, "
                "to another folder."
            ) from error
        except OSError:
            pass  # a file system without locks
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def begin(run: TrainingRun, made_of: Mapping, resume: bool = True) -> Path | None:
    """Opens the run's folder: goes on with what lies there, or starts afresh. Returns the checkpoint to go on from.

    A finished run of the same fingerprint is left as it is (`run.finished` says so). One that differs is kept beside, as
    `<stage>-before`. An unfinished run that differs is not thrown away: ValueError says what differs; and that a finished one has lost its log.
    """
    earlier = manifest_of(run.folder) if resume else None
    finished = bool(earlier) and earlier["status"] == "finished"
    changed = differences(earlier.get("fingerprint", {}), made_of) if earlier else []
    checkpoint = last_checkpoint(run.checkpoints) if earlier and not finished else None
    if finished and not changed and whole_adapter(run, earlier):
        if not (run.log.is_file() and read_lines(run.log)):
            raise ValueError(f"{run.log} holds no steps.\nStart afresh: {AFRESH}.")
        run.manifest = earlier
        return None
    if checkpoint and changed:
        raise ValueError(
            f"{run.folder} holds an unfinished run, at step {step_of(checkpoint)}, that was made otherwise:\n  "
            + "\n  ".join(changed[:8])
            + f"\nSet this back to go on with it, or start afresh: {AFRESH}."
        )
    if checkpoint:
        run.go_on(earlier, step_of(checkpoint))
        print(f"going on from step {step_of(checkpoint)} of the run that was cut off")
        return checkpoint
    run.start_afresh(
        made_of, keep=finished or (manifest_of(run.folder) or {}).get("status") == "finished"
    )
    if finished:
        print(
            "new is\n  " + "\n  ".join(changed[:8] or ["its adapter, which is missing or damaged"])
        )
    return None


def whole_adapter(run: TrainingRun, manifest: Mapping) -> bool:
    weights = run.adapter / "adapter_model.safetensors"
    return weights.is_file() and machines.file_hash(weights) == manifest["adapter_hash"]


def mark_whole(checkpoint: Path) -> None:
    """Writes the marker, after everything else."""
    files = {
        str(path.relative_to(checkpoint)): path.stat().st_size
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file()
    }
    write_json(checkpoint / MARKER, {"files": files})


def is_whole(checkpoint: Path) -> bool:
    try:
        files = dict(json.loads((checkpoint / MARKER).read_text())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(files) and all(
        (checkpoint / name).is_file() and (checkpoint / name).stat().st_size == size
        for name, size in files.items()
    )


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def found_in(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(
        (path for path in folder.glob("checkpoint-*") if path.name.rpartition("-")[2].isdecimal()),
        key=step_of,
    )


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole."""
    return next((path for path in reversed(found_in(folder)) if is_whole(path)), None)


def rotate(folder: Path) -> None:
    """Deletes all but the newest whole checkpoints, and what is broken."""
    found = found_in(folder)
    kept = [path for path in found if is_whole(path)][-KEPT:]
    for path in found:
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)


def copy_run(folder: Path, target: Path) -> None:
    """Makes `target` like `folder`: what is new is copied beside and renamed, markers after what they vouch for, the manifest last.

    Another run that lies there is put aside as `<stage>-before` if it is finished or could be gone on with; of this run's older
    state what is gone here is deleted there. Raises FileExistsError if it holds something that is not a run.
    """
    there = manifest_or_damaged(target)
    if there is not None and there.get("start") != manifest_of(folder)["start"]:
        worth = there.get("status") == "finished" or last_checkpoint(target / "checkpoints")
        aside = free_name(target) if worth else target.with_name(target.name + ".old")
        shutil.rmtree(aside, ignore_errors=True)
        target.rename(aside)
        shutil.rmtree(target.with_name(target.name + ".old"), ignore_errors=True)
    own_folder(target)
    if not (target / "run.json").is_file():
        shutil.copy2(
            folder / "run.json", target / "run.json.part"
        )  # killed on the way, it is known as a run's
    files = sorted(
        (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".part")),
        key=lambda path: (path.name == "run.json", path.name == MARKER),
    )
    for path in files:
        place = target / path.relative_to(folder)
        if path.suffix != ".json" and place.is_file() and same_file(path, place):
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(place.name + ".part")
        shutil.copy2(path, part)
        os.replace(part, place)
    wanted = {path.relative_to(folder) for path in files}
    gone = [
        place
        for place in target.rglob("*")
        if place.is_file() and place.relative_to(target) not in wanted
    ]
    for place in sorted(
        gone, key=lambda place: place.name != MARKER
    ):  # a checkpoint that is being deleted is not whole any more
        place.unlink()
    for place in sorted((place for place in target.rglob("*") if place.is_dir()), reverse=True):
        with contextlib.suppress(OSError):
            place.rmdir()  # those that are empty now


def manifest_of(folder: Path) -> dict | None:
    run = Run.read(folder)
    return run.manifest if run else None


def manifest_or_damaged(folder: Path) -> dict | None:
    """A run's manifest; None if there is no run, {} if its manifest cannot be read."""
    try:
        found = manifest_of(folder)
    except (OSError, ValueError):
        return {}
    return found if found is None or isinstance(found, dict) else {}


def same_file(one: Path, other: Path) -> bool:
    a, b = one.stat(), other.stat()
    return a.st_size == b.st_size and int(a.st_mtime) == int(b.st_mtime)


def mirror(run: TrainingRun) -> None:
    """Copies the run's folder to its mirror. A mirror that cannot be written is reported once, and training goes on."""
    if not run.mirror:
        return
    try:
        copy_run(run.folder, run.mirror)
    except (OSError, ValueError) as error:
        if not run.mirror_failed:
            cause = getattr(error, "strerror", None) or str(error).partition("\n")[0]
            print(
                f"The mirror {run.mirror} could not be written ({cause}); the run itself goes on.\n"
                f"Make room or set MIRROR to a folder you can write to; the run's own files are in {run.folder}."
            )
        run.mirror_failed = True


def restore(output: str | Path, recipe: str, mirror: str | Path) -> list[str]:
    """Brings back the runs of a recipe that are further in the mirror than here, as after a change of machine. Returns their stages.

    Raises RuntimeError if another process is training in one of them.
    """
    setting_up.check_mirror(mirror)
    restored = []
    for place in sorted(Path(mirror, recipe).glob("*/run.json")):
        here, there = Path(output, recipe, place.parent.name), place.parent
        mine, theirs = manifest_of(own_folder(here)), manifest_or_damaged(there)
        if not theirs:
            print(f"{there} has a damaged run.json: it is not brought back.")
            continue
        same = mine and mine.get("fingerprint") == theirs.get("fingerprint")
        if mine and not (same and progress(there, theirs) > progress(here, mine)):
            continue
        with alone(here, "training in"):
            shutil.rmtree(here, ignore_errors=True)
            copy_run(there, here)
        restored.append(there.name)
    return restored


def progress(folder: Path, manifest: Mapping) -> tuple[bool, int]:
    """How far a run is: whether it is finished, and the step of its last checkpoint."""
    checkpoint = last_checkpoint(folder / "checkpoints")
    return manifest["status"] == "finished", step_of(checkpoint) if checkpoint else 0
