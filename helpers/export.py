"""Merges an adapter into full weights, and proves that what was written is the trained model and not the base."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers import machine as machines
from helpers.models import generate

from helpers.unsloth_first import quiet  # isort: skip  (before transformers, trl and peft)
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Proof:
    """What a reloaded export was found to be. logit differences are the largest over all prompts and tokens."""

    same_text: int
    prompts: int
    logit_difference: float
    logit_difference_from_base: float
    megabytes: float


def unquantised(base: str, adapter: str | Path, precision: str = "fp32"):
    """The base in full precision with the adapter on it, not merged: what every export is compared with."""
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(base, dtype=PRECISIONS[precision])
        return PeftModel.from_pretrained(model, str(adapter)).eval()


def merge(base: str, adapter: str | Path, folder: str | Path, precision: str = "fp32") -> Path:
    """Writes base + adapter as one plain model with its tokenizer and chat template, in safetensors.

    base: Hub id or folder of *unquantised* weights; merging into 4-bit weights would round the adapter away.
    precision: "fp32", "bf16" or "fp16". The folder appears under its name only when it is complete.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"Unknown precision {precision!r}.\nUse one of: {', '.join(PRECISIONS)}.")
    folder = Path(folder)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    machines.writable_folder(part)
    merged = unquantised(base, adapter, precision).merge_and_unload(safe_merge=True)
    with quiet():
        merged.save_pretrained(part, safe_serialization=True)
        AutoTokenizer.from_pretrained(str(adapter)).save_pretrained(part)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
    del merged
    gc.collect()
    return folder


def prove(folder: str | Path, base: str, adapter: str | Path, prompts: Sequence[str], max_new_tokens: int) -> Proof:
    """Reloads an export from disk and compares it with base + adapter: greedy texts, logits, and the distance from the base.

    Raises ValueError if the export is no further from the base than rounding: then the merge did nothing.
    """
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    tokenizer.padding_side = "left"
    with quiet():
        exported = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
    trained = unquantised(base, adapter)
    texts = [[c.text for c in generate(m, tokenizer, prompts, max_new_tokens)] for m in (exported, trained)]
    difference = largest_difference(tokenizer, prompts, exported, trained)
    with trained.disable_adapter():
        from_base = largest_difference(tokenizer, prompts, exported, trained)
    if from_base <= difference or from_base < 1e-3:
        raise ValueError(f"{folder} gives the logits of the base model (difference {from_base:.2g}).\n"
                         "The merge did nothing: check that the adapter was trained and belongs to this base.")
    same = sum(a == b for a, b in zip(*texts, strict=True))
    return Proof(same, len(prompts), difference, from_base, megabytes(folder))


@torch.no_grad()
def largest_difference(tokenizer, prompts: Sequence[str], one, other) -> float:
    """The largest absolute difference of two models' logits over the prompts' tokens."""
    rows = tokenizer(list(prompts), return_tensors="pt", padding=True, add_special_tokens=False)
    real = rows["attention_mask"].bool().unsqueeze(-1)
    logits = [m(**rows.to(m.device)).logits.float().cpu() for m in (one, other)]
    return ((logits[0] - logits[1]).abs() * real).max().item()


def megabytes(folder: str | Path) -> float:
    """The size of all files in a folder, in MB (10⁶ bytes)."""
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) / 1e6
