"""How much memory a stage takes, term by term, and how an effective batch is cut so that it fits. Needs no GPU and loads no model.

Each term follows from the model's shape, the recipe and the code that trains: Unsloth's kernels and gradient checkpointing on a GPU, TRL
and transformers as they are on a CPU. All figures are upper limits: every prompt and reply as long as the recipe allows.
tests/test_memory.py holds them to measurements on the CPU; on a GPU they are derived from the sources and not measured.

Only tensors are counted. On a CPU the C library keeps freed blocks besides, by measurement 40 to 65 % more than the estimate on the
embedded model, which is one reason to plan for a modest share of a computer's memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from helpers.machine.computer import Machine
from helpers.machine.shapes import Shape, shape_of
from helpers.recipes import Recipe, for_profile
from helpers.tiny import TINY_MODEL

if TYPE_CHECKING:
    import pandas

GIB = 2**30
WIDTH = {"float32": 4, "float16": 2, "bfloat16": 2}  # bytes of a number
FOUR_BIT = (
    0.5 + 1 / 64 + 4 / (64 * 256)
)  # NF4, a byte for each 64 weights, a float32 for each 256 of those bytes (QLoRA, arXiv 2305.14314)
CPU_LOGITS = 16 * 2**20  # how many Unsloth's CPU backend computes at once (unsloth_zoo/cpu/ops.py)
GPU_LOGITS = (
    8,
    512,
    2 * GIB,
)  # bytes a logit, the fewest tokens and the most bytes at once (unsloth_zoo/fused_losses/chunked_logprob.py)
CUDA = 0.8  # GiB of context, kernels and workspaces; assumed, 0.6 to 1 is usual
BUSY = 350  # tokens at once for each GiB of a card keep it busy, and more only take memory; assumed
CARD_SHARE, COMPUTER_SHARE = (
    0.9,
    0.25,
)  # of the memory that a plan may fill; the rest is for fragments, and on a computer for its other programs
GENERATING, TRAINING = (
    ("KV cache", "prompts", "merged weights"),
    ("gradients", "activations", "logits"),
)  # never at the same time


def lora_parameters(recipe: Recipe, shape: Shape) -> int:
    """r × (inputs + outputs) for each matrix that LoRA goes on: A is r × inputs, B is outputs × r."""
    return (
        shape.layers
        * recipe.lora.r
        * sum(sum(shape.projections[name]) for name in recipe.lora.targets)
    )


def kept_numbers(recipe: Recipe, shape: Shape, length: int) -> int:
    """How many numbers a layer keeps for each token until its backward pass, in a row of that length.

    The two residual sums that the norms read, and the norms' results that LoRA reads; q and k before their norm; q, k and v as attention
    reads them (k and v copied out for every head) and what it gives; a row of the mask; gate, its SiLU, up, and their product;
    and r numbers between A and B of each LoRA matrix.
    """
    targets = set(recipe.lora.targets)
    norms = (
        2
        + bool(targets & {"q_proj", "k_proj", "v_proj"})
        + bool(targets & {"gate_proj", "up_proj"})
    )
    heads = 4 * shape.query + (shape.query + shape.key) * shape.head_norm
    return (
        norms * shape.hidden
        + heads
        + length
        + (3 + ("down_proj" in targets)) * shape.intermediate
        + recipe.lora.r * len(targets)
    )


def activations(recipe: Recipe, shape: Shape, machine: Machine, rows: int, length: int) -> float:
    """Bytes of what the forward pass leaves for the backward pass.

    On the CPU that is kept for all layers at once. On a GPU Unsloth's gradient checkpointing moves each layer's input to the computer's
    memory and computes the layer again when its turn comes, so one layer is kept, and two inputs are on their way; its fused kernels keep
    a little less than these. To that come two of the widest tensors of the layer at work, its widest matrix out of 4-bit, and four tensors
    around the output layer.
    """
    tokens, width = rows * length, WIDTH[machine.dtype]
    layers = shape.layers if machine.device == "cpu" else 1
    numbers = tokens * (
        layers * kept_numbers(recipe, shape, length) + 2 * shape.intermediate + 4 * shape.hidden
    )
    offloading = 0 if machine.device == "cpu" else 2 * tokens * shape.hidden
    return width * (
        numbers + offloading + shape.hidden * shape.intermediate * recipe.lora.load_in_4bit
    )


def logits(shape: Shape, machine: Machine, scored: int, stage: str) -> float:
    """Bytes of the logits of that many tokens, which neither backend computes all at once.

    On the CPU a piece is held once in SFT; in GRPO also as probabilities, for the entropy; and the next piece is begun before the last
    is let go. Elsewhere the vocabulary would be the largest tensor of all.
    """
    if machine.device != "cpu":
        width, fewest, most = GPU_LOGITS
        return min(most, min(scored, max(fewest, scored / 8)) * shape.vocabulary * width)
    pieces = 1 if scored * shape.vocabulary <= CPU_LOGITS else 2
    return pieces * (2 if stage == "grpo" else 1) * min(scored * shape.vocabulary, CPU_LOGITS) * 4


def weights(recipe: Recipe, shape: Shape, machine: Machine) -> float:
    """Bytes of the base: matrices in 4-bit if the recipe says so, all else in the machine's numbers."""
    width = WIDTH[machine.dtype]
    return (
        shape.linear * (FOUR_BIT if recipe.lora.load_in_4bit and machine.four_bit else width)
        + shape.other * width
    )


def generation(recipe: Recipe, shape: Shape, machine: Machine) -> dict[str, float]:
    """Bytes of generating all of a step's completions that fall to this process at once.

    Keys and values of every token in every layer, of one layer twice while it grows; while the prompts are read, three
    tensors of each width for one layer; on the CPU the matrices out of 4-bit with LoRA added (see `models.merged_weights`).
    """
    part, width = recipe.grpo, WIDTH[machine.dtype]
    rows = part.batch / machine.processes
    merged = machine.device == "cpu" and recipe.lora.load_in_4bit
    return {
        "KV cache": rows
        * (part.max_prompt + part.max_completion)
        * (shape.layers + 1)
        * 2
        * shape.key
        * width,
        "prompts": rows * part.max_prompt * 3 * (shape.intermediate + shape.hidden) * width,
        "merged weights": shape.linear * width * merged,
    }


def estimate(
    recipe: Recipe, stage: str, shape: Shape, machine: Machine, device_batch: int
) -> dict[str, float]:
    """GiB by part, of one process, on its card or in this computer's memory. Not all at the same time: see `total`."""
    part, lora = (
        getattr(recipe, stage),
        4 * lora_parameters(recipe, shape),
    )  # float32 on every machine
    length = part.max_prompt + part.max_completion if stage == "grpo" else part.max_length
    scored = device_batch * (part.max_completion if stage == "grpo" else length)
    bytes_of = {
        "weights": weights(recipe, shape, machine),
        "LoRA": lora
        * (
            2 if machine.device == "cpu" else 1
        ),  # and its start, which training.starting_adapter keeps beside the card
        "optimiser": 2 * lora,  # AdamW's two averages
        "gradients": lora
        * (
            2 if machine.processes > 1 else 1
        ),  # and the buffers in which several processes add theirs up
        "activations": activations(recipe, shape, machine, device_batch, length),
        "logits": logits(shape, machine, scored, stage),
    }
    if stage == "grpo":
        bytes_of |= generation(recipe, shape, machine) | {
            "reference adapter": lora * bool(part.beta)
        }
    found = {name: size / GIB for name, size in bytes_of.items() if size}
    return found if machine.device == "cpu" else found | {"CUDA and libraries": CUDA}


def total(parts: dict[str, float]) -> float:
    """GiB at the peak: what always stays, and the larger of generating and training, which take turns."""
    phases = [sum(parts.get(name, 0.0) for name in phase) for phase in (GENERATING, TRAINING)]
    return sum(size for name, size in parts.items() if name not in GENERATING + TRAINING) + max(
        phases
    )


@dataclass(frozen=True)
class Plan:
    """device_batch × accumulation × processes is the recipe's effective batch. parts, total and memory_gb (of one card, or this computer)
    are GiB."""

    device_batch: int
    accumulation: int
    processes: int
    parts: dict[str, float]
    total: float
    memory_gb: float
    fits: bool

    @property
    def advice(self) -> str:
        """What to do where not even one row at a time fits; else nothing."""
        largest = max(self.parts, key=self.parts.get)
        return (
            ""
            if self.fits
            else (
                f"This needs {self.total:.1f} GiB, of which {largest} {self.parts[largest]:.1f}, and does not fit.\n"
                "Take a card with more memory, a smaller MODEL, 4-bit weights, or shorter completions."
            )
        )


def split(recipe: Recipe, stage: str, shape: Shape, machine: Machine) -> Plan:
    """The largest device batch that fits and, on a card, is not far beyond what keeps it busy; a divisor of what falls to one process.
    Where none fits, a plan of one row that says so.

    Raises ValueError, naming the numbers of processes that work, if they do not divide the effective batch.
    """
    effective, processes = getattr(recipe, stage).batch, machine.processes
    if effective % processes:
        fits = [n for n in range(1, effective + 1) if effective % n == 0]
        raise ValueError(
            f"An effective batch of {effective} does not divide among {processes} processes.\nStart one of {fits} instead."
        )
    mine = effective // processes
    room = machine.memory_gb * (
        COMPUTER_SHARE / processes if machine.device == "cpu" else CARD_SHARE
    )
    part = getattr(recipe, stage)
    length = part.max_prompt + part.max_completion if stage == "grpo" else part.max_length
    most = mine if machine.device == "cpu" else max(1, int(machine.memory_gb * BUSY / length))
    for batch in (n for n in range(min(mine, most), 0, -1) if mine % n == 0):
        parts = estimate(recipe, stage, shape, machine, batch)
        if total(parts) <= room:
            break
    return Plan(
        batch,
        mine // batch,
        processes,
        parts,
        total(parts),
        machine.memory_gb,
        total(parts) <= room,
    )


def describe(plan: Plan) -> str:
    """Some lines to read before anything is loaded."""
    parts = ", ".join(
        f"{name} {size:.2f}"
        for name, size in sorted(plan.parts.items(), key=lambda item: -item[1])
        if size >= 0.005
    )
    both = "\n          (generating and training take turns)" if "KV cache" in plan.parts else ""
    return (
        f"memory    {plan.total:.2f} of {plan.memory_gb:.1f} GiB, estimated for the longest rows, without the libraries{both}\n"
        f"parts     {parts}\n"
        f"batch     {cut(plan)} = {plan.device_batch * plan.accumulation * plan.processes}"
        " (device batch × accumulation × processes)" + f"\n{plan.advice}" * (not plan.fits)
    )


def cut(plan: Plan) -> str:
    return f"{plan.device_batch} × {plan.accumulation} × {plan.processes}"


def card(name: str, memory: float, dtype: str, capability: str, gpus: int = 1) -> Machine:
    return Machine("gpu", "cuda", name, memory, 2, "local", dtype, gpus, capability, processes=gpus)


# GiB as torch reports them, which is less than on the label.
CARDS = {
    machine.name: machine
    for machine in (
        card("T4 16 GB", 14.7, "float16", "7.5"),
        card("2 × T4", 14.7, "float16", "7.5", 2),
        card("L4 24 GB", 22.0, "bfloat16", "8.9"),
        card("A100 40 GB", 39.4, "bfloat16", "8.0"),
        card("A100 80 GB", 79.1, "bfloat16", "8.0"),
        card("H100 80 GB", 79.1, "bfloat16", "9.0"),
    )
}
COLUMNS = {
    "weights": ("weights",),
    "LoRA": ("LoRA", "optimiser", "reference adapter"),
    "training": TRAINING,
    "generating": GENERATING,
}


def plan_table(recipe: Recipe, machine: Machine | None = None) -> pandas.DataFrame:
    """A row for each card and stage, in GiB, and for this computer if it is given; LoRA with its optimiser, training and generating as sums."""
    import pandas

    return pandas.DataFrame(
        [
            row(recipe, stage, place)
            for place in (*CARDS.values(), *([machine] if machine else []))
            for stage in recipe.stages
        ]
    )


def row(recipe: Recipe, stage: str, machine: Machine) -> dict:
    here, small = for_profile(recipe, machine.profile), machine.profile == "tiny"
    try:
        plan = split(here, stage, shape_of(str(TINY_MODEL) if small else recipe.model), machine)
    except ValueError as error:
        return {
            "card": machine.name,
            "stage": stage,
            "dtype": machine.dtype,
            "batch": str(error).partition("\n")[0],
        }
    sums = {
        name: sum(plan.parts.get(part, 0.0) for part in parts) for name, parts in COLUMNS.items()
    }
    return {
        "card": "this computer" if machine.name not in CARDS else machine.name,
        "stage": stage,
        "dtype": machine.dtype,
        "batch": cut(plan),
        **{name: f"{size:.2f}" for name, size in sums.items()},
        "total": f"{plan.total:.2f}",
        "of": f"{plan.memory_gb:.1f}",
        "fits": "yes" if plan.fits else "no",
    }
