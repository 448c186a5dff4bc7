"""SFT and GRPO with given completions, for several processes: `python -m tests.training.several OUT`, alone or under a launcher; run again it goes on.

What a policy samples depends on how its batch is cut, so GRPO's completions are given here: right and wrong ones, by place in the batch.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from tests.conftest import ROOT

STEPS, RECIPE = 4, "gsm8k_hash"  # with a reference adapter: beta > 0
LAUNCH = [
    "-m",
    "accelerate.commands.launch",
    "--config_file",
    "helpers/accelerate/cpu.yaml",
    "--num_processes",
    "2",
]


def given_completions(trainer_class) -> None:
    """Lets a trainer class "generate" by rule: place k of the whole batch gets a reply that is right where k is even, and k % 3 words longer."""

    def generate(self, prompt_ids, *_, **__):
        tokenizer, replies = self.processing_class, []
        for i, prompt in enumerate(prompt_ids):
            place = self.accelerator.process_index * len(prompt_ids) + i
            question = tokenizer.decode(prompt).rpartition("user\n")[2]
            answer = str(sum(ord(c) for c in question) % 90 + place % 2)
            replies.append(
                tokenizer(
                    f"{'so ' * (place % 3)}{place % 4} + 1 = {answer}\n#### {answer}<|im_end|>",
                    add_special_tokens=False,
                )["input_ids"]
            )
        return replies, None

    trainer_class._generate_single_turn = generate


def pays_even(completions, **_) -> list[float]:
    """Rewards what the completions above differ in, so that no gold is needed."""
    return [
        float(int(c[-1]["content"].rpartition(" ")[2]) % 2) + len(c[-1]["content"]) / 100
        for c in completions
    ]


def main(out: Path) -> None:
    from trl import GRPOTrainer

    from helpers import data
    from helpers.machine import computer as machine
    from helpers.recipes import for_profile, get_recipe
    from helpers.training import models, stages, watching
    from helpers.training import trainers as training

    watching.SAVE_SECONDS["tiny"] = 0.0  # a checkpoint after every step
    here = machine.detect()
    recipe = for_profile(get_recipe(RECIPE), here.profile)
    recipe = replace(
        recipe, grpo=replace(recipe.grpo, batch=16, generations=8), rewards={"pays_even": 1.0}
    )
    job = stages.Job(recipe, here, out, max_steps=STEPS)
    start, splits = stages.sft(job), job.splits()
    model, tokenizer = models.load(str(start), recipe, here)
    run = job.run("grpo", start)
    kept = GRPOTrainer._generate_single_turn
    given_completions(GRPOTrainer)
    try:
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=[pays_even],
            args=training.grpo_config(recipe, run, here, STEPS),
            processing_class=tokenizer,
            train_dataset=data.grpo_dataset(recipe, splits["train"].examples[:64]),
        )
        training.train(trainer, run)
    finally:
        GRPOTrainer._generate_single_turn = kept


def launch(out: Path) -> subprocess.Popen:
    """Two processes, in a group of their own; what they print goes to a file beside `out`."""
    with open(printed(out), "w", encoding="utf-8") as file:
        return subprocess.Popen(
            [sys.executable, *LAUNCH, "-m", "tests.training.several", str(out)],
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


def printed(out: Path) -> Path:
    return out.with_name(out.name + ".printed")


def killed(out: Path, log: Path, rank: int) -> float:
    """Launches, kills the process of that rank when the log has two lines, and returns the seconds until the launcher has ended."""
    import psutil

    launcher, begun = launch(out), time.time()
    while not (log.is_file() and log.read_text().count("\n") >= 2):
        assert launcher.poll() is None and time.time() - begun < 300, printed(out).read_text()[
            -3000:
        ]
        time.sleep(0.02)
    workers = [
        child
        for child in psutil.Process(launcher.pid).children(recursive=True)
        if child.environ().get("RANK") == str(rank) and "tests.training.several" in child.cmdline()
    ]
    os.kill(workers[0].pid, signal.SIGKILL)
    at = time.time()
    assert launcher.wait(timeout=120) != 0
    left = [
        child for child in workers if child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    ]
    assert not left, left
    return time.time() - at


if __name__ == "__main__":
    main(Path(sys.argv[1]))
