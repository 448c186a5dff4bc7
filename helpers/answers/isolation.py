"""Runs symbolic work in small child processes that can be killed.

SymPy can hang inside one C call that no signal and no thread can interrupt, and it then holds the
interpreter lock: only ending a process is safe. The system ends a child that has computed too long,
however busy the machine is, and Python's own watchdog, which needs no interpreter lock, one that
has taken far longer on the clock; a second one stands warm behind it. Fresh interpreters work the
same in Jupyter, in threads, in a script without a `__main__` guard, and under `accelerate launch`;
the pools of `concurrent.futures` and `multiprocessing` import `__main__` again or fork, and cannot
lose one process and go on.
"""

import contextlib
import faulthandler
import functools
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

WORKERS = 2  # one answers, the other one is started again after its end
MEMORY = 1 << 30  # bytes a child may hold
LIMIT = 2.0  # seconds of computing for one answer
WAITING = 10  # times as long on the clock, on a busy machine
BOOT = "from helpers.answers.isolation import serve; serve()"
KEPT = ("PATH", "HOME", "LANG", "SYSTEMROOT", "LD_LIBRARY_PATH", "TMPDIR")  # no secrets
ROOT = str(Path(__file__).resolve().parents[2])


class Pool:
    """The children of this process, started by the first question; they end with it.

    A child reads a line and writes one, and ends when nobody holds the other end of its input.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.idle: list[subprocess.Popen] = []  # the warmest first

    def fill(self) -> None:
        """Starts children in place of those that have ended."""
        self.idle = [child for child in self.idle if child.poll() is None]
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join([ROOT, *sys.path])
        environment["PYTHONHASHSEED"] = "0"
        while len(self.idle) < WORKERS:
            child = subprocess.Popen(
                [sys.executable, "-c", BOOT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
                start_new_session=True,
            )
            child.warm = False
            self.idle.append(child)

    def ask(self, request: str) -> str:
        """A child's reply; empty when it has ended, by its limit or otherwise."""
        with self.lock:
            self.fill()
            child = self.idle.pop(0)
            if not child.warm and child.stdout.readline() != "ready\n":
                raise RuntimeError(
                    "The process for symbolic answers does not start.\n"
                    f"Try it by hand to see why: {sys.executable} -c {BOOT!r}"
                )
            child.warm = True
            with contextlib.suppress(BrokenPipeError):  # it was killed meanwhile: no reply
                child.stdin.write(request)
                child.stdin.flush()
            reply = child.stdout.readline()
            if reply:
                self.idle.insert(0, child)
            else:
                child.wait()
                self.fill()
            return reply

    def close(self) -> None:
        """Ends the children; the next question starts new ones."""
        with self.lock:
            while self.idle:
                child = self.idle.pop()
                child.kill()
                child.wait()


POOL = Pool()
close = POOL.close
if hasattr(os, "register_at_fork"):  # after a fork, children and lock belong to the parent
    os.register_at_fork(after_in_child=POOL.__init__)


@functools.lru_cache(maxsize=1 << 14)
def ask(task: str, predicted: str, gold: str, limit: float = LIMIT) -> float | None:
    """The score that `task` in a child gives (predicted, gold).

    None when it computed longer than `limit` seconds or failed. Answers are remembered, also the
    missing ones: the completions of a GRPO group repeat each other.
    """
    reply = POOL.ask(json.dumps([task, predicted, gold, limit]) + "\n")
    return json.loads(reply or "null")


def serve() -> None:
    """The life of a child: read a line, compute, write a line."""
    replies, sys.stdout = sys.stdout, sys.stderr  # nothing else may get among the replies
    with contextlib.suppress(ImportError):  # Windows has no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    set_timer, wait = (lambda seconds: None), 1  # Windows has no such timer
    if hasattr(signal, "setitimer"):  # `SIGPROF` ends a process that does not handle it
        set_timer, wait = functools.partial(signal.setitimer, signal.ITIMER_PROF), WAITING
    from helpers.answers import symbolic

    tasks = {"same_symbols": symbolic.same_symbols, "edit_distance": symbolic.edit_distance}
    for first in (r"2\sin x\cos x", r"\sqrt{12}+e^x", r"x^2-x"):  # SymPy is slow the first time
        symbolic.same_symbols(first, r"\sin 2x + \frac{\pi}{3}")
        symbolic.edit_distance(first, r"\sin 2x")
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        name, predicted, gold, limit = json.loads(line)
        faulthandler.dump_traceback_later(limit * wait, exit=True)
        set_timer(limit)
        try:
            score = tasks[name](predicted, gold)
        except Exception:  # any text may come: what cannot be computed earns nothing
            score = None
        set_timer(0)
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps(score), file=replies, flush=True)
