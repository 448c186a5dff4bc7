"""Runs symbolic work in small child processes that can be killed.

SymPy can hang inside one C call that no signal and no thread can interrupt, and it then holds the
interpreter lock: only killing a process is safe. The children are warm, limited in time and memory,
and end with their parent. As fresh interpreters they work the same in Jupyter, in threads, in a
script without a `__main__` guard, and under `accelerate launch`; the pools of `concurrent.futures`
and `multiprocessing` import `__main__` again or fork, and cannot lose one process and go on.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import queue
import signal
import subprocess
import sys
import threading

WORKERS = 2  # one works while the other one is started again after a kill
MEMORY = 1 << 30  # bytes a child may hold
LIMIT = 2.0  # seconds for one answer
BOOT = "from helpers.answers.isolation import serve; serve()"
KEPT = ("PATH", "HOME", "LANG", "SYSTEMROOT", "LD_LIBRARY_PATH", "TMPDIR")  # no secrets


class Worker:
    """One child. `ready` is the pool's queue, into which the child puts itself when it is warm."""

    def __init__(self, ready: queue.Queue[Worker]):
        root = os.path.join(os.path.dirname(__file__), "..", "..")
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, (root, *sys.path)))
        environment["PYTHONHASHSEED"] = "0"
        self.replies: queue.Queue[str] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-c", BOOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            start_new_session=True,
        )
        threading.Thread(target=self.listen, args=(ready,), daemon=True).start()

    def listen(self, ready: queue.Queue[Worker]) -> None:
        if self.process.stdout.readline() == "ready\n":
            ready.put(self)
        for line in self.process.stdout:
            self.replies.put(line)
        self.replies.put("")  # the child has ended

    def ask(self, request: str, limit: float) -> str | None:
        """The child's reply; None when it does not come in time or the child ends."""
        try:
            self.process.stdin.write(request)
            self.process.stdin.flush()
            return self.replies.get(timeout=limit) or None
        except (queue.Empty, OSError):
            return None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):  # a question that the child did not live to read
            self.process.stdin.close()


class Pool:
    """The children of this process: started by the first question, ended at exit."""

    def __init__(self):
        self.ready: queue.Queue[Worker] = queue.Queue()
        self.lock = threading.Lock()
        self.alive: set[Worker] = set()

    def ask(self, request: str, limit: float) -> str | None:
        with self.lock:
            while len(self.alive) < WORKERS:
                self.alive.add(Worker(self.ready))
        worker = self.warm()
        reply = worker and worker.ask(request, limit)
        if reply:
            self.ready.put(worker)
        elif worker:
            self.replace(worker)
        return reply

    def warm(self) -> Worker | None:
        """The next free child; None when all were closed meanwhile."""
        while self.alive:
            try:
                worker = self.ready.get(timeout=0.5)
            except queue.Empty:
                if all(each.process.poll() is not None for each in list(self.alive)):
                    raise RuntimeError(
                        "The process for symbolic answers does not start.\n"
                        f"Try it by hand to see why: {sys.executable} -c {BOOT!r}"
                    ) from None
                continue
            if worker.process.poll() is None:
                return worker
            self.replace(worker)
        return None

    def replace(self, worker: Worker) -> None:
        with self.lock:
            worker.kill()
            if worker in self.alive:
                self.alive.remove(worker)
                self.alive.add(Worker(self.ready))

    def close(self) -> None:
        """Ends all children now; the next question starts new ones."""
        with self.lock:
            while self.alive:
                self.alive.pop().kill()


POOL = Pool()
close = POOL.close
atexit.register(close)
if hasattr(os, "register_at_fork"):  # after a fork, children and lock belong to the parent
    os.register_at_fork(after_in_child=POOL.__init__)


@functools.lru_cache(maxsize=1 << 14)
def ask(task: str, predicted: str, gold: str, limit: float = LIMIT) -> float | None:
    r"""The score that `task` in a child gives (predicted, gold).

    None when it took longer than `limit` seconds or failed. Answers are remembered, also the
    missing ones: the completions of a GRPO group repeat each other.

    >>> ask("same_symbols", r"\sqrt{12}", r"2\sqrt{3}"), ask("same_symbols", "x+x", "3x")
    (1.0, 0.0)
    """
    reply = POOL.ask(json.dumps([task, predicted, gold, limit]) + "\n", limit)
    return None if reply is None else json.loads(reply)


def serve() -> None:
    """The life of a child: read a line, compute, write a line."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints must not end up among the replies
    limit_memory()
    from helpers.answers import eed, symbolic

    tasks = {"same_symbols": symbolic.same_symbols, "edit_distance": eed.edit_distance}
    for first in (r"2\sin x\cos x", r"\sqrt{12}+e^x", r"x^2-x"):  # SymPy is slow the first time
        symbolic.same_symbols(first, r"\sin 2x + \frac{\pi}{3}")
        eed.edit_distance(first, r"\sin 2x")
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        name, predicted, gold, limit = json.loads(line)
        if hasattr(signal, "setitimer"):  # should the parent have died, SIGPROF ends this process
            signal.setitimer(signal.ITIMER_PROF, limit + 1)
        try:
            score = tasks[name](predicted, gold)
        except Exception:  # any text may come: what cannot be computed earns nothing
            score = None
        print(json.dumps(score), file=replies, flush=True)


def limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
