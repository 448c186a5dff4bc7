"""Loads a model in 4-bit with Unsloth, puts adapters on it, and generates in batches. The same calls on CPU and GPU."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers import machine as machines
from helpers.machine import Machine, hint
from helpers.recipes import Recipe
from helpers.tiny import TINY_MODEL
from helpers.training.adapter import Adapter

from helpers.training.unsloth_first import FastLanguageModel, quiet  # isort: skip  (before transformers, trl and peft)
import bitsandbytes as bnb
import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.bnb import Linear4bit as LoRALinear4bit
from tqdm.std import tqdm

END_OF_TURN = "<|im_end|>"


@dataclass(frozen=True)
class Completion:
    """text without special tokens; tokens: how many were generated; finished: it ended by itself before the limit."""

    text: str
    tokens: int
    finished: bool


def base_of(recipe: Recipe, model: str | None, machine: Machine) -> str:
    """The base to load: what the user set, else the embedded model on the tiny profile, else the recipe's."""
    return model or (str(TINY_MODEL) if machine.profile == "tiny" else recipe.model)


def load(model: str | Adapter, recipe: Recipe, machine: Machine, vllm: str = ""):
    """A base model in 4-bit, or a saved adapter on its base, and the tokenizer.

    model: Hub id, local folder, or an adapter. vllm="colocate": Unsloth puts vLLM beside it, on the same weights. Returns (model, tokenizer); an adapter comes back trainable.
    Raises ConnectionError or FileNotFoundError that say what to do.
    """
    name = str(model.folder) if isinstance(model, Adapter) else model
    if not Path(name).exists():
        print(f"fetching {name} from the Hub, or from its cache", flush=True)
    longest = max(
        recipe.grpo.max_prompt + recipe.grpo.max_completion,
        *(getattr(recipe, stage).max_length for stage in recipe.supervised),
        0,
    )
    try:
        with quiet():
            model, tokenizer = FastLanguageModel.from_pretrained(
                name,
                max_seq_length=longest,
                load_in_4bit=recipe.lora.load_in_4bit,
                dtype=getattr(torch, machine.dtype),
                use_gradient_checkpointing=checkpointing(machine),
                **(
                    {"fast_inference": True, "max_lora_rank": recipe.lora.r}
                    if vllm == "colocate"
                    else {}
                ),
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise explain(name, error) from error
    settle_end(model, tokenizer)
    return model, tokenizer


def settle_end(model, tokenizer) -> None:
    """Makes the end of a chat turn the end token, and another token the padding.

    Qwen's base models end and pad with the same `<|endoftext|>`: the end of a turn would not end a reply, and an end that is also
    padding is masked, so that the model never learns to stop.
    """
    if END_OF_TURN in tokenizer.get_vocab():
        tokenizer.eos_token = END_OF_TURN
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.pad_token = "<|endoftext|>"
    tokenizer.padding_side = "left"
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = sorted(end_tokens(model.generation_config, tokenizer))


def explain(name: str, error: Exception) -> Exception:
    """The two lines that a person needs when a model, or an adapter with its base, does not load."""
    config = Path(name, "adapter_config.json")
    base = (
        json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"]
        if config.is_file()
        else name
    )
    if base != name and not Path(base).exists():
        return ConnectionError(
            f"The base {base!r}, which the adapter in {name} names, could not be loaded from the Hub ({type(error).__name__}).\n"
            "Check the network, or put the folder of that model into the adapter_config.json as base_model_name_or_path."
        )
    if Path(name).exists():
        return ValueError(
            f"The model in {name} could not be loaded ({type(error).__name__}: {str(error)[:200]}).\n"
            "Set MODEL to a folder with config.json, tokenizer and safetensors weights."
            + hint("config.json")
        )
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        return FileNotFoundError(
            f"There is no model and no adapter at {name}.\nTrain it first, or set MODEL to a local folder or a Hub id."
            + hint("config.json")
        )
    return ConnectionError(
        f"The model {name!r} could not be loaded from the Hub ({type(error).__name__}).\n"
        "Check the network and the id, or set MODEL to a local folder." + hint("config.json")
    )


def checkpointing(machine: Machine) -> str | bool:
    """Gradient checkpointing saves memory on a GPU; a tiny model has no use for it, and it breaks generation there."""
    return "unsloth" if machine.profile == "gpu" else False


def add_lora(model, recipe: Recipe, machine: Machine, seed: int):
    """Freezes the base and adds the recipe's LoRA matrices, which are the only weights that train."""
    lora = recipe.lora
    with quiet():
        return FastLanguageModel.get_peft_model(
            model,
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=list(lora.targets),
            bias="none",
            use_gradient_checkpointing=checkpointing(machine),
            random_state=seed,
        )


def count_parameters(model) -> dict[str, int]:
    """How many parameters train, and how many there are; 4-bit weights count as the numbers they stand for."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(
        p.numel() * (2 if p.__class__.__name__ == "Params4bit" else 1) for p in model.parameters()
    )
    return {"trainable": trainable, "all": total}


def generate(
    model,
    tokenizer,
    prompts: Sequence[str],
    max_new_tokens: int,
    temperature: float = 0.0,
    batch: int = 64,
    seed: int = 0,
    label: str = "generating",
) -> list[Completion]:
    """Continues every prompt once. temperature 0 is greedy.

    Prompts of similar length share a batch; the results are in the order of the prompts. Shows progress and time left.
    """
    results: list[Completion | None] = [None] * len(prompts)
    machines.set_seed(seed)
    for chosen, completions in in_batches(
        model, tokenizer, prompts, max_new_tokens, temperature, batch, label
    ):
        for i, completion in zip(chosen, completions, strict=True):
            results[i] = completion
    return results


def in_batches(
    model,
    tokenizer,
    prompts: Sequence[str],
    max_new_tokens: int,
    temperature: float,
    batch: int,
    label: str,
    done: int = 0,
) -> Iterator[tuple[list[int], list[Completion]]]:
    """The completions batch by batch, each with the places of its prompts; the first `done` prompts in that order are passed over."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    getattr(
        model, "for_inference", model.eval
    )()  # Unsloth's models have a mode for it; plain ones only eval
    sampling = (
        {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}
        if temperature
        else {"do_sample": False}
    )
    with progress(len(prompts), label, done) as bar, torch.no_grad(), merged_weights(model):
        for start in range(done, len(order), batch):
            chosen = order[start : start + batch]
            rows = tokenizer(
                [prompts[i] for i in chosen],
                return_tensors="pt",
                padding=True,
                padding_side="left",
                add_special_tokens=False,
            ).to(model.device)
            output = model.generate(
                **rows,
                max_new_tokens=max_new_tokens,
                use_cache=True,
                pad_token_id=tokenizer.pad_token_id,
                **sampling,
            )
            ends = end_tokens(model.generation_config, tokenizer)
            yield (
                chosen,
                [
                    read_completion(tokenizer, ids, ends)
                    for ids in output[:, rows["input_ids"].shape[1] :].tolist()
                ],
            )
            bar.update(len(chosen))


def at_work(model, adapters: bool = True) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights at work: the base's and, with adapters=True, those of the active adapter, by the names that they have in its file."""
    active = {
        name
        for module in model.modules()
        if adapters and isinstance(module, LoraLayer) and not module.disable_adapters
        for name in module.active_adapters
    }
    for name, parameter in model.named_parameters():
        places = name.split(".")
        lora = next(
            (places[i + 1] for i, part in enumerate(places[:-1]) if part in ("lora_A", "lora_B")),
            None,
        )
        if lora is None or lora in active:
            yield ".".join(part for part in places if part != lora), parameter.detach()


def scales(model) -> list[float]:
    """By what the products of the active adapter's matrices are multiplied, α/r of its configuration; each once."""
    return sorted(
        {
            module.scaling[name]
            for module in model.modules()
            if isinstance(module, LoraLayer) and not module.disable_adapters
            for name in module.active_adapters
            if name in module.scaling
        }
    )


def identity(weights: Iterable[tuple[str, torch.Tensor]]) -> str:
    """A hash of weights, such as those `at_work`, from 64 values of each."""
    digest = hashlib.sha256()
    for name, tensor in weights:
        digest.update(
            name.encode() + str(tensor.flatten()[:64].cpu().to(torch.float64).tolist()).encode()
        )
    return digest.hexdigest()[:16]


def adapter_identity(weights: Iterable[tuple[str, torch.Tensor]], dtype: str = "") -> str:
    """The number type of the LoRA matrices among these weights, and a hash of them; "" for none. dtype: the type that they are turned into first."""
    matrices = sorted(
        (name, tensor.to(getattr(torch, dtype)) if dtype else tensor)
        for name, tensor in weights
        if "lora_" in name
    )
    return f"{matrices[0][1].dtype} {identity(matrices)}".removeprefix("torch.") if matrices else ""


@contextlib.contextmanager
def merged_weights(model) -> Iterator[None]:
    """On the CPU, each 4-bit layer computes with W + (α/r)·BA, dequantised once, instead of at every token.

    The merged matrices live only inside the `with`: kept longer, they would go stale with the next
    training step. On a GPU Unsloth's own kernels do better, and nothing is changed.
    """
    changed = []
    for module in model.modules():
        if (
            isinstance(module, LoRALinear4bit | bnb.nn.Linear4bit)
            and next(module.parameters()).device.type == "cpu"
        ):
            base = module.get_base_layer() if isinstance(module, LoRALinear4bit) else module
            weight = bnb.functional.dequantize_4bit(
                base.weight.data, base.weight.quant_state
            ).float()
            if isinstance(module, LoRALinear4bit) and not module.disable_adapters:
                weight = weight + sum(
                    module.get_delta_weight(name).float() for name in module.active_adapters
                )
            module.forward = functools.partial(torch.nn.functional.linear, weight=weight.detach())
            changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def end_tokens(generation_config, tokenizer) -> set[int]:
    """The ids that end a reply: the tokenizer's end and those of the model's generation settings."""
    ends = generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}


def read_completion(tokenizer, ids: list[int], ends: set[int]) -> Completion:
    """Cuts the generated tokens at the first end token."""
    length = next((n for n, token in enumerate(ids) if token in ends), None)
    kept = ids if length is None else ids[:length]
    return Completion(
        tokenizer.decode(kept, skip_special_tokens=True),
        len(kept) + (length is not None),
        length is not None,
    )


@contextlib.contextmanager
def progress(total: int, label: str, done: int = 0) -> Iterator[tqdm]:
    """A bar with the time left, which disappears when it is done."""
    with tqdm(
        total=total,
        initial=done,
        desc=label,
        leave=False,
        file=sys.stdout,
        mininterval=0.5,
        ncols=78,
    ) as bar:
        yield bar
