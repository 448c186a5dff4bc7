"""How much memory a stage takes, term by term, and how an effective batch is cut so that it fits.

Each term follows from the model's shape, the recipe and the code that trains: Unsloth on a GPU, TRL
and transformers on a CPU. All rows are taken to be as long as the recipe allows.
The tests hold them to measurements on the CPU; on a GPU they are derived from the sources. Only
tensors are counted: a C library keeps freed blocks besides, on the embedded model 24 to 65 % more.
"""

import functools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from helpers.machine.computer import GIB, Machine
from helpers.machine.folders import check_path, hint
from helpers.recipes import ALL_PROJECTIONS, GRPOSettings, Recipe, SFTSettings, for_model
from helpers.tiny import TINY_MODEL, is_embedded

Parts = dict[str, float]  # GiB
WIDTH = {"float32": 4, "float16": 2, "bfloat16": 2}  # bytes of a number
# NF4: half a byte, a byte for each 64 weights, a float32 for each 256 of those (arXiv 2305.14314)
FOUR_BIT = 0.5 + 1 / 64 + 4 / (64 * 256)
CPU_LOGITS = 16 * 2**20  # how many Unsloth computes at once (unsloth_zoo/cpu/ops.py)
# Bytes a logit, fewest tokens, most bytes at once (unsloth_zoo/fused_losses/chunked_logprob.py)
GPU_LOGIT, FEWEST_TOKENS, MOST_BYTES = 8, 512, 2 * GIB
CUDA = 0.8 * GIB  # context, kernels and workspaces; assumed, 0.6 to 1 is usual
BUSY = 350  # tokens at once for each GiB keep a card busy, more only take memory; assumed
# What a plan may fill of the memory; the rest is for fragments, and for other programs.
CARD_SHARE, COMPUTER_SHARE = 0.9, 0.25
# Never at the same time:
GENERATING = ("KV cache", "prompts", "merged weights")
TRAINING = ("gradients", "activations", "logits")
# What counts in the config.json of the recipes' models; the base models have the same.
PUBLISHED = Path(__file__).with_name("published.json")
ALIAS = "^(qwen|unsloth)/|(-base)?(-unsloth)?(-bnb-4bit)?$"
# What is lent and sold, with GiB as torch reports them, which is less than on the label.
CARDS_FILE = Path(__file__).with_name("cards.json")
CARDS = [Machine(**card) for card in json.loads(CARDS_FILE.read_text())]
COLUMNS = {
    "weights": ("weights",),
    "LoRA": ("LoRA", "optimiser", "reference adapter"),
    "training": TRAINING,
    "generating": GENERATING,
}
PLAN = """\
memory    {0.total:.2f} of {0.memory_gb:.1f} GiB, estimated for the longest rows, \
without the libraries{turns}
parts     {parts}
batch     {0.batch} = {whole} (device batch × accumulation × processes)"""
TURNS = "\n          (generating and training take turns)"
ADVICE = """\
This needs {0.total:.1f} GiB, of which {largest[0]} {largest[1]:.1f}; there are {0.memory_gb:.1f}.
Take a card with more memory, a smaller MODEL, BATCH or LORA_RANK, 4-bit weights, shorter texts."""


@dataclass(frozen=True)
class Shape:
    """How wide a model's layers are, how many there are, and how many weights that makes."""

    layers: int
    hidden: int
    intermediate: int
    query: int  # of all heads together
    key: int
    head_norm: bool  # q and k are normalised (Qwen3)
    vocabulary: int
    # (inputs, outputs) of a layer's matrices, which are in 4-bit and which LoRA goes on
    projections: dict[str, tuple[int, int]]
    linear: int  # weights of those matrices in all layers
    other: int  # of embedding, output layer where it is not tied, norms and biases

    @property
    def parameters(self) -> int:
        return self.linear + self.other


@functools.cache
def shape_of(model: str) -> Shape:
    """The sizes of a published model, in 4-bit or not, of a folder's, or of another on the Hub.

    Raises FileNotFoundError where there is no such folder, ValueError for what is no model that
    can be trained here.
    """
    from transformers import AutoConfig

    check_path(model, "model and no adapter", "config.json")
    name = re.sub(ALIAS, "", model.lower())
    published = json.loads(PUBLISHED.read_text())
    try:
        if name in published:
            return shape_from(AutoConfig.for_model(**published[name]))
        return shape_from(AutoConfig.from_pretrained(model))
    except (OSError, ValueError, AttributeError, KeyError) as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ValueError(
            f"{model} is no model that can be trained here ({reason}).\n"
            "Set MODEL to a dense chat model, such as a Qwen3: a Hub id (and check the network), "
            "or a folder with config.json, tokenizer and safetensors weights." + hint("config.json")
        ) from error


def shape_from(config) -> Shape:
    """The sizes that a configuration of transformers states, of a model without weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    projections = {}
    head_norm = False
    for name, module in model.named_modules():
        last = name.rpartition(".")[2]
        if last in ALL_PROJECTIONS:
            projections[last] = (module.in_features, module.out_features)
        head_norm |= last == "q_norm"
    missing = [name for name in ALL_PROJECTIONS if name not in projections]
    if missing:
        raise ValueError(f"its layers have no {missing[0]}, on which LoRA goes")
    layers = config.num_hidden_layers
    linear = layers * sum(inputs * outputs for inputs, outputs in projections.values())
    return Shape(
        layers,
        hidden=config.hidden_size,
        intermediate=projections["gate_proj"][1],
        query=projections["q_proj"][1],
        key=projections["k_proj"][1],
        head_norm=head_norm,
        vocabulary=config.vocab_size,
        projections=projections,
        linear=linear,
        other=model.num_parameters() - linear,
    )


def default_base(recipe: Recipe, machine: Machine) -> str:
    """What is taught where no model is named: on a CPU the embedded one."""
    return str(TINY_MODEL) if machine.device == "cpu" else recipe.model


def row_length(part: SFTSettings | GRPOSettings) -> int:
    """The most tokens of a row: prompt and reply together."""
    if isinstance(part, GRPOSettings):
        return part.max_prompt + part.max_completion
    return part.max_length


def tokens_read(recipe: Recipe, stage: str, machine: Machine, rows: int) -> int:
    """The tokens of so many of the longest rows in a forward pass, at most."""
    part = getattr(recipe, stage)
    if stage == "grpo" and machine.device == "cpu":  # a prompt once, see `read_once`
        return math.ceil(rows / part.generations) * part.max_prompt + rows * part.max_completion
    return rows * row_length(part)


def activations(
    recipe: Recipe, shape: Shape, machine: Machine, rows: int, length: int, read: int
) -> float:
    """Bytes of what the forward pass leaves for the backward pass; read: see `tokens_read`."""
    hidden, wide, targets = shape.hidden, shape.intermediate, recipe.lora.targets
    # of a token: the two residual sums that the norms read, the first norm's result for LoRA
    numbers = 3 * hidden
    # gate, its SiLU and up
    numbers += 3 * wide
    if "down_proj" in targets:  # LoRA there too: the other norm's result, and the product
        numbers += hidden + wide
    numbers += 2 * shape.query  # q as attention reads it, and what it gives
    if shape.head_norm:
        numbers += shape.query + shape.key  # q and k before it
    # between A and B of each LoRA matrix, and a row of the mask
    numbers += recipe.lora.r * len(targets) + length
    # of a token in each row, also where a prompt is read once for several rows: its k and v, as
    # attention reads them, copied out for every head
    in_rows = 2 * shape.query
    if machine.device == "cpu":
        in_rows += 2 * shape.key  # and in the cache
        numbers *= shape.layers
        in_rows *= shape.layers
    else:  # Unsloth keeps one layer, computes the others again, and has two inputs on their way
        numbers += 2 * hidden
    # the widest tensors of the layer at work, and those around the output layer
    numbers += 2 * wide + 4 * hidden
    numbers = numbers * read + in_rows * rows * length
    if recipe.lora.load_in_4bit:  # the layer's widest matrix is taken out of it
        numbers += hidden * wide
    return numbers * WIDTH[machine.dtype]


def logits(shape: Shape, machine: Machine, scored: int, stage: str) -> float:
    """Bytes of the logits of that many tokens, which neither backend computes all at once."""
    if machine.device != "cpu":
        tokens = min(scored, max(FEWEST_TOKENS, scored / 8))
        return min(MOST_BYTES, tokens * shape.vocabulary * GPU_LOGIT)
    numbers = scored * shape.vocabulary
    if numbers > CPU_LOGITS:  # the next piece is begun before the last is let go
        numbers = 2 * CPU_LOGITS
    if stage == "grpo":  # also held as probabilities, for the entropy
        numbers *= 2
    return numbers * WIDTH["float32"]


def generation(recipe: Recipe, shape: Shape, machine: Machine) -> Parts:
    """Bytes of generating all of a step's completions that fall to this process at once."""
    part, width = recipe.grpo, WIDTH[machine.dtype]
    rows = part.batch / machine.processes
    # of every token in every layer, and of one layer twice while it grows
    keys_and_values = (shape.layers + 1) * 2 * shape.key
    # three tensors of each width for one layer, while the prompts are read
    reading = 3 * (shape.intermediate + shape.hidden)
    sizes = {
        "KV cache": rows * row_length(part) * keys_and_values * width,
        "prompts": rows * part.max_prompt * reading * width,
    }
    if machine.device == "cpu" and recipe.lora.load_in_4bit:  # see `merged_weights`
        sizes["merged weights"] = shape.linear * width
    return sizes


def estimate(
    recipe: Recipe, stage: str, shape: Shape, machine: Machine, device_batch: int
) -> Parts:
    """GiB by part, of one process, on its card or in this computer's memory; see `total`."""
    part = getattr(recipe, stage)
    length = scored = row_length(part)
    if stage == "grpo":
        scored = part.max_completion
    read = tokens_read(recipe, stage, machine, device_batch)
    width = matrix_width = WIDTH[machine.dtype]
    if recipe.lora.load_in_4bit:
        matrix_width = FOUR_BIT
        if machine.device == "cpu":  # see `dequantised_weights`
            matrix_width += width
    # A is r × inputs, B is outputs × r, both float32 on every machine
    sides = sum(sum(shape.projections[name]) for name in recipe.lora.targets)
    lora = 4 * recipe.lora.r * sides * shape.layers
    sizes = {
        "weights": shape.linear * matrix_width + shape.other * width,
        "LoRA": lora,
        "optimiser": 2 * lora,  # AdamW's two averages
        "gradients": lora,
        "activations": activations(recipe, shape, machine, device_batch, length, read),
        "logits": logits(shape, machine, device_batch * scored, stage),
    }
    if machine.processes > 1:
        sizes["gradients"] *= 2  # the buffers in which the processes add theirs up
    if stage == "grpo":
        sizes |= generation(recipe, shape, machine)
        if part.beta:
            sizes["reference adapter"] = lora
    if machine.device == "cpu":
        sizes["LoRA"] *= 2  # its start is kept beside it; not on a card
    else:
        sizes["CUDA and libraries"] = CUDA
    return {name: size / GIB for name, size in sizes.items()}


def sum_of(parts: Parts, names: Sequence[str]) -> float:
    return sum(parts.get(name, 0.0) for name in names)


def total(parts: Parts) -> float:
    """GiB at the peak: all but the smaller of generating and training, which take turns."""
    return sum(parts.values()) - min(sum_of(parts, GENERATING), sum_of(parts, TRAINING))


@dataclass(frozen=True)
class MemoryPlan:
    """device_batch × accumulation × processes is the recipe's effective batch. Sizes are GiB."""

    device_batch: int
    accumulation: int
    processes: int
    parts: Parts
    total: float
    memory_gb: float  # of one card, or this computer
    fits: bool

    @property
    def batch(self) -> str:
        return f"{self.device_batch} × {self.accumulation} × {self.processes}"

    @property
    def sizes(self) -> list[tuple[str, float]]:
        """The parts, the largest first."""
        return sorted(self.parts.items(), key=lambda item: -item[1])

    @property
    def advice(self) -> str:
        """What to change where it does not fit: two lines."""
        return ADVICE.format(self, largest=self.sizes[0])

    def __str__(self) -> str:
        """Some lines to read before anything is loaded, with advice where it does not fit."""
        parts = ", ".join(f"{name} {size:.2f}" for name, size in self.sizes if size >= 0.005)
        turns = TURNS if "KV cache" in self.parts else ""
        whole = self.device_batch * self.accumulation * self.processes
        text = PLAN.format(self, turns=turns, parts=parts, whole=whole)
        if not self.fits:
            text += f"\n{self.advice}"
        return text


def plan(recipe: Recipe, stage: str, base: str, machine: Machine) -> MemoryPlan:
    """The largest device batch that fits and is not far beyond what keeps a card busy; at least 1.

    Raises ValueError if the processes do not divide the batch, and what `shape_of` raises.
    """
    part = getattr(recipe, stage)
    processes, memory_gb = machine.processes, machine.memory_gb
    if part.batch % processes:
        raise ValueError(
            f"An effective batch of {part.batch} does not divide among {processes} processes.\n"
            "Start a number of them that divides it."
        )
    mine = part.batch // processes  # rows of a step that fall to each process
    most = mine
    room = memory_gb * (COMPUTER_SHARE / processes)
    if machine.device != "cpu":
        room = memory_gb * CARD_SHARE
        busy = int(memory_gb * BUSY / row_length(part))
        most = max(1, min(mine, busy))
    shape = shape_of(base)
    for batch in range(most, 0, -1):
        if mine % batch == 0:
            parts = estimate(recipe, stage, shape, machine, batch)
            peak = total(parts)
            if peak <= room:
                break
    fits = peak <= room
    return MemoryPlan(batch, mine // batch, processes, parts, peak, memory_gb, fits)


def plan_table(recipe: Recipe, machine: Machine):
    """A data frame, in GiB: each stage on each card that divides its batch, and on this computer.

    LoRA with its optimiser, training and generating are sums.
    """
    import pandas

    rows = []
    for card in (*CARDS, replace(machine, name="this computer")):
        base = default_base(recipe, card)
        adapted = for_model(recipe, is_embedded(base), card.device)
        for stage in recipe.stages:
            if getattr(adapted, stage).batch % card.processes:
                continue
            found = plan(adapted, stage, base, card)
            row = {"card": card.name, "stage": stage, "dtype": card.dtype, "batch": found.batch}
            for name, parts in COLUMNS.items():
                row[name] = f"{sum_of(found.parts, parts):.2f}"
            row |= {"total": f"{found.total:.2f}", "of": f"{card.memory_gb:.1f}"}
            row["fits"] = "yes" if found.fits else "no"
            rows.append(row)
    return pandas.DataFrame(rows)
