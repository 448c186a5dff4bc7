"""Unsloth's GPU trainer, run without a GPU: `python -m tests.unsloth_gpu OUT` makes two steps of SFT and of GRPO and leaves their runs.

Unsloth is told that it may be imported on the CPU, and then made to patch TRL as it does where there is a GPU. No kernel of it runs:
the model is a stock one, random and tiny.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ENVIRONMENT = {"UNSLOTH_ALLOW_CPU": "1", "UNSLOTH_COMPILE_DISABLE": "1", "UNSLOTH_GRPO_SEQ_PACKING": "0", "UNSLOTH_GRPO_PREFIX_GROUPER": "0"}


def patched() -> None:
    os.environ.update(ENVIRONMENT)  # here, not on import: pytest imports this file
    import helpers.machine  # noqa: F401  (sets where Unsloth's cache goes)
    import unsloth  # noqa: F401

    os.environ["UNSLOTH_ALLOW_CPU"] = "0"
    from unsloth.models.rl import PatchFastRL
    from unsloth.trainer import _patch_trl_trainer

    PatchFastRL(FastLanguageModel=None)
    _patch_trl_trainer()


def main(out: Path) -> None:
    patched()
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from helpers import data, models, rewards, runlog, training
    from helpers.machine import detect
    from helpers.recipes import for_profile, get_recipe

    from trl import GRPOTrainer, SFTTrainer

    assert "Unsloth" in GRPOTrainer.__name__, GRPOTrainer
    machine, recipe = detect(), for_profile(get_recipe("gsm8k_hash"), "tiny")
    tokenizer = AutoTokenizer.from_pretrained(models.TINY_MODEL)
    model = AutoModelForCausalLM.from_pretrained(models.TINY_MODEL, dtype=torch.float32)
    models.settle_end(model, tokenizer)
    model = get_peft_model(model, LoraConfig(r=8, target_modules=list(recipe.lora.targets)))
    model.for_training = model.for_inference = lambda *args, **kwargs: model
    model._unsloth_user_float32 = True
    splits, adapter = data.load(recipe, None, "tiny"), None
    for stage in ("sft", "grpo"):
        rows = data.chosen(recipe, tokenizer, splits["train"], stage, 0).examples
        run = runlog.Run(out, recipe, stage, machine, 0, str(models.TINY_MODEL), adapter)
        if stage == "sft":
            trainer = SFTTrainer(model=model, args=training.sft_config(recipe, run, machine, 2, len(tokenizer)), processing_class=tokenizer,
                                 train_dataset=data.sft_dataset(recipe, rows))
        else:
            trainer = GRPOTrainer(model=model, reward_funcs=rewards.reward_functions(recipe)[0], processing_class=tokenizer,
                                  args=training.grpo_config(recipe, run, machine, 2, len(tokenizer)), train_dataset=data.grpo_dataset(recipe, rows))
        print(type(trainer).__mro__)
        adapter = training.train(trainer, run)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
