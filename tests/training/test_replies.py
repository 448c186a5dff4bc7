"""Replies from several processes are those of one, and a process that fails is told."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from helpers import data
from helpers.training import models, replies
from tests.conftest import ROOT
from tests.learning import BASE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks safely")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_number_of_processes_changes_no_reply(temperature, recipe, machine, monkeypatch):
    model, tokenizer = models.load(BASE, recipe, machine)
    asked = data.load(recipe, None, "cpu")["test"].examples[:14]
    prompts = [data.prompt_text(recipe, tokenizer, example.question) for example in asked]
    found = []
    for count in (1, 2, 3):
        monkeypatch.setattr(replies, "free_processes", lambda model, count=count: count)
        found.append(replies.generate(model, tokenizer, prompts, 40, temperature, batch=4))
    monkeypatch.setattr(replies, "free_processes", lambda model: 1)
    batches = replies.in_batches(model, tokenizer, prompts, 40, temperature, 4, "", done=8)
    places, completions = next(batches)  # gone on with, after two batches
    assert found[0] == found[1] == found[2]
    assert temperature or completions == [found[0][place] for place in places]
    assert not multiprocessing.active_children()


def test_as_many_processes_as_cores_and_memory_allow(recipe, machine, monkeypatch):
    model, _ = models.load(BASE, recipe, machine)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    assert replies.free_processes(model) == 8
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert replies.free_processes(model) == 2
    held = psutil.Process().memory_info().rss
    memory = psutil.virtual_memory()._replace(available=int(1.5 * held))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert replies.free_processes(model) == 1


def fails(item: int) -> int:
    if item == 3:
        raise RuntimeError("no memory for 3")
    return item * item


def killed(item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


@pytest.mark.parametrize("work", [fails, killed])
def test_what_goes_wrong_in_a_process_is_raised_after_what_was_done(work):
    done = []
    error, words = (RuntimeError, "no memory for 3")
    if work is killed:
        error, words = MemoryError, "was killed, most likely for lack of memory.\nClose other"
    with pytest.raises(error, match=words):
        for each in replies.spread(work, range(8), 2):
            done.append(each)
    assert done == [0, 1, 4]
    assert not multiprocessing.active_children()


SCRIPT = """
import time
from helpers.training.replies import spread
for found in spread(lambda item: print("at work", flush=True) or time.sleep(60), range(4), 2):
    pass
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_processes_end_with_the_one_that_forked_them(number):
    command = [sys.executable, "-c", SCRIPT]
    # programs in the background would be told to ignore SIGINT
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **streams, **heard) as run:
        while b"at work" not in run.stdout.readline():
            assert run.poll() is None
        time.sleep(0.5)
        children = psutil.Process(run.pid).children()
        assert len(children) == 2
        run.send_signal(number)
        assert psutil.wait_procs(children, timeout=10)[1] == []
