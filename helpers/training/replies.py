"""Generates replies in batches: on Linux without a GPU several at a time, a process for each core.

One thread a process is faster than one process with all threads, and a core that others use holds
up only its own batches. The processes are forked, so the weights are held once.
"""

import ctypes
import itertools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import psutil
import torch
from accelerate.utils import set_seed
from tqdm.std import tqdm
from transformers import TextStreamer

from helpers import data
from helpers.recipes import Recipe
from helpers.training import decoding
from helpers.training.dequantised import merged_weights
from helpers.training.models import end_tokens

DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux's prctl
KILLED = (
    "A process that generated replies was killed, most likely for lack of memory.\n"
    "Close other programs, or take a smaller MODEL."
)


@dataclass(frozen=True)
class Completion:
    """text: without special tokens; tokens: generated; finished: it ended before the limit."""

    text: str
    tokens: int
    finished: bool


def generate(
    model,
    tokenizer,
    prompts: Sequence[str],
    max_new_tokens: int,
    temperature: float = 0.0,
    batch: int = 64,
    seed: int = 0,
    label: str = "generating",
) -> list[Completion]:
    """Continues every prompt once, in their order, and shows a bar. temperature 0 is greedy."""
    set_seed(seed)
    found = {}
    settings = (max_new_tokens, temperature, batch, label)
    for places, completions in in_batches(model, tokenizer, prompts, *settings):
        found.update(zip(places, completions, strict=True))
    return [found[place] for place in range(len(prompts))]


def in_batches(
    model,
    tokenizer,
    prompts: Sequence[str],
    max_new_tokens: int,
    temperature: float,
    batch: int,
    label: str,
    done: int = 0,
) -> Iterator[tuple[list[int], list[Completion]]]:
    """The completions batch by batch, each with the places of its prompts, from short to long.

    The first `done` prompts in that order are passed over. Each batch has random numbers of its
    own, so replies do not depend on where it begins, or on how many processes there are.
    """
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    how = {"max_new_tokens": max_new_tokens, "use_cache": True, "do_sample": False}
    how |= {"pad_token_id": tokenizer.pad_token_id, **decoding.options(model)}
    if temperature:
        how |= {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}
    model.for_inference()  # Unsloth's mode for it
    ends = end_tokens(model.generation_config, tokenizer)
    first_seed = torch.initial_seed() * 1_000_003

    def reply(start: int) -> list[Completion]:
        if temperature:
            torch.manual_seed((first_seed + start) % 2**32)
        rows = tokenizer(
            [prompts[place] for place in order[start : start + batch]],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
        ).to(model.device)
        output = model.generate(**rows, **how)
        replies = output[:, rows["input_ids"].shape[1] :].tolist()
        return [completion_of(ids, ends, tokenizer) for ids in replies]

    starts = range(done, len(order), batch)
    processes = min(len(starts), free_processes(model))
    with progress(len(prompts), label, done) as bar, torch.no_grad(), merged_weights(model):
        for start, completions in zip(starts, spread(reply, starts, processes), strict=True):
            places = order[start : start + batch]
            yield places, completions
            bar.update(len(places))


def completion_of(ids: list[int], ends: set[int], tokenizer) -> Completion:
    """The text of a reply's tokens up to one that ends it."""
    finished = not ends.isdisjoint(ids)
    own = list(itertools.takewhile(lambda token: token not in ends, ids))
    text = tokenizer.decode(own, skip_special_tokens=True)
    return Completion(text, len(own) + finished, finished)


def free_processes(model) -> int:
    """How many processes may generate at once: one a core, if each may hold as much as this one."""
    if model.device.type != "cpu" or sys.platform != "linux":
        return 1
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("WORLD_SIZE", 1))
    room = psutil.virtual_memory().available // psutil.Process().memory_info().rss
    return min(cores, room)


def spread(work: Callable, items: Sequence, processes: int) -> Iterator:
    """What `work` makes of each item, in their order, in so many forked processes.

    They take the items in turn. Raises what `work` raises, and MemoryError if one is killed.
    """
    if processes < 2:
        yield from map(work, items)
        return
    fork = multiprocessing.get_context("fork")
    children, receivers = [], []
    for number in range(processes):
        receiver, sender = fork.Pipe(duplex=False)
        own = (work, items[number::processes], sender, os.getpid())
        child = fork.Process(target=send_each, args=own, daemon=True)
        child.start()
        sender.close()
        children.append(child)
        receivers.append(receiver)
    try:
        for _, receiver in zip(items, itertools.cycle(receivers), strict=False):
            found = receiver.recv()
            if isinstance(found, Exception):
                raise found
            yield found
    except EOFError:
        raise MemoryError(KILLED) from None
    finally:
        for child, receiver in zip(children, receivers, strict=True):
            child.kill()
            child.join()
            receiver.close()


def send_each(work: Callable, items: Sequence, sender, parent: int) -> None:
    """The life of a forked process, on one thread; it ends with the process that forked it."""
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this one
    if os.getppid() != parent:
        return
    torch.set_num_threads(1)
    for item in items:
        try:
            sender.send(work(item))
        except Exception as error:
            sender.send(error)
            return


class Screen(TextStreamer):
    """Shows a reply as it comes; without the control characters that a terminal would obey."""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        shown = "".join(c for c in text if c.isprintable() or c in "\n\t")
        super().on_finalized_text(shown, stream_end)


def ask(model, tokenizer, recipe: Recipe, question: str) -> str:
    """The greedy reply to a question in the recipe's own prompt, shown while it is written."""
    prompt = data.prompt_text(recipe, tokenizer, question)
    rows = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").to(model.device)
    model.for_inference()
    with torch.no_grad(), merged_weights(model):
        output = model.generate(
            **rows,
            max_new_tokens=recipe.grpo.max_completion,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
            streamer=Screen(tokenizer, skip_prompt=True, skip_special_tokens=True),
            custom_generate=None,  # `decode` has no streamer
        )
    reply = output[0, rows["input_ids"].shape[1] :]
    return recipe.with_opening(tokenizer.decode(reply, skip_special_tokens=True))


def progress(total: int, label: str, done: int = 0) -> tqdm:
    """A bar with the time left, which disappears when it is done."""
    looks = {"leave": False, "file": sys.stdout, "mininterval": 0.5, "ncols": 78}
    return tqdm(total=total, initial=done, desc=label, **looks)
