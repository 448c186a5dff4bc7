"""Two processes train what one trains, write one log, and go on after one of them was killed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import runs as runlog
from tests.conftest import ROOT
from tests.training import several

SAME = (
    "reward_mean",
    "reward_std",
    "loss",
    "grpo_loss",
    "kl",
    "adv_mean",
    "adv_std",
    "learning_rate",
    "completion_mean",
    "zero_std_groups",
    "tokens_generated",
    "token_accuracy",
    "entropy",
)


def log(out, stage):
    return runlog.read_lines(out / several.RECIPE / stage / "log.jsonl")


def weights(out, stage):
    from safetensors.torch import load_file

    return load_file(out / several.RECIPE / stage / "adapter/adapter_model.safetensors")


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "run"
    several.main(out)
    return out


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    out = tmp_path_factory.mktemp("two") / "run"
    assert several.launch(out).wait(timeout=400) == 0, several.printed(out).read_text()[-4000:]
    return out


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_two_processes_do_what_one_does(stage, one, two):
    alone, shared = log(one, stage), log(two, stage)
    assert (
        [line["step"] for line in alone]
        == [line["step"] for line in shared]
        == list(range(1, several.STEPS + 1))
    )
    for a, b in zip(alone, shared, strict=True):
        assert set(a) == set(b)
        assert {key: b[key] for key in SAME if key in a} == pytest.approx(
            {key: a[key] for key in SAME if key in a}, rel=2e-4, abs=1e-5
        )
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-3)
    theirs = weights(two, stage)
    assert (
        max(
            (tensor - theirs[name]).abs().max().item()
            for name, tensor in weights(one, stage).items()
        )
        < 1e-4
    )


def test_the_log_has_the_completions_of_both(one, two):
    def samples(out):
        return sorted(
            (
                s["step"],
                s["question"],
                s["completion"],
                round(s["reward"], 5),
                round(s["advantage"], 3),
            )
            for s in runlog.read_lines(out / several.RECIPE / "grpo/samples.jsonl")
        )

    assert samples(one) == samples(two) and len(samples(two)) == several.STEPS * 16
    manifest = json.loads((two / several.RECIPE / "grpo/run.json").read_text())
    assert (
        manifest["status"],
        manifest["machine"]["processes"],
        manifest["machine"]["process"],
    ) == ("finished", 2, 0)


def moments(stages):
    return [
        pytest.param(stage, rank, marks=[] if (stage, rank) == ("grpo", 1) else pytest.mark.soak)
        for stage in stages
        for rank in (0, 1)
    ]


@pytest.mark.parametrize(("stage", "rank"), moments(["sft", "grpo"]))
def test_killing_one_ends_the_run_and_it_goes_on(stage, rank, two, tmp_path):
    out = tmp_path / "run"
    seconds = several.killed(out, out / several.RECIPE / stage / "log.jsonl", rank)
    print(f"process {rank} was killed in {stage}; the run ended {seconds:.1f} s later")
    assert (
        json.loads((out / several.RECIPE / stage / "run.json").read_text())["status"] != "finished"
        and seconds < 60
    )
    assert several.launch(out).wait(timeout=400) == 0, several.printed(out).read_text()[-4000:]
    assert "going on from step" in several.printed(out).read_text()
    for name in ("sft", "grpo"):
        resumed, whole = (
            [{k: v for k, v in line.items() if k not in runlog.TIMES} for line in log(where, name)]
            for where in (out, two)
        )
        assert resumed == whole
        assert all(
            tensor.equal(weights(two, name)[key]) for key, tensor in weights(out, name).items()
        )


def test_a_launch_that_starts_one_process_is_said():
    """Without GPUs `accelerate launch --num_processes 2` starts one process and says nothing; we do."""
    launcher = Path(sys.executable).parent / "accelerate"
    done = subprocess.run(
        [launcher, "launch", "--num_processes", "2", "-m", "helpers", "grpo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (
        done.returncode != 0
        and "error: accelerate was asked for 2 processes and started one" in done.stderr
        and several.LAUNCH[3] in done.stderr
    )
