"""Loads a base with Unsloth, and adds LoRA to it."""

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from peft.tuners.lora import LoraLayer
from transformers import GenerationConfig

from helpers import data
from helpers.machine import Machine, checked_downloads, hint, row_length
from helpers.recipes import Recipe
from helpers.training.adapter import Adapter, identity
from helpers.training.unsloth_first import FastLanguageModel, quiet

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# Of gradients: saves memory on a GPU; a tiny model has no use for it, and it breaks generation.
CHECKPOINTING = {"cuda": "unsloth", "cpu": False}


@checked_downloads()
def load(model: str | Adapter, recipe: Recipe, machine: Machine, vllm: str = ""):
    """A base, or an adapter on its base, ready to be trained further, and the tokenizer.

    model: a base's Hub id or folder, or an adapter. vllm="colocate": Unsloth puts vLLM beside it,
    on the same weights. Raises ConnectionError if a base is not there, RuntimeError if a file of it
    did not arrive whole, ValueError if an adapter does not fit its base.
    """
    name = str(model.folder) if isinstance(model, Adapter) else model
    lengths = [row_length(getattr(recipe, stage)) for stage in recipe.stages]
    options = {}
    if vllm == "colocate":
        options = {"fast_inference": True, "max_lora_rank": rank_in_vllm(recipe.lora.r)}
    if not Path(name).exists():
        print(f"fetching {name} from the Hub, or from its cache", flush=True)
    try:
        with contextlib.ExitStack() as cleanup:
            cleanup.enter_context(quiet())
            cleanup.enter_context(torch.enable_grad())  # Unsloth tries whether 4-bit layers train
            place = name
            if isinstance(model, Adapter):
                place = str(cleanup.enter_context(model.on_its_base()))
            loaded, tokenizer = FastLanguageModel.from_pretrained(
                place,
                max_seq_length=max(lengths),
                load_in_4bit=recipe.lora.load_in_4bit,
                dtype=getattr(torch, machine.dtype),
                use_gradient_checkpointing=CHECKPOINTING[machine.device],
                **options,
            )
    except (OSError, ValueError, RuntimeError) as error:
        base, what = model, f"The model {model!r}"
        if isinstance(model, Adapter):
            base = model.base
            what = f"The base {base!r}, which the adapter in {name} names,"
        if "size mismatch" in str(error):
            cure = "Set MODEL to the base that it was trained on."
            raise ValueError(f"The adapter in {name} does not fit {base}.\n{cure}") from error
        if Path(base).exists():
            raise
        what += f" could not be loaded from the Hub ({type(error).__name__})"
        cure = "Check the network and the id, or set MODEL to a local folder."
        raise ConnectionError(f"{what}.\n{cure}{hint('config.json')}") from error
    settle_end(loaded, tokenizer)
    return loaded, tokenizer


def rank_in_vllm(rank: int) -> int:
    """The least rank of those that vLLM makes room for that is enough."""
    return next((size for size in VLLM_RANKS if size >= rank), rank)


def settle_end(model, tokenizer) -> None:
    """Settles what ends a reply, as `neutral_settings` says, on a model and its tokenizer."""
    data.settle_tokenizer(tokenizer)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config = neutral_settings(model.generation_config, tokenizer)


def neutral_settings(own: GenerationConfig, tokenizer) -> GenerationConfig:
    """A base's generation settings without all that changes a reply, such as penalties and limits.

    Evaluation, the pre-flight, GRPO and exports use them. A reply ends where a turn of the chat
    template ends, or where the base's own settings end it.
    """
    return GenerationConfig(
        bos_token_id=own.bos_token_id,
        eos_token_id=sorted(end_tokens(own, tokenizer)),
        pad_token_id=tokenizer.pad_token_id,
    )


def end_tokens(generation_config, tokenizer) -> set[int]:
    """The ids that end a reply: the tokenizer's, and those of the model's generation settings."""
    ends = generation_config.eos_token_id  # a list, a number, or None
    if not isinstance(ends, list):
        ends = [ends]
    return {tokenizer.eos_token_id, *ends} - {None}


def add_lora(model, recipe: Recipe, machine: Machine, seed: int):
    """Freezes the base and adds the recipe's LoRA matrices, the only weights that train."""
    lora = recipe.lora
    with quiet():
        return FastLanguageModel.get_peft_model(
            model,
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=list(lora.targets),
            bias="none",
            use_gradient_checkpointing=CHECKPOINTING[machine.device],
            random_state=seed,
        )


def count_parameters(model) -> dict[str, int]:
    """How many parameters of a model with LoRA train, and how many there are."""
    trainable, total = model.get_nb_trainable_parameters()
    return {"trainable": trainable, "all": total}


def active_lora_layers(model) -> Iterator[LoraLayer]:
    for module in model.modules():
        if isinstance(module, LoraLayer) and not module.disable_adapters:
            yield module


def at_work(model) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights at work, by their names in a file: the base's, and the active adapter's."""
    active = set()
    for layer in active_lora_layers(model):
        active.update(layer.active_adapters)
    for name, parameter in model.named_parameters():
        adapter = re.search(r"\.lora_[AB]\.([^.]+)", name)
        if adapter is None or adapter[1] in active:
            yield re.sub(r"(\.lora_[AB])\.[^.]+", r"\1", name), parameter.detach()


def scales(model) -> list[float]:
    """What the products of the active adapter's matrices are multiplied by, α/r; each once."""
    found = set()
    for layer in active_lora_layers(model):
        for name in layer.active_adapters:
            if name in layer.scaling:
                found.add(layer.scaling[name])
    return sorted(found)


def adapter_identity(weights: Iterable[tuple[str, torch.Tensor]], dtype: str = "") -> str:
    """The number type of the LoRA matrices among these weights, and their hash; "" for none.

    dtype: the type that they are turned into first.
    """
    matrices = sorted(pair for pair in weights if "lora_" in pair[0])
    if not matrices:
        return ""
    kind = getattr(torch, dtype) if dtype else matrices[0][1].dtype
    hashed = identity((name, tensor.to(kind)) for name, tensor in matrices)
    return f"{kind} {hashed}".removeprefix("torch.")
