"""The bench for a card, rehearsed on the CPU: the same code, both sides of it."""

import subprocess
import sys

import pytest
import torch

from tests.bench_gpu import PARTS, table
from tests.conftest import ROOT


def bench(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.bench_gpu", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_two_lines_say_what_is_needed(tmp_path):
    done = bench("--out", str(tmp_path / "table.md"))
    assert done.returncode == 1 and not (tmp_path / "table.md").exists()
    assert (
        done.stderr.startswith("There is no GPU")
        and len(done.stderr.strip().splitlines()) == 2
        and "CUDA" in done.stderr
    )


def test_a_row_for_each_measurement():
    figures = {
        "step_s": 1.5,
        "tokens_per_second": 1234.4,
        "generation_share": 0.62,
        "memory_gb": 7.25,
    }
    text = table({part: figures for part in PARTS}, "a model", "a card")
    assert text.startswith("a card, 20") and "torch" in text.splitlines()[0]
    assert (
        "| SFT, packed, ours | 1.50 s | 1234 |  | 7.2 GB |" in text
        and "| GRPO, plain | 1.50 s | 1234 | 62% | 7.2 GB |" in text
    )


@pytest.mark.soak
def test_rehearsal_measures_both_sides(tmp_path):
    done = bench("--rehearse", "--out", str(tmp_path / "table.md"))
    assert done.returncode == 0, done.stderr
    rows = [
        line.split("|")
        for line in (tmp_path / "table.md").read_text().splitlines()
        if line.startswith(("| SFT", "| GRPO"))
    ]
    assert len(rows) == len(PARTS)
    for row in rows:
        assert float(row[2].split()[0]) > 0 and float(row[3]) > 0 and float(row[5].split()[0]) > 0
    assert [float(row[4].strip(" %")) > 5 for row in rows if "GRPO" in row[1]] == [
        True,
        True,
    ]  # the share of generation
