"""The recipes, as data: what is taught, on which rows, in which format, for which rewards, how.

`gsm8k_xml` is the one that the notebooks tell the story with. Numbers are those of the published
system; what is not published is marked "ours". To add a recipe, write a `read_row` that turns a row
of your data into an `Example` (see `helpers/rows.py`), and one entry in `RECIPES`, as in README.md.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from helpers.answers import BOXED, HASH, THINK_BOXED, XML, Format, eed_score, same_math, same_number
from helpers.rows import Example, read_dapo, read_gsm8k, read_math500, read_openr1, read_phybench

ALL_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PENALTIES = {"r_length": (-1.0, 0.0), "r_repeat": (-1.0, 0.0)}  # the least and the most they pay
NO_THINKING = re.compile(r"\s*<think>\s*</think>\s*")
SUPERVISED = ("priming", "sft")  # the stages that learn from written solutions


@dataclass(frozen=True)
class Source:
    """Where the rows come from: a Hub dataset or a local path, and what is where in it."""

    path: str
    config: str | None = None
    files: str | None = None  # of a dataset whose files must not be merged
    revision: str | None = None  # a branch, tag or commit; None: the newest
    train: str = "train"
    test: str = "test"
    held_out: float = 0.1  # the share that is kept for the test where there is no test split
    licence: str = "not stated"


@dataclass(frozen=True)
class LoRASettings:
    r: int
    alpha: int
    targets: tuple[str, ...] = ALL_PROJECTIONS
    dropout: float = 0.0
    load_in_4bit: bool = True


@dataclass(frozen=True)
class SFTSettings:  # of priming, too
    batch: int  # examples a step, however the machine splits them
    learning_rate: float
    epochs: float
    max_length: int  # tokens of prompt and target together
    schedule: str = "cosine"
    warmup: float = 0.03
    weight_decay: float = 0.0
    rows: int | None = None  # at most so many examples; None: all


@dataclass(frozen=True)
class GRPOSettings:
    batch: int  # completions a step, however the machine splits them
    generations: int  # completions for one prompt, which are compared with each other
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
    epsilon_high: float | None = None  # the upper bound of the clip, apart (DAPO); None: epsilon
    iterations: int = 1  # updates from the same completions
    importance: str = "token"  # a ratio each, or "sequence": one for the whole reply (GSPO)
    loss_type: str = "dapo"
    mask_truncated: bool = False  # what was cut off is left out of the loss (DAPO)
    scale_rewards: str = "group"
    aggregation: str = "sum_then_normalize"  # or "normalize_then_sum": each reward apart (GDPO)
    weight_decay: float = 0.0
    rows: int | None = None  # at most so many examples; None: all


@dataclass(frozen=True)
class EvaluationSettings:
    problems: int  # at most so many of the test split
    samples: int  # answers a problem, drawn at GRPO's temperature; one more is greedy
    batch: int = 64


# What is different for the embedded model; ours, found by trying.
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
TINY_GRPO_FROM_BASE = TINY_GRPO | {"learning_rate": 1e-3, "steps": 30}
TINY_CHANGES = {
    "priming": TINY_SFT | {"rows": 60, "epochs": 2},
    "sft": TINY_SFT,
    "grpo": TINY_GRPO,
    "evaluation": {"problems": 100},
}
# What is different for a real model on a CPU, with BUDGET=quick: lengths, batches and rates for
# some hundred steps; ours, found by trying SmolLM2-135M (see tests/README.md).
SHORT_SFT = {"batch": 8, "learning_rate": 4e-4, "epochs": 1, "rows": 1600, "max_length": 512}
SHORT_CHANGES = {
    "priming": SHORT_SFT | {"rows": 60, "epochs": 2},
    "sft": SHORT_SFT,
    "grpo": TINY_GRPO
    | {"learning_rate": 2e-4, "temperature": 1.0, "max_prompt": 384, "max_completion": 200},
    "evaluation": {"problems": 60, "samples": 2, "batch": 32},
}


@dataclass(frozen=True)
class Recipe:
    """A system to teach."""

    name: str
    title: str
    model: str
    source: Source
    read_row: Callable[[Mapping], Example | None]
    system: str
    format: Format
    score: Callable[[str | None, str], float | None]
    rewards: Mapping[str, float]  # names of functions in `helpers/rewards.py` → weights
    lora: LoRASettings
    grpo: GRPOSettings
    evaluation: EvaluationSettings
    tiny: Mapping[str, Mapping] = field(default_factory=dict)  # what it has beside TINY_CHANGES
    # rewards that a right reply need not earn whole, with the least and the most that each pays
    shaping: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    sft: SFTSettings | None = None  # None: GRPO starts from the base
    priming: SFTSettings | None = None  # a first, short SFT on the shortest examples
    thinking: bool = False  # what Qwen3's chat template is told, from SFT to export
    further: Source | None = None  # a second held-out dataset, read by `read_further`
    read_further: Callable[[Mapping], Example | None] | None = None
    shots: tuple[Example, ...] = ()  # worked examples in the prompt: what costs no training
    # What the model's chat template asks for, which `data.fit` finds out
    system_turn: bool = True  # False: the instruction stands in the user's turn
    opened: str = ""  # what it has begun of the reply: "<think>"

    def with_opening(self, text: str) -> str:
        """A reply as format and rewards read it: with the thinking that the template opened.

        Thinking that was closed at once counts as none.
        """
        if not self.opened:
            return text
        text = self.opened + text
        shut = NO_THINKING.match(text)
        return text[shut.end() :] if shut else text

    def write(self, solution: str, answer: str) -> str:
        """A right reply, as the model has to write it."""
        return self.after_opening(self.format.write(solution, answer))

    def after_opening(self, text: str) -> str:
        """What the model has to write for `text`, after what the template has opened."""
        if not self.opened:
            return text
        if text.startswith("<think>"):
            return text.removeprefix("<think>").lstrip()
        return f"\n</think>\n\n{text}"

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that apply, in order."""
        return (*self.supervised, "grpo")

    @property
    def decisive(self) -> tuple[str, ...]:
        """The rewards that pay 0 to 1, and 1 to every right reply."""
        return tuple(name for name in self.rewards if name not in PENALTIES | self.shaping)

    def span(self, name: str) -> tuple[float, float]:
        """The least and the most that a reward pays."""
        return (PENALTIES | self.shaping).get(name, (0.0, 1.0))

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the most that a completion can earn: below 0 with penalties."""
        ends = [sorted(weight * pay for pay in self.span(n)) for n, weight in self.rewards.items()]
        return sum(least for least, _ in ends), sum(most for _, most in ends)

    @property
    def maximum(self) -> float:
        return self.bounds[1]

    @property
    def supervised(self) -> tuple[str, ...]:
        """The stages of notebook 01: none, SFT, or priming and SFT."""
        return tuple(stage for stage in SUPERVISED if getattr(self, stage))


GSM8K = Source("openai/gsm8k", "main", licence="MIT")
PLATINUM = Source(  # GSM8K's test problems, with its errors mended (Vendrow et al., 2025)
    "madrylab/gsm8k-platinum", "main", licence="CC BY-SA 4.0 (labels), MIT"
)
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
    # the weights are ours
    rewards={"r_strict": 0.5, "r_soft": 0.25, "r_xmlcount": 0.25, "r_correctness": 1.0},
    lora=LoRASettings(r=64, alpha=64),
    sft=SFTSettings(batch=20, learning_rate=9e-4, epochs=2, max_length=1024),
    grpo=GRPOSettings(
        batch=16, generations=4, learning_rate=5e-4, max_prompt=512, max_completion=700
    ),
    evaluation=EvaluationSettings(problems=1319, samples=4),
    further=PLATINUM,
    read_further=read_gsm8k,
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
    rewards={"accuracy_reward": 1.0},  # exact; the published one has a tolerance for floats
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
    further=PLATINUM,
    read_further=read_gsm8k,
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
    # ours are the priming's learning rate, all batches and lengths, and the settings of GRPO
    priming=SFTSettings(batch=16, learning_rate=2e-4, epochs=2, max_length=3072, rows=60),
    sft=SFTSettings(batch=16, learning_rate=2e-4, epochs=1, max_length=3072),
    grpo=GRPOSettings(
        batch=16, generations=4, learning_rate=5e-6, max_prompt=1024, max_completion=2048
    ),
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
    rewards={"accuracy_reward": 1.0, "format_reward": 0.5},  # as published
    lora=LoRASettings(r=32, alpha=32),  # ours
    grpo=GRPOSettings(
        batch=8, generations=8, learning_rate=1e-6, max_prompt=512, max_completion=2048, epochs=1
    ),
    evaluation=EvaluationSettings(problems=500, samples=4),
    further=MATH_500,
    read_further=read_math500,
    tiny={"grpo": TINY_GRPO_FROM_BASE},
)

PHYBENCH_EED = Recipe(
    name="phybench_eed",
    title="PHYBench with partial credit",
    model="Qwen/Qwen3-1.7B",
    # 100 rows of this file have a public answer
    source=Source(
        "Eureka-Lab/PHYBench", files="PHYBench-fullques_v1.json", held_out=0.3, licence="MIT"
    ),
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
    tiny={
        "lora": {"targets": ALL_PROJECTIONS},
        "grpo": TINY_GRPO_FROM_BASE | {"max_completion": 128},
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


def for_model(recipe: Recipe, embedded: bool, device: str, budget: str = "quick") -> Recipe:
    """The recipe with the settings of the model that is taught.

    Those of the embedded model are its own, everywhere. Any other model has the recipe's; on a CPU
    with the quick budget they are shortened to about an hour.
    """
    changes = {}
    if embedded:
        changes = TINY_CHANGES | recipe.tiny
    elif device == "cpu" and budget == "quick":
        changes = SHORT_CHANGES
    changed = {}
    for part, values in changes.items():
        settings = getattr(recipe, part)
        if settings:
            changed[part] = replace(settings, **values)
    return replace(recipe, **changed)


def overview() -> dict[str, dict[str, str]]:
    """The recipes side by side, in words: name of the recipe → what → value."""
    return {name: in_words(recipe) for name, recipe in RECIPES.items()}


def in_words(recipe: Recipe) -> dict[str, str]:
    source, lora, grpo = recipe.source, recipe.lora, recipe.grpo
    precision = "4-bit" if lora.load_in_4bit else "16-bit"
    targets = "7 projections" if lora.targets == ALL_PROJECTIONS else " and ".join(lora.targets)
    length = f"{grpo.steps} steps" if grpo.steps else in_epochs(grpo.epochs)
    return {
        "base model": recipe.model,
        "data": " ".join(filter(None, (source.path, source.config, source.files))),
        "stages": " → ".join(recipe.stages),
        "answer format": recipe.format.name,
        "rewards": " + ".join(f"{weight:g} {name}" for name, weight in recipe.rewards.items()),
        "score": recipe.score.__name__,
        "LoRA": f"{precision}, r {lora.r}, {targets}",
        "priming": supervised_in_words(recipe.priming),
        "sft": supervised_in_words(recipe.sft),
        "grpo": f"{grpo.batch} completions a step in groups of {grpo.generations}, "
        f"lr {grpo.learning_rate:g}, {grpo.schedule}, {length}",
        "KL beta / epsilon / temperature": f"{grpo.beta:g} / {grpo.epsilon} / {grpo.temperature:g}",
        "prompt / completion tokens": f"{grpo.max_prompt} / {grpo.max_completion}",
    }


def supervised_in_words(part: SFTSettings | None) -> str:
    if part is None:
        return "none"
    length = in_epochs(part.epochs)
    if part.rows:
        length += f" of the {part.rows} shortest"
    return f"{part.batch} rows a step, lr {part.learning_rate:g}, {part.schedule}, {length}"


def in_epochs(count: float) -> str:
    return "1 epoch" if count == 1 else f"{count:g} epochs"
