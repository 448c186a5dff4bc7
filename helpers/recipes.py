"""The recipes, as data. A recipe says what is taught, on which rows, in which format, for which rewards and with which settings.

`gsm8k_xml` is the one that the notebooks tell the story with. Numbers are those of the published system; what is not published
is marked "ours". `tiny` holds what is different for the embedded model, where there is no GPU.

To add a recipe: write a `read_row` that turns one row of your data into an `Example`, and one literal entry in `RECIPES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from helpers.answers import BOXED, HASH, THINK_BOXED, XML, Format, eed_score, same_math, same_number

ALL_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Example:
    """One problem: a stable id, the question, the worked solution ("" where there is none), and the answer."""

    id: str
    question: str
    solution: str
    answer: str


@dataclass(frozen=True)
class Source:
    """Where the rows come from: a Hub dataset, its configuration and licence, and the splits to train and to test on."""

    path: str
    config: str | None
    train: str
    test: str
    licence: str


@dataclass(frozen=True)
class LoRASettings:
    r: int
    alpha: int
    targets: tuple[str, ...] = ALL_PROJECTIONS
    dropout: float = 0.0
    load_in_4bit: bool = True


@dataclass(frozen=True)
class SFTSettings:
    """`batch` is the effective batch: examples a step. `rows` limits the examples (None: all)."""

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


@dataclass(frozen=True)
class Recipe:
    """A system to teach. `rewards` maps the names of functions in `helpers.rewards` to their weights.

    `thinking` is what Qwen3's chat template is told everywhere: in SFT, GRPO, evaluation and export.
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
    sft: SFTSettings | None = None
    thinking: bool = False
    tiny: Mapping[str, Mapping] = field(default_factory=dict)

    @property
    def stages(self) -> tuple[str, ...]:
        return ("sft", "grpo") if self.sft else ("grpo",)


CALCULATOR = re.compile(r"<<[^<>]*>>")


def read_gsm8k(row: Mapping) -> Example | None:
    r"""A GSM8K row, or anyone's own row with `messages`, `answer_text` and `answer`. None when there is no `####` line.

    The calculator's marks, `<<48/2=24>>`, are taken out: they were written for a tool that the model does not have.

    >>> read_gsm8k({"question": "2 + 3?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"})
    Example(id='', question='2 + 3?', solution='2 + 3 = 5', answer='5')
    """
    if "messages" in row:
        question = next((m["content"] for m in row["messages"] if m["role"] == "user"), "")
        return Example("", question, row["answer_text"].strip(), str(row["answer"]).strip())
    solution, mark, answer = row["answer"].rpartition("####")
    if not mark:
        return None
    return Example("", row["question"].strip(), CALCULATOR.sub("", solution).strip(), answer.strip())


GSM8K_XML = Recipe(
    name="gsm8k_xml",
    title="GSM8K with XML tags",
    model="Qwen/Qwen3-4B",
    source=Source("openai/gsm8k", "main", train="train", test="test", licence="MIT"),
    read_row=read_gsm8k,
    system="Solve the problem. " + XML.instruction,
    format=XML,
    score=same_number,
    rewards={"r_strict": 0.5, "r_soft": 0.25, "r_xmlcount": 0.25, "r_correctness": 1.0},  # the weights are ours
    lora=LoRASettings(r=64, alpha=64),
    sft=SFTSettings(batch=20, learning_rate=9e-4, epochs=2, max_length=1024),
    grpo=GRPOSettings(batch=16, generations=4, learning_rate=5e-4, max_prompt=512, max_completion=700),
    evaluation=EvaluationSettings(problems=1319, samples=4),
    tiny={
        "sft": {"batch": 8, "learning_rate": 1.5e-3, "epochs": 1, "rows": 800, "max_length": 512},
        "grpo": {"batch": 64, "generations": 8, "learning_rate": 5e-4, "steps": 20, "temperature": 0.8, "max_prompt": 256, "max_completion": 96},
        "evaluation": {"problems": 100, "batch": 128},
    },
)

GSM8K_HASH = Recipe(
    name="gsm8k_hash",
    title="GSM8K with ####",
    model="Qwen/Qwen3-4B",
    source=Source("openai/gsm8k", "main", train="train", test="test", licence="MIT"),
    read_row=read_gsm8k,
    system="Solve the problem. " + HASH.instruction,
    format=HASH,
    score=same_number,
    rewards={"accuracy_reward": 1.0},  # exact, where the published reward compares floats with a tolerance
    lora=LoRASettings(r=16, alpha=16, load_in_4bit=False),
    sft=SFTSettings(batch=4, learning_rate=2e-4, epochs=3, max_length=1024),  # the length is ours
    grpo=GRPOSettings(batch=16, generations=4, learning_rate=1e-6, temperature=0.7, beta=0.01, epsilon=0.2, max_prompt=512, max_completion=512),
    evaluation=EvaluationSettings(problems=1319, samples=4),
)


def read_openr1(row: Mapping) -> Example | None:
    """An OpenR1-Math row; the solution is the first generation that math-verify found right, None where there is none.

    >>> read_openr1({"problem": "2 + 3?", "answer": "5", "generations": ["4", "2 + 3 = 5"], "correctness_math_verify": [False, True]}).solution
    '2 + 3 = 5'
    """
    verified = zip(row["generations"] or [], row["correctness_math_verify"] or [], strict=False)
    solution = next((text for text, right in verified if right), None)
    return None if solution is None or not row["answer"] else Example("", row["problem"].strip(), solution.strip(), row["answer"].strip())


OPENR1_BOXED = Recipe(
    name="openr1_boxed",
    title="OpenR1-Math with a box",
    model="Qwen/Qwen3-4B-Base",
    source=Source("open-r1/OpenR1-Math-220k", "default", train="train", test="test", licence="Apache-2.0"),
    read_row=read_openr1,
    system=BOXED.instruction,
    format=BOXED,
    score=same_math,
    rewards={"accuracy_reward": 1.0, "format_reward": 0.5},  # the weights are ours
    lora=LoRASettings(r=32, alpha=32),
    sft=SFTSettings(batch=16, learning_rate=2e-4, epochs=1, max_length=3072),  # batch and length are ours
    grpo=GRPOSettings(batch=16, generations=4, learning_rate=5e-6, max_prompt=1024, max_completion=2048),  # ours
    evaluation=EvaluationSettings(problems=2000, samples=4),
)

WRAPPER = ("Solve the following math problem step by step. The last line of your response should be of the form Answer: $Answer "
           "(without quotes) where $Answer is the answer to the problem.\n\n", '\n\nRemember to put your answer on its own line after "Answer:".')


def read_dapo(row: Mapping) -> Example:
    """A DAPO-Math row of either published schema, without the wrapper around the question; there is no solution to learn from.

    >>> read_dapo({"prompt": "2 + 3?", "solution": "5"})
    Example(id='', question='2 + 3?', solution='', answer='5')
    """
    if isinstance(row["prompt"], str):
        return Example("", row["prompt"].strip(), "", row["solution"].strip())
    question = row["prompt"][0]["content"].removeprefix(WRAPPER[0]).removesuffix(WRAPPER[1])
    return Example("", question.strip(), "", row["reward_model"]["ground_truth"].strip())


DAPO_THINK = Recipe(
    name="dapo_think",
    title="DAPO-Math with thinking and a box",
    model="Qwen/Qwen2.5-Math-1.5B",
    source=Source("BytedTsinghua-SIA/DAPO-Math-17k", None, train="train", test="test", licence="Apache-2.0"),
    read_row=read_dapo,
    system=THINK_BOXED.instruction,
    format=THINK_BOXED,
    score=same_math,
    rewards={"accuracy_reward": 1.0, "format_reward": 0.5},
    lora=LoRASettings(r=32, alpha=32),  # ours
    grpo=GRPOSettings(batch=8, generations=8, learning_rate=1e-6, max_prompt=512, max_completion=2048, epochs=1),
    evaluation=EvaluationSettings(problems=500, samples=4),
)


def read_phybench(row: Mapping) -> Example | None:
    r"""A PHYBench row; the answer, else the last box of the solution; None where neither is public.

    >>> read_phybench({"content": "The energy?", "solution": r"so \boxed{mgh}", "answer": ""}).answer
    'mgh'
    """
    answer = row["answer"].strip() or BOXED.extract(row["solution"])
    return Example("", row["content"].strip(), row["solution"].strip(), answer) if answer else None


PHYBENCH_EED = Recipe(
    name="phybench_eed",
    title="PHYBench with partial credit",
    model="Qwen/Qwen3-1.7B",
    source=Source("Eureka-Lab/PHYBench", None, train="train", test="test", licence="MIT"),
    read_row=read_phybench,
    system="Solve the physics problem. Write each step on a line of its own. " + BOXED.instruction,
    format=BOXED,
    score=eed_score,
    rewards={"format_reward": 0.2, "trace_reward": 0.3, "accuracy_reward": 0.5},
    lora=LoRASettings(r=64, alpha=64, targets=("q_proj", "v_proj")),
    grpo=GRPOSettings(batch=4, generations=4, learning_rate=5e-7, schedule="linear", warmup=0.03, beta=0.1, steps=550,
                      max_prompt=4096, max_completion=1024),
    evaluation=EvaluationSettings(problems=100, samples=4),
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (GSM8K_XML, GSM8K_HASH, OPENR1_BOXED, DAPO_THINK, PHYBENCH_EED)}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises ValueError, naming those there are."""
    if name not in RECIPES:
        raise ValueError(f"Unknown recipe {name!r}.\nSet RECIPE to one of: {', '.join(RECIPES)}.")
    return RECIPES[name]


def for_profile(recipe: Recipe, profile: str) -> Recipe:
    """The recipe with the settings that a profile ("tiny" or "gpu") uses."""
    if profile != "tiny":
        return recipe
    if not recipe.tiny:
        raise ValueError(f"{recipe.name} has no settings for the embedded model yet: it needs a GPU.\nWithout one, set RECIPE to "
                         f"{', '.join(r.name for r in RECIPES.values() if r.tiny)}.")
    return replace(recipe, **{part: replace(getattr(recipe, part), **values) for part, values in recipe.tiny.items()})
