"""What Unsloth's GPU trainers do without a GPU: train, go on, compare; leaves OUT/results.json.

`as_on_a_gpu` runs it. No kernel of Unsloth runs: the model is a stock one, tiny, in float32. One
process does everything, because patching takes half a minute.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import fields, replace
from pathlib import Path
from unittest import mock

from helpers import data
from helpers.machine import Machine, detect
from helpers.machine.planning import COMPUTER_SHARE, estimate, shape_of, total
from helpers.recipes import RECIPES, for_model, get_recipe
from helpers.training import Adapter, identity, models, private, watching
from helpers.training import trainers as training
from helpers.training.training_run import TrainingRun
from tests.training import building
from tests.training.building import BASE

import torch  # isort: skip  (after Unsloth)
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

STEPS, STOP = 4, 3
CARDS = {"T4": ("float16", 15.0), "A100": ("bfloat16", 79.0)}


def small():
    """gsm8k_hash, whose KL term counts, with steps of about a second."""
    recipe = for_model(get_recipe("gsm8k_hash"), True, "cpu")
    grpo = replace(recipe.grpo, batch=16, generations=4, max_completion=32, rows=100)
    return replace(recipe, sft=replace(recipe.sft, rows=100), grpo=grpo)


def machine_for(recipe, rows: int):
    """This computer with memory for so many completions, so that the batch is cut as on a card."""
    machine, shape = detect(), shape_of(BASE)
    enough, more = (total(estimate(recipe, "grpo", shape, machine, n)) for n in (rows, 2 * rows))
    return replace(machine, memory_gb=(enough + more) / 2 / COMPUTER_SHARE)


def fresh(adapter: Path | None, dtype: str = "float32"):
    """The tiny model as transformers and PEFT load it, with LoRA or an adapter; its tokenizer."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=getattr(torch, dtype))
    models.settle_end(model, tokenizer)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter, is_trainable=True)
    else:
        model = get_peft_model(model, LoraConfig(r=8, target_modules=list(small().lora.targets)))
    # What Unsloth's loader adds.
    model.for_training = model.for_inference = lambda *args, **kwargs: model
    model._unsloth_user_float32 = dtype == "float32"
    return model, tokenizer


def build(out: Path, stage: str, start: Path | None = None):
    """A stage's trainer and run on a fresh model, and its rows."""
    recipe, (model, tokenizer) = small(), fresh(start)
    parent = Adapter.read(start) if start else None
    run = TrainingRun(out, recipe, stage, machine_for(recipe, 8), 0, BASE, parent)
    train = data.load(recipe, None, "cpu")["train"]
    rows = data.chosen(recipe, tokenizer, train, stage, 0).examples
    args, dataset = building.config(run, STEPS), building.dataset(recipe, tokenizer, stage, rows)
    return building.trainer_on(model, tokenizer, recipe, stage, args, dataset), run, rows


def resume(out: Path) -> dict:
    """Both stages in one go in OUT/whole, and cut off and gone on with in OUT/cut."""
    found = {}
    for stage, start in (("sft", None), ("grpo", out / "whole/gsm8k_hash/sft/adapter")):
        trainer, run, _ = build(out / "whole", stage, start)
        weights = training.starting_adapter(trainer.model, stage)
        told = {"class": type(trainer).__name__, "start": identity(weights.items())}
        training.train(trainer, run)
        trainer, run, _ = build(out / "cut", stage, start)
        trainer.add_callback(Cut())
        with contextlib.suppress(KeyboardInterrupt):
            training.train(trainer, run)
        told["cut"] = run.manifest["status"]
        told["checkpoints"] = sorted(path.name for path in run.checkpoints.iterdir())
        trainer, run, _ = build(out / "cut", stage, start)
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


class Cut(TrainerCallback):
    """Fails when the checkpoint of step `STOP` is written, before its marker."""

    def on_save(self, args, state, control, **_):
        if state.global_step == STOP:
            raise KeyboardInterrupt


def given(out: Path, adapter: Path) -> None:
    """GRPO from an adapter on replies that do not depend on the model.

    Every other one is right, one of a group is cut off.
    """

    def replies(trainer, prompts: list[list[int]], *_, **__):
        found = []
        for i, prompt in enumerate(prompts):
            text = tokenizer.decode(prompt)
            answer = next(row.answer for row in rows if row.question in text)
            reply = "so " * (i % 4) + f"\n#### {answer}" + "1" * (i % 2)
            ids = tokenizer(reply, add_special_tokens=False)["input_ids"][:31]
            found.append(ids + [tokenizer.eos_token_id] * (i % 4 != 3))
        return found, None

    trainer, run, rows = build(out, "grpo", adapter)
    tokenizer = trainer.processing_class
    with mock.patch.object(type(trainer), private.GENERATE, replies):
        training.train(trainer, run)


def config_for(recipe, stage: str, name: str, out: Path):
    """A published recipe's configuration for a card.

    transformers is told that there is one with bfloat16; else it makes none that asks for it.
    """
    dtype, memory = CARDS[name]
    card = Machine("cuda", name, memory, 4, "colab", dtype)
    run = TrainingRun(out, recipe, stage, card, 3, recipe.model)
    told = "transformers.training_args.is_torch_bf16_gpu_available"
    with mock.patch(told, return_value=True):
        return building.config(run, 100)


def asked_for(recipe, stage: str, name: str, out: Path):
    """That configuration, and what `helpers.training` asked of its class, by name."""
    kind = "GRPOConfig" if stage == "grpo" else "SFTConfig"
    with mock.patch.object(training, kind, wraps=getattr(training, kind)) as made:
        return config_for(recipe, stage, name, out), dict(made.call_args.kwargs)


def trainer_for(recipe, stage: str, config, dtype: str):
    """The trainer with that configuration, on the tiny model in that dtype."""
    model, tokenizer = fresh(None, dtype)
    model.max_seq_length = 8192  # more tokens than any recipe asks for
    rows = building.dataset(recipe, tokenizer, stage, building.questions(recipe, 8))
    return building.trainer_on(model, tokenizer, recipe, stage, config, rows)


def settings(out: Path) -> list[dict]:
    """Every published recipe, stage and card: what was asked, and what Unsloth made of it.

    In the configuration and, for one card, in the trainer.
    """
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
    recipe = RECIPES["gsm8k_xml"]
    try:
        trainer_for(recipe, "sft", config_for(recipe, "sft", "T4", out), "bfloat16")
    except TypeError as error:
        return str(error)
    return "nothing"


def main(out: Path) -> None:
    watching.SAVE_SECONDS["cpu"] = 0.0  # a checkpoint at every step
    place = out / "settings"
    found = {"resume": resume(out), "settings": settings(place), "mismatch": mismatch(place)}
    adapter = out / "whole/gsm8k_hash/sft/adapter"
    given(out / "given", adapter)
    with mock.patch.object(private, "set_reference"):
        given(out / "without", adapter)
    found["vllm"] = sorted(name for name in sys.modules if name.partition(".")[0] == "vllm")
    (out / "results.json").write_text(json.dumps(found, default=str), encoding="utf-8")
