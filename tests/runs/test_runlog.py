"""The run's folder is fresh, whole, and never somebody else's; and what is shown of its files."""

import pytest

from helpers import runs
from helpers.machine import file_hash
from helpers.runs import Run
from helpers.training import TrainingRun
from helpers.training.checkpoints import begin


@pytest.fixture
def new_run(recipe, machine, tmp_path):
    def make(stage="sft", seed=0):
        return TrainingRun(tmp_path, recipe, stage, machine, seed, "base")

    return make


def finished(run):
    """The run with a folder as training leaves it, and a stand-in for the adapter's file."""
    begin(run, {"seed": run.seed})
    run.record({"step": 1})
    run.adapter.mkdir()
    weights = run.adapter / "adapter_model.safetensors"
    weights.write_bytes(b"weights")
    run.finish("finished", steps=1, adapter_hash=file_hash(weights))
    return run


def test_the_same_run_is_kept(new_run):
    finished(new_run())
    again = new_run()
    assert begin(again, {"seed": 0}) is None and again.finished and again.log.exists()


@pytest.mark.parametrize("resume", [True, False])
def test_another_run_is_put_beside_those_that_are_kept(resume, new_run, capsys):
    for seed in range(3):
        run = finished(new_run(seed=seed))
    assert begin(run, {"seed": 3}, resume) is None and not run.finished and not run.log.exists()
    for seed, name in enumerate(("sft-before", "sft-before-2", "sft-before-3")):
        kept = Run.read_finished(run.folder.with_name(name), "")
        assert kept.manifest["seed"] == seed
    said = capsys.readouterr().out
    assert "is kept as sft-before\nnew is\n  seed: 0 → 1" in said
    assert "sft is kept as sft-before-3\n" in said


@pytest.mark.parametrize(("weights", "resume"), [(b"weights", False), (b"weighs", True)])
def test_a_run_that_is_not_wanted_or_damaged_is_trained_again(weights, resume, new_run):
    run = finished(new_run())
    (run.adapter / "adapter_model.safetensors").write_bytes(weights)
    assert begin(run, {"seed": 0}, resume=resume) is None
    assert not run.finished and not run.log.exists()


def test_what_is_not_a_run_is_left_alone(new_run, recipe, tmp_path):
    file = tmp_path / recipe.name / "grpo" / "thesis.txt"
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(FileExistsError, match="not from a run.\nMove them"):
        new_run("grpo")
    assert file.read_text() == "mine"


def test_an_unfinished_run_is_not_taken_for_whole(new_run, tmp_path):
    run = new_run()
    begin(run, {})
    with pytest.raises(FileNotFoundError, match="is running.\nRun 01"):
        Run.read_finished(run.folder, "Run 01")
    with pytest.raises(FileNotFoundError, match="is not there.\nRun 01"):
        Run.read_finished(tmp_path / "none", "Run 01")


def test_an_unwritable_output_says_what_to_set(recipe, machine, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(PermissionError, match="Cannot write.*\nSet OUTPUT"):
        TrainingRun(tmp_path / "file", recipe, "sft", machine, 0, "base")


def test_the_manifest_says_how_it_was_made(new_run, recipe, machine):
    run = new_run(seed=5)
    begin(run, {})
    manifest = Run.read(run.folder).manifest
    assert manifest["settings"]["grpo"]["batch"] == recipe.grpo.batch and manifest["seed"] == 5
    assert {"torch", "trl", "unsloth"} <= set(manifest["versions"])
    assert manifest["machine"]["device"] == machine.device


@pytest.mark.parametrize("content", ["{", '{"greedy": {}}', "\ud83d"])
def test_a_damaged_summary_is_named(content, tmp_path):
    assert runs.read_summary(tmp_path) is None
    (tmp_path / "summary.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=r"summary.json is damaged \(.*\).\nRun 03_eval.ipynb"):
        runs.read_summary(tmp_path)


@pytest.mark.parametrize(
    ("logs", "beta", "expected"),
    [
        ({"kl": 2.0}, 0.1, {"kl": 2.0, "kl_loss": 0.2, "policy_loss": 0.3}),
        ({"kl": 2.0}, 0.0, {"kl_loss": 0.0, "policy_loss": 0.5}),  # a 0 that nobody measured
        ({}, 0.1, {}),  # a missing one is no zero
        ({"completion_length": 9.0}, 0.1, {"completion_mean": 9.0}),
        ({"rewards/r_soft/mean": 1.0}, 0.1, {"reward/r_soft": 1.0}),
        ({"rewards/r_soft/std": 0.0}, 0.1, {"reward/r_soft_std": 0.0}),
    ],
)
def test_both_trainers_names_become_ours(logs, beta, expected):
    line = runs.rename({"loss": 0.5} | logs, "grpo", beta)
    assert line == pytest.approx({"grpo_loss": 0.5} | expected)


def test_a_half_line_is_left_out_and_a_broken_one_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert [line["step"] for line in runs.read_lines(path)] == [1, 2]
    runs.keep_steps(path, 1)
    assert path.read_text() == '{"step": 1}\n'
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ValueError, match="Line 2 of .*\nThe file is damaged"):
        runs.read_lines(path)


def test_what_is_no_number_is_null_and_named(new_run):
    run = new_run()
    run.record({"step": 1, "loss": float("nan"), "grad_norm": float("inf"), "epoch": 0.5})
    text = run.log.read_text()
    assert "NaN" not in text and "Infinity" not in text
    [line] = run.read_log()
    assert line["loss"] is line["grad_norm"] is None and line["epoch"] == 0.5
    assert line["not_finite"] == ["loss", "grad_norm"]


def test_the_published_file_has_the_published_keys_only(new_run):
    run = new_run("grpo")
    line = {"step": 1, "epoch": 0.1, "extra": 1.0} | {key: 0.5 for key in runs.PUBLISHED[5:]}
    run.record(line, [{"completion": "x"}])
    [published] = runs.read_lines(run.published)
    assert list(published) == list(runs.PUBLISHED)
    assert run.read_samples() == [{"step": 1, "completion": "x"}]
    assert "extra" in run.read_log()[0]


def test_a_full_disk_is_explained(new_run):
    """/dev/full answers every write with "no space left"."""
    run = new_run()
    run.log.symlink_to("/dev/full")
    said = r"log.jsonl could not .*\(No space left.*\nMake room and run"
    with pytest.raises(OSError, match=said):
        run.record({"step": 1})


def test_the_console_line(recipe):
    line = {"step": 3, "reward_mean": 1.254, "learning_rate": 5e-4, "completion_mean": 31.4}
    shown = "[Step 3] reward/gsm8k_reward=1.25 lr=5.0e-4 len/avg_comp=31"
    assert runs.console(line, recipe) == shown
    line = {"step": 12, "loss": 0.31, "learning_rate": 1.0}
    assert runs.console(line, recipe) == "[Step 12] loss=0.310 lr=1.0"


def test_best_and_worst_early_middle_late():
    samples = []
    for step in range(1, 6):
        for reward in (1.0, 0.0, 2.0):
            sample = {"step": step, "completion": f"{step}-{reward:.0f}", "reward": reward}
            samples.append(sample | {"answer": "7"})
    table = runs.completions_table(samples)
    assert list(table["completion"]) == ["1-0", "1-2", "3-0", "3-2", "5-0", "5-2"]
    assert list(table.loc["late", "reward"]) == [0.0, 2.0]
    assert len(runs.completions_table(samples[:3])) == 2  # of one step: no early and late


def test_the_summary_tells_first_from_last():
    lines = [{"step": k, "seed": 0, "reward_mean": k / 10, "device": "cpu"} for k in range(20)]
    table = runs.summary(lines)
    assert list(table.index) == ["reward_mean"]
    assert table.loc["reward_mean", "first tenth"] == pytest.approx(0.05)
    assert table.loc["reward_mean", "most"] == 1.9
