"""What Unsloth's GPU trainers do without a GPU: train, go on, compare; leaves OUT/results.json.

`python -m tests.training.unsloth_gpu OUT` lets Unsloth patch TRL as on a GPU before all else. No
kernel of it runs: the model is a stock one, tiny, in float32. One process does everything, because
patching takes half a minute.
"""

import contextlib
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

if __name__ == "__main__":
    import os

    os.environ |= {"UNSLOTH_ALLOW_CPU": "1", "UNSLOTH_COMPILE_DISABLE": "1"}
    os.environ |= {"UNSLOTH_GRPO_SEQ_PACKING": "0", "UNSLOTH_GRPO_PREFIX_GROUPER": "0"}
    import unsloth  # noqa: F401

    import helpers.machine  # noqa: F401  (sets where Unsloth's cache goes)

    os.environ["UNSLOTH_ALLOW_CPU"] = "0"
    from unsloth.models.rl import PatchFastRL
    from unsloth.trainer import _patch_trl_trainer

    PatchFastRL(FastLanguageModel=None)
    _patch_trl_trainer()

from helpers import data
from helpers.machine import Machine, detect
from helpers.machine.planning import COMPUTER_SHARE, estimate, shape_of, total
from helpers.recipes import RECIPES, for_model, get_recipe
from helpers.training import Adapter, decoding, identity, models, private, watching
from helpers.training import trainers as training
from helpers.training.training_run import TrainingRun
from tests.training import building
from tests.training.building import BASE

import torch  # isort: skip  (after Unsloth)
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

STEPS, STOP = 4, 3
CARDS = {"T4": ("float16", 15.0), "A100": ("bfloat16", 79.0)}


def small():
    """gsm8k_hash, whose KL term counts, with steps of about a second."""
    recipe = for_model(get_recipe("gsm8k_hash"), True, "cpu")
    grpo = replace(recipe.grpo, batch=16, generations=4, max_completion=32, rows=100)
    return replace(recipe, sft=replace(recipe.sft, rows=100), grpo=grpo)


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
    machine, shape = detect(), shape_of(BASE)
    # Memory for half a batch, which is so cut as on a card.
    enough, more = (total(estimate(recipe, "grpo", shape, machine, n)) for n in (8, 16))
    machine = replace(machine, memory_gb=(enough + more) / 2 / COMPUTER_SHARE)
    parent = Adapter.read(start) if start else None
    run = TrainingRun(out, recipe, stage, machine, 0, BASE, parent)
    train = data.load(recipe, None, "cpu")["train"]
    rows = data.chosen(recipe, tokenizer, train, stage, 0).examples
    args, dataset = building.config(run, STEPS), building.dataset(recipe, tokenizer, stage, rows)
    return building.trainer_on(model, tokenizer, recipe, stage, args, dataset), run, rows


def resume(out: Path) -> dict:
    """Both stages in one go in OUT/whole, and cut off and gone on with in OUT/cut."""
    found = {}
    for stage, start in (("sft", None), ("grpo", out / "whole/gsm8k_hash/sft/adapter")):
        trainer, run, _ = build(out / "whole", stage, start)
        told = {"class": type(trainer).__name__}
        training.train(trainer, run)
        trainer, run, _ = build(out / "cut", stage, start)
        # When the checkpoint is written, before its marker.
        killed = mock.Mock(side_effect=KeyboardInterrupt)
        trainer.add_callback(building.At(STOP, killed, "on_save"))
        with contextlib.suppress(KeyboardInterrupt):
            training.train(trainer, run)
        trainer, run, _ = build(out / "cut", stage, start)
        training.train(trainer, run)
        told["adapters"] = list(trainer.model.peft_config)
        found[stage] = told
    reference = {}
    for name, parameter in trainer.model.named_parameters():
        if ".ref." in name:
            reference[name.replace(".ref.", ".")] = parameter.detach()
    return found | {"reference": identity(sorted(reference.items()))}


def given(out: Path, adapter: Path) -> None:
    """GRPO from an adapter on given replies: every other one is right, one of four is cut off."""

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
    """A recipe's configuration for a card; transformers is told that there is one with bfloat16."""
    dtype, memory = CARDS[name]
    card = Machine("cuda", name, memory, 4, "colab", dtype)
    run = TrainingRun(out, recipe, stage, card, 3, recipe.model)
    told = "transformers.training_args.is_torch_bf16_gpu_available"
    with mock.patch(told, return_value=True):
        return building.config(run, 100)


def trainer_for(recipe, stage: str, config, dtype: str):
    """The trainer with that configuration, on the tiny model in that dtype."""
    model, tokenizer = fresh(None, dtype)
    model.max_seq_length = 8192  # more tokens than any recipe asks for
    rows = building.dataset(recipe, tokenizer, stage, building.questions(recipe, 8))
    return building.trainer_on(model, tokenizer, recipe, stage, config, rows)


def settings(out: Path) -> list[dict]:
    """Every recipe, stage and card: what was asked, what configuration and trainer made of it."""
    found = []
    cases = [(r, stage, name) for r in RECIPES.values() for stage in r.stages for name in CARDS]
    for recipe, stage, name in cases:
        case = {"recipe": recipe.name, "stage": stage, "card": name, "used": {}}
        kind = "GRPOConfig" if stage == "grpo" else "SFTConfig"
        asked = mock.patch.object(training, kind, wraps=getattr(training, kind))
        with contextlib.redirect_stdout(io.StringIO()) as said, asked as made:
            config = config_for(recipe, stage, name, out)
            case |= {"asked": made.call_args.kwargs, "built": config.to_dict()}
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
    decoding.options = lambda model: {}  # as on a card
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
