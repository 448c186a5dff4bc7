"""Measures what training adds to a process's memory on the CPU.

`python -m tests.machine.measured_memory OUT CASE…` prints a line of JSON for each case, which is
RECIPE/STAGE/MODEL, such as gsm8k_xml/grpo/tiny. A short run of each stage comes first, so that
libraries, which are read in and set up when first needed, are in the baseline and not in what is
measured. The C library is told to hand every block above 128 KB back when it is freed, as it does
until it has learned not to: what is measured are the tensors, not the holes between them.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from helpers import recipes, training
from helpers.machine import detect
from helpers.tiny import TINY_MODEL
from helpers.training import decoding
from tests.training import building

import torch  # isort: skip  (after Unsloth)
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

STEPS = 2  # the second has the optimiser's numbers already
SHAPE = {"num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4}
SHAPE |= {"hidden_size": 512, "head_dim": 64, "intermediate_size": 1536, "vocab_size": 24_000}
LARGE = {"grpo": {"batch": 8, "max_completion": 24}, "sft": {"batch": 4}}  # to save time
MMAP_THRESHOLD = -3  # glibc's M_MMAP_THRESHOLD


def recipe_of(case: str) -> recipes.Recipe:
    """The recipe with the embedded model's settings, as that case trains it."""
    name, stage, size = case.split("/")
    recipe = recipes.for_model(recipes.RECIPES[name], True, "cpu")
    changes = LARGE[stage] if size == "large" else {}
    return replace(recipe, **{stage: replace(getattr(recipe, stage), **changes)})


def resident(field: str) -> float:
    """VmRSS (held now) or VmHWM (the most since the last reset) of this process, in GiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(field))
    return int(line.split()[1]) / 2**20


def reset_peak() -> float:
    """Hands free memory back, sets VmHWM to what is held now, and returns that."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def make_large(folder: Path) -> Path:
    """A random Qwen3 with the tiny tokenizer, stored in 16 bits: float32 ones stay mapped."""
    if not folder.is_dir():
        tokenizer = AutoTokenizer.from_pretrained(TINY_MODEL)
        ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        config = Qwen3Config(tie_word_embeddings=True, **ends, **SHAPE)
        Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def measure(recipe, stage: str, base: Path, out: Path) -> dict:
    """GiB that a run of two steps adds, its device batch, and the lengths that came up."""
    machine, rows = detect(), building.questions(recipe, 60)
    before = reset_peak()
    trainer, run = building.build(stage, recipe, machine, out, rows, STEPS, base=str(base))
    seen = Counter()  # the longest that the model sees of each input, SFT's "scored", and "read"
    tokens = []

    def count(_, states):
        if torch.is_grad_enabled():
            tokens.append(states[0].shape[:2].numel())

    trainer.model.get_base_model().base_model.layers[0].register_forward_pre_hook(count)
    alike = decoding.read_alike

    def look(inputs):
        for name, tensor in inputs.items():
            if torch.is_tensor(tensor) and tensor.dim() == 2:
                seen[name] = max(tensor.shape[1], seen[name])
        if "labels" in inputs:
            seen["scored"] = max(int((inputs["labels"] != -100).sum()), seen["scored"])
        seen["read"] = max(sum(tokens), seen["read"])  # of the step before
        tokens.clear()
        return alike(inputs)

    decoding.read_alike = look
    training.train(trainer, run)
    decoding.read_alike = alike
    seen["read"] = max(sum(tokens), seen["read"])
    added = resident("VmHWM") - before
    return {"added": added, "device_batch": trainer.args.per_device_train_batch_size, **seen}


def main(out: Path, cases: list[str]) -> None:
    ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, 2**17)
    warm = set()
    for case in cases:
        recipe, (_, stage, size) = recipe_of(case), case.split("/")
        place = out / case.replace("/", "_")
        if stage not in warm:
            small = replace(recipe, **{stage: replace(getattr(recipe, stage), batch=8)})
            measure(small, stage, TINY_MODEL, place / "warm")
            warm.add(stage)
        base = make_large(out / "large") if size == "large" else TINY_MODEL
        found = measure(recipe, stage, base, place)
        print("MEASURED", json.dumps({"case": case, "base": str(base), **found}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
