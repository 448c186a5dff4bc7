"""`make run` from outside: parameters, what it repeats, what it stores, how it stops."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from helpers import notebooks
from helpers.__main__ import main
from helpers.notebooks import NOTEBOOKS, parameters_of, parse, runs_kept, store, tidy
from helpers.settings import Settings
from tests.conftest import ROOT


def test_pairs_become_parameters_of_the_right_kind():
    given = parse(["SEED=3", "PUSH=true", "REPO=me/x", "DATASET=a=b", "RESUME=off"])
    found = parameters_of(Settings.read(given), given)
    assert found == {
        "SEED": 3,
        "PUSH": True,
        "REPO": "me/x",
        "DATASET": "a=b",
        "RESUME": False,
        "OUTPUT": "outputs",
    }


WRONG = [
    (["SEED"], "'SEED' is no parameter.\nGive NAME=VALUE"),
    (["MAX_STEP=3"], "There is no parameter MAX_STEP"),
    (["MAX_STEPS=-1"], "MAX_STEPS is '-1'"),
    (["RECIPE=gsm9k"], "Unknown recipe 'gsm9k'"),
    (["ADAPTER=tests"], "There is no adapter in tests.\nSet ADAPTER"),
]


@pytest.mark.parametrize(("pairs", "said"), WRONG)
def test_wrong_parameters_are_named_before_anything_runs(pairs, said, capsys):
    assert main(["run", *pairs]) == 1
    shown = capsys.readouterr()
    assert said in shown.err and "01_sft" not in shown.out


def test_paths_are_the_caller_s_and_names_of_the_hub_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").touch()
    given = {"DATASET": "rows.jsonl", "MODEL": "Qwen/Qwen3-4B", "MIRROR": "copy"}
    assert parameters_of(Settings.read(given), given) == {
        "OUTPUT": f"{tmp_path}/outputs",
        "DATASET": f"{tmp_path}/rows.jsonl",
        "MIRROR": f"{tmp_path}/copy",
        "MODEL": "Qwen/Qwen3-4B",
    }


def test_an_interrupt_says_that_the_command_goes_on(tmp_path):
    """Ctrl-C goes to everything that the terminal started, as it does here."""
    running = subprocess.Popen(
        [sys.executable, "-m", "helpers", "run", f"OUTPUT={tmp_path}"],
        cwd=ROOT,
        start_new_session=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # programs in the background would be told to ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert running.stdout.readline() == "── 01_sft.ipynb\n"
    end = time.time() + 180
    while not list(tmp_path.rglob("log.jsonl")) and time.time() < end:
        time.sleep(0.2)
    os.killpg(running.pid, signal.SIGINT)
    shown = running.communicate(timeout=60)[1]
    assert list(tmp_path.rglob("checkpoint-*")), "the step ends and is saved first"
    assert running.returncode == 130 and "Traceback" not in shown
    assert "stopped in 01_sft.ipynb" in shown and "Run the same command again" in shown


def test_a_full_disk_ends_the_run_in_words(tmp_path, capsys):
    place = tmp_path / "gsm8k_xml" / "notebooks" / NOTEBOOKS[0]
    place.parent.mkdir(parents=True)
    place.symlink_to("/dev/full")
    assert main(["run", f"OUTPUT={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {place} could not be written (No space left on device).\nMake")


def book(*outputs, tags=()):
    cell = {
        "cell_type": "code",
        "execution_count": 7,
        "metadata": {"tags": list(tags), "papermill": {}},
        "source": "x",
        "outputs": list(outputs),
    }
    return {"cells": [cell], "metadata": {"papermill": {}}}


def stream(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


def written(path, *outputs, tags=()):
    path.write_text(json.dumps(book(*outputs, tags=tags)))
    return path


def test_the_terminal_repeats_which_finished_run_was_runs_kept(tmp_path):
    said = "the finished run in a/sft is kept as sft-before"
    path = written(tmp_path / "book.ipynb", stream(f"steps\n{said}\nnew is\n"), stream("x"))
    assert runs_kept(path) == [f"   {said}\n"]


BARS = [
    (["bar: 0%", "\rbar: 100%", "\r          \rdone\n"], ["done\n"]),
    (["bar: 0%", "\r       \r"], []),
]


@pytest.mark.parametrize(("printed", "left"), BARS)
def test_progress_bars_leave_nothing_behind(printed, left, tmp_path):
    path = written(tmp_path / "book.ipynb", *map(stream, printed))
    tidy(path)
    assert [
        output["text"] for output in json.loads(path.read_text())["cells"][0]["outputs"]
    ] == left


def test_stored_books_hold_nothing_of_the_runner(tmp_path):
    place = tmp_path / "book.ipynb"
    store(written(tmp_path / "copy.ipynb", stream("a\n")), place, "stamp")
    stored = json.loads(place.read_text())
    assert stored["cells"][0]["execution_count"] == 1 and "papermill" not in json.dumps(stored)
    assert stored["metadata"]["fingerprint"] == "stamp"
    store(written(tmp_path / "copy.ipynb", tags=["injected-parameters"]), place, "stamp")
    assert json.loads(place.read_text())["cells"] == []


NO_ADDRESS = ["some.one/a-fork"] + [
    f"https://github.com/{name}"
    for name in ("../..", "-/.", "-me/fork", "me/.", "me/..", "me/.git", "me/.fork", "me/")
]


def test_the_address_is_written_everywhere(tmp_path):
    for name in ("pyproject.toml", "README.md", *NOTEBOOKS):
        shutil.copy(ROOT / name, tmp_path)
    old = notebooks.address(tmp_path)
    counts = notebooks.move("https://github.com/some.one/a-fork.git", tmp_path)
    assert set(counts.values()) == {1, 4, counts["README.md"]}
    assert notebooks.address(tmp_path) == "some.one/a-fork"
    assert not [path.name for path in tmp_path.iterdir() if old in path.read_text()]
    assert notebooks.move(f"https://github.com/{old}", tmp_path) == counts
    for name in ("README.md", *NOTEBOOKS):
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes()
    for wrong in NO_ADDRESS:
        with pytest.raises(ValueError, match="not the address of a repository.\nGive one such as"):
            notebooks.move(wrong, tmp_path)
    assert notebooks.address(tmp_path) == old
