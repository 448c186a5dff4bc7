"""Several processes that train one model together, a card each, under `accelerate launch` or torchrun: what they must agree on.

The first process writes the log, the checkpoints and the console. In a single process nothing is exchanged.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
HINT = "accelerate launch --config_file helpers/accelerate/cpu.yaml --num_processes {} -m helpers …"


def together() -> bool:
    """Whether this process trains with others; known once a trainer's settings have been made."""
    import torch.distributed

    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )


def agreed(value: T) -> T:
    """What the first process says, in all of them."""
    if not together():
        return value
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value], from_process=0)[0]


def everyones(values: Sequence[T]) -> list[T]:
    """The values of all processes, in the order of the processes."""
    if not together():
        return list(values)
    from accelerate.utils import gather_object

    return gather_object(list(values))


def any_of(flags: Sequence[bool]) -> list[bool]:
    """For each flag whether it is up in any process."""
    return [any(everyones([flag])) for flag in flags]


def wait() -> None:
    """Until all processes are here."""
    if together():
        from accelerate.utils import wait_for_everyone

        wait_for_everyone()


def check_launch() -> None:
    """Raises RuntimeError if `accelerate launch` was asked for several processes and started one: without GPUs it does so, and says nothing."""
    import psutil

    try:
        parent = psutil.Process().parent()
        words = parent.cmdline() if parent else []
    except psutil.Error:
        return
    launched = any(
        os.path.basename(word)
        in ("accelerate", "accelerate-launch", "accelerate.commands.launch", "launch.py")
        for word in words[:4]
    )
    if launched and "WORLD_SIZE" not in os.environ:
        asked = asked_for(words)
        if asked > 1:
            raise RuntimeError(
                f"accelerate was asked for {asked} processes and started one: it finds no GPUs, or one.\n"
                f"Without GPUs use: {HINT.format(asked)}"
            )


def asked_for(words: Sequence[str]) -> int:
    """The number of processes on a command line of `accelerate launch`; 0 if it names none.

    >>> asked_for(["accelerate", "launch", "--num_processes", "2", "-m", "helpers"]), asked_for(["accelerate", "--num_processes=4"]), asked_for([])
    (2, 4, 0)
    """
    for word, following in zip(words, [*words[1:], ""], strict=False):
        name, _, value = word.partition("=")
        if name in ("--num_processes", "--num-processes") and (value or following).isdigit():
            return int(value or following)
    return 0


@contextlib.contextmanager
def explained_end() -> Iterator[None]:
    """Turns the error that a process gets when another one has died into two lines."""
    try:
        yield
    except RuntimeError as error:
        if together() and any(
            word in str(error).lower()
            for word in ("gloo", "nccl", "connection closed", "connection reset", "broken pipe")
        ):
            raise RuntimeError(
                "Another process of this run has ended.\nRun the same command again: it goes on from the last checkpoint."
            ) from error
        raise


@functools.cache
def let_cpus_resume() -> None:
    """Lets torch.load put a checkpoint's tensors on "cpu:0", as trainers ask for under several CPU processes: it knows "cpu" only.

    Once for a process: torch cannot hold two such rules of one rank.
    """
    import torch

    torch.serialization.register_package(
        5,
        lambda storage: None,
        lambda storage, place: storage if str(place).startswith("cpu:") else None,
    )
