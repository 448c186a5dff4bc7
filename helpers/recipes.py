"""The recipes, as data. A recipe says what is taught, on which rows, in which format, for which rewards and with which settings.

`gsm8k_xml` is the one that the notebooks tell the story with. Numbers are those of the published system; what is not published
is marked "ours". `tiny` holds what is different for the embedded model, where there is no GPU.

To add a recipe: write a `read_row` that turns one row of your data into an `Example` (see `helpers/rows.py`), and one literal entry
in `RECIPES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from helpers.answers import BOXED, HASH, THINK_BOXED, XML, Format, eed_score, same_math, same_number
from helpers.rows import Example, read_dapo, read_gsm8k, read_math500, read_openr1, read_phybench

ALL_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PENALTIES = ("r_length", "r_repeat")  # rewards of at most 0, judged by token ids
SUPERVISED = ("priming", "sft")  # the stages that learn from written solutions


@dataclass(frozen=True)
class Source:
    """Where the rows come from: a Hub dataset or a local path, its configuration, file and licence, and the splits.

    Where there is no test split, a share `held_out` of the examples is kept for the test.
    """

    path: str
    config: str | None = None
    files: str | None = None  # of a dataset whose files must not be merged
    revision: str | None = None  # a branch, tag or commit; None: the newest
    train: str = "train"
    test: str = "test"
    held_out: float = 0.1
    licence: str = "not stated"


@dataclass(frozen=True)
class LoRASettings:
    r: int
    alpha: int
    targets: tuple[str, ...] = ALL_PROJECTIONS
    dropout: float = 0.0
    load_in_4bit: bool = True


@dataclass(frozen=True)
class SFTSettings:
    """Settings of priming and SFT. `batch` is the effective batch: examples a step. `rows` limits the examples (None: all)."""

    batch: int
    learning_rate: float
    epochs: float
    max_length: int  # tokens of prompt and target together
    schedule: str = "cosine"
    warmup: float = 0.03
    weight_decay: float = 0.0
    rows: int | None = None


@dataclass(frozen=True)
class GRPOSettings:
    """`batch` is the effective batch: completions a step, in groups of `generations` for one prompt."""

    batch: int
    generations: int
    learning_rate: float
    max_prompt: int  # tokens; longer prompts are dropped and counted
    max_completion: int  # tokens
    steps: int | None = None  # None: `epochs` over the data
    epochs: float = 1.0
    schedule: str = "cosine"
    warmup: float = 0.0
    temperature: float = 1.0
    beta: float = 0.0
    epsilon: float = 0.2
    loss_type: str = "dapo"
    scale_rewards: str = "group"
    weight_decay: float = 0.0
    rows: int | None = None


@dataclass(frozen=True)
class EvaluationSettings:
    """`problems` limits the test split; `samples` answers a problem are drawn at GRPO's temperature, one more greedily."""

    problems: int
    samples: int
    batch: int = 64


# What the tiny profile changes; ours, found by trying on the embedded model.
TINY_SFT = {"batch": 8, "learning_rate": 1.5e-3, "epochs": 1, "rows": 800, "max_length": 512}
TINY_GRPO = {
    "batch": 64,
    "generations": 8,
    "learning_rate": 5e-4,
    "steps": 20,
    "temperature": 0.8,
    "max_prompt": 256,
    "max_completion": 96,
}
TINY_EVALUATION = {"problems": 100, "batch": 128}
TINY = {
    "priming": TINY_SFT | {"rows": 60, "epochs": 2},
    "sft": TINY_SFT,
    "grpo": TINY_GRPO,
    "evaluation": TINY_EVALUATION,
}


@dataclass(frozen=True)
class Recipe:
    """A system to teach. `rewards` maps the names of functions in `helpers.rewards` to their weights.

    `thinking` is what Qwen3's chat template is told everywhere: in SFT, GRPO, evaluation and export.
    `sft` is None where GRPO starts from the base; `priming` is a first, short SFT on the shortest examples, where there is one.
    `further` is a second held-out dataset, read by `read_further`.
    `tiny` maps a settings' name to the values that the tiny profile changes.
    """

    name: str
    title: str
    model: str
    source: Source
    read_row: Callable[[Mapping], Example | None]
    system: str
    format: Format
    score: Callable[[str | None, str], float | None]
    rewards: Mapping[str, float]
    lora: LoRASettings
    grpo: GRPOSettings
    evaluation: EvaluationSettings
    tiny: Mapping[str, Mapping] = field(default_factory=lambda: TINY)
    sft: SFTSettings | None = None
    priming: SFTSettings | None = None
    thinking: bool = False
    further: Source | None = None
    read_further: Callable[[Mapping], Example | None] | None = None

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that apply, in order."""
        return tuple(stage for stage in (*SUPERVISED, "grpo") if getattr(self, stage))

    @property
    def maximum(self) -> float:
        """The most that a completion can earn: penalties add nothing."""
        return sum(weight for name, weight in self.rewards.items() if name not in PENALTIES)

    @property
    def supervised(self) -> tuple[str, ...]:
        """The stages of notebook 01: none, SFT, or priming and SFT."""
        return tuple(stage for stage in self.stages if stage in SUPERVISED)


GSM8K = Source("openai/gsm8k", "main", licence="MIT")
MATH_500 = Source("HuggingFaceH4/MATH-500", licence="MIT")

GSM8K_XML = Recipe(
    name="gsm8k_xml",
    title="GSM8K with XML tags",
    model="Qwen/Qwen3-4B",
    source=GSM8K,
    read_row=read_gsm8k,
    system="Solve the problem. " + XML.instruction,
    format=XML,
    score=same_number,
    rewards={
        "r_strict": 0.5,
        "r_soft": 0.25,
        "r_xmlcount": 0.25,
        "r_correctness": 1.0,
    },  # the weights are ours
    lora=LoRASettings(r=64, alpha=64),
    sft=SFTSettings(batch=20, learning_rate=9e-4, epochs=2, max_length=1024),
    grpo=GRPOSettings(
        batch=16, generations=4, learning_rate=5e-4, max_prompt=512, max_completion=700
    ),
    evaluation=EvaluationSettings(problems=1319, samples=4),
)

GSM8K_HASH = Recipe(
    name="gsm8k_hash",
    title="GSM8K with ####",
    model="Qwen/Qwen3-4B",
    source=GSM8K,
    read_row=read_gsm8k,
    system="Solve the problem. " + HASH.instruction,
    format=HASH,
    score=same_number,
    rewards={
        "accuracy_reward": 1.0
    },  # exact, where the published reward compares floats with a tolerance
    lora=LoRASettings(r=16, alpha=16, load_in_4bit=False),
    sft=SFTSettings(batch=4, learning_rate=2e-4, epochs=3, max_length=1024),  # the length is ours
    grpo=GRPOSettings(
        batch=16,
        generations=4,
        learning_rate=1e-6,
        temperature=0.7,
        beta=0.01,
        epsilon=0.2,
        max_prompt=512,
        max_completion=512,
    ),
    evaluation=EvaluationSettings(problems=1319, samples=4),
)

OPENR1_BOXED = Recipe(
    name="openr1_boxed",
    title="OpenR1-Math with a box",
    model="Qwen/Qwen3-4B-Base",
    source=Source("open-r1/OpenR1-Math-220k", "default", licence="Apache-2.0"),
    read_row=read_openr1,
    system=BOXED.instruction,
    thinking=True,  # the verified generations think between <think> tags
    format=BOXED,
    score=same_math,
    rewards={"accuracy_reward": 1.0, "format_reward": 0.5},  # the weights are ours
    lora=LoRASettings(r=32, alpha=32),
    priming=SFTSettings(
        batch=16, learning_rate=2e-4, epochs=2, max_length=3072, rows=60
    ),  # batch, rate and length are ours
    sft=SFTSettings(
        batch=16, learning_rate=2e-4, epochs=1, max_length=3072
    ),  # batch and length are ours
    grpo=GRPOSettings(
        batch=16, generations=4, learning_rate=5e-6, max_prompt=1024, max_completion=2048
    ),  # ours
    evaluation=EvaluationSettings(problems=2000, samples=4),
    further=MATH_500,
    read_further=read_math500,
)

DAPO_THINK = Recipe(
    name="dapo_think",
    title="DAPO-Math with thinking and a box",
    model="Qwen/Qwen2.5-Math-1.5B",
    source=Source("BytedTsinghua-SIA/DAPO-Math-17k", licence="Apache-2.0"),
    read_row=read_dapo,
    system=THINK_BOXED.instruction,
    thinking=True,
    format=THINK_BOXED,
    score=same_math,
    rewards={"accuracy_reward": 1.0, "format_reward": 0.5},
    lora=LoRASettings(r=32, alpha=32),  # ours
    grpo=GRPOSettings(
        batch=8, generations=8, learning_rate=1e-6, max_prompt=512, max_completion=2048, epochs=1
    ),
    evaluation=EvaluationSettings(problems=500, samples=4),
    further=MATH_500,
    read_further=read_math500,
    tiny=TINY | {"grpo": TINY_GRPO | {"learning_rate": 1e-3, "steps": 30}},
)

PHYBENCH_EED = Recipe(
    name="phybench_eed",
    title="PHYBench with partial credit",
    model="Qwen/Qwen3-1.7B",
    source=Source(
        "Eureka-Lab/PHYBench", files="PHYBench-fullques_v1.json", held_out=0.3, licence="MIT"
    ),  # 100 rows have a public answer
    read_row=read_phybench,
    system="Solve the physics problem. Write each step on a line of its own. " + BOXED.instruction,
    format=BOXED,
    score=eed_score,
    rewards={"format_reward": 0.2, "trace_reward": 0.3, "accuracy_reward": 0.5},
    lora=LoRASettings(r=64, alpha=64, targets=("q_proj", "v_proj")),
    grpo=GRPOSettings(
        batch=4,
        generations=4,
        learning_rate=5e-7,
        schedule="linear",
        warmup=0.03,
        beta=0.1,
        steps=550,
        max_prompt=4096,
        max_completion=1024,
    ),
    evaluation=EvaluationSettings(problems=100, samples=4),
    tiny=TINY
    | {
        "lora": {"targets": ALL_PROJECTIONS},
        "grpo": TINY_GRPO | {"learning_rate": 1e-3, "steps": 30, "max_completion": 128},
    },
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (GSM8K_XML, GSM8K_HASH, OPENR1_BOXED, DAPO_THINK, PHYBENCH_EED)
}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises ValueError, naming those there are."""
    if name not in RECIPES:
        raise ValueError(f"Unknown recipe {name!r}.\nSet RECIPE to one of: {', '.join(RECIPES)}.")
    return RECIPES[name]


def for_profile(recipe: Recipe, profile: str) -> Recipe:
    """The recipe with the settings that a profile ("tiny" or "gpu") uses."""
    if profile != "tiny":
        return recipe
    return replace(
        recipe,
        **{
            part: replace(getattr(recipe, part), **values)
            for part, values in recipe.tiny.items()
            if getattr(recipe, part)
        },
    )
