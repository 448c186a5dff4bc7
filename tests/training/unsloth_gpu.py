"""Unsloth's GPU trainers, run without a GPU: `python -m tests.training.unsloth_gpu OUT` trains, resumes and compares, and leaves OUT/results.json.

Unsloth is told that it may be imported on the CPU, and then made to patch TRL as it does where there is a GPU. No kernel of it runs:
the model is a stock one, random and tiny, in float32. One process does everything, because patching takes half a minute.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
from dataclasses import fields, replace
from pathlib import Path
from unittest import mock

ENVIRONMENT = {
    "UNSLOTH_ALLOW_CPU": "1",
    "UNSLOTH_COMPILE_DISABLE": "1",
    "UNSLOTH_GRPO_SEQ_PACKING": "0",
    "UNSLOTH_GRPO_PREFIX_GROUPER": "0",
}
STEPS, STOP = 4, 3


def patched() -> None:
    os.environ.update(ENVIRONMENT)  # here, not on import: pytest imports this file
    import unsloth  # noqa: F401

    import helpers.machine.computer  # noqa: F401  (sets where Unsloth's cache goes)

    os.environ["UNSLOTH_ALLOW_CPU"] = "0"
    from unsloth.models.rl import PatchFastRL
    from unsloth.trainer import _patch_trl_trainer

    PatchFastRL(FastLanguageModel=None)
    _patch_trl_trainer()


def small():
    """gsm8k_hash, whose KL term counts, with steps of about a second."""
    from helpers.recipes import for_profile, get_recipe

    recipe = for_profile(get_recipe("gsm8k_hash"), "tiny")
    return replace(
        recipe,
        sft=replace(recipe.sft, rows=100),
        grpo=replace(recipe.grpo, batch=16, generations=4, max_completion=32, rows=100),
    )


def machine_for(recipe, rows: int):
    """This computer with memory for so many completions at once, so that the batch is cut as on a card."""
    from helpers.machine import memory
    from helpers.machine.computer import detect
    from helpers.training import models

    machine, shape = detect(), memory.shape_of(str(models.TINY_MODEL))
    enough, more = (
        memory.total(memory.estimate(recipe, "grpo", shape, machine, n)) for n in (rows, 2 * rows)
    )
    return replace(machine, memory_gb=(enough + more) / 2 / memory.COMPUTER_SHARE)


def fresh(adapter: Path | None, dtype: str = "float32"):
    """The tiny model, as transformers and peft load it, with new LoRA matrices or with those of an adapter; and its tokenizer."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from helpers.training import models  # first: it imports Unsloth

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(models.TINY_MODEL)
    model = AutoModelForCausalLM.from_pretrained(models.TINY_MODEL, dtype=getattr(torch, dtype))
    models.settle_end(model, tokenizer)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter, is_trainable=True)
    else:
        model = get_peft_model(model, LoraConfig(r=8, target_modules=list(small().lora.targets)))
    model.for_training = model.for_inference = lambda *args, **kwargs: (
        model
    )  # what Unsloth's loader adds
    model._unsloth_user_float32 = dtype == "float32"
    return model, tokenizer


def build(out: Path, stage: str, parent: Path | None = None, completions=None):
    """A stage's trainer and run on a fresh model. completions: what the trainer gets instead of its model's replies (see `fixed`)."""
    from helpers import data
    from helpers.training import models, rewards
    from helpers.training import trainers as training

    recipe, (model, tokenizer) = small(), fresh(parent)
    run = TrainingRun(out, recipe, stage, machine_for(recipe, 8), 0, str(models.TINY_MODEL), parent)
    rows = data.chosen(
        recipe, tokenizer, data.load(recipe, None, "tiny")["train"], stage, 0
    ).examples
    trl = importlib.import_module("trl")
    if stage == "sft":
        return trl.SFTTrainer(
            model=model,
            args=training.sft_config(recipe, run, run.machine, STEPS),
            processing_class=tokenizer,
            train_dataset=data.sft_dataset(recipe, rows),
        ), run
    trainer = (
        fixed(trl.GRPOTrainer, completions(rows, tokenizer)) if completions else trl.GRPOTrainer
    )
    return trainer(
        model=model,
        reward_funcs=rewards.reward_functions(recipe)[0],
        processing_class=tokenizer,
        args=training.grpo_config(recipe, run, run.machine, STEPS),
        train_dataset=data.grpo_dataset(recipe, rows),
    ), run


def written(rows, tokenizer):
    """Replies that do not depend on the model: of different lengths, every other one right, one of a group without its end."""
    answers = {row.question: row.answer for row in rows}

    def replies(prompts: list[list[int]]) -> list[list[int]]:
        found = []
        for i, prompt in enumerate(prompts):
            text = tokenizer.decode(prompt)
            answer = next(answer for question, answer in answers.items() if question in text)
            ids = tokenizer(
                "so " * (i % 4) + f"\n#### {answer}" + "1" * (i % 2), add_special_tokens=False
            )["input_ids"][:31]
            found.append(ids + [tokenizer.eos_token_id] * (i % 4 != 3))
        return found

    return replies


def fixed(trainer, replies):
    """The trainer's class with given replies in place of generation."""

    class Fixed(trainer):
        def _generate_single_turn(self, prompt_ids, *args, **kwargs):
            return replies(prompt_ids), None

    return Fixed


def stopped(trainer) -> None:
    """Makes a trainer fail when it has written the checkpoint of step `STOP`, before that counts as whole."""
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_save(self, args, state, control, **_):
            if state.global_step == STOP:
                raise KeyboardInterrupt

    trainer.add_callback(Stop())


def resume(out: Path) -> dict:
    """Both stages in one go in OUT/whole, and cut off and gone on with in OUT/cut, each attempt with a freshly loaded model."""
    from helpers.training import trainers as training

    found = {}
    for stage, parent in (("sft", None), ("grpo", out / "whole/gsm8k_hash/sft/adapter")):
        trainer, run = build(out / "whole", stage, parent)
        found[stage] = {
            "class": type(trainer).__name__,
            "start": training.hash_of(training.starting_adapter(trainer.model, stage)),
        }
        training.train(trainer, run)
        trainer, run = build(out / "cut", stage, parent)
        stopped(trainer)
        with contextlib.suppress(KeyboardInterrupt):
            training.train(trainer, run)
        found[stage] |= {
            "cut": run.manifest["status"],
            "checkpoints": sorted(path.name for path in run.checkpoints.iterdir()),
        }
        trainer, run = build(out / "cut", stage, parent)
        training.train(trainer, run)
        found[stage] |= {
            "resumed": run.manifest["resumed"][0]["from_step"],
            "adapters": list(trainer.model.peft_config),
        }
    return found | {
        "reference": training.hash_of(
            {
                name.replace(".ref.", ".default."): p.detach()
                for name, p in trainer.model.named_parameters()
                if ".ref." in name
            }
        )
    }


def given(out: Path, adapter: Path) -> Path:
    """GRPO from an adapter on written replies, by whichever GRPOTrainer TRL gives; the run's folder."""
    from helpers.training import trainers as training

    trainer, run = build(out, "grpo", adapter, written)
    training.train(trainer, run)
    return run.folder


CARDS = {"T4": ("float16", 15.0), "A100": ("bfloat16", 79.0)}


def card(name: str):
    from helpers.machine.computer import Machine

    dtype, memory = CARDS[name]
    return Machine("gpu", "cuda", name, memory, 4, "colab", dtype)


def asked_for(recipe, stage: str, name: str, out: Path):
    """A published recipe's configuration for a card, and what `helpers.training` asked of its class, by name.

    transformers is told that there is a card with bfloat16: without one it makes no configuration that asks for it.
    """
    from helpers.training import trainers as training

    run, config = (
        TrainingRun(out, recipe, stage, card(name), 3, recipe.model),
        "GRPOConfig" if stage == "grpo" else "SFTConfig",
    )
    make = training.grpo_config if stage == "grpo" else training.sft_config
    with (
        mock.patch.object(training, config, wraps=getattr(training, config)) as made,
        mock.patch("transformers.training_args.is_torch_bf16_gpu_available", return_value=True),
    ):
        return make(recipe, run, card(name), 100), dict(made.call_args.kwargs)


def trainer_for(recipe, stage: str, config, dtype: str):
    """The trainer with that configuration, on the tiny model in that dtype, which claims room for more tokens than any recipe asks for."""
    from helpers import data
    from helpers.training import rewards

    trl, (model, tokenizer) = importlib.import_module("trl"), fresh(None, dtype)
    model.max_seq_length = 8192
    rows = data.load(recipe, None, "tiny")["train"].examples[:8]
    if stage == "grpo":
        return trl.GRPOTrainer(
            model=model,
            reward_funcs=rewards.reward_functions(recipe)[0],
            args=config,
            processing_class=tokenizer,
            train_dataset=data.grpo_dataset(recipe, rows),
        )
    return trl.SFTTrainer(
        model=model,
        args=config,
        processing_class=tokenizer,
        train_dataset=data.sft_dataset(recipe, rows),
    )


def settings(out: Path) -> list[dict]:
    """Every published recipe, stage and card: what was asked, and what Unsloth made of it in the configuration and, for one card, in the trainer."""
    from helpers.recipes import RECIPES

    found = []
    for recipe, stage, name in (
        (recipe, stage, name)
        for recipe in RECIPES.values()
        for stage in recipe.stages
        for name in CARDS
    ):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            config, asked = asked_for(recipe, stage, name, out)
            built = config.to_dict()
            used = (
                trainer_for(recipe, stage, config, CARDS[name][0]).args.to_dict()
                if name == "A100" or recipe.name == "gsm8k_xml"
                else {}
            )
        found.append(
            {
                "recipe": recipe.name,
                "stage": stage,
                "card": name,
                "asked": asked,
                "fields": [field.name for field in fields(config)],
                "built": built,
                "used": used,
                "said": said.getvalue(),
                "class": type(config).__name__,
            }
        )
    return found


def mismatch(out: Path) -> str:
    """What Unsloth says to a model of the other half precision."""
    from helpers.recipes import RECIPES

    config, _ = asked_for(RECIPES["gsm8k_xml"], "sft", "T4", out)
    try:
        trainer_for(RECIPES["gsm8k_xml"], "sft", config, "bfloat16")
    except TypeError as error:
        return str(error)
    return "nothing"


def main(out: Path) -> None:
    patched()
    from helpers.training import trainers as training
    from helpers.training import watching

    watching.SAVE_SECONDS["tiny"] = 0.0  # a checkpoint at every step
    found = {
        "resume": resume(out),
        "settings": settings(out / "settings"),
        "mismatch": mismatch(out / "settings"),
    }
    adapter = out / "whole/gsm8k_hash/sft/adapter"
    given(out / "given", adapter)
    with mock.patch.object(training, "set_reference"):
        given(out / "without", adapter)
    found["vllm"] = sorted(name for name in sys.modules if name.partition(".")[0] == "vllm")
    (out / "results.json").write_text(json.dumps(found, default=str), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
