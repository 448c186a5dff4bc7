"""Two processes train what one trains, write one log, and go on after one of them was killed.

`python -m tests.training.test_several OUT`, alone or under a launcher, is SFT and GRPO; run again
it goes on. What a policy samples depends on how its batch is cut, so GRPO's completions are given
here: right and wrong ones, by place in the batch.
"""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import psutil
import pytest

from helpers import training
from helpers.machine import detect
from helpers.recipes import for_model, get_recipe
from helpers.runs import Run
from helpers.training import private, stages, watching
from tests.conftest import ROOT
from tests.learning import job_of
from tests.training import building
from tests.training.building import plain, stored, weights
from tests.training.test_resuming import launch, printed, wait_until, whole

STEPS, RECIPE = 4, "gsm8k_hash"  # with a reference adapter: beta > 0
CONFIG = "helpers/accelerate/cpu.yaml"
LAUNCH = ("-m", "accelerate.commands.launch", "--config_file", CONFIG, "--num_processes", "2")
LAUNCH += ("-m", "tests.training.test_several")
SAME = ("reward_mean", "reward_std", "loss", "grpo_loss", "kl", "adv_mean", "adv_std", "entropy")
SAME += ("learning_rate", "completion_mean", "zero_std_groups", "tokens_generated")
SAME += ("token_accuracy",)
STAGES = ("sft", "grpo")


def generate(self, prompt_ids, *_, **__):
    """Replies by rule: place k of the whole batch is right where k is even, k % 3 words longer."""
    tokenizer, replies = self.processing_class, []
    for i, prompt in enumerate(prompt_ids):
        place = self.accelerator.process_index * len(prompt_ids) + i
        question = tokenizer.decode(prompt).rpartition("user\n")[2]
        answer = str(sum(ord(c) for c in question) % 90 + place % 2)
        text = f"{'so ' * (place % 3)}{place % 4} + 1 = {answer}\n#### {answer}<|im_end|>"
        replies.append(tokenizer(text, add_special_tokens=False)["input_ids"])
    return replies, None


def pays_even(completions, **_) -> list[float]:
    """Rewards what the completions above differ in, so that no gold is needed."""
    texts = [completion[-1]["content"] for completion in completions]
    return [float(int(text.rpartition(" ")[2]) % 2) + len(text) / 100 for text in texts]


def main(out: Path) -> None:
    machine = detect()
    recipe = for_model(get_recipe(RECIPE), machine.device == "cpu", machine.device)
    grpo = replace(recipe.grpo, batch=16, generations=8)
    recipe = replace(recipe, grpo=grpo, rewards={"pays_even": 1.0})
    job = job_of(recipe, machine, 0, out, max_steps=STEPS)
    given = mock.patch.object(building.GRPOTrainer, private.GENERATE, generate)
    paid = mock.patch.dict(training.REWARDS, pays_even=pays_even)
    # A checkpoint after every step.
    with given, paid, mock.patch.dict(watching.SAVE_SECONDS, cpu=0.0):
        splits = job.splits()
        start = stages.sft(job, splits)
        rows = splits["train"].examples[:64]
        trainer, run = building.build("grpo", recipe, machine, out, rows, STEPS, start)
        training.train(trainer, run)


def killed(out: Path, stage: str, rank: int) -> float:
    """Launches, and kills a process when a stage's log has two lines; the seconds until all end."""
    log = out / RECIPE / stage / "log.jsonl"
    launcher = launch(out, *LAUNCH)
    wait_until(lambda: log.is_file() and log.read_text().count("\n") >= 2, launcher)
    assert launcher.poll() is None, printed(out).read_text()
    children = psutil.Process(launcher.pid).children(recursive=True)
    workers = [child for child in children if "tests.training.test_several" in child.cmdline()]
    next(worker for worker in workers if worker.environ().get("RANK") == str(rank)).kill()
    at = time.time()
    assert launcher.wait(timeout=120) != 0
    left = [worker for worker in workers if worker.is_running()]
    assert not [worker for worker in left if worker.status() != psutil.STATUS_ZOMBIE]
    return time.time() - at


def run_of(out, stage) -> Run:
    return Run.read(out / RECIPE / stage)


def go_on(out):
    whole(out, *LAUNCH)
    assert "going on from step" in printed(out).read_text()


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "run"
    main(out)
    return out


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The second of two processes is killed in GRPO, and both are launched again."""
    out = tmp_path_factory.mktemp("two") / "run"
    assert killed(out, "grpo", 1) < 60
    assert run_of(out, "sft").finished and not run_of(out, "grpo").finished
    go_on(out)
    return out


@pytest.mark.soak
@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_do_what_one_does_also_after_a_kill(stage, one, two):
    logs = [run_of(out, stage).read_log() for out in (one, two)]
    assert [line["step"] for line in logs[1]] == list(range(1, STEPS + 1))
    for a, b in zip(*logs, strict=True):
        assert set(a) == set(b)
        expected = {key: a[key] for key in SAME if key in a}
        assert {key: b[key] for key in expected} == pytest.approx(expected, rel=2e-4, abs=1e-5)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-3)
    theirs = stored(run_of(two, stage))
    for name, tensor in stored(run_of(one, stage)).items():
        assert (tensor - theirs[name]).abs().max().item() < 1e-4


@pytest.mark.soak
def test_the_log_has_the_completions_of_both(one, two):
    found = []
    for out in (one, two):
        rows = []
        for s in run_of(out, "grpo").read_samples():
            earned = (round(s["reward"], 5), round(s["advantage"], 3))
            rows.append((s["step"], s["question"], s["completion"], *earned))
        found.append(sorted(rows))
    assert found[0] == found[1] and len(found[1]) == STEPS * 16
    manifest = run_of(two, "grpo").manifest
    assert manifest["status"] == "finished"
    assert (manifest["machine"]["processes"], manifest["machine"]["process"]) == (2, 0)


@pytest.mark.soak
@pytest.mark.parametrize(("stage", "rank"), [(s, rank) for s in STAGES for rank in (0, 1)])
def test_killing_one_ends_the_run_and_it_goes_on_bit_for_bit(stage, rank, tmp_path):
    undisturbed, out = tmp_path / "whole", tmp_path / "run"
    whole(undisturbed, *LAUNCH)
    seconds = killed(out, stage, rank)
    print(f"process {rank} was killed in {stage}; the run ended {seconds:.1f} s later")
    assert not run_of(out, stage).finished and seconds < 60
    go_on(out)
    for name in STAGES:
        assert plain(run_of(out, name)) == plain(run_of(undisturbed, name))
        assert weights(run_of(out, name)) == weights(run_of(undisturbed, name))


def test_a_launch_that_starts_one_process_is_said():
    """Without GPUs `accelerate launch --num_processes 2` starts one and says nothing; we do."""
    command = [Path(sys.executable).with_name("accelerate"), "launch", "--num_processes", "2", "-m"]
    done = subprocess.run([*command, "helpers", "grpo"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and CONFIG in done.stderr
    assert "error: accelerate was asked for 2 processes and started one" in done.stderr


if __name__ == "__main__":
    main(Path(sys.argv[1]))
