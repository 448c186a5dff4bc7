"""The bench for a card, rehearsed on the CPU: the same code, both sides of it."""

import subprocess
import sys

import pytest
import torch

from tests.bench_gpu import PARTS, table
from tests.conftest import ROOT


def bench(*arguments):
    command = [sys.executable, "-W", "ignore", "-m", "tests.bench_gpu", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_two_lines_say_what_is_needed(tmp_path):
    done = bench("--out", str(tmp_path / "table.md"))
    assert done.returncode == 1 and not (tmp_path / "table.md").exists()
    assert done.stderr.startswith("There is no GPU") and "CUDA" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 2


def test_a_row_for_each_measurement():
    figures = {"step_s": 1.5, "tokens_per_second": 1234.4, "generation_share": 0.62}
    text = table({part: figures | {"memory_gb": 7.25} for part in PARTS}, "a model", "a card")
    assert text.startswith("a card, 20") and "torch" in text.splitlines()[0]
    assert "| SFT, packed, ours | 1.50 s | 1234 |  | 7.2 GB |" in text
    assert "| GRPO, plain | 1.50 s | 1234 | 62% | 7.2 GB |" in text


@pytest.mark.soak
def test_rehearsal_measures_both_sides(tmp_path):
    done = bench("--rehearse", "--out", str(tmp_path / "table.md"))
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "table.md").read_text().splitlines()
    rows = [line.split("|") for line in lines if line.startswith(("| SFT", "| GRPO"))]
    assert [row[1].partition(",")[0].strip() for row in rows] == ["SFT"] * 3 + ["GRPO"] * 2
    for _, what, step, tokens, generation, memory, _ in rows:
        assert float(step.split()[0]) > 0 and float(tokens) > 0 and float(memory.split()[0]) > 0
        assert "GRPO" not in what or float(generation.strip(" %")) > 5
