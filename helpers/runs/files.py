"""JSON files that survive a kill: written whole or not at all, read up to the last whole line."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


def read_lines(path: str | Path) -> list[dict]:
    """The lines of a JSONL file, oldest first; a last line that was cut in half is left out.

    Raises ValueError, naming the line, for any other that is not JSON.
    """
    lines = Path(path).read_text(encoding="utf-8", errors="replace").split("\n")
    found = []
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            found.append(json.loads(text))
        except (ValueError, RecursionError) as error:
            if number < len(lines):  # the last line of a whole file is empty
                cure = "The file is damaged; delete that line."
                raise ValueError(f"Line {number} of {path} is not JSON.\n{cure}") from error
    return found


def append_lines(path: Path, lines: Sequence[Mapping]) -> None:
    """Appends all lines by one write. Raises OSError that says what to do when there is no room."""
    if not lines:
        return
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    with writing(path), open(path, "a", encoding="utf-8") as file:
        file.write(text)


def write_lines(path: Path, lines: Sequence[Mapping]) -> None:
    """Writes a JSONL file beside its place and renames it, so that half of it is never read."""
    part = part_of(path)
    part.unlink(missing_ok=True)
    part.touch()
    append_lines(part, lines)
    os.replace(part, path)


def keep_steps(path: Path, step: int) -> None:
    """Cuts a file of steps after `step`, and a half line at its end."""
    if path.is_file():
        write_lines(path, [line for line in read_lines(path) if line["step"] <= step])


def write_json(path: Path, value) -> None:
    """Writes a JSON file beside its place and renames it. Raises OSError as `append_lines` does."""
    part = part_of(path)
    with writing(path):
        text = json.dumps(value, indent=2, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8")
        os.replace(part, path)


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
    except (ValueError, RecursionError) as error:
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


def part_of(path: Path) -> Path:
    """Where a file or folder is made before it gets its name."""
    return path.with_name(path.name + ".part")


def free_name(path: Path) -> Path:
    """Where something is kept that gives way to a new one: `sft-before`, `sft-before-2`, …"""
    for count in itertools.count(1):
        number = "" if count == 1 else f"-{count}"
        place = path.with_name(f"{path.stem}-before{number}{path.suffix}")
        if not place.exists():
            return place


def finite(line: Mapping) -> dict:
    """The line with null for what is not finite, whose names stand under `not_finite`.

    NaN is no JSON.
    """
    found = dict(line)
    bad = [k for k, v in line.items() if isinstance(v, float) and not math.isfinite(v)]
    for key in bad:
        found[key] = None
    if bad:
        found["not_finite"] = bad
    return found
