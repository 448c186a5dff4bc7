"""A small run of every stage and an evaluation, for killing.

`python -m tests.training.resumable RECIPE OUT` begins it, or goes on with it.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.conftest import ROOT

STEPS, PROBLEMS = 5, 20


def main(name: str, out: Path) -> None:
    from helpers import data
    from helpers.machine import detect
    from helpers.recipes import for_profile, get_recipe
    from helpers.training import watching
    from tests.learning import measure, reinforce, supervise

    out.mkdir(parents=True, exist_ok=True)
    machine = detect()
    recipe = for_profile(get_recipe(name), machine.profile)
    grpo = replace(recipe.grpo, batch=16, generations=4, max_completion=64)
    recipe = replace(recipe, grpo=grpo, evaluation=replace(recipe.evaluation, batch=8))
    watching.SAVE_SECONDS["tiny"] = 0.5
    splits = data.load(recipe, None, "tiny")
    (out / "at-work").touch()
    start = supervise(recipe, machine, 0, out, splits, STEPS)
    adapter = reinforce(recipe, machine, 0, out, splits, start, STEPS)
    measure(recipe, machine, 0, out, splits["test"].take(PROBLEMS), adapter)
    (out / "done").touch()


def start(name: str, out: Path) -> subprocess.Popen:
    # Errors go to a file: a pipe would be kept open by what the killed process leaves behind.
    with open(errors_of(out), "w", encoding="utf-8") as errors:
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


def kill_when(name: str, out: Path, ready: Callable[[], bool], wait: float) -> bool:
    """Starts it and kills it, `wait` seconds after ready(). False if it had come to its end."""
    process, begun = start(name, out), time.time()
    while not ready() and process.poll() is None and time.time() - begun < 300:
        time.sleep(0.02)
    time.sleep(wait)
    killed = process.poll() is None
    process.kill()  # SIGKILL
    process.wait()
    # A worker of the datasets library outlives a parent that was killed while it tokenised.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    assert killed or process.returncode == 0, errors_of(out).read_text()[-3000:]
    return killed


def result(recipe: str, out: Path) -> dict:
    """What must be the same however often it was killed: weights, logs, samples, records."""
    from helpers.runs import PUBLISHED, Run, read_lines
    from tests.training.building import plain, weights

    found = {}
    for manifest in sorted(out.glob(f"{recipe}/*/run.json")):
        run = Run.read_finished(manifest.parent, "")
        stage = run.folder.name
        assert not list(run.folder.rglob("*.part"))
        assert [line["step"] for line in plain(run)] == list(range(1, STEPS + 1))
        found[stage] = [weights(run), plain(run)]
        if stage == "grpo":
            found[stage].append(run.read_samples())
            published = read_lines(run.published)
            assert [list(line) for line in published] == [list(PUBLISHED)] * STEPS
    for path in sorted((out / "eval").glob("*.jsonl")):
        found[path.name] = read_lines(path)
        asked = {(record["id"], record.get("sample")) for record in found[path.name]}
        assert len(found[path.name]) == len(asked) > 0
    return found


def random_kills(name: str, out: Path, seconds: float, seed: int) -> int:
    """Kills it again and again until it ends; how often.

    Each time after a random part of `seconds` from when its imports are done.
    """
    rng, kills, at_work = random.Random(seed), 0, out / "at-work"
    out.mkdir()
    while not (out / "done").is_file():
        at_work.unlink(missing_ok=True)
        kills += kill_when(name, out, at_work.is_file, rng.uniform(0.0, seconds))
        assert kills < 40, "it does not come to its end"
    return kills


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
