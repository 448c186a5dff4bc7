"""Hostile answers: in time, without a trace, and without holding up anybody else."""

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from helpers.answers import (
    BOXED,
    HASH,
    THINK_BOXED,
    XML,
    eed,
    eed_score,
    isolation,
    same_math,
    same_number,
)
from tests.answers.hostile import HOSTILE

ROOT = Path(__file__).parents[2]
LATEST = 0.05  # seconds between two ticks of the main thread


def children():
    return {
        p.pid
        for p in psutil.Process().children(recursive=True)
        if p.status() != psutil.STATUS_ZOMBIE
    }


def grade_all(found):
    for name, text in HOSTILE.items():
        for read in (
            XML.extract,
            HASH.extract,
            BOXED.follows,
            THINK_BOXED.holds,
            BOXED.extract_flexible,
        ):
            read(text)
        for gold in ("18", r"\sqrt{x}+1"):
            for score, limit in (
                (same_number, 0),
                (same_math, isolation.LIMIT),
                (eed_score, eed.LIMIT),
            ):
                begun = time.perf_counter()
                found.append(
                    (name, score.__name__, score(text, gold), time.perf_counter() - begun, limit)
                )


def test_hostile_texts_from_a_thread():
    assert len(HOSTILE) >= 60
    isolation.close()
    isolation.ask.cache_clear()
    before = children()
    same_math(
        r"\sqrt{8}", r"2\sqrt{2}"
    )  # the children are warm, as they are after the first answers of a training
    found, late = [], []
    thread = threading.Thread(target=grade_all, args=(found,))
    thread.start()
    tick = time.perf_counter()
    while thread.is_alive():
        time.sleep(0.005)
        now = time.perf_counter()
        late.append(now - tick)
        tick = now
    assert len(found) == 6 * len(HOSTILE), "grading stopped"  # an exception would end the thread
    assert {score for _, _, score, _, _ in found} <= {0.0, 1.0, None}
    assert {name for name, _, score, _, _ in found if score == 1.0} <= {
        "line separators",
        "byte order mark",
    }  # 18, with blanks around it
    assert [row for row in found if row[3] > row[4] + 0.5] == []
    assert sum(gap > LATEST for gap in late) <= len(late) // 1000  # the machine's own hiccups
    assert psutil.Process().memory_info().rss < 4 << 30
    assert len(children() - before) <= isolation.WORKERS
    isolation.close()
    assert children() <= before
    assert not Path("/tmp/owned").exists()


def test_a_child_that_hangs_is_killed_and_replaced():
    import helpers.answers.isolation as fresh

    pool = fresh.Pool()
    try:
        first = set(pool.alive)
        begun = time.perf_counter()
        assert (
            pool.ask(
                json.dumps(["edit_distance", "((((x+1)^{99}+1)^{99}+1)^{99}+1)^{99}", "y+1", 9])
                + "\n",
                0.3,
            )
            is None
        )
        assert time.perf_counter() - begun < 5  # with the start of the children
        assert len(pool.alive) == fresh.WORKERS and len(first & pool.alive) == fresh.WORKERS - 1
        assert (
            pool.ask(json.dumps(["same_symbols", r"\sqrt{8}", r"2\sqrt{2}", 2]) + "\n", 5)
            == "1.0\n"
        )
    finally:
        pool.close()


def test_a_child_that_dies_is_replaced():
    assert isolation.ask("same_symbols", r"\sqrt{18}", r"3\sqrt{2}") == 1.0
    for worker in list(isolation.pool().alive):
        worker.process.kill()
        worker.process.wait()
    assert isolation.ask("same_symbols", r"\sqrt{50}", r"5\sqrt{2}") == 1.0


def test_a_child_that_dies_before_it_reads_is_replaced():
    pool = isolation.Pool()
    try:
        worker = pool.warm()
        worker.process.kill()
        worker.process.wait()
        assert (
            worker.ask("[]\n", 1) is None
        )  # the question stays in the pipe's buffer, and cannot be flushed
        pool.replace(worker)
        assert worker not in pool.alive and len(pool.alive) == isolation.WORKERS
    finally:
        pool.close()


def test_memory_is_limited():
    isolation.close()
    assert isolation.ask("same_symbols", r"\sqrt{98}", r"7\sqrt{2}") == 1.0
    worker = next(iter(isolation.pool().alive))
    assert isolation.MEMORY <= 2 << 30
    if hasattr(psutil.Process, "rlimit"):
        assert psutil.Process(worker.process.pid).rlimit(psutil.RLIMIT_AS)[0] == isolation.MEMORY


def test_secrets_do_not_reach_the_children(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "not-a-token")
    isolation.close()
    worker = next(iter(isolation.pool().alive))
    assert "HF_TOKEN" not in psutil.Process(worker.process.pid).environ()
    isolation.close()


def test_numbers_and_equal_texts_never_leave_the_process():
    isolation.close()
    for predicted, gold in (
        ("1/2", r"\frac12"),
        ("18", "19"),
        ("1,000", "1000"),
        (r"\sqrt{2}", r"\sqrt 2"),
        ("(1,2]", "(1,2]"),
        ("x", "y"),
        (r"2^{10}", "1024"),
        (r"\{1,2\}", r"\{2,1\}"),
        (r"50\%", "0.5"),
        (r"\text{east}", "East"),
    ):
        same_math(predicted, gold), same_number(predicted, gold), eed_score(predicted, predicted)
    assert isolation._pool is None


def test_repeats_are_answered_from_the_cache():
    isolation.ask.cache_clear()
    for _ in range(8):
        assert same_math(r"\sqrt{72}", r"6\sqrt{2}") == 1.0
    assert isolation.ask.cache_info()[:2] == (7, 1)  # hits, misses


def test_closing_while_another_thread_asks_does_not_hang_it():
    isolation.ask.cache_clear()
    isolation.pool()
    found = []
    thread = threading.Thread(
        target=lambda: found.append(eed_score("((((x+1)^{99}+1)^{99}+1)^{99}+1)^{99}", "y+1"))
    )
    thread.start()
    time.sleep(0.3)
    isolation.close()
    thread.join(timeout=5)
    assert found == [0.0]
    isolation.ask.cache_clear()


def test_many_threads_share_the_children():
    golds = [rf"{n}\sqrt{{2}}" for n in range(2, 26)]
    found = {}

    def work(part):
        for n, gold in part:
            found[gold] = same_math(rf"\sqrt{{{2 * n * n}}}", gold)

    pairs = list(enumerate(golds, start=2))
    threads = [threading.Thread(target=work, args=(pairs[k::6],)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(golds, 1.0)


SCRIPT = r"""
import os, sys
print("script runs", flush=True)
from helpers.answers import same_math
assert same_math(r"\sqrt{8}", r"2\sqrt{2}") == 1.0
MORE
print("done", flush=True)
"""


def run_script(tmp_path, more="", ending=""):
    """Runs a script without a `__main__` guard, and says which of its processes are left."""
    path = tmp_path / "train.py"
    path.write_text(SCRIPT.replace("MORE", textwrap.dedent(more)) + textwrap.dedent(ending))
    run = subprocess.run(
        [sys.executable, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MARK": str(path)},
    )
    time.sleep(0.5)
    left = [p.pid for p in psutil.process_iter() if mentions(p, str(tmp_path))]
    return run, left


def mentions(process, text):
    try:
        return text in " ".join(process.cmdline())
    except psutil.Error:
        return False


def test_a_script_without_a_guard_runs_once(tmp_path):
    run, left = run_script(tmp_path)
    assert (run.returncode, run.stderr, run.stdout) == (0, "", "script runs\ndone\n") and left == []


@pytest.mark.parametrize(
    "ending",
    ["import signal; os.kill(os.getpid(), signal.SIGKILL)", "os._exit(3)", "raise SystemExit(3)"],
)
def test_children_end_with_their_parent(tmp_path, ending):
    more = "from helpers.answers import isolation; print(*[w.process.pid for w in isolation.pool().alive], flush=True)"
    run, _ = run_script(tmp_path, more, ending)
    assert run.returncode != 0
    pids = [int(pid) for pid in run.stdout.split("\n")[1].split()]
    assert len(pids) == isolation.WORKERS
    gone = time.time() + 5
    while any(psutil.pid_exists(pid) for pid in pids) and time.time() < gone:
        time.sleep(0.05)
    assert not any(
        psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        for pid in pids
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_starts_its_own_children(tmp_path):
    run, _ = run_script(
        tmp_path,
        r"""
        pid = os.fork()
        if pid == 0:
            ok = same_math(r"\sqrt{12}", r"2\sqrt{3}") == 1.0
            from helpers.answers import isolation; isolation.close()
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
        pool.ask("[]\n", 1)
    pool.close()


def test_the_import_is_quick_and_light():
    code = "import time; t = time.perf_counter(); import helpers.answers, sys; print(time.perf_counter() - t, 'sympy' in sys.modules, 'torch' in sys.modules)"
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
        ).stdout.split()
        for _ in range(3)
    ]
    assert min(float(seconds) for seconds, _, _ in runs) < 0.3 and runs[0][1:] == ["False", "False"]
