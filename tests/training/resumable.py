"""A small run of every stage and an evaluation, for killing: `python -m tests.training.resumable RECIPE OUT` begins it, or goes on with it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from tests.conftest import ROOT

STEPS, PROBLEMS = 6, 20


def main(name: str, out: Path) -> None:
    from helpers import data
    from helpers.machine.computer import detect
    from helpers.recipes import for_profile, get_recipe
    from helpers.training import watching
    from tests.learning import measure, reinforce, supervise

    out.mkdir(parents=True, exist_ok=True)
    machine = detect()
    recipe = for_profile(get_recipe(name), machine.profile)
    recipe = replace(
        recipe,
        grpo=replace(recipe.grpo, batch=16, generations=4, max_completion=64),
        evaluation=replace(recipe.evaluation, batch=8),
    )
    watching.SAVE_SECONDS["tiny"] = 0.5
    splits = data.load(recipe, None, "tiny")
    (out / "at-work").touch()
    start = supervise(recipe, machine, 0, out, splits, STEPS)
    adapter = reinforce(recipe, machine, 0, out, splits, start, STEPS)
    measure(recipe, machine, 0, out, splits["test"].take(PROBLEMS), adapter)
    (out / "done").touch()


def start(name: str, out: Path) -> subprocess.Popen:
    with open(
        errors_of(out), "w", encoding="utf-8"
    ) as errors:  # a file: a pipe would be kept open by what the killed process leaves behind
        return subprocess.Popen(
            [sys.executable, "-m", "tests.training.resumable", name, str(out)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )


def errors_of(out: Path) -> Path:
    return out.with_name(out.name + ".stderr")


def whole(name: str, out: Path) -> None:
    """Runs it to its end."""
    assert start(name, out).wait(timeout=600) == 0, errors_of(out).read_text()[-3000:]


def kill_when(name: str, out: Path, ready, wait: float) -> bool:
    """Starts it, kills it `wait` seconds after ready() is true. False if it came to its end before."""
    process, begun = start(name, out), time.time()
    while not ready() and process.poll() is None and time.time() - begun < 300:
        time.sleep(0.02)
    time.sleep(wait)
    killed = process.poll() is None
    process.kill()  # SIGKILL
    process.wait()
    with contextlib.suppress(
        ProcessLookupError
    ):  # a worker of the datasets library outlives a parent that was killed while it tokenised
        os.killpg(process.pid, signal.SIGKILL)
    assert killed or process.returncode == 0, (
        "it failed by itself: " + errors_of(out).read_text()[-3000:]
    )
    return killed


def result(recipe: str, out: Path) -> dict:
    """What must be the same however often it was killed: weights, logs without times, samples, records."""
    from helpers.machine.computer import file_hash
    from helpers.runs.run import PUBLISHED, TIMES, read_lines

    found = {}
    for stage in sorted(path.parent for path in out.glob(f"{recipe}/*/run.json")):
        manifest = json.loads((stage / "run.json").read_text())
        assert manifest["status"] == "finished" and not list(stage.rglob("*.part")), stage
        lines = {
            path.name: [
                {k: v for k, v in line.items() if k not in TIMES} for line in read_lines(path)
            ]
            for path in sorted(stage.glob("*.jsonl"))
        }
        assert [line["step"] for line in lines["log.jsonl"]] == list(range(1, STEPS + 1))
        assert stage.name != "grpo" or list(
            read_lines(stage / "grpo_training_logs.jsonl")[0]
        ) == list(PUBLISHED)
        found[stage.name] = {
            "weights": file_hash(stage / "adapter/adapter_model.safetensors"),
            **lines,
        }
    for path in sorted((out / "eval").glob("*.jsonl")):
        found[path.name] = read_lines(path)
        assert (
            len(found[path.name]) == len({(r["id"], r.get("sample")) for r in found[path.name]}) > 0
        )
    return found


def random_kills(name: str, out: Path, seconds: float, seed: int) -> int:
    """Kills it again and again, each time after a random part of `seconds` from when its imports are done, until it comes to its end."""
    rng, kills, at_work = random.Random(seed), 0, out / "at-work"
    out.mkdir()
    while not (out / "done").is_file():
        at_work.unlink(missing_ok=True)
        kills += kill_when(name, out, at_work.is_file, rng.uniform(0.0, seconds))
        assert kills < 40, "it does not come to its end"
    return kills


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
