"""`make bench`: one table of what training, evaluation, grading, the log and the start cost.

It takes about ten minutes. Both sides of each row are measured in one run. Every part is a process
of its own and prints its rows as it ends: `python -m tests.bench_grading` and the others can be run
alone.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout

PARTS = ("bench_steps", "bench_evaluation", "bench_grading", "bench_logging", "bench_startup")
Row = tuple[str, str, str]  # what, measured, wanted


def show(measure: Callable[[], list[Row]]) -> None:
    """Measures, and prints the rows as those of a Markdown table.

    What is printed while measuring is not shown.
    """
    with redirect_stdout(io.StringIO()):
        rows = measure()
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def main() -> None:
    print("| what | measured | wanted |\n|---|---|---|", flush=True)
    for part in PARTS:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", f"tests.{part}"],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(
                f"tests.{part} failed: {done.stderr.strip().splitlines()[-1]}\n"
                f"Run it alone: python -m tests.{part}"
            )


if __name__ == "__main__":
    main()
