"""What threads and number types give a real model: `python -m tests.bench_threads MODEL`.

MODEL: SmolLM2-135M's folder, as `python -m helpers smollm2` leaves it. Tokens a second, generated
and trained on, in both number types, with one thread and with all; then the same beside a process
that keeps one core busy; and what `machine.for_size` chooses each time. All in one run, on a
machine that is otherwise idle.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

from helpers import data, machine, training
from helpers.recipes import RECIPES, for_model
from tests.bench import Row, show

import torch  # isort: skip  (after Unsloth)

PROMPTS = 32
GENERATED = 32  # tokens a prompt
TRAINED = (4, 192)  # rows of so many tokens
BUSY = "while True: pass"


@contextmanager
def beside_busy_process():
    """One core is busy meanwhile."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def generated(model, tokenizer, prompts: list[str]) -> float:
    """Tokens a second of sampled replies."""
    begun = time.perf_counter()
    replies = training.generate(model, tokenizer, prompts, GENERATED, 1.0, PROMPTS)
    return sum(reply.tokens for reply in replies) / (time.perf_counter() - begun)


def trained(model, ids: torch.Tensor) -> float:
    """Tokens a second, forward and backward."""
    begun = time.perf_counter()
    for _ in range(2):
        model(input_ids=ids, labels=ids).loss.backward()
    return 2 * ids.numel() / (time.perf_counter() - begun)


def speeds(name: str, here: machine.Machine) -> dict[tuple[str, int], tuple[float, float]]:
    """Both speeds, by number type and threads."""
    recipe = for_model(RECIPES["gsm8k_hash"], False, "cpu")
    found = {}
    for dtype in ("float32", "bfloat16"):
        model, tokenizer = training.load(name, recipe, replace(here, dtype=dtype))
        model = training.add_lora(model, recipe, here, 0)
        examples = data.load(recipe, "embedded", "cpu")["test"].examples[:PROMPTS]
        prompts = [data.prompt_text(recipe, tokenizer, one.question) for one in examples]
        ids = torch.randint(model.config.vocab_size, TRAINED)
        for threads in (1, here.cores):
            torch.set_num_threads(threads)
            generated(model, tokenizer, prompts[:2])  # warm
            trained(model, ids[:1])
            pair = generated(model, tokenizer, prompts), trained(model, ids)
            found[dtype, threads] = pair
    return found


def rows_of(name: str, where: str) -> list[Row]:
    """A row for each number type and count of threads, the chosen one marked."""
    here = machine.detect()
    chosen = machine.for_size(here, machine.shape_of(name).parameters)
    found = speeds(name, here)
    base = found["float32", 1]
    rows = []
    for (dtype, threads), pair in found.items():
        mark = "**chosen**" if (dtype, threads) == (chosen.dtype, chosen.threads) else ""
        told = [f"{speed:.0f} ({speed / one:.2f})" for speed, one in zip(pair, base, strict=True)]
        rows.append((f"{where}, {dtype}, threads: {threads}", " | ".join(told), mark))
    return rows


def rows() -> list[Row]:
    os.environ.pop("OMP_NUM_THREADS", None)  # else it says how many threads are chosen
    found = rows_of(sys.argv[1], "idle")
    with beside_busy_process():
        found += rows_of(sys.argv[1], "one busy process")
    return found


if __name__ == "__main__":
    show(rows)
