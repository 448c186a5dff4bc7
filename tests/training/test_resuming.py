"""A run that is killed goes on, and ends as if it had never been killed.

`python -m tests.training.test_resuming RECIPE OUT` begins all stages and an evaluation, or goes on.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from helpers import data
from helpers.machine import detect
from helpers.recipes import for_model, get_recipe
from helpers.runs import PUBLISHED, Run, read_lines
from helpers.training import watching
from tests.conftest import ROOT
from tests.learning import measure, reinforce, supervise
from tests.training.building import plain, weights

STEPS, PROBLEMS = 5, 20
RESUMABLE = ("-m", "tests.training.test_resuming")


def main(name: str, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    machine = detect()
    recipe = for_model(get_recipe(name), machine.device == "cpu", machine.device)
    grpo = replace(recipe.grpo, batch=16, generations=4, max_completion=64)
    recipe = replace(recipe, grpo=grpo, evaluation=replace(recipe.evaluation, batch=8))
    # Looked at after steps 1, 3 and 5: before and after what is killed.
    some = mock.patch.object(data.prompts, "HELD_OUT", 6)
    splits = data.load(recipe, None, "cpu")
    (out / "at-work").touch()
    with mock.patch.dict(watching.SAVE_SECONDS, cpu=0.5), some:
        start = supervise(recipe, machine, 0, out, splits, STEPS)
        best = {"keep_best": True}
        adapter = reinforce(recipe, machine, 0, out, splits, start, STEPS, **best)
    measure(recipe, machine, 0, out, splits["test"].take(PROBLEMS), adapter)
    (out / "done").touch()


def printed(out: Path) -> Path:
    return out.with_name(out.name + ".printed")


def launch(out: Path, *words: str) -> subprocess.Popen:
    """Starts a program that ends in `out`, in a process group of its own."""
    # To a file: a pipe would be kept open by what the killed process leaves behind.
    with open(printed(out), "w", encoding="utf-8") as file:
        streams = {"stdout": file, "stderr": subprocess.STDOUT}
        alone = {"start_new_session": True, "env": os.environ | {"OMP_NUM_THREADS": "1"}}
        command = [sys.executable, *words, str(out)]
        return subprocess.Popen(command, cwd=ROOT, **streams, **alone)


def whole(out: Path, *words: str) -> None:
    """Launches it, or goes on, and waits for the end."""
    assert launch(out, *words).wait(timeout=600) == 0, printed(out).read_text()[-4000:]


def wait_until(ready, process: subprocess.Popen) -> None:
    begun = time.time()
    while not ready() and process.poll() is None:
        assert time.time() - begun < 300
        time.sleep(0.02)


def kill_when(name: str, out: Path, ready, wait: float) -> bool:
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
    found = {}
    for manifest in sorted(out.glob(f"{recipe}/*/run.json")):
        run = Run.read_finished(manifest.parent, "")
        stage = run.folder.name
        assert not list(run.folder.rglob("*.part"))
        assert [line["step"] for line in plain(run)] == list(range(1, STEPS + 1))
        found[stage] = [weights(run), plain(run)]
        if stage == "grpo":
            looks = [line["step"] for line in plain(run) if "held_out" in line]
            assert looks == [1, 3, 5]
            found[stage] += [run.read_samples(), run.manifest["best"]]
            published = read_lines(run.published)
            assert [list(line) for line in published] == [list(PUBLISHED)] * STEPS
    for path in sorted((out / "eval").glob("*.jsonl")):
        found[path.name] = read_lines(path)
        asked = {(record["id"], record.get("sample")) for record in found[path.name]}
        assert len(found[path.name]) == len(asked) > 0
    return found


def lines(path) -> int:
    return path.read_text().count("\n") if path.is_file() else 0


@pytest.mark.soak
def test_killed_in_every_stage_it_ends_as_if_it_had_not_been(tmp_path):
    """gsm8k_hash: SFT, then GRPO with a reference adapter (beta > 0), then records."""
    main("gsm8k_hash", tmp_path / "undisturbed")
    out, rng = tmp_path / "killed", random.Random()
    run = out / "gsm8k_hash"
    moments = {
        "sft": lambda: lines(run / "sft/log.jsonl") >= STEPS - 2,
        "grpo": lambda: lines(run / "grpo/log.jsonl") >= STEPS - 2,
        "evaluation": lambda: lines(out / "eval/grpo_4.replies") >= 2,
    }
    for moment, ready in moments.items():
        wait = rng.uniform(0, 0.4)
        killed = kill_when("gsm8k_hash", out, ready, wait)
        print(f"killed in {moment} after {wait:.2f} s: {killed}")
    main("gsm8k_hash", out)
    assert result("gsm8k_hash", out) == result("gsm8k_hash", tmp_path / "undisturbed")


@pytest.mark.soak
@pytest.mark.parametrize("name", ["gsm8k_hash", "openr1_boxed"])
def test_twenty_random_kills(name, tmp_path):
    """Ten for each of two recipes: with a reference adapter, and with priming."""
    whole(tmp_path / "undisturbed", *RESUMABLE, name)
    expected = result(name, tmp_path / "undisturbed")
    rng, kills, runs = random.Random(0), 0, 0
    while kills < 10:
        out = tmp_path / str(runs)
        at_work = out / "at-work"  # its imports are done
        while not (out / "done").is_file():
            at_work.unlink(missing_ok=True)
            kills += kill_when(name, out, at_work.is_file, rng.uniform(0.0, 12.0))
            assert kills < 40, "it does not come to its end"
        runs += 1
        assert result(name, out) == expected
    print(f"{name}: {kills} kills over {runs} runs, all equal to the undisturbed one")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
