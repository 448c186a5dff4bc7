"""What a step of GRPO and of SFT costs on the embedded model, beside TRL as it comes.

`python -m tests.bench_steps` takes four minutes and counts CPU seconds of all threads. The settings
are added one after the other; each variant does the same steps in turns with the others, with a
learning rate of 0, so that all do the same work. The losses are compared on the same completions,
from an adapter whose weights bfloat16 can hold, so that only the arithmetic differs.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from helpers import data
from helpers.recipes import Recipe, for_model, get_recipe
from helpers.tiny import TINY_MODEL
from tests.bench import Row, show
from tests.learning import supervise
from tests.training.variants import (
    MACHINE,
    Levers,
    Variant,
    in_turns,
    same_arithmetic,
    variant,
    with_the_same_completions,
)

from safetensors.torch import load_file, save_file  # isort: skip  (after Unsloth)

GRPO = {"rounds": 2, "steps": 1}
SFT = {"rounds": 2, "steps": 8}


STOCK = Levers()
PLAIN = replace(STOCK, checkpointing=False)
FLOAT = replace(PLAIN, in_float=True)
MERGED = replace(FLOAT, merged=True)
CHECKPOINTING = replace(FLOAT, checkpointing=True)
THREADS = replace(FLOAT, threads=os.cpu_count() or 1)
SIXTEEN = (
    ("per_device_train_batch_size", 16),
    ("gradient_accumulation_steps", 4),
    ("steps_per_generation", 4),
)
GRPO_LEVERS = {
    "TRL as it comes": STOCK,
    "no checkpointing": PLAIN,
    "LoRA in float32": FLOAT,
    "merged weights while generating": MERGED,
    "the log (ours, as the notebooks run)": replace(MERGED, logged=True),
    "(apart) TRL with LoRA in float32": CHECKPOINTING,
    "(idea) 16 × 4 instead of 64 at once": replace(MERGED, settings=SIXTEEN),
    "(idea) float32, without merging, on all cores": THREADS,
}
SFT_LEVERS = {
    "TRL as it comes": STOCK,
    "no checkpointing": PLAIN,
    "LoRA in float32": FLOAT,
    "the log (ours, as the notebooks run)": replace(FLOAT, logged=True),
    "(apart) TRL with LoRA in float32": CHECKPOINTING,
    "(idea) group_by_length": replace(
        FLOAT, logged=True, settings=(("train_sampling_strategy", "group_by_length"),)
    ),
}


def adapter_in_bfloat16(recipe: Recipe, out: Path):
    """A trained adapter whose weights were rounded to what bfloat16 can hold.

    So they are the same numbers in both precisions.
    """
    adapter = supervise(recipe, MACHINE, 0, out, data.load(recipe, None, "cpu"), steps=60)
    file = adapter.weights
    save_file(
        {name: tensor.bfloat16().float() for name, tensor in load_file(file).items()},
        file,
        metadata={"format": "pt"},
    )
    return adapter


def grpo_rows() -> list[Row]:
    recipe = for_model(get_recipe("gsm8k_xml"), True, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        adapter = adapter_in_bfloat16(recipe, Path(folder))
        rows = data.grpo_dataset(recipe, data.load(recipe, None, "cpu")["train"].examples[:64])
        variants = {
            name: variant(
                "grpo", recipe, adapter, rows, levers, GRPO["steps"], Path(folder) / str(number)
            )
            for number, (name, levers) in enumerate(GRPO_LEVERS.items())
        }
        in_turns(list(variants.values()), GRPO["rounds"])
        found = table(
            "GRPO step",
            variants,
            {FLOAT: "at most 0.85", replace(MERGED, logged=True): "at most 0.7"},
        )
        with_the_same_completions(list(variants.values()))
        return found + differences("GRPO step", variants)


def mixed_rows(recipe: Recipe, count: int):
    """Word problems with short solutions and others with long ones, in the recipe's format.

    So the lengths are as mixed as real data's.
    """
    other = for_model(get_recipe("openr1_boxed"), True, "cpu")
    halves = [data.load(r, None, "cpu")["train"].take(count // 2) for r in (recipe, other)]
    return data.sft_dataset(
        recipe,
        data.load_tokenizer(str(TINY_MODEL)),
        [example for pair in zip(*halves, strict=True) for example in pair],
    )


def sft_rows() -> list[Row]:
    recipe = for_model(get_recipe("gsm8k_xml"), True, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        adapter = adapter_in_bfloat16(recipe, Path(folder))
        rows = mixed_rows(recipe, recipe.sft.batch * SFT["steps"])
        variants = {
            name: variant(
                "sft", recipe, adapter, rows, levers, SFT["steps"], Path(folder) / str(number)
            )
            for number, (name, levers) in enumerate(SFT_LEVERS.items())
        }
        in_turns(list(variants.values()), SFT["rounds"])
        found = table("SFT step", variants, {replace(FLOAT, logged=True): "at most 0.67"})
        return found + differences(
            "SFT step", {name: each for name, each in variants.items() if not each.levers.settings}
        )


def table(stage: str, variants: dict[str, Variant], wanted: dict[Levers, str]) -> list[Row]:
    """A row a variant: its mean step, beside the first one's."""
    stock, rows = next(iter(variants.values())), []
    for name, each in variants.items():
        cpu, wall = each.seconds(0), each.seconds(1)
        measured = (
            f"{cpu:.2f} CPU s ({wall:.2f} s), {cpu / stock.seconds(0):.2f} of TRL's, "
            f"{each.useful()}"
        )
        rows.append((f"{stage}, {name}", measured, wanted.get(each.levers, "")))
    return rows


def differences(stage: str, variants: dict[str, Variant]) -> list[Row]:
    """A row a variant after the first: the loss must be the same.

    The gradient, which GRPO's loss does not show, is as exact as bfloat16 is.
    """
    return [
        (
            f"{stage}, {name}: off TRL's on the same completions",
            f"loss {loss:.0e}, gradient {gradient:.0e} of its length",
            "loss at most 1e-5",
        )
        for name, (loss, gradient) in list(same_arithmetic(variants).items())[1:]
    ]


if __name__ == "__main__":
    show(lambda: grpo_rows() + sft_rows())
