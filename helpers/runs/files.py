"""A stage's folder, read; and JSON files that survive a kill.

`run.json` says what was trained and how, `log.jsonl` has a line a step. Plots, notebooks, verdicts
and the model card read these files and nothing else. A file is written whole or not at all, or by
whole lines, and read up to the last whole line.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


class Run:
    """A stage's folder, `<output>/<recipe>/<stage>/`.

    manifest: what `run.json` holds; {} where there is none yet.
    """

    def __init__(self, folder: str | Path, manifest: dict | None = None):
        self.folder = Path(folder)
        self.manifest = manifest or {}
        self.log = self.folder / "log.jsonl"
        self.samples = self.folder / "samples.jsonl"
        self.published = self.folder / "grpo_training_logs.jsonl"
        self.adapter = self.folder / "adapter"
        self.checkpoints = self.folder / "checkpoints"

    @classmethod
    def read(cls, folder: str | Path) -> Run | None:
        """The run in a folder; None if there is none. Raises ValueError if it is damaged."""
        cure = (
            "Restore it, or move the run's folder away; its adapter can be used without this file."
        )
        manifest = read_object(Path(folder) / "run.json", {"status": str}, cure)
        return None if manifest is None else Run(folder, manifest)

    @classmethod
    def read_finished(cls, folder: str | Path, cure: str) -> Run:
        """The run in a folder. Raises FileNotFoundError, with `cure`, unless it ended well."""
        run = cls.read(folder) or cls(folder)
        if not run.finished:
            status = run.manifest.get("status", "not there")
            raise FileNotFoundError(f"The run {folder} is {status}.\n{cure}")
        return run

    @property
    def finished(self) -> bool:
        return self.manifest.get("status") == "finished"

    @property
    def hash(self) -> str | None:
        """Twelve hex digits that name a run, of its fingerprint; None for none.

        On one kind of machine, runs with equal hashes have equal weights, unless the quick budget
        of a real model counted their steps by the clock.
        """
        fingerprint = self.manifest.get("fingerprint")
        if not fingerprint:
            return None
        text = json.dumps(fingerprint, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def read_log(self) -> list[dict]:
        """One line a step, oldest first."""
        return read_lines(self.log)

    def read_samples(self) -> list[dict]:
        """One line a completion that GRPO drew, with its rewards."""
        return read_lines(self.samples)


def read_lines(path: str | Path) -> list[dict]:
    """The lines of a JSONL file, oldest first; a last line that was cut in half is left out.

    Raises ValueError, naming the line, for any other that is not JSON.
    """
    lines = Path(path).read_text(encoding="utf-8", errors="replace").split("\n")
    found = []
    for number, text in enumerate(lines, 1):
        try:
            if text.strip():
                found.append(json.loads(text))
        except ValueError as error:
            if number < len(lines):  # the last line of a whole file is empty
                cure = "The file is damaged; delete that line."
                raise ValueError(f"Line {number} of {path} is not JSON.\n{cure}") from error
    return found


def append_lines(path: Path, lines: Sequence[Mapping]) -> None:
    """Appends all lines by one write. Raises OSError that says what to do when there is no room."""
    if lines:
        with writing(path), open(path, "a", encoding="utf-8") as file:
            file.write(as_jsonl(lines))


def as_jsonl(lines: Sequence[Mapping]) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def write_lines(path: Path, lines: Sequence[Mapping]) -> None:
    """Writes a JSONL file, whole or not at all."""
    write_whole(path, as_jsonl(lines))


def keep_steps(path: Path, step: int) -> None:
    """Cuts a file of steps after `step`, and a half line at its end."""
    if path.is_file():
        kept = [line for line in read_lines(path) if line["step"] <= step]
        write_lines(path, kept)


def write_json(path: Path, value) -> None:
    """Writes a JSON file, whole or not at all. Raises OSError as `append_lines` does."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Writes a file beside its place and renames it, so that half of it is never read."""
    with writing(path):
        part_of(path).write_text(text, encoding="utf-8")
        os.replace(part_of(path), path)


def part_of(path: Path) -> Path:
    """Where a file or folder is made before it gets its name."""
    return path.with_name(path.name + ".part")


def read_object(path: Path, holds: Mapping[str, type], cure: str) -> dict | None:
    """The object in a JSON file; None if there is no file.

    Raises ValueError, with `cure`, unless it holds these keys, each with such a value.
    """
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
        for key, kind in holds.items():
            if not isinstance(found.get(key), kind):
                raise ValueError(f"{key} is missing")
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}).\n{cure}") from error
    return found


def read_summary(folder: str | Path) -> dict | None:
    """What summary.json in the folder of an evaluation holds; None if there is none."""
    path = Path(folder) / "summary.json"
    return read_object(path, {"greedy": dict, "sampled": dict}, "Run 03_eval.ipynb again.")


@contextlib.contextmanager
def writing(what: object) -> Iterator[None]:
    """Turns whatever goes wrong while something is written into an OSError with cause and cure.

    Libraries raise many kinds of errors when a disk is full.
    """
    try:
        yield
    except Exception as error:
        cause = getattr(error, "strerror", None) or f"{type(error).__name__}: {str(error)[:100]}"
        cure = "Make room and run it again: it goes on from what was saved before."
        raise OSError(f"{what} could not be written ({cause}).\n{cure}") from error


def check_start(folder: Path, adapter: str | Path) -> None:
    """Raises ValueError if a run in `folder` would replace the one that it is to go on from."""
    if Path(adapter).resolve().is_relative_to(folder.resolve()):
        what = f"The run in {folder} would take the place of {adapter}, from which it is to go on"
        raise ValueError(f"{what}.\nSet OUTPUT to another folder.")


def free_name(path: Path, word: str = "before") -> Path:
    """Where something is kept that gives way to a new one: `sft-before`, `sft-before-2`, …"""
    place = path.with_name(f"{path.stem}-{word}{path.suffix}")
    count = 1
    while place.exists():
        count += 1
        place = path.with_name(f"{path.stem}-{word}-{count}{path.suffix}")
    return place


def finite(line: Mapping) -> dict:
    """The line with null for what is not finite, and the names of that under `not_finite`.

    NaN is no JSON.
    """
    bad = []
    for key, value in line.items():
        if isinstance(value, float) and not math.isfinite(value):
            bad.append(key)
    if not bad:
        return dict(line)
    return {**line, **dict.fromkeys(bad), "not_finite": bad}
