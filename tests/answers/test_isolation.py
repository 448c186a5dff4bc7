"""Hostile answers: in time, without a trace, and without holding up anybody else."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from helpers import answers
from helpers.answers import BOXED, eed, eed_score, isolation, same_math, same_number
from tests.answers.hostile import HOSTILE
from tests.conftest import ROOT

LATEST = 0.05  # seconds between two ticks of the main thread
HANGS = r"(10^{9}x)!"  # SymPy multiplies for hours
READERS = (answers.XML.extract, answers.HASH.extract, BOXED.follows)
READERS += (answers.THINK_BOXED.holds, BOXED.extract_flexible)
SCORES = ((same_number, 0), (same_math, isolation.LIMIT), (eed_score, eed.LIMIT))


def running(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def children():
    return {p.pid for p in psutil.Process().children(recursive=True) if running(p.pid)}


def workers():
    """The process ids of the children, which have answered a question."""
    isolation.ask.cache_clear()
    assert isolation.ask("same_symbols", r"\sqrt{18}", r"3\sqrt{2}") == 1.0
    return [child.pid for child in isolation.POOL.idle]


def grade_all(found):
    for name, text in HOSTILE.items():
        for read in READERS:
            read(text)
        answers.hallucinates(text, text)
        for gold in ("18", r"\sqrt{x}+1"):
            for score, limit in SCORES:
                begun = time.perf_counter()
                value = score(text, gold)
                late = time.perf_counter() - begun - 4 * limit  # other programs compute, too
                found.append((name, score.__name__, value, late))


@pytest.mark.soak
def test_hostile_texts_from_a_thread():
    assert len(HOSTILE) >= 60
    isolation.close()
    before = children()
    workers()  # warm, as they are after the first answers of a training
    found, gaps = [], []
    thread = threading.Thread(target=grade_all, args=(found,))
    thread.start()
    tick = time.perf_counter()
    while thread.is_alive():
        time.sleep(0.005)
        gaps.append(time.perf_counter() - tick)
        tick += gaps[-1]
    assert len(found) == 6 * len(HOSTILE), "grading stopped"  # an exception would end the thread
    assert {value for _, _, value, _ in found} <= {0.0, 1.0, None}
    right = {name for name, _, value, _ in found if value == 1.0}
    assert right <= {"line separators", "byte order mark", "full-width digits"}  # they are 18
    assert [row for row in found if row[3] > 0.5] == []
    assert sum(gap > LATEST for gap in gaps) <= len(gaps) // 1000  # the machine's own hiccups
    assert psutil.Process().memory_info().rss < 4 << 30
    assert len(children() - before) <= isolation.WORKERS
    isolation.close()
    assert children() <= before
    assert not Path("/tmp/owned").exists()


def test_a_child_that_hangs_is_killed_and_replaced():
    first = set(workers())
    begun = time.perf_counter()
    assert isolation.ask("edit_distance", HANGS, "y+1", 0.3) is None
    assert time.perf_counter() - begun < 5  # with the start of the children
    assert len(first & set(workers())) == isolation.WORKERS - 1
    assert len(isolation.POOL.idle) == isolation.WORKERS


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no alarms")
def test_an_interrupted_question_leaves_no_stale_reply():
    workers()
    former = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    with pytest.raises(KeyboardInterrupt):
        isolation.ask("edit_distance", HANGS, "y+1", 1.0)
    signal.signal(signal.SIGALRM, former)
    assert workers()


def test_a_child_that_dies_before_it_is_asked_gives_no_answer(monkeypatch):
    workers()
    child = isolation.POOL.idle[0]
    fill = isolation.POOL.fill

    def fill_and_kill():
        fill()
        child.kill()
        child.wait()

    monkeypatch.setattr(isolation.POOL, "fill", fill_and_kill)
    assert isolation.ask("same_symbols", "a", "2") is None
    monkeypatch.undo()
    assert child.pid not in workers()


def test_children_that_die_are_replaced():
    workers()
    for child in list(isolation.POOL.idle):
        child.kill()
        child.wait()
    assert workers()


@pytest.mark.skipif(not hasattr(psutil.Process, "rlimit"), reason="this system has no limits")
def test_memory_is_limited():
    isolation.close()
    limit = psutil.Process(workers()[0]).rlimit(psutil.RLIMIT_AS)[0]
    assert limit == isolation.MEMORY <= 2 << 30


def test_secrets_do_not_reach_the_children(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "not-a-token")
    isolation.close()
    assert "HF_TOKEN" not in psutil.Process(workers()[0]).environ()
    isolation.close()


PLAIN = [("1/2", r"\frac12"), ("18", "19"), ("1,000", "1000"), (r"\sqrt{2}", r"\sqrt 2")]
PLAIN += [("(1,2]", "(1,2]"), ("x", "y"), (r"2^{10}", "1024"), (r"\{1,2\}", r"\{2,1\}")]
PLAIN += [(r"50\%", "0.5"), (r"\text{east}", "East")]


@pytest.mark.parametrize(("predicted", "gold"), PLAIN)
def test_numbers_and_equal_texts_never_leave_the_process(predicted, gold):
    isolation.close()
    same_math(predicted, gold), same_number(predicted, gold), eed_score(predicted, predicted)
    assert not isolation.POOL.idle


def test_repeats_are_answered_from_the_cache():
    isolation.ask.cache_clear()
    for _ in range(8):
        assert same_math(r"\sqrt{72}", r"6\sqrt{2}") == 1.0
    assert isolation.ask.cache_info()[:2] == (7, 1)  # hits, misses


def test_many_threads_share_the_children():
    def work(n):
        return same_math(rf"\sqrt{{{2 * n * n}}}", rf"{n}\sqrt{{2}}")

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(work, range(2, 26))) == [1.0] * 24


SCRIPT = r"""
import os
print("script runs", flush=True)
from helpers.answers import isolation, same_math
assert same_math(r"\sqrt{8}", r"2\sqrt{2}") == 1.0
print(*[child.pid for child in isolation.POOL.idle], flush=True)
"""


def run_script(tmp_path, ending=""):
    """Runs a script without a `__main__` guard; also the process ids of its children."""
    path = tmp_path / "train.py"
    path.write_text(SCRIPT + textwrap.dedent(ending))
    settings = {"capture_output": True, "text": True, "timeout": 60}
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, str(path)], env=environment, **settings)
    lines = run.stdout.splitlines()
    assert lines[0] == "script runs" and len(lines) == 2, run.stderr  # the script ran once
    return run, [int(pid) for pid in lines[1].split()]


@pytest.mark.parametrize(
    ("ending", "code"),
    [("", 0), ("os._exit(3)", 3), ("raise SystemExit(3)", 3), ("os.kill(os.getpid(), 9)", -9)],
)
def test_children_end_with_their_parent(tmp_path, ending, code):
    run, pids = run_script(tmp_path, ending)
    assert (run.returncode, run.stderr) == (code, "") and len(pids) == isolation.WORKERS
    gone = time.time() + 5
    while any(map(running, pids)) and time.time() < gone:
        time.sleep(0.05)
    assert not any(map(running, pids))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_starts_its_own_children(tmp_path):
    run, _ = run_script(
        tmp_path,
        r"""
        pid = os.fork()
        if pid == 0:
            ok = same_math(r"\sqrt{12}", r"2\sqrt{3}") == 1.0
            isolation.close()
            os._exit(0 if ok else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert same_math(r"\sqrt{27}", r"3\sqrt{3}") == 1.0
        """,
    )
    assert run.returncode == 0, run.stderr


def test_what_does_not_start_says_how_to_see_why(monkeypatch):
    monkeypatch.setattr(isolation, "BOOT", "raise SystemExit(1)")
    pool = isolation.Pool()
    with pytest.raises(RuntimeError, match="does not start.*\n.*by hand"):
        pool.ask("[]\n")
    pool.close()


def test_the_import_is_quick_and_light():
    code = (
        "import time; t = time.perf_counter(); import helpers.answers, sys; "
        "print(time.perf_counter() - t, 'sympy' in sys.modules, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    runs = [subprocess.check_output(command, text=True, cwd=ROOT).split() for _ in range(3)]
    assert min(float(seconds) for seconds, *_ in runs) < 0.3
    assert runs[0][1:] == ["False", "False"]
