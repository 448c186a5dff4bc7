"""How much memory a stage takes, term by term, and how an effective batch is cut so that it fits.

Each term follows from the model's shape, the recipe and the code that trains: Unsloth on a GPU, TRL
and transformers on a CPU. All rows are taken to be as long as the recipe allows.
The tests hold them to measurements on the CPU; on a GPU they are derived from the sources. Only
tensors are counted: a C library keeps freed blocks besides, on the embedded model 40 to 65 % more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from helpers.machine.computer import GIB, Machine
from helpers.machine.shapes import Shape, shape_of
from helpers.recipes import GRPOSettings, Recipe, SFTSettings, for_profile
from helpers.tiny import TINY_MODEL

if TYPE_CHECKING:
    import pandas

WIDTH = {"float32": 4, "float16": 2, "bfloat16": 2}  # bytes of a number
# NF4: half a byte, a byte for each 64 weights, a float32 for each 256 of those (arXiv 2305.14314)
FOUR_BIT = 0.5 + 1 / 64 + 4 / (64 * 256)
CPU_LOGITS = 16 * 2**20  # how many Unsloth computes at once (unsloth_zoo/cpu/ops.py)
# Bytes a logit, fewest tokens, most bytes at once (unsloth_zoo/fused_losses/chunked_logprob.py)
GPU_LOGIT, FEWEST_TOKENS, MOST_BYTES = 8, 512, 2 * GIB
CUDA = 0.8  # GiB of context, kernels and workspaces; assumed, 0.6 to 1 is usual
BUSY = 350  # tokens at once for each GiB keep a card busy, more only take memory; assumed
# What a plan may fill of the memory; the rest is for fragments, and for other programs.
CARD_SHARE, COMPUTER_SHARE = 0.9, 0.25
# Never at the same time:
GENERATING = ("KV cache", "prompts", "merged weights")
TRAINING = ("gradients", "activations", "logits")
ADAPTER = ("LoRA", "optimiser", "reference adapter")


def lora_parameters(recipe: Recipe, shape: Shape) -> int:
    """r × (inputs + outputs) for each matrix with LoRA: A is r × inputs, B is outputs × r."""
    sides = sum(sum(shape.projections[name]) for name in recipe.lora.targets)
    return shape.layers * recipe.lora.r * sides


def row_length(part: SFTSettings | GRPOSettings) -> int:
    """The most tokens of a row: prompt and reply together."""
    if isinstance(part, GRPOSettings):
        return part.max_prompt + part.max_completion
    return part.max_length


def activations(recipe: Recipe, shape: Shape, machine: Machine, rows: int, length: int) -> float:
    """Bytes of what the forward pass leaves for the backward pass."""
    targets = recipe.lora.targets
    mlp = "down_proj" in targets  # whether LoRA is there too, and not in attention alone
    # a token's: the two residual sums that the norms read, and the norms' results for LoRA
    numbers = (3 + mlp) * shape.hidden
    # q, k and v as attention reads them (k and v copied out for every head), and what it gives
    numbers += 4 * shape.query
    # q and k before their norm
    numbers += (shape.query + shape.key) * shape.head_norm
    # gate, its SiLU and up, and their product for LoRA
    numbers += (3 + mlp) * shape.intermediate
    # between A and B of each LoRA matrix, and a row of the mask
    numbers += recipe.lora.r * len(targets) + length
    if machine.device == "cpu":
        numbers *= shape.layers
    else:  # Unsloth keeps one layer, computes the others again, and has two inputs on their way
        numbers += 2 * shape.hidden
    # the widest tensors of the layer at work, and those around the output layer
    numbers += 2 * shape.intermediate + 4 * shape.hidden
    numbers *= rows * length
    if recipe.lora.load_in_4bit:  # the layer's widest matrix is taken out of it
        numbers += shape.hidden * shape.intermediate
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


def generation(recipe: Recipe, shape: Shape, machine: Machine) -> dict[str, float]:
    """Bytes of generating all of a step's completions that fall to this process at once."""
    part = recipe.grpo
    width = WIDTH[machine.dtype]
    rows = part.batch / machine.processes
    # of every token in every layer, and of one layer twice while it grows
    keys_and_values = (shape.layers + 1) * 2 * shape.key
    # three tensors of each width for one layer, while the prompts are read
    reading = 3 * (shape.intermediate + shape.hidden)
    sizes = {
        "KV cache": rows * row_length(part) * keys_and_values * width,
        "prompts": rows * part.max_prompt * reading * width,
    }
    if machine.device == "cpu" and recipe.lora.load_in_4bit:  # see `models.merged_weights`
        sizes["merged weights"] = shape.linear * width
    return sizes


def estimate(
    recipe: Recipe, stage: str, shape: Shape, machine: Machine, device_batch: int
) -> dict[str, float]:
    """GiB by part, of one process, on its card or in this computer's memory; see `total`."""
    part = getattr(recipe, stage)
    length = row_length(part)
    scored = part.max_completion if stage == "grpo" else length
    width = WIDTH[machine.dtype]
    four_bit = recipe.lora.load_in_4bit and machine.four_bit
    lora = 4 * lora_parameters(recipe, shape)  # float32 on every machine
    sizes = {
        "weights": shape.linear * (FOUR_BIT if four_bit else width) + shape.other * width,
        "LoRA": lora,
        "optimiser": 2 * lora,  # AdamW's two averages
        "gradients": lora,
        "activations": activations(recipe, shape, machine, device_batch, length),
        "logits": logits(shape, machine, device_batch * scored, stage),
    }
    if machine.device == "cpu":
        sizes["LoRA"] *= 2  # its start is kept beside it; not on a card
    if machine.processes > 1:
        sizes["gradients"] *= 2  # the buffers in which the processes add theirs up
    if stage == "grpo":
        sizes |= generation(recipe, shape, machine)
        if part.beta:
            sizes["reference adapter"] = lora
    sizes = {name: size / GIB for name, size in sizes.items()}
    if machine.device != "cpu":
        sizes["CUDA and libraries"] = CUDA
    return sizes


def sum_of(parts: dict[str, float], names: Sequence[str]) -> float:
    return sum(parts.get(name, 0.0) for name in names)


def total(parts: dict[str, float]) -> float:
    """GiB at the peak: what always stays, and the larger of generating and training."""
    always = [name for name in parts if name not in GENERATING + TRAINING]
    return sum_of(parts, always) + max(sum_of(parts, GENERATING), sum_of(parts, TRAINING))


@dataclass(frozen=True)
class Plan:
    """device_batch × accumulation × processes is the recipe's effective batch. Sizes are GiB."""

    device_batch: int
    accumulation: int
    processes: int
    parts: dict[str, float]
    memory_gb: float  # of one card, or this computer
    room: float  # what a plan may fill of it

    @property
    def total(self) -> float:
        return total(self.parts)

    @property
    def fits(self) -> bool:
        return self.total <= self.room

    @property
    def batch(self) -> str:
        return f"{self.device_batch} × {self.accumulation} × {self.processes}"

    def __str__(self) -> str:
        """Some lines to read before anything is loaded, with advice where it does not fit."""
        sizes = sorted(self.parts.items(), key=lambda item: -item[1])
        parts = ", ".join(f"{name} {size:.2f}" for name, size in sizes if size >= 0.005)
        turns = advice = ""
        if "KV cache" in self.parts:
            turns = "\n          (generating and training take turns)"
        if not self.fits:
            largest, size = sizes[0]
            advice = (
                f"\nThis needs {self.total:.1f} GiB, of which {largest} {size:.1f}, "
                "and does not fit.\nTake a card with more memory, a smaller MODEL, "
                "4-bit weights, or shorter completions."
            )
        return (
            f"memory    {self.total:.2f} of {self.memory_gb:.1f} GiB, "
            f"estimated for the longest rows, without the libraries{turns}\n"
            f"parts     {parts}\n"
            f"batch     {self.batch} = {self.device_batch * self.accumulation * self.processes} "
            f"(device batch × accumulation × processes){advice}"
        )


def plan(recipe: Recipe, stage: str, base: str, machine: Machine) -> Plan:
    """The largest device batch that fits and is not far beyond what keeps a card busy; at least 1.

    Raises ValueError if the processes do not divide the batch, and what `shape_of` raises.
    """
    part = getattr(recipe, stage)
    whole, processes, memory = part.batch, machine.processes, machine.memory_gb
    if whole % processes:
        fits = [n for n in range(1, whole + 1) if whole % n == 0]
        raise ValueError(
            f"An effective batch of {whole} does not divide among {processes} processes.\n"
            f"Start one of {fits} instead."
        )
    batch = mine = whole // processes
    room = memory * (COMPUTER_SHARE / processes)
    if machine.device != "cpu":
        room = memory * CARD_SHARE
        batch = min(mine, max(1, int(memory * BUSY / row_length(part))))
    shape = shape_of(base)
    parts = estimate(recipe, stage, shape, machine, batch)
    while mine % batch or (batch > 1 and total(parts) > room):
        batch -= 1
        parts = estimate(recipe, stage, shape, machine, batch)
    return Plan(batch, mine // batch, processes, parts, memory, room)


def card(name: str, memory: float, dtype: str = "bfloat16", processes: int = 1) -> Machine:
    return Machine("gpu", "cuda", name, memory, 2, "local", dtype, processes=processes)


# GiB as torch reports them, which is less than on the label.
CARDS = (
    card("T4 16 GB", 14.7, "float16"),
    card("2 × T4", 14.7, "float16", 2),
    card("L4 24 GB", 22.0),
    card("A100 40 GB", 39.4),
    card("A100 80 GB", 79.1),
    card("H100 80 GB", 79.1),
)


def plan_table(recipe: Recipe, machine: Machine) -> pandas.DataFrame:
    """A row for each card and stage, in GiB, and for this computer."""
    import pandas

    rows = []
    for each in (*CARDS, replace(machine, name="this computer")):
        for stage in recipe.stages:
            start = {"card": each.name, "stage": stage, "dtype": each.dtype}
            rows.append(start | figures(recipe, stage, each))
    return pandas.DataFrame(rows)


def figures(recipe: Recipe, stage: str, machine: Machine) -> dict[str, str]:
    """A plan as columns; LoRA with its optimiser, training and generating as sums."""
    base = str(TINY_MODEL) if machine.profile == "tiny" else recipe.model
    try:
        found = plan(for_profile(recipe, machine.profile), stage, base, machine)
    except ValueError as error:
        return {"batch": str(error).partition("\n")[0]}
    return {
        "batch": found.batch,
        "weights": f"{found.parts['weights']:.2f}",
        "LoRA": f"{sum_of(found.parts, ADAPTER):.2f}",
        "training": f"{sum_of(found.parts, TRAINING):.2f}",
        "generating": f"{sum_of(found.parts, GENERATING):.2f}",
        "total": f"{found.total:.2f}",
        "of": f"{found.memory_gb:.1f}",
        "fits": "yes" if found.fits else "no",
    }
