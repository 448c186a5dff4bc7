"""A copy of a run's folder elsewhere, such as on Google Drive, and the way back from it."""

import os
import shutil
from pathlib import Path

from helpers.machine import check_mirror
from helpers.runs import Run, part_of
from helpers.training.checkpoints import MARKER, last_checkpoint, lock_folder, step_of
from helpers.training.training_run import TrainingRun, clear_place, own_folder


def mirror(run: TrainingRun) -> None:
    """Copies the run's folder to its mirror; a failure is reported once, and training goes on."""
    if not run.mirror:
        return
    try:
        copy_run(run.folder, run.mirror)
    except (OSError, ValueError) as error:
        if run.mirror_failed:
            return
        run.mirror_failed = True
        cause = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        print(
            f"The mirror {run.mirror} could not be written ({cause}); the run itself goes on.\n"
            "Make room or set MIRROR to a folder you can write to; the run's own files are in "
            f"{run.folder}."
        )


def restore(output: str | Path, recipe: str, mirror: str | Path) -> list[str]:
    """Brings back a recipe's runs that are further in the mirror than here; returns their stages.

    Raises RuntimeError if another process is training in one of them.
    """
    check_mirror(mirror)
    restored = []
    for manifest in sorted(Path(mirror, recipe).glob("*/run.json")):
        theirs = Run.read(manifest.parent)
        here = Path(output, recipe, theirs.folder.name)
        mine = Run.read(own_folder(here))
        if mine and (mine.hash != theirs.hash or how_far(theirs) <= how_far(mine)):
            continue
        with lock_folder(here, "training in"):
            shutil.rmtree(here, ignore_errors=True)
            copy_run(theirs.folder, here)
        restored.append(here.name)
    return restored


def how_far(run: Run) -> tuple[bool, int]:
    """Whether a run is finished, and the step of its last checkpoint."""
    checkpoint = last_checkpoint(run.checkpoints)
    return run.finished, step_of(checkpoint) if checkpoint else 0


def last_of_all(path: Path) -> tuple[bool, bool]:
    """For sorting: markers, and then the manifest, come after the files that they vouch for."""
    return path.name == "run.json", path.name == MARKER


def copy_run(folder: Path, target: Path) -> None:
    """Makes `target` like `folder`, in an order in which a kill at any time does no harm.

    What is new is copied beside and renamed, markers after what they vouch for, the manifest last;
    what is gone here is deleted there. Another run that lies there is kept if it is finished or
    could be gone on with. Raises FileExistsError if `target` holds something that is not a run.
    """
    there = Run.read(target)
    if there and there.manifest.get("start") != Run.read(folder).manifest["start"]:
        clear_place(target, keep=any(how_far(there)))
    own_folder(target)
    if not (target / "run.json").is_file():
        # Killed on the way, it is known as a run's.
        shutil.copy2(folder / "run.json", part_of(target / "run.json"))
    for path in sorted(folder.rglob("*"), key=last_of_all):
        if not path.is_file() or path.suffix == ".part":
            continue
        place = target / path.relative_to(folder)
        if path.suffix != ".json" and place.is_file():
            old, new = place.stat(), path.stat()
            if (old.st_size, int(old.st_mtime)) == (new.st_size, int(new.st_mtime)):
                continue  # it is there
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, part_of(place))
        os.replace(part_of(place), place)
    # A checkpoint without its marker is not whole any more.
    for place in sorted(target.rglob("*"), key=last_of_all, reverse=True):
        if (folder / place.relative_to(target)).exists():
            continue
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
