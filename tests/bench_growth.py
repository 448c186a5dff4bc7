"""How time and memory grow: `python -m tests.bench_growth` (five minutes, a gigabyte of disk).

Rows in a Parquet file are read, their golds checked and a share held out; answers are graded,
summed up and compared; a log is drawn with its verdicts. Each size is a process of its own.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from helpers import data, drawing, evaluation
from helpers.recipes import RECIPES
from helpers.rows import Example
from tests.bench import ROOT, Row, show

RECIPE = RECIPES["gsm8k_hash"]
BATCH = 50_000
WORDS = [f"word{number}" for number in range(500)]


def read_rows(count: int, folder: Path) -> Callable[[], object]:
    """GSM8K's columns, 360 characters a row."""
    path, dice, writer = folder / "rows.parquet", random.Random(0), None
    for start in range(0, count, BATCH):
        rows = []
        for n in range(start, min(count, start + BATCH)):
            question = f"{n} pupils, {' '.join(dice.choices(WORDS, k=40))}: how many?"
            rows.append({"question": question, "answer": f"{n} + {n} = {2 * n}\n#### {2 * n}"})
        table = pa.Table.from_pylist(rows)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()
    import datasets  # noqa: F401  (its import is not counted)

    return lambda: data.load(RECIPE, str(path), "cpu")


def grade_answers(count: int, folder: Path) -> Callable[[], object]:
    """Two models' answers to so many problems."""

    def work():
        sides = []
        for wrong in (0, 1):
            records = []
            for n in range(count):
                example = Example(str(n), f"{n} and {n}?", "", str(2 * n))
                text = f"{n} + {n} = {2 * n}\n#### {2 * n + wrong * (n % 3)}"
                records.append(evaluation.grade(RECIPE, example, text, 20, True))
            sides.append(records)
        return *map(evaluation.summarise, sides), evaluation.compare(*sides)

    return work


def draw_log(count: int, folder: Path) -> Callable[[], object]:
    """GRPO's log, drawn, with its summary and its verdicts."""
    dice = random.Random(0)
    with open(folder / "log.jsonl", "w") as file:
        for step in range(1, count + 1):
            line = {"step": step, "total_steps": count, "time_per_step_s": 1.0}
            for name in ("reward_mean", "reward_std", "entropy", "kl_loss", "grpo_loss"):
                line[name] = dice.random()
            file.write(json.dumps(line) + "\n")
    return lambda: drawing.draw_run(str(folder), "")


PARTS = {
    "row read, checked, held out": (read_rows, (1_000, 10_000, 100_000, 1_000_000)),
    "answer graded and compared, two a problem": (grade_answers, (1_000, 10_000, 100_000)),
    "step in a log that is drawn": (draw_log, (1_000, 10_000, 100_000)),
}


def measure(what: str, count: int) -> None:
    """Prints CPU seconds, and the bytes that came to this process while it holds the result."""
    held = []
    with tempfile.TemporaryDirectory() as folder:
        work = PARTS[what][0](count, Path(folder))
        here = psutil.Process()
        before, begun = here.memory_info().rss, time.process_time()
        held.append(work())
        spent, after = time.process_time() - begun, here.memory_info().rss
    print(json.dumps([spent, after - before]))


def rows() -> list[Row]:
    found = []
    for what, (_, counts) in PARTS.items():
        for count in counts:
            command = [sys.executable, "-W", "ignore", "-m", "tests.bench_growth", what, str(count)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            spent, came = json.loads(done.stdout.splitlines()[-1])
            each = f"{spent / count * 1e6:.0f} µs each"
            measured = f"{spent:.1f} CPU s, {each}, {came / 2**20:.0f} MB"
            found.append((f"{count:,} times: {what}", measured, "each as much"))
    return found


if __name__ == "__main__":
    if sys.argv[1:]:
        measure(sys.argv[1], int(sys.argv[2]))
    else:
        show(rows)
