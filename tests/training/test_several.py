"""Two processes train what one trains, write one log, and go on after one of them was killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from helpers.runs import Run
from tests.conftest import ROOT
from tests.training import several
from tests.training.building import plain, stored, weights
from tests.training.resumable import printed, whole

SAME = ("reward_mean", "reward_std", "loss", "grpo_loss", "kl", "adv_mean", "adv_std", "entropy")
SAME += ("learning_rate", "completion_mean", "zero_std_groups", "tokens_generated")
SAME += ("token_accuracy",)
STAGES = ("sft", "grpo")


def run_of(out, stage) -> Run:
    return Run.read(out / several.RECIPE / stage)


def go_on(out):
    whole(out, *several.LAUNCH)
    assert "going on from step" in printed(out).read_text()


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "run"
    several.main(out)
    return out


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The second of two processes is killed in GRPO, and both are launched again."""
    out = tmp_path_factory.mktemp("two") / "run"
    assert several.killed(out, "grpo", 1) < 60
    assert run_of(out, "sft").finished and not run_of(out, "grpo").finished
    go_on(out)
    return out


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_do_what_one_does_also_after_a_kill(stage, one, two):
    logs = [run_of(out, stage).read_log() for out in (one, two)]
    assert [line["step"] for line in logs[1]] == list(range(1, several.STEPS + 1))
    for a, b in zip(*logs, strict=True):
        assert set(a) == set(b)
        expected = {key: a[key] for key in SAME if key in a}
        assert {key: b[key] for key in expected} == pytest.approx(expected, rel=2e-4, abs=1e-5)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-3)
    theirs = stored(run_of(two, stage))
    for name, tensor in stored(run_of(one, stage)).items():
        assert (tensor - theirs[name]).abs().max().item() < 1e-4


def test_the_log_has_the_completions_of_both(one, two):
    found = []
    for out in (one, two):
        rows = []
        for s in run_of(out, "grpo").read_samples():
            earned = (round(s["reward"], 5), round(s["advantage"], 3))
            rows.append((s["step"], s["question"], s["completion"], *earned))
        found.append(sorted(rows))
    assert found[0] == found[1] and len(found[1]) == several.STEPS * 16
    manifest = run_of(two, "grpo").manifest
    assert manifest["status"] == "finished"
    assert (manifest["machine"]["processes"], manifest["machine"]["process"]) == (2, 0)


@pytest.mark.soak
@pytest.mark.parametrize(("stage", "rank"), [(s, rank) for s in STAGES for rank in (0, 1)])
def test_killing_one_ends_the_run_and_it_goes_on_bit_for_bit(stage, rank, tmp_path):
    undisturbed, out = tmp_path / "whole", tmp_path / "run"
    whole(undisturbed, *several.LAUNCH)
    seconds = several.killed(out, stage, rank)
    print(f"process {rank} was killed in {stage}; the run ended {seconds:.1f} s later")
    assert not run_of(out, stage).finished and seconds < 60
    go_on(out)
    for name in STAGES:
        assert plain(run_of(out, name)) == plain(run_of(undisturbed, name))
        assert weights(run_of(out, name)) == weights(run_of(undisturbed, name))


def test_a_launch_that_starts_one_process_is_said():
    """Without GPUs `accelerate launch --num_processes 2` starts one and says nothing; we do."""
    launcher = Path(sys.executable).parent / "accelerate"
    asked = ["launch", "--num_processes", "2", "-m", "helpers", "grpo"]
    done = subprocess.run([launcher, *asked], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and several.CONFIG in done.stderr
    assert "error: accelerate was asked for 2 processes and started one" in done.stderr
