"""SFT and GRPO with given completions, for several processes.

`python -m tests.training.several OUT`, alone or under a launcher; run again it goes on. What a
policy samples depends on how its batch is cut, so GRPO's completions are given here: right and
wrong ones, by place in the batch.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

from tests.learning import job_of
from tests.training.resumable import launch, printed, wait_until

STEPS, RECIPE = 4, "gsm8k_hash"  # with a reference adapter: beta > 0
CONFIG = "helpers/accelerate/cpu.yaml"
LAUNCH = ("-m", "accelerate.commands.launch", "--config_file", CONFIG, "--num_processes", "2")
LAUNCH += ("-m", "tests.training.several")


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
    from helpers import training
    from helpers.machine import detect
    from helpers.recipes import for_model, get_recipe
    from helpers.training import private, stages, watching
    from tests.training import building

    machine = detect()
    recipe = for_model(get_recipe(RECIPE), machine.device == "cpu", machine.device)
    grpo = replace(recipe.grpo, batch=16, generations=8)
    recipe = replace(recipe, grpo=grpo, rewards={"pays_even": 1.0})
    job = job_of(recipe, machine, 0, out, max_steps=STEPS)
    splits = job.splits()
    given = mock.patch.object(building.GRPOTrainer, private.GENERATE, generate)
    paid = mock.patch.dict(training.REWARDS, pays_even=pays_even)
    # A checkpoint after every step.
    with given, paid, mock.patch.dict(watching.SAVE_SECONDS, cpu=0.0):
        start = stages.sft(job, splits)
        rows = splits["train"].examples[:64]
        trainer, run = building.build("grpo", recipe, machine, out, rows, STEPS, start)
        training.train(trainer, run)


def killed(out: Path, stage: str, rank: int) -> float:
    """Launches, and kills a process when a stage's log has two lines; the seconds until all end."""
    import psutil

    log = out / RECIPE / stage / "log.jsonl"
    launcher = launch(out, *LAUNCH)
    wait_until(lambda: log.is_file() and log.read_text().count("\n") >= 2, launcher)
    assert launcher.poll() is None, printed(out).read_text()
    workers = [
        child
        for child in psutil.Process(launcher.pid).children(recursive=True)
        if child.environ().get("RANK") == str(rank) and "tests.training.several" in child.cmdline()
    ]
    os.kill(workers[0].pid, signal.SIGKILL)
    at = time.time()
    assert launcher.wait(timeout=120) != 0
    left = [child for child in workers if child.is_running()]
    assert not [child for child in left if child.status() != psutil.STATUS_ZOMBIE]
    return time.time() - at


if __name__ == "__main__":
    main(Path(sys.argv[1]))
