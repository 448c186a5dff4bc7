"""The run's folder: fresh, whole, and never somebody else's."""

import pytest

from helpers import runs as runlog
from helpers.machine.computer import file_hash
from helpers.runs import Run
from helpers.training import checkpoints
from helpers.training.training_run import TrainingRun


def finished(tmp_path, recipe, machine, seed=0):
    """A run's folder as a training run leaves it, with a stand-in for the adapter's file."""
    run = TrainingRun(tmp_path, recipe, "sft", machine, seed, "base")
    checkpoints.begin(run, {"seed": seed})
    run.record({"step": 1})
    run.adapter.mkdir()
    (run.adapter / "adapter_model.safetensors").write_bytes(b"weights")
    run.finish(
        "finished", steps=1, adapter_hash=file_hash(run.adapter / "adapter_model.safetensors")
    )
    return run


def test_the_same_run_is_kept_and_another_one_put_beside_it(recipe, machine, tmp_path, capsys):
    finished(tmp_path, recipe, machine)
    again = TrainingRun(tmp_path, recipe, "sft", machine, 0, "base")
    assert checkpoints.begin(again, {"seed": 0}) is None and again.finished and again.log.exists()
    other = TrainingRun(tmp_path, recipe, "sft", machine, 1, "base")
    assert (
        checkpoints.begin(other, {"seed": 1}) is None
        and not other.finished
        and not other.log.exists()
    )
    printed = capsys.readouterr().out
    assert (
        "is kept as sft-before\nnew is\n  seed: 0 → 1" in printed
        and Run.read_finished(tmp_path / recipe.name / "sft-before", "").manifest["seed"] == 0
    )
    with pytest.raises(FileNotFoundError, match="is running"):
        Run.read_finished(other.folder, "")


@pytest.mark.parametrize("resume", [True, False])
def test_a_third_run_leaves_the_kept_one(resume, recipe, machine, tmp_path, capsys):
    for seed in range(3):
        run = finished(tmp_path, recipe, machine, seed)
    checkpoints.begin(run, {"seed": 3}, resume)
    kept = [
        Run.read(run.folder.with_name(name)).manifest["seed"]
        for name in ("sft-before", "sft-before-2", "sft-before-3")
    ]
    assert kept == [0, 1, 2] and "sft is kept as sft-before-3\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"greedy": {}}', '{"greedy": {}, "sampled": 1}', "[" * 100_000, "\ud83d"],
)
def test_a_damaged_summary_is_named(content, tmp_path):
    assert runlog.read_summary(tmp_path) is None
    (tmp_path / "summary.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(
        ValueError, match=r"summary.json is damaged \(.*\).\nRun 03_eval.ipynb again."
    ):
        runlog.read_summary(tmp_path)


def test_afresh_means_afresh(recipe, machine, tmp_path):
    finished(tmp_path, recipe, machine)
    again = TrainingRun(tmp_path, recipe, "sft", machine, 0, "base")
    assert (
        checkpoints.begin(again, {"seed": 0}, resume=False) is None
        and not again.finished
        and not again.log.exists()
    )


def test_a_damaged_adapter_is_trained_again(recipe, machine, tmp_path):
    run = finished(tmp_path, recipe, machine)
    (run.adapter / "adapter_model.safetensors").write_bytes(b"weighs")
    checkpoints.begin(run, {"seed": 0})
    assert not run.finished


def test_what_is_not_a_run_is_left_alone(recipe, machine, tmp_path):
    (tmp_path / recipe.name / "grpo").mkdir(parents=True)
    (tmp_path / recipe.name / "grpo" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not from a run.\nMove them"):
        TrainingRun(tmp_path, recipe, "grpo", machine, 0, "base")
    assert (tmp_path / recipe.name / "grpo" / "thesis.txt").read_text() == "mine"


def test_an_unfinished_run_is_not_taken_for_whole(recipe, machine, tmp_path):
    run = TrainingRun(tmp_path, recipe, "sft", machine, 0, "base")
    checkpoints.begin(run, {})
    with pytest.raises(FileNotFoundError, match="is running.\nRun 01"):
        Run.read_finished(run.folder, "Run 01")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Run.read_finished(tmp_path / "none", "Run 01")


def test_an_unwritable_output_says_what_to_set(recipe, machine, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(PermissionError, match="Cannot write.*\nSet OUTPUT"):
        TrainingRun(tmp_path / "file", recipe, "sft", machine, 0, "base")


def test_the_manifest_says_how_it_was_made(recipe, machine, tmp_path):
    run = TrainingRun(tmp_path, recipe, "sft", machine, 5, "base")
    checkpoints.begin(run, {})
    manifest = Run.read(run.folder).manifest
    assert manifest["settings"]["grpo"]["batch"] == recipe.grpo.batch and manifest["seed"] == 5
    assert {"torch", "trl", "unsloth"} <= set(manifest["versions"]) and manifest["machine"][
        "profile"
    ] == machine.profile


@pytest.mark.parametrize(
    ("logs", "beta", "expected"),
    [
        (
            {"loss": 0.5, "kl": 2.0},
            0.1,
            {"grpo_loss": 0.5, "kl": 2.0, "kl_loss": 0.2, "policy_loss": 0.3},
        ),
        ({"loss": 0.5, "kl": 2.0}, 0.0, {"grpo_loss": 0.5, "kl_loss": 0.0, "policy_loss": 0.5}),
        (
            {
                "loss": 0.5,
                "completion_length": 9.0,
                "rewards/r_soft/mean": 1.0,
                "rewards/r_soft/std": 0.0,
            },
            0.1,
            {
                "grpo_loss": 0.5,
                "completion_mean": 9.0,
                "reward/r_soft": 1.0,
                "reward/r_soft_std": 0.0,
            },
        ),
    ],
)
def test_both_trainers_names_become_ours(logs, beta, expected):
    assert runlog.rename(logs, "grpo", beta) == pytest.approx(expected)


def test_an_unmeasured_kl_is_left_out_and_a_missing_one_is_no_zero():
    assert "kl" not in runlog.rename({"loss": 0.5, "kl": 0.0}, "grpo", 0.0)
    assert not {"kl_loss", "policy_loss"} & set(runlog.rename({"loss": 0.5}, "grpo", 0.1))


def test_a_half_line_is_left_out_and_a_broken_one_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert [line["step"] for line in runlog.read_lines(path)] == [1, 2]
    runlog.keep_steps(path, 1)
    assert path.read_text() == '{"step": 1}\n'
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ValueError, match="Line 2 of .*\nThe file is damaged"):
        runlog.read_lines(path)


def test_what_is_no_number_is_null_and_named(recipe, machine, tmp_path):
    run = TrainingRun(tmp_path, recipe, "sft", machine, 0, "base")
    run.record({"step": 1, "loss": float("nan"), "grad_norm": float("inf"), "epoch": 0.5})
    text = run.log.read_text()
    assert "NaN" not in text and "Infinity" not in text
    (line,) = runlog.read_lines(run.log)
    assert (
        line["loss"] is line["grad_norm"] is None
        and line["epoch"] == 0.5
        and line["not_finite"] == ["loss", "grad_norm"]
    )


def test_the_published_file_has_the_published_keys_only(recipe, machine, tmp_path):
    run = TrainingRun(tmp_path, recipe, "grpo", machine, 0, "base")
    run.record(
        {"step": 1, "epoch": 0.1, "extra": 1.0, **{key: 0.5 for key in runlog.PUBLISHED[5:]}},
        [{"completion": "x"}],
    )
    (line,) = runlog.read_lines(run.published)
    assert list(line) == list(runlog.PUBLISHED) and runlog.read_lines(run.samples) == [
        {"step": 1, "completion": "x"}
    ]
    assert "extra" in runlog.read_lines(run.log)[0]


def test_a_full_disk_is_explained(recipe, machine, tmp_path):
    """/dev/full answers every write with "no space left"."""
    run = TrainingRun(tmp_path, recipe, "sft", machine, 0, "base")
    run.log.symlink_to("/dev/full")
    with pytest.raises(
        OSError,
        match=r"log.jsonl could not be written \(No space left.*\nMake room and run it again",
    ):
        run.record({"step": 1})


def test_the_console_line(recipe):
    line = {"step": 3, "reward_mean": 1.254, "learning_rate": 5e-4, "completion_mean": 31.4}
    assert (
        runlog.console(line, recipe)
        == "[Step 3] reward/gsm8k_reward=1.25 lr=5.0e-4 len/avg_comp=31"
    )
    assert (
        runlog.console({"step": 12, "loss": 0.31, "learning_rate": 9e-4}, recipe)
        == "[Step 12] loss=0.310 lr=9.0e-4"
    )


def test_best_and_worst_early_middle_late():
    samples = [
        {"step": step, "completion": f"{step}-{k}", "reward": float(k), "answer": "7"}
        for step in range(1, 6)
        for k in (1, 0, 2)
    ]
    table = runlog.completions_table(samples)
    assert list(table["completion"]) == ["1-0", "1-2", "3-0", "3-2", "5-0", "5-2"] and list(
        table.loc["late", "reward"]
    ) == [0.0, 2.0]
    assert len(runlog.completions_table(samples[:3])) == 2  # of one step there is no early and late


def test_the_summary_tells_first_from_last():
    table = runlog.summary(
        [{"step": k, "seed": 0, "reward_mean": k / 10, "device": "cpu"} for k in range(20)]
    )
    assert (
        list(table.index) == ["reward_mean"]
        and table.loc["reward_mean", "first tenth"] == pytest.approx(0.05)
        and table.loc["reward_mean", "most"] == 1.9
    )
