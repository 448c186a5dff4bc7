"""One folder a run: the manifest `run.json`, one line a step in `log.jsonl`, sampled texts in `samples.jsonl`.

Plots, notebooks, verdicts and the model card read these files and nothing else. What is unknown is absent, never 0. GRPO's log is
also written under its published name and with its published keys, `grpo_training_logs.jsonl`.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime, timezone
from pathlib import Path

import pandas as pd

from helpers import machine as machines
from helpers import machine as setting_up
from helpers.machine import Machine
from helpers.recipes import Recipe

# TRL's and Unsloth's names on the left, ours on the right; a reward's mean and spread are renamed in `rename`.
NAMES = {
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "epoch": "epoch",
    "entropy": "entropy",
    "kl": "kl",
    "mean_token_accuracy": "token_accuracy",
    "reward": "reward_mean",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "zero_std_groups",
    "completions/mean_length": "completion_mean",
    "completion_length": "completion_mean",
    "completions/max_length": "completion_max",
    "completions/clipped_ratio": "truncated",
    "clip_ratio/region_mean": "clip_ratio",
}
PUBLISHED = (
    "timestamp_iso",
    "step",
    "epoch",
    "device",
    "seed",
    "grpo_loss",
    "policy_loss",
    "kl_loss",
    "reward_mean",
    "reward_std",
    "adv_mean",
    "adv_std",
    "grad_norm",
    "learning_rate",
    "time_per_step_s",
    "generation_time_s",
    "backward_time_s",
    "other_time_s",
    "tokens_generated",
)
TIMES = (
    "timestamp_iso",
    "time_per_step_s",
    "tokens_per_second",
    "memory_gb",
    "generation_time_s",
    "backward_time_s",
    "other_time_s",
)


class Run:
    """A run's folder, `<output>/<recipe>/<stage>/`. `training.train` opens it: it goes on with what lies there, or starts afresh.

    mirror: a folder to which the run is copied after each checkpoint, such as one on Google Drive.
    """

    def __init__(
        self,
        output: str | Path,
        recipe: Recipe,
        stage: str,
        machine: Machine,
        seed: int,
        model: str,
        parent: Path | None = None,
        mirror: str | Path = "",
    ):
        self.recipe, self.stage, self.machine, self.seed, self.model = (
            recipe,
            stage,
            machine,
            seed,
            model,
        )
        self.folder = own_folder(Path(output) / recipe.name / stage)
        self.adapter, self.checkpoints = self.folder / "adapter", self.folder / "checkpoints"
        self.log, self.samples, self.published = (
            self.folder / name
            for name in ("log.jsonl", "samples.jsonl", "grpo_training_logs.jsonl")
        )
        self.mirror, self.mirror_failed = mirror_of(self.folder, mirror), False
        self.parent, self.parent_hash = (
            parent,
            machines.file_hash(Path(parent) / "adapter_model.safetensors") if parent else None,
        )
        self.manifest: dict = {}

    @property
    def finished(self) -> bool:
        return self.manifest.get("status") == "finished"

    def start_afresh(self, fingerprint: Mapping, keep: bool = False) -> None:
        """Empties the folder, or with keep=True puts it aside as `<stage>-before`, says so, and writes a new manifest.

        The old folder is renamed before it is deleted: a kill on the way leaves nothing that looks like a run.
        """
        aside = free_name(self.folder) if keep else self.folder.with_name(self.folder.name + ".old")
        shutil.rmtree(aside, ignore_errors=True)
        self.folder.rename(aside)
        machines.writable_folder(self.folder)
        if keep:
            print(f"the finished run in {self.folder} is kept as {aside.name}")
        else:
            shutil.rmtree(aside)
        self.manifest = {
            "recipe": self.recipe.name,
            "stage": self.stage,
            "settings": settings(self.recipe),
            "seed": self.seed,
            "model": self.model,
            "machine": asdict(self.machine),
            "versions": machines.versions(),
            "commit": commit(),
            "parent": str(self.parent) if self.parent else None,
            "parent_hash": self.parent_hash,
            "fingerprint": dict(fingerprint),
            "start": now(),
            "end": None,
            "status": "running",
        }
        self.write_manifest()

    def go_on(self, manifest: Mapping, step: int) -> None:
        """Takes up a run that was cut off: its log and samples are kept up to the checkpoint's step, a half line is dropped."""
        for path in (self.log, self.samples, self.published):
            keep_steps(path, step)
        self.manifest = {
            **manifest,
            "status": "running",
            "end": None,
            "resumed": [*manifest.get("resumed", []), {"at": now(), "from_step": step}],
        }
        self.manifest.pop("error", None)
        self.write_manifest()

    def write_manifest(self) -> None:
        write_json(self.folder / "run.json", self.manifest)

    def record(self, line: Mapping, samples: Iterable[Mapping] = ()) -> dict:
        """Appends a step to the log (last, so that a logged step has its samples) and returns the line as it was written."""
        append_lines(self.samples, [finite({"step": line["step"], **sample}) for sample in samples])
        line = finite(
            {"timestamp_iso": now(), **line, "device": self.machine.device, "seed": self.seed}
        )
        if self.stage == "grpo":
            append_lines(self.published, [{key: line[key] for key in PUBLISHED if key in line}])
        append_lines(self.log, [line])
        return line

    def finish(self, status: str, **more) -> None:
        self.manifest |= {"end": now(), "status": status, **more}
        self.write_manifest()


def own_folder(folder: Path) -> Path:
    """The folder, writable. Raises FileExistsError if it holds something that is not a run."""
    machines.writable_folder(folder)
    known = [
        path for path in folder.iterdir() if path.name != "checkpoints" and path.suffix != ".part"
    ]  # a trainer's, or a beginning's
    if known and not any((folder / name).is_file() for name in ("run.json", "run.json.part")):
        raise FileExistsError(
            f"{folder} holds files that are not from a run.\nMove them, or set OUTPUT to another folder."
        )
    return folder


def free_name(path: Path) -> Path:
    """Where something is kept that gives way to a new one: beside it, under the first of `sft-before`, `sft-before-2`, … that is free."""
    places = (
        path.with_name(f"{path.stem}-before{'' if n == 1 else f'-{n}'}{path.suffix}")
        for n in itertools.count(1)
    )
    return next(place for place in places if not place.exists())


def mirror_of(folder: Path, mirror: str | Path) -> Path | None:
    """Where a run's folder is mirrored. Raises ValueError if that is the folder itself, or within it."""
    setting_up.check_mirror(mirror)
    place = Path(mirror) / folder.parent.name / folder.name if mirror else None
    if place and folder.resolve() in (place.resolve(), *place.resolve().parents):
        raise ValueError(
            f'MIRROR leads into the run\'s own folder {folder}.\nSet it to a folder elsewhere, or to "".'
        )
    return place


def read_manifest(folder: str | Path) -> dict | None:
    """A run's manifest; None if there is no run."""
    return read_object(
        Path(folder) / "run.json",
        {"status": str},
        "Move the run's folder away, or set OUTPUT to another one.",
    )


def read_summary(folder: str | Path) -> dict | None:
    """What summary.json in the folder of an evaluation holds; None if there is none."""
    return read_object(
        Path(folder) / "summary.json", {"greedy": dict, "sampled": dict}, "Run 03_eval.ipynb again."
    )


def read_object(path: Path, holds: Mapping[str, type], cure: str) -> dict | None:
    """The object in a JSON file; None if there is no file. Raises ValueError, with `cure`, unless it `holds` these keys, each with such a value."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        if found is not None and not (
            isinstance(found, dict)
            and all(isinstance(found.get(key), kind) for key, kind in holds.items())
        ):
            raise ValueError(f"{' or '.join(holds)} is missing")
        return found
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}).\n{cure}") from error


def finished_run(folder: str | Path, hint: str) -> dict:
    """The manifest of a run that ended well. Raises FileNotFoundError, with `hint` as the cure, for none or a broken one."""
    manifest = read_manifest(folder)
    if manifest is None or manifest["status"] != "finished":
        state = "does not exist" if manifest is None else f"is {manifest['status']}"
        raise FileNotFoundError(f"The run {folder} {state}.\n{hint}")
    return manifest


def run_hash(manifest: Mapping | None) -> str | None:
    """Twelve hex digits that name a run: of its fingerprint, so that runs that give equal weights have equal hashes. None for none."""
    made_of = (manifest or {}).get("fingerprint")
    return (
        hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]
        if made_of
        else None
    )


def settings(recipe: Recipe) -> dict:
    parts = ("lora", "priming", "sft", "grpo", "evaluation")
    return {
        part: asdict(getattr(recipe, part)) for part in parts if is_dataclass(getattr(recipe, part))
    } | {"rewards": dict(recipe.rewards)}


def commit() -> str | None:
    """The commit of this code, with a + where helpers was changed since; None outside a git checkout."""
    if not shutil.which("git"):
        return None
    here = Path(__file__).parents[1]
    asked, changed = (
        subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=False
        )
        for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "."])
    )
    return (
        asked.stdout.strip() + ("+" if changed.stdout.strip() else "")
        if asked.returncode == 0
        else None
    )


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def append_lines(path: Path, lines: Sequence[Mapping]) -> None:
    """Appends all lines by one write. Raises OSError that says what to do when there is no room."""
    if lines:
        with explained(path), open(path, "a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def write_json(path: Path, value) -> None:
    """Writes beside the file and renames, so that a reader never sees half of it. Raises OSError as `append_lines` does."""
    part = path.with_name(path.name + ".part")
    with explained(path):
        part.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(part, path)


@contextlib.contextmanager
def explained(what: object) -> Iterator[None]:
    """Turns whatever goes wrong while something is written into an OSError with cause and cure: libraries raise many kinds when a disk is full."""
    try:
        yield
    except Exception as error:
        cause = getattr(error, "strerror", None) or f"{type(error).__name__}: {str(error)[:100]}"
        raise OSError(
            f"{what} could not be written ({cause}).\nMake room and run it again: it goes on from what was saved before."
        ) from error


def read_lines(path: str | Path) -> list[dict]:
    """The lines of a JSONL file, oldest first. A last line that was cut in half is left out.

    Raises ValueError, naming the line, for any other that is not JSON.
    """
    lines = Path(path).read_text(encoding="utf-8", errors="replace").split("\n")
    found = []
    for number, text in enumerate(lines, 1):
        try:
            found += [json.loads(text)] if text.strip() else []
        except (ValueError, RecursionError) as error:
            if number < len(lines):  # the last line of a whole file is empty
                raise ValueError(
                    f"Line {number} of {path} is not JSON.\nThe file is damaged; delete that line."
                ) from error
    return found


def keep_steps(path: Path, step: int) -> None:
    """Cuts a file of steps after `step`, and a half line at its end."""
    if path.is_file():
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)
        part.touch()
        append_lines(part, [line for line in read_lines(path) if line["step"] <= step])
        os.replace(part, path)


def finite(line: Mapping) -> dict:
    """The line with null for what is not finite, and the names of those under `not_finite`: NaN is no JSON."""
    bad = [
        key for key, value in line.items() if isinstance(value, float) and not math.isfinite(value)
    ]
    return {key: None if key in bad else value for key, value in line.items()} | (
        {"not_finite": bad} if bad else {}
    )


def rename(logs: Mapping, stage: str, beta: float) -> dict:
    """A trainer's log row under the names of log.jsonl."""
    line = {ours: logs[theirs] for theirs, ours in NAMES.items() if logs.get(theirs) is not None}
    for key, value in logs.items():
        if key.startswith("rewards/") and value is not None:
            name, _, kind = key.removeprefix("rewards/").rpartition("/")
            line[f"reward/{name}" + ("_std" if kind == "std" else "")] = value
    if stage != "grpo":
        return line | {"loss": logs["loss"]}
    if not beta:
        line.pop("kl", None)  # Unsloth logs a 0 that nobody measured
    kl_loss = 0.0 if not beta else beta * logs["kl"] if logs.get("kl") is not None else None
    known = {} if kl_loss is None else {"kl_loss": kl_loss, "policy_loss": logs["loss"] - kl_loss}
    return line | {"grpo_loss": logs["loss"]} | known


def console(line: Mapping, recipe: Recipe) -> str:
    """A step on one line, as the published systems print it.

    >>> from helpers.recipes import get_recipe
    >>> console({"step": 410, "reward_mean": 0.69, "kl": 0.03, "learning_rate": 4.7e-7, "completion_mean": 512.0}, get_recipe("phybench_eed"))
    '[Step 410] reward/phybench_reward=0.69 kl/mean=0.03 lr=4.7e-7 len/avg_comp=512'
    """
    parts = (
        (f"reward/{recipe.name.partition('_')[0]}_reward", "reward_mean", "{:.2f}"),
        ("loss", "loss", "{:.3f}"),
        ("kl/mean", "kl", "{:.2f}"),
        ("lr", "learning_rate", "{:.1e}"),
        ("len/avg_comp", "completion_mean", "{:.0f}"),
    )
    shown = [
        f"{name}={form.format(line[key]).replace('e-0', 'e-').replace('e+00', '')}"
        for name, key, form in parts
        if line.get(key) is not None
    ]
    return f"[Step {line['step']}] " + " ".join(shown)


def summary(log: Sequence[Mapping]) -> pd.DataFrame:
    """Each figure of a log in its first and its last tenth, its least and its most; a row a figure."""
    table = (
        pd.DataFrame(log)
        .select_dtypes("number")
        .drop(columns=["step", "seed", "epoch"], errors="ignore")
    )
    tenth = max(1, len(table) // 10)
    return pd.DataFrame(
        {
            "first tenth": table.head(tenth).mean(),
            "last tenth": table.tail(tenth).mean(),
            "least": table.min(),
            "most": table.max(),
        }
    )


def completions_table(samples: Sequence[Mapping]) -> pd.DataFrame:
    """The best and the worst completion with its rewards, early, in the middle and late in the run; a row a completion."""
    table = pd.DataFrame(samples)
    steps, rows = sorted(table["step"].unique()), []
    for when, step in (
        ("early", steps[0]),
        ("middle", steps[len(steps) // 2]),
        ("late", steps[-1]),
    ):
        ranked = table[table["step"] == step].sort_values("reward", kind="stable")
        rows += [
            {"when": when, "which": which, **row}
            for which, row in (("worst", ranked.iloc[0]), ("best", ranked.iloc[-1]))
        ]
    return (
        pd.DataFrame(rows)
        .drop_duplicates(["step", "which"])
        .drop(columns="answer", errors="ignore")
        .set_index(["when", "which"])
    )
