"""`make bench`: one table of what training, evaluation, grading, the log and the start cost.

It takes about five minutes. Both sides of each row are measured in one run. Every part is a process
of its own and prints its rows as it ends: `python -m tests.bench_grading` and the others can be run
alone.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

ROOT = Path(__file__).parent.parent  # not by conftest: a machine with a card may lack pytest
PARTS = ("bench_steps", "bench_evaluation", "bench_grading", "bench_logging", "bench_startup")
Row = tuple[str, str, str]  # what, measured, wanted


def seconds(work: Callable, *arguments) -> float:
    begun = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - begun


def in_turn(one: list, other: list) -> list:
    """The items of two lists as one, by turns."""
    return [item for pair in zip(one, other, strict=True) for item in pair]


def show(measure: Callable[[], list[Row]]) -> None:
    """Measures in silence, and prints the rows as those of a Markdown table."""
    with redirect_stdout(io.StringIO()):
        rows = measure()
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def run_part(*words: str, stdout: int | None = None) -> None:
    """Runs a module of the tests in a process of its own. Exits in words where it fails."""
    module, *arguments = words
    command = ["-m", f"tests.{module}", *arguments]
    streams = {"stdout": stdout, "stderr": subprocess.PIPE, "text": True}
    done = subprocess.run([sys.executable, "-W", "ignore", *command], cwd=ROOT, **streams)
    if done.returncode:
        cause = done.stderr.strip().rpartition("\n")[2]
        sys.exit(f"{' '.join(words)} failed: {cause}\nRun it alone: python {' '.join(command)}")


def main() -> None:
    print("| what | measured | wanted |\n|---|---|---|", flush=True)
    for part in PARTS:
        run_part(part)


if __name__ == "__main__":
    main()
