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
from helpers.recipes import RECIPES, for_model
from helpers.tiny import TINY_MODEL
from tests.bench import Row, in_turn, show
from tests.learning import supervise
from tests.training import variants
from tests.training.variants import MACHINE, Levers, Variant

from safetensors.torch import load_file, save_file  # isort: skip  (after Unsloth)

ROUNDS = 2
STEPS = {"grpo": 1, "sft": 8}  # a round
STOCK = Levers()
PLAIN = replace(STOCK, checkpointing=False)
FLOAT = replace(PLAIN, in_float=True)
MERGED = replace(FLOAT, merged=True)
CHECKPOINTING = replace(FLOAT, checkpointing=True)
DECODED = replace(MERGED, decoded=True)
DEQUANTISED = {"grpo": replace(DECODED, dequantised=True), "sft": replace(FLOAT, dequantised=True)}
SHARED = {stage: replace(levers, shared=True) for stage, levers in DEQUANTISED.items()}
OURS = {stage: replace(levers, logged=True) for stage, levers in SHARED.items()}
THREADS = replace(FLOAT, threads=os.cpu_count() or 1)
SIXTEEN = (("per_device_train_batch_size", 16), ("gradient_accumulation_steps", 4))
SIXTEEN += (("steps_per_generation", 4),)
BY_LENGTH = (("train_sampling_strategy", "group_by_length"),)
FIRST = {"TRL as it comes": STOCK, "no checkpointing": PLAIN, "LoRA in float32": FLOAT}
FAIR = "(apart) TRL with LoRA in float32"
GRPO_LEVERS = FIRST | {
    "merged weights while generating": MERGED,
    "prompts read once, ended rows dropped": DECODED,
    "W0 + sBA, dequantised once": DEQUANTISED["grpo"],
    "prompts read once in the loss, too": SHARED["grpo"],
    "the log (ours, as the notebooks run)": OURS["grpo"],
    FAIR: CHECKPOINTING,
    "(idea) 16 × 4 instead of 64 at once": replace(DECODED, settings=SIXTEEN),
    "(idea) float32, without merging, on all cores": THREADS,
}
SFT_LEVERS = FIRST | {
    "W0 + sBA, dequantised once": DEQUANTISED["sft"],
    "what all rows begin with read once": SHARED["sft"],
    "the log (ours, as the notebooks run)": OURS["sft"],
    FAIR: CHECKPOINTING,
    "(idea) group_by_length": replace(OURS["sft"], settings=BY_LENGTH),
}
WANTED = {OURS["grpo"]: "at most 0.55 of the fair peer's", OURS["sft"]: "at most 0.55 of it"}


def embedded(name: str):
    recipe = for_model(RECIPES[name], True, "cpu")
    return recipe, data.load(recipe, None, "cpu")


def built(stage: str, levers: dict[str, Levers], rows, out: Path) -> dict[str, Variant]:
    """The variants, on a trained adapter whose weights are the same numbers in both precisions."""
    recipe, splits = embedded("gsm8k_xml")
    adapter = supervise(recipe, MACHINE, 0, out, splits, steps=60)
    weights = {name: w.bfloat16().float() for name, w in load_file(adapter.weights).items()}
    save_file(weights, adapter.weights, metadata={"format": "pt"})
    found = {}
    for number, (name, each) in enumerate(levers.items()):
        given = (rows, each, STEPS[stage], out / str(number))
        found[name] = variants.variant(stage, recipe, adapter, *given)
    variants.in_turns(list(found.values()), ROUNDS)
    return found


def grpo_rows() -> list[Row]:
    recipe, splits = embedded("gsm8k_xml")
    rows = data.grpo_dataset(recipe, splits["train"].examples[:64])
    with tempfile.TemporaryDirectory() as folder:
        found = built("grpo", GRPO_LEVERS, rows, Path(folder))
        table = costs("grpo", found)
        variants.with_the_same_completions(list(found.values()))
        return table + differences("GRPO", found)


def sft_rows() -> list[Row]:
    """On short solutions and long ones by turns, so that lengths are as mixed as real data's."""
    recipe, splits = embedded("gsm8k_xml")
    half = recipe.sft.batch * STEPS["sft"] // 2
    mixed = in_turn(splits["train"].take(half), embedded("openr1_boxed")[1]["train"].take(half))
    rows = data.sft_dataset(recipe, data.load_tokenizer(str(TINY_MODEL)), mixed)
    with tempfile.TemporaryDirectory() as folder:
        found = built("sft", SFT_LEVERS, rows, Path(folder))
        same_rows = {name: each for name, each in found.items() if not each.levers.settings}
        return costs("sft", found) + differences("SFT", same_rows)


def costs(stage: str, found: dict[str, Variant]) -> list[Row]:
    """A row a variant: its mean step, beside the first one's."""
    stock, rows = next(iter(found.values())), []
    for name, each in found.items():
        cpu, wall = each.seconds(0), each.seconds(1)
        measured = f"{cpu:.2f} CPU s ({wall:.2f} s), {cpu / stock.seconds(0):.2f} of TRL's, "
        wanted = WANTED.get(each.levers, "")
        rows.append((f"{stage.upper()} step, {name}", measured + each.useful(), wanted))
    return rows


def differences(stage: str, found: dict[str, Variant]) -> list[Row]:
    """The loss must be the fair peer's. TRL as it comes differs: it rounds LoRA to bfloat16."""
    in_order = {FAIR: found[FAIR], **found}
    _, *others = variants.same_arithmetic(in_order).items()
    rows = []
    for name, (loss, gradient) in others:
        what = f"{stage} step, {name}: off the fair peer's on the same rows"
        measured = f"loss {loss:.0e}, gradient {gradient:.0e} of its length"
        wanted = "loss at most 1e-5" if found[name].levers.in_float else ""
        rows.append((what, measured, wanted))
    return rows


if __name__ == "__main__":
    show(lambda: grpo_rows() + sft_rows())
