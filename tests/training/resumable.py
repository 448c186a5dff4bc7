"""A small run of every stage and an evaluation, for killing; and programs that are killed.

`python -m tests.training.resumable RECIPE OUT` begins it, or goes on with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

from tests.conftest import ROOT

STEPS, PROBLEMS = 5, 20
RESUMABLE = ("-m", "tests.training.resumable")


def main(name: str, out: Path) -> None:
    from helpers import data
    from helpers.machine import detect
    from helpers.recipes import for_model, get_recipe
    from helpers.training import watching
    from tests.learning import measure, reinforce, supervise

    out.mkdir(parents=True, exist_ok=True)
    machine = detect()
    recipe = for_model(get_recipe(name), machine.device == "cpu", machine.device)
    grpo = replace(recipe.grpo, batch=16, generations=4, max_completion=64)
    recipe = replace(recipe, grpo=grpo, evaluation=replace(recipe.evaluation, batch=8))
    splits = data.load(recipe, None, "cpu")
    (out / "at-work").touch()
    with mock.patch.dict(watching.SAVE_SECONDS, cpu=0.5):
        start = supervise(recipe, machine, 0, out, splits, STEPS)
        adapter = reinforce(recipe, machine, 0, out, splits, start, STEPS)
    measure(recipe, machine, 0, out, splits["test"].take(PROBLEMS), adapter)
    (out / "done").touch()


def launch(out: Path, *words: str) -> subprocess.Popen:
    """Starts a program that ends in `out`, in a process group of its own."""
    # To a file: a pipe would be kept open by what the killed process leaves behind.
    with open(printed(out), "w", encoding="utf-8") as file:
        return subprocess.Popen(
            [sys.executable, *words, str(out)],
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


def printed(out: Path) -> Path:
    return out.with_name(out.name + ".printed")


def whole(out: Path, *words: str) -> None:
    """Launches it, or goes on, and waits for the end."""
    assert launch(out, *words).wait(timeout=600) == 0, printed(out).read_text()[-4000:]


def wait_until(ready: Callable[[], bool], process: subprocess.Popen) -> None:
    begun = time.time()
    while not ready() and process.poll() is None:
        assert time.time() - begun < 300
        time.sleep(0.02)


def kill_when(name: str, out: Path, ready: Callable[[], bool], wait: float) -> bool:
    """Starts it and kills it, `wait` seconds after ready(). False if it had come to its end."""
    process = launch(out, *RESUMABLE, name)
    wait_until(ready, process)
    time.sleep(wait)
    killed = process.poll() is None
    # A worker of the datasets library would outlive a parent that was killed while it tokenised.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert killed or process.returncode == 0, printed(out).read_text()[-3000:]
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


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
