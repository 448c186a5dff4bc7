"""A run that is being trained: it opens a stage's folder, writes a line a step, and ends it."""

import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from helpers.machine import Machine, check_mirror, versions, writable_folder
from helpers.recipes import SUPERVISED, Recipe
from helpers.runs import PUBLISHED, Run, append_lines, finite, free_name, keep_steps, write_json
from helpers.training.adapter import Adapter, folder_identity


class TrainingRun(Run):
    """A stage's folder while it is trained; `training.train` opens it.

    base: the model that is trained. parent: the adapter that it starts from. mirror: a folder to
    which the run is copied after each checkpoint, such as one on Google Drive. dataset: where the
    rows come from.
    """

    def __init__(
        self,
        output: str | Path,
        recipe: Recipe,
        stage: str,
        machine: Machine,
        seed: int,
        base: str,
        parent: Adapter | None = None,
        mirror: str | Path = "",
        dataset: str = "",
    ):
        place = Path(recipe.name, stage)
        super().__init__(own_folder(Path(output) / place))
        self.recipe = recipe
        self.stage = stage
        self.machine = machine
        self.seed = seed
        self.base = base
        self.parent = parent
        self.dataset = dataset
        self.mirror = None
        self.mirror_failed = False
        if mirror:
            check_mirror(mirror)
            self.mirror = Path(mirror) / place
            if self.mirror.resolve().is_relative_to(self.folder.resolve()):
                cure = 'Set it to a folder elsewhere, or to "".'
                raise ValueError(f"MIRROR leads into the run's own folder {self.folder}.\n{cure}")

    @property
    def best(self) -> Path:
        """The folder of the adapter that was best on held-out problems so far."""
        return self.folder / "best"

    @property
    def begun(self) -> bool:
        """Whether there is something to go on with, or to read, that these settings made."""
        if not self.adapter.is_dir() and not any(self.checkpoints.glob("checkpoint-*")):
            return False
        earlier = Run.read(self.folder)
        present = json.loads(json.dumps(self.settings()))  # with lists for tuples, as it is read
        return earlier is not None and earlier.manifest.get("settings") == present

    def start_afresh(self, fingerprint: Mapping, keep: bool = False) -> None:
        """Empties the folder and writes a new manifest; keep: puts the old one aside."""
        aside = clear_place(self.folder, keep)
        self.folder.mkdir()
        if keep:
            print(f"the finished run in {self.folder} is kept as {aside.name}")
        self.manifest = {
            "recipe": self.recipe.name,
            "stage": self.stage,
            "settings": self.settings(),
            "seed": self.seed,
            "model": self.base,
            "dataset": self.dataset,
            "base_weights": folder_identity(self.base),
            "machine": asdict(self.machine),
            "versions": versions(),
            "commit": commit(),
            "parent": str(self.parent.folder) if self.parent else None,
            "parent_hash": self.parent.hash if self.parent else None,
            "fingerprint": dict(fingerprint),
            "start": now(),
            "end": None,
            "status": "running",
        }
        self.write_manifest()

    def settings(self) -> dict:
        """The recipe's settings and those of earlier stages, as the manifest holds them."""
        return settings_of(self.recipe) | self.taught_with()

    def taught_with(self) -> dict:
        """The settings of earlier stages, from their runs: those may have had other flags."""
        run = self.parent.run if self.parent else None
        held = run.manifest.get("settings", {}) if run else {}
        return {stage: held[stage] for stage in SUPERVISED if stage in held and stage != self.stage}

    def go_on(self, manifest: Mapping, step: int) -> None:
        """Takes up a run that was cut off: log and samples are kept up to the checkpoint's step."""
        for path in (self.log, self.samples, self.published):
            keep_steps(path, step)
        # weights and rows are compared: only where they lie can be another place
        places = {"model": self.base, "dataset": self.dataset}
        self.manifest = {**manifest, **places, "status": "running", "end": None}
        if self.manifest.get("best", {}).get("step", 0) > step:
            del self.manifest["best"]  # it comes again
        self.manifest.setdefault("resumed", []).append({"at": now(), "from_step": step})
        self.manifest.pop("error", None)
        self.write_manifest()

    def write_manifest(self) -> None:
        write_json(self.folder / "run.json", self.manifest)

    def record(self, line: Mapping, samples: Iterable[Mapping] = ()) -> dict:
        """Appends a step and returns its line as it was written; what is unknown is absent.

        The log comes last, so that a logged step has its samples. GRPO's is also written under its
        published name, with its published keys.
        """
        step = {"step": line["step"]}
        append_lines(self.samples, [finite(step | sample) for sample in samples])
        where = {"device": self.machine.device, "seed": self.seed}
        line = finite({"timestamp_iso": now(), **line, **where})
        if self.stage == "grpo":
            published = {key: line[key] for key in PUBLISHED if key in line}
            append_lines(self.published, [published])
        append_lines(self.log, [line])
        return line

    def finish(self, status: str, **more) -> None:
        self.manifest |= {"end": now(), "status": status, **more}
        self.write_manifest()


def clear_place(folder: Path, keep: bool) -> Path:
    """Renames a run's folder `<stage>-before`, if it is kept, else deletes it; its last name.

    It is renamed before it is deleted: a kill on the way leaves nothing that looks like a run.
    """
    old = folder.with_name(folder.name + ".old")
    aside = free_name(folder) if keep else old
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(aside)
    shutil.rmtree(old, ignore_errors=True)
    return aside


def own_folder(folder: Path) -> Path:
    """The folder, writable. Raises FileExistsError if it holds something that is not a run."""
    writable_folder(folder)
    names = {path.name for path in folder.iterdir()}
    begun = names & {"run.json", "run.json.part"}
    if not begun and names - {"checkpoints"}:  # a trainer makes that one before the run begins
        cure = "Move them, or set OUTPUT to another folder."
        raise FileExistsError(f"{folder} holds files that are not from a run.\n{cure}")
    return folder


def settings_of(recipe: Recipe) -> dict:
    """A recipe's settings as plain values."""
    found = {}
    for part in ("lora", "priming", "sft", "grpo", "evaluation"):
        if getattr(recipe, part):
            found[part] = asdict(getattr(recipe, part))
    return {**found, "rewards": dict(recipe.rewards), "shaping": dict(recipe.shaping)}


def commit() -> str | None:
    """The commit of this code, with a + where it was changed since; None outside a checkout."""
    if not shutil.which("git"):
        return None
    options = {"cwd": Path(__file__).parents[1], "capture_output": True, "text": True}
    head = subprocess.run(["git", "rev-parse", "HEAD"], **options)
    if head.returncode:
        return None
    status = subprocess.run(["git", "status", "--porcelain", "--", "."], **options)
    changed = "+" if status.stdout.strip() else ""
    return head.stdout.strip() + changed


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
