"""How long until something happens: `python -m tests.bench_startup` (three minutes).

On the wall clock, in fresh processes, medians of three. The notebooks run as they are, up to the
cell that trains; the first step's end is the time of the first line in its log.
"""

from __future__ import annotations

import datetime
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import papermill  # noqa: F401  (so that its import is not counted)

from helpers import notebooks
from helpers.runs import read_lines
from tests.bench import Row, show

TIMES = 3
TRAINING = "training.train("
IMPORTS = {"helpers": "at most 0.2 s", "helpers.answers": "at most 0.3 s"}
NOTEBOOKS = [("01_sft.ipynb", "sft", "at most 15 s")]
NOTEBOOKS += [("02_grpo.ipynb", "grpo", "with a pre-flight of 64 replies")]


def import_seconds(module: str) -> float:
    """What importing a module takes in a new interpreter."""
    code = f"import time; begun = time.perf_counter(); import {module}; "
    command = [sys.executable, "-c", code + "print(time.perf_counter() - begun)"]
    found = []
    for _ in range(TIMES):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(float(done.stdout))
    return statistics.median(found)


def first_step(name: str, stage: str, output: Path, **parameters) -> tuple[float, dict[str, float]]:
    """Seconds until the first training step has ended, and those of cells, by their first lines."""
    parameters |= {"OUTPUT": str(output), "RESUME": False}
    book = nbformat.read(notebooks.ROOT / name, as_version=4)
    trains = [cell.cell_type == "code" and TRAINING in cell.source for cell in book.cells]
    book.cells = book.cells[: trains.index(True) + 1]
    with tempfile.TemporaryDirectory() as folder:
        short = Path(folder, name)
        nbformat.write(book, short)
        begun = time.time()
        book = notebooks.execute(str(short), Path(folder, f"run-{name}"), parameters)
    parts = {}
    for cell in book.cells:
        if cell.cell_type == "code":
            parts[cell.source.partition("\n")[0]] = cell.metadata.papermill.duration or 0.0
    line = read_lines(output / "gsm8k_xml" / stage / "log.jsonl")[0]
    return datetime.datetime.fromisoformat(line["timestamp_iso"]).timestamp() - begun, parts


def starts(name: str, stage: str, output: Path) -> str:
    """The median time to the first step, and the slowest cells of the last run."""
    found = []
    for number in range(TIMES):
        whole = stage == "sft" and number == TIMES - 1  # for GRPO to go on from
        spent, parts = first_step(name, stage, output, MAX_STEPS=0 if whole else 1, FORCE=True)
        found.append(spent)
    *before, _ = parts.items()
    slowest = sorted(before, key=lambda part: part[1], reverse=True)[:3]
    cells = ", ".join(f"`{cell}` {spent:.1f}" for cell, spent in slowest)
    return f"{statistics.median(found):.1f} s; the slowest cells: {cells}"


def rows() -> list[Row]:
    found = []
    for module, wanted in IMPORTS.items():
        found.append((f"`import {module}`", f"{import_seconds(module):.3f} s", wanted))
    with tempfile.TemporaryDirectory() as folder:
        for name, stage, wanted in NOTEBOOKS:
            what = f"{name}, from the kernel's start to the first step of {stage}"
            found.append((what, starts(name, stage, Path(folder)), wanted))
    return found


if __name__ == "__main__":
    show(rows)
