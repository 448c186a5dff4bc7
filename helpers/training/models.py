"""Loads a base with Unsloth, adds LoRA to it, and generates in batches."""

import contextlib
import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate.utils import set_seed
from peft.tuners.lora import LoraLayer
from tqdm.std import tqdm
from transformers import GenerationConfig, TextStreamer

from helpers import data
from helpers.machine import Machine, checked_downloads, hint
from helpers.recipes import Recipe
from helpers.training import decoding
from helpers.training.adapter import Adapter, identity
from helpers.training.dequantised import merged_weights
from helpers.training.unsloth_first import FastLanguageModel, quiet

Weights = Iterable[tuple[str, torch.Tensor]]
VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# Of gradients: saves memory on a GPU; a tiny model has no use for it, and it breaks generation.
CHECKPOINTING = {"cuda": "unsloth", "cpu": False}


@dataclass(frozen=True)
class Completion:
    """text: without special tokens; tokens: generated; finished: it ended before the limit."""

    text: str
    tokens: int
    finished: bool


@checked_downloads()
def load(model: str | Adapter, recipe: Recipe, machine: Machine, vllm: str = ""):
    """A base, or an adapter on its base, ready to be trained further, and the tokenizer.

    model: a base's Hub id or folder, or an adapter. vllm="colocate": Unsloth puts vLLM beside it,
    on the same weights. Raises ConnectionError if a base is not there, RuntimeError if a file of it
    did not arrive whole.
    """
    name = str(model.folder) if isinstance(model, Adapter) else model
    lengths = [recipe.grpo.max_prompt + recipe.grpo.max_completion]
    for stage in recipe.supervised:
        lengths.append(getattr(recipe, stage).max_length)
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
    """The least of the ranks that vLLM makes room for which is enough."""
    return next((size for size in VLLM_RANKS if size >= rank), rank)


def settle_end(model, tokenizer) -> None:
    """Lets a reply end where a turn of the chat template ends, and nothing else shape it."""
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
    ends = generation_config.eos_token_id
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
    """Continues every prompt once, in their order, and shows a bar. temperature 0 is greedy."""
    set_seed(seed)
    found = {}
    settings = (max_new_tokens, temperature, batch, label)
    for places, completions in in_batches(model, tokenizer, prompts, *settings):
        found.update(zip(places, completions, strict=True))
    return [found[place] for place in range(len(prompts))]


class Screen(TextStreamer):
    """Shows a reply as it comes; without the control characters that a terminal would obey."""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        shown = "".join(c for c in text if c.isprintable() or c in "\n\t")
        super().on_finalized_text(shown, stream_end)


def ask(model, tokenizer, recipe: Recipe, question: str) -> str:
    """The greedy reply to a question in the recipe's own prompt, shown while it is written."""
    prompt = data.prompt_text(recipe, tokenizer, question)
    rows = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").to(model.device)
    model.for_inference()
    with torch.no_grad(), merged_weights(model):
        output = model.generate(
            **rows,
            max_new_tokens=recipe.grpo.max_completion,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
            streamer=Screen(tokenizer, skip_prompt=True, skip_special_tokens=True),
            custom_generate=None,
        )
    reply = output[0, rows["input_ids"].shape[1] :]
    return recipe.with_opening(tokenizer.decode(reply, skip_special_tokens=True))


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
    """The completions batch by batch, each with the places of its prompts, from short to long.

    The first `done` prompts in that order are passed over.
    """
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    sampling = {"do_sample": False}
    if temperature:
        sampling = {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}
    model.for_inference()  # Unsloth's mode for it
    ends = end_tokens(model.generation_config, tokenizer)
    with progress(len(prompts), label, done) as bar, torch.no_grad(), merged_weights(model):
        for start in range(done, len(order), batch):
            places = order[start : start + batch]
            rows = tokenizer(
                [prompts[place] for place in places],
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
                **decoding.options(model),
            )
            replies = output[:, rows["input_ids"].shape[1] :].tolist()
            completions = []
            for ids in replies:
                finished = not ends.isdisjoint(ids)
                own = list(itertools.takewhile(lambda token: token not in ends, ids))
                text = tokenizer.decode(own, skip_special_tokens=True)
                completions.append(Completion(text, len(own) + finished, finished))
            yield places, completions
            bar.update(len(places))


def progress(total: int, label: str, done: int = 0) -> tqdm:
    """A bar with the time left, which disappears when it is done."""
    looks = {"leave": False, "file": sys.stdout, "mininterval": 0.5, "ncols": 78}
    return tqdm(total=total, initial=done, desc=label, **looks)


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


def adapter_identity(weights: Weights, dtype: str = "") -> str:
    """The number type of the LoRA matrices among these weights, and their hash; "" for none.

    dtype: the type that they are turned into first.
    """
    matrices = sorted(pair for pair in weights if "lora_" in pair[0])
    if not matrices:
        return ""
    kind = getattr(torch, dtype) if dtype else matrices[0][1].dtype
    hashed = identity((name, tensor.to(kind)) for name, tensor in matrices)
    return f"{kind} {hashed}".removeprefix("torch.")
