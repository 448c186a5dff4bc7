"""Measures what training adds to a process's memory on the CPU: `python -m tests.machine.measured_memory OUT CASE…`, a line of JSON for each.

A case is RECIPE/STAGE/MODEL, such as gsm8k_xml/grpo/tiny. A short run of each stage comes first, so that libraries, which are read
in and set up when first needed, are in the baseline and not in what is measured. The C library is told to hand every block above 128 KB
back when it is freed, as it does until it has learned not to: what is measured are the tensors, not the holes between them.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from dataclasses import replace
from pathlib import Path

STEPS = 2  # the second has the optimiser's numbers already
SHAPE = {
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "intermediate_size": 1536,
}
LARGE = {
    "grpo": {"batch": 8, "max_completion": 24},
    "sft": {"batch": 4},
}  # what is different for the larger model, to save time
MMAP_THRESHOLD = -3  # glibc's M_MMAP_THRESHOLD


def recipe_of(case: str):
    """The recipe on the tiny profile, as that case trains it."""
    from helpers.recipes import RECIPES, for_profile

    name, stage, size = case.split("/")
    recipe = for_profile(RECIPES[name], "tiny")
    return (
        recipe
        if size == "tiny"
        else replace(recipe, **{stage: replace(getattr(recipe, stage), **LARGE[stage])})
    )


def resident(field: str) -> float:
    """VmRSS (held now) or VmHWM (the most that was held since the last reset) of this process, in GiB."""
    line = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith(field)
    )
    return int(line.split()[1]) / 2**20


def reset_peak() -> float:
    """Hands free memory back, sets VmHWM to what is held now, and returns that."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def make_large(folder: Path) -> Path:
    """A random Qwen3 with the tiny tokenizer and 24,000 tokens, stored in 16 bits as models are: float32 ones stay mapped, file and all."""
    if not folder.is_dir():
        import torch
        from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

        from helpers.training import models

        tokenizer = AutoTokenizer.from_pretrained(models.TINY_MODEL)
        Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=24_000,
                tie_word_embeddings=True,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                **SHAPE,
            )
        ).to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def trainer_of(recipe, stage: str, base: Path, out: Path, machine, rows):
    from trl import GRPOTrainer, SFTTrainer

    from helpers import data
    from helpers.runs import run as runlog
    from helpers.training import models, rewards
    from helpers.training import trainers as training

    model, tokenizer = models.load(str(base), recipe, machine)
    model = models.add_lora(model, recipe, machine, 0)
    run = runlog.Run(out, recipe, stage, machine, 0, str(base))
    if stage == "grpo":
        return run, GRPOTrainer(
            model=model,
            reward_funcs=rewards.reward_functions(recipe)[0],
            processing_class=tokenizer,
            args=training.grpo_config(recipe, run, machine, STEPS),
            train_dataset=data.grpo_dataset(recipe, rows),
        )
    return run, SFTTrainer(
        model=model,
        args=training.sft_config(recipe, run, machine, STEPS),
        processing_class=tokenizer,
        train_dataset=data.sft_dataset(recipe, rows),
    )


def watch_lengths(trainer, stage: str) -> dict[str, int]:
    """Fills a dictionary with the longest prompt and completion, or row and tokens scored in a batch, that the trainer's model sees."""
    seen: dict[str, int] = {}
    inner = trainer.compute_loss

    def compute_loss(model, inputs, *args, **kwargs):
        if stage == "grpo":
            found = {
                "prompt": inputs["prompt_ids"].shape[1],
                "completion": inputs["completion_ids"].shape[1],
            }
        else:
            found = {
                "row": inputs["input_ids"].shape[1],
                "scored": int((inputs["labels"] != -100).sum()),
            }
        seen.update({name: max(size, seen.get(name, 0)) for name, size in found.items()})
        return inner(model, inputs, *args, **kwargs)

    trainer.compute_loss = compute_loss
    return seen


def measure(recipe, stage: str, base: Path, out: Path, machine, rows) -> dict:
    """GiB that a run of two steps adds, its device batch, and the lengths that came up."""
    from helpers.training import trainers as training

    before = reset_peak()
    run, trainer = trainer_of(recipe, stage, base, out, machine, rows)
    seen = watch_lengths(trainer, stage)
    training.train(trainer, run)
    return {
        "base": str(base),
        "added": resident("VmHWM") - before,
        "device_batch": trainer.args.per_device_train_batch_size,
        **seen,
    }


def main(out: Path, cases: list[str]) -> None:
    from helpers import data
    from helpers.machine.computer import detect
    from helpers.training import models

    ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, 2**17)
    machine, warm = detect(), set()
    for n, case in enumerate(cases):
        recipe, (_, stage, size) = recipe_of(case), case.split("/")
        rows = data.load(recipe, None, "tiny")["train"].examples[:60]
        if stage not in warm:
            warm.add(stage)
            measure(
                replace(recipe, **{stage: replace(getattr(recipe, stage), batch=8)}),
                stage,
                models.TINY_MODEL,
                out / f"warm_{n}",
                machine,
                rows,
            )
        base = make_large(out / "large") if size == "large" else models.TINY_MODEL
        print(
            "MEASURED",
            json.dumps(
                {"case": case, **measure(recipe, stage, base, out / f"case_{n}", machine, rows)}
            ),
            flush=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
