"""How long until something happens: `python -m tests.bench_startup` (three minutes).

On the wall clock, in fresh processes, medians of three. The notebooks run as they are, up to the
cell that trains; the first step's end is the time of the first line in its log.
"""

from __future__ import annotations

import datetime
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import papermill  # noqa: F401  (so that its import is not counted)

from helpers import notebooks
from helpers import runs as runlog
from tests.bench import Row, show

TIMES = 3
TRAINING = "training.train("
RECIPE = "gsm8k_xml"
IMPORTS = {"helpers": "at most 0.2 s", "helpers.answers": "at most 0.3 s"}
NOTEBOOKS = (
    ("01_sft.ipynb", "sft", "at most 15 s"),
    ("02_grpo.ipynb", "grpo", "with a pre-flight of 64 replies"),
)


def import_seconds(module: str) -> float:
    """What importing a module takes in a new interpreter."""
    code = (
        f"import time; begun = time.perf_counter(); import {module}; "
        "print(time.perf_counter() - begun)"
    )
    return statistics.median(
        float(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(TIMES)
    )


def up_to_training(name: str, folder: Path) -> Path:
    """A copy of a notebook that ends with the cell that trains."""
    book = json.loads((notebooks.ROOT / name).read_text(encoding="utf-8"))
    last = next(
        i
        for i, cell in enumerate(book["cells"])
        if cell["cell_type"] == "code" and TRAINING in "".join(cell["source"])
    )
    book["cells"] = book["cells"][: last + 1]
    short = folder / name
    short.write_text(json.dumps(book), encoding="utf-8")
    return short


def first_step(name: str, stage: str, output: Path, **parameters) -> tuple[float, dict[str, float]]:
    """Seconds from the kernel's start to the end of the first training step, and of each cell.

    The cells go by their first lines.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy, begun = Path(folder, f"run-{name}"), time.time()
        notebooks.execute(
            str(up_to_training(name, Path(folder))),
            copy,
            {"OUTPUT": str(output), "RESUME": False, **parameters},
        )
        cells = json.loads(copy.read_text(encoding="utf-8"))["cells"]
    line = runlog.read_lines(output / RECIPE / stage / "log.jsonl")[0]
    parts = {
        "".join(cell["source"]).partition("\n")[0]: cell["metadata"]["papermill"]["duration"] or 0.0
        for cell in cells
        if cell["cell_type"] == "code"
    }
    return datetime.datetime.fromisoformat(line["timestamp_iso"]).timestamp() - begun, parts


def starts(name: str, stage: str, output: Path) -> tuple[float, str]:
    """The median time to the first step, and the slowest cells of the last run.

    The last run of SFT is a whole one, for GRPO to go on from.
    """
    found = []
    for number in range(TIMES):
        whole = stage == "sft" and number == TIMES - 1
        found.append(first_step(name, stage, output, MAX_STEPS=0 if whole else 1, FORCE=True))
    slowest = sorted(
        ((seconds, cell) for cell, seconds in list(found[-1][1].items())[:-1]), reverse=True
    )[:3]
    return statistics.median(seconds for seconds, _ in found), ", ".join(
        f"`{cell}` {seconds:.1f}" for seconds, cell in slowest
    )


def rows() -> list[Row]:
    found = [
        (f"`import {module}`", f"{import_seconds(module):.3f} s", wanted)
        for module, wanted in IMPORTS.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, stage, wanted in NOTEBOOKS:
            seconds, slowest = starts(name, stage, Path(folder))
            found.append(
                (
                    f"{name}, from the kernel's start to the first step of {stage}",
                    f"{seconds:.1f} s; the slowest cells: {slowest}",
                    wanted,
                )
            )
    return found


if __name__ == "__main__":
    show(rows)
