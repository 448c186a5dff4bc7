"""Unsloth's GPU trainers, run without a GPU: trains, resumes, compares; leaves OUT/results.json.

`python -m tests.training.unsloth_gpu OUT`. Unsloth is told that it may be imported on the CPU, and
then made to patch TRL as it does where there is a GPU. No kernel of it runs: the model is a stock
one, tiny, in float32. One process does everything, because patching takes half a minute.
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
CARDS = {"T4": ("float16", 15.0), "A100": ("bfloat16", 79.0)}


def patched() -> None:
    os.environ.update(ENVIRONMENT)  # here, not on import: pytest imports this file
    import unsloth  # noqa: F401

    import helpers.machine  # noqa: F401  (sets where Unsloth's cache goes)

    os.environ["UNSLOTH_ALLOW_CPU"] = "0"
    from unsloth.models.rl import PatchFastRL
    from unsloth.trainer import _patch_trl_trainer

    PatchFastRL(FastLanguageModel=None)
    _patch_trl_trainer()


def small():
    """gsm8k_hash, whose KL term counts, with steps of about a second."""
    from helpers.recipes import for_profile, get_recipe

    recipe = for_profile(get_recipe("gsm8k_hash"), "tiny")
    grpo = replace(recipe.grpo, batch=16, generations=4, max_completion=32, rows=100)
    return replace(recipe, sft=replace(recipe.sft, rows=100), grpo=grpo)


def machine_for(recipe, rows: int):
    """This computer with memory for so many completions, so that the batch is cut as on a card."""
    from helpers.machine import detect
    from helpers.machine.planning import COMPUTER_SHARE, estimate, shape_of, total
    from helpers.tiny import TINY_MODEL

    machine, shape = detect(), shape_of(str(TINY_MODEL))
    enough, more = (total(estimate(recipe, "grpo", shape, machine, n)) for n in (rows, 2 * rows))
    return replace(machine, memory_gb=(enough + more) / 2 / COMPUTER_SHARE)


def fresh(adapter: Path | None, dtype: str = "float32"):
    """The tiny model as transformers and PEFT load it, with LoRA or an adapter; its tokenizer."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from helpers.tiny import TINY_MODEL
    from helpers.training import models

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(TINY_MODEL)
    model = AutoModelForCausalLM.from_pretrained(TINY_MODEL, dtype=getattr(torch, dtype))
    models.settle_end(model, tokenizer)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter, is_trainable=True)
    else:
        model = get_peft_model(model, LoraConfig(r=8, target_modules=list(small().lora.targets)))
    # What Unsloth's loader adds.
    model.for_training = model.for_inference = lambda *args, **kwargs: model
    model._unsloth_user_float32 = dtype == "float32"
    return model, tokenizer


def trainer_on(model, tokenizer, recipe, stage: str, config, rows, replies=None):
    """A trainer by whichever class TRL gives. replies: what stands in for generation."""
    from helpers import data
    from helpers.training import private, rewards

    trl = importlib.import_module("trl")
    shared = {"model": model, "args": config, "processing_class": tokenizer}
    if stage == "sft" or stage == "priming":
        return trl.SFTTrainer(train_dataset=data.sft_dataset(recipe, rows), **shared)
    trainer = trl.GRPOTrainer
    if replies:
        method = {private.GENERATE: lambda self, prompts, *_, **__: (replies(prompts), None)}
        trainer = type("Fixed", (trainer,), method)
    functions = rewards.reward_functions(recipe)[0]
    dataset = data.grpo_dataset(recipe, rows)
    return trainer(reward_funcs=functions, train_dataset=dataset, **shared)


def build(out: Path, stage: str, start: Path | None = None, completions=None):
    """A stage's trainer and run on a fresh model. completions: see `fixed`."""
    from helpers import data
    from helpers.tiny import TINY_MODEL
    from helpers.training import Adapter
    from helpers.training import trainers as training
    from helpers.training.training_run import TrainingRun

    recipe, (model, tokenizer) = small(), fresh(start)
    parent = Adapter.read(start) if start else None
    machine = machine_for(recipe, 8)
    run = TrainingRun(out, recipe, stage, machine, 0, str(TINY_MODEL), parent)
    train = data.load(recipe, None, "tiny")["train"]
    rows = data.chosen(recipe, tokenizer, train, stage, 0).examples
    make = training.grpo_config if stage == "grpo" else training.sft_config
    replies = completions(rows, tokenizer) if completions else None
    config = make(recipe, run, machine, STEPS)
    return trainer_on(model, tokenizer, recipe, stage, config, rows, replies), run


def fixed(rows, tokenizer):
    """Replies that do not depend on the model: every other one right, one of a group cut off."""
    answers = {row.question: row.answer for row in rows}

    def replies(prompts: list[list[int]]) -> list[list[int]]:
        found = []
        for i, prompt in enumerate(prompts):
            text = tokenizer.decode(prompt)
            answer = next(answer for question, answer in answers.items() if question in text)
            reply = "so " * (i % 4) + f"\n#### {answer}" + "1" * (i % 2)
            ids = tokenizer(reply, add_special_tokens=False)["input_ids"][:31]
            found.append(ids + [tokenizer.eos_token_id] * (i % 4 != 3))
        return found

    return replies


def stopped(trainer) -> None:
    """Makes a trainer fail when it has written the checkpoint of step `STOP`, before its marker."""
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_save(self, args, state, control, **_):
            if state.global_step == STOP:
                raise KeyboardInterrupt

    trainer.add_callback(Stop())


def resume(out: Path) -> dict:
    """Both stages in one go in OUT/whole, and cut off and gone on with in OUT/cut."""
    from helpers.training import identity
    from helpers.training import trainers as training

    found = {}
    for stage, start in (("sft", None), ("grpo", out / "whole/gsm8k_hash/sft/adapter")):
        trainer, run = build(out / "whole", stage, start)
        weights = training.starting_adapter(trainer.model, stage)
        told = {"class": type(trainer).__name__, "start": identity(weights.items())}
        training.train(trainer, run)
        trainer, run = build(out / "cut", stage, start)
        stopped(trainer)
        with contextlib.suppress(KeyboardInterrupt):
            training.train(trainer, run)
        told["cut"] = run.manifest["status"]
        told["checkpoints"] = sorted(path.name for path in run.checkpoints.iterdir())
        trainer, run = build(out / "cut", stage, start)
        training.train(trainer, run)
        told["resumed"] = run.manifest["resumed"][0]["from_step"]
        told["adapters"] = list(trainer.model.peft_config)
        found[stage] = told
    reference = [
        (name.replace(".ref.", ".default."), parameter.detach())
        for name, parameter in trainer.model.named_parameters()
        if ".ref." in name
    ]
    return found | {"reference": identity(reference)}


def given(out: Path, adapter: Path) -> Path:
    """GRPO from an adapter on written replies; the run's folder."""
    from helpers.training import trainers as training

    trainer, run = build(out, "grpo", adapter, fixed)
    training.train(trainer, run)
    return run.folder


def card(name: str):
    from helpers.machine import Machine

    dtype, memory = CARDS[name]
    return Machine("gpu", "cuda", name, memory, 4, "colab", dtype)


def config_for(recipe, stage: str, name: str, out: Path):
    """A published recipe's configuration for a card.

    transformers is told that there is one with bfloat16; else it makes none that asks for it.
    """
    from helpers.training import trainers as training
    from helpers.training.training_run import TrainingRun

    run = TrainingRun(out, recipe, stage, card(name), 3, recipe.model)
    make = training.grpo_config if stage == "grpo" else training.sft_config
    told = "transformers.training_args.is_torch_bf16_gpu_available"
    with mock.patch(told, return_value=True):
        return make(recipe, run, card(name), 100)


def asked_for(recipe, stage: str, name: str, out: Path):
    """That configuration, and what `helpers.training` asked of its class, by name."""
    from helpers.training import trainers as training

    kind = "GRPOConfig" if stage == "grpo" else "SFTConfig"
    with mock.patch.object(training, kind, wraps=getattr(training, kind)) as made:
        return config_for(recipe, stage, name, out), dict(made.call_args.kwargs)


def trainer_for(recipe, stage: str, config, dtype: str):
    """The trainer with that configuration, on the tiny model in that dtype."""
    from helpers import data

    model, tokenizer = fresh(None, dtype)
    model.max_seq_length = 8192  # more tokens than any recipe asks for
    rows = data.load(recipe, None, "tiny")["train"].examples[:8]
    return trainer_on(model, tokenizer, recipe, stage, config, rows)


def settings(out: Path) -> list[dict]:
    """Every published recipe, stage and card: what was asked, and what Unsloth made of it.

    In the configuration and, for one card, in the trainer.
    """
    from helpers.recipes import RECIPES

    found = []
    cases = [(r, stage, name) for r in RECIPES.values() for stage in r.stages for name in CARDS]
    for recipe, stage, name in cases:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            config, asked = asked_for(recipe, stage, name, out)
            case = {"recipe": recipe.name, "stage": stage, "card": name, "asked": asked}
            case["fields"] = [field.name for field in fields(config)]
            case["built"] = config.to_dict()
            case["used"] = {}
            if name == "A100" or recipe.name == "gsm8k_xml":
                trainer = trainer_for(recipe, stage, config, CARDS[name][0])
                case["used"] = trainer.args.to_dict()
        found.append(case | {"said": said.getvalue()})
    return found


def mismatch(out: Path) -> str:
    """What Unsloth says to a model of the other half precision."""
    from helpers.recipes import RECIPES

    recipe = RECIPES["gsm8k_xml"]
    try:
        trainer_for(recipe, "sft", config_for(recipe, "sft", "T4", out), "bfloat16")
    except TypeError as error:
        return str(error)
    return "nothing"


def main(out: Path) -> None:
    patched()
    from helpers.training import private, watching

    watching.SAVE_SECONDS["tiny"] = 0.0  # a checkpoint at every step
    place = out / "settings"
    found = {"resume": resume(out), "settings": settings(place), "mismatch": mismatch(place)}
    adapter = out / "whole/gsm8k_hash/sft/adapter"
    given(out / "given", adapter)
    with mock.patch.object(private, "set_reference"):
        given(out / "without", adapter)
    found["vllm"] = sorted(name for name in sys.modules if name.partition(".")[0] == "vllm")
    (out / "results.json").write_text(json.dumps(found, default=str), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
