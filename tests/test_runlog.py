"""The run's folder: fresh, whole, and never somebody else's."""

import json

import pytest

from helpers import runlog


def test_a_new_run_replaces_an_old_one_and_nothing_else(recipe, machine, tmp_path):
    run = runlog.Run(tmp_path, recipe, "sft", machine, 0, "base")
    run.record({"step": 1})
    run.finish("finished", steps=1)
    assert runlog.finished_run(run.folder, "")["steps"] == 1
    again = runlog.Run(tmp_path, recipe, "sft", machine, 1, "base")
    assert not again.log.exists() and json.loads((again.folder / "run.json").read_text())["status"] == "running"
    (tmp_path / recipe.name / "grpo").mkdir()
    (tmp_path / recipe.name / "grpo" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not from a run.\nMove them"):
        runlog.Run(tmp_path, recipe, "grpo", machine, 0, "base")
    assert (tmp_path / recipe.name / "grpo" / "thesis.txt").read_text() == "mine"


def test_an_unfinished_run_is_not_taken_for_whole(recipe, machine, tmp_path):
    run = runlog.Run(tmp_path, recipe, "sft", machine, 0, "base")
    with pytest.raises(FileNotFoundError, match="is running.\nRun 01"):
        runlog.finished_run(run.folder, "Run 01")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        runlog.finished_run(tmp_path / "none", "Run 01")


def test_an_unwritable_output_says_what_to_set(recipe, machine, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(PermissionError, match="Cannot write.*\nSet OUTPUT"):
        runlog.Run(tmp_path / "file", recipe, "sft", machine, 0, "base")


def test_the_manifest_says_how_it_was_made(recipe, machine, tmp_path):
    manifest = json.loads((runlog.Run(tmp_path, recipe, "sft", machine, 5, "base").folder / "run.json").read_text())
    assert manifest["settings"]["grpo"]["batch"] == recipe.grpo.batch and manifest["seed"] == 5
    assert {"torch", "trl", "unsloth"} <= set(manifest["versions"]) and manifest["machine"]["profile"] == machine.profile


@pytest.mark.parametrize(("logs", "beta", "expected"), [
    ({"loss": 0.5, "kl": 2.0}, 0.1, {"grpo_loss": 0.5, "kl_loss": 0.2, "policy_loss": 0.3}),
    ({"loss": 0.5, "kl": 2.0}, 0.0, {"grpo_loss": 0.5, "kl_loss": 0.0, "policy_loss": 0.5}),
    ({"loss": 0.5, "completion_length": 9.0, "rewards/r_soft/mean": 1.0, "rewards/r_soft/std": 0.0}, 0.1,
     {"grpo_loss": 0.5, "completion_mean": 9.0, "reward/r_soft": 1.0, "reward/r_soft_std": 0.0}),
])
def test_both_trainers_names_become_ours(logs, beta, expected):
    assert runlog.rename(logs, "grpo", beta) == pytest.approx(expected)
