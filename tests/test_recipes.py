"""The recipes hold the published numbers, and a model changes only what it says."""

import dataclasses
import re
from operator import attrgetter

import pytest

from helpers.recipes import RECIPES, SUPERVISED, for_model, get_recipe
from helpers.rewards import REWARDS
from tests.conftest import ROOT

SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PHYSICS = {"format_reward": 0.2, "trace_reward": 0.3, "accuracy_reward": 0.5}
PUBLISHED = [  # every number that a system published; batch is device batch × accumulation
    ("gsm8k_xml", "", {"model": "Qwen/Qwen3-4B", "stages": ("sft", "grpo")}),
    ("gsm8k_xml", "", {"format.name": "xml", "score.__name__": "same_number"}),
    ("gsm8k_xml", "source", {"path": "openai/gsm8k", "config": "main", "licence": "MIT"}),
    ("gsm8k_xml", "lora", {"r": 64, "load_in_4bit": True, "targets": SEVEN}),
    ("gsm8k_xml", "sft", {"batch": 10 * 2, "learning_rate": 9e-4, "schedule": "cosine"}),
    ("gsm8k_xml", "sft", {"epochs": 2, "max_length": 1024}),
    ("gsm8k_xml", "grpo", {"generations": 4, "learning_rate": 5e-4, "schedule": "cosine"}),
    ("gsm8k_xml", "grpo", {"max_prompt": 512, "max_completion": 700}),
    ("gsm8k_hash", "", {"model": "Qwen/Qwen3-4B", "stages": ("sft", "grpo")}),
    ("gsm8k_hash", "", {"format.name": "hash", "score.__name__": "same_number"}),
    ("gsm8k_hash", "", {"rewards": {"accuracy_reward": 1.0}}),
    ("gsm8k_hash", "source", {"path": "openai/gsm8k", "config": "main"}),
    ("gsm8k_hash", "lora", {"r": 16, "load_in_4bit": False}),
    ("gsm8k_hash", "sft", {"batch": 4, "learning_rate": 2e-4, "epochs": 3}),
    ("gsm8k_hash", "grpo", {"generations": 4, "batch": 4 * 4, "learning_rate": 1e-6}),
    ("gsm8k_hash", "grpo", {"beta": 0.01, "epsilon": 0.2, "temperature": 0.7}),
    ("openr1_boxed", "", {"model": "Qwen/Qwen3-4B-Base", "stages": ("priming", "sft", "grpo")}),
    ("openr1_boxed", "", {"format.name": "boxed", "score.__name__": "same_math"}),
    ("openr1_boxed", "source", {"path": "open-r1/OpenR1-Math-220k", "config": "default"}),
    ("openr1_boxed", "source", {"licence": "Apache-2.0"}),
    ("openr1_boxed", "lora", {"load_in_4bit": True}),
    ("openr1_boxed", "priming", {"rows": 60, "epochs": 2}),
    ("openr1_boxed", "sft", {"learning_rate": 2e-4, "epochs": 1}),
    ("openr1_boxed", "evaluation", {"problems": 2000}),
    ("openr1_boxed", "further", {"path": "HuggingFaceH4/MATH-500"}),
    ("dapo_think", "", {"model": "Qwen/Qwen2.5-Math-1.5B", "stages": ("grpo",)}),
    ("dapo_think", "", {"format.name": "think_boxed", "score.__name__": "same_math"}),
    ("dapo_think", "", {"rewards": {"accuracy_reward": 1.0, "format_reward": 0.5}}),
    ("dapo_think", "source", {"path": "BytedTsinghua-SIA/DAPO-Math-17k", "licence": "Apache-2.0"}),
    ("dapo_think", "grpo", {"generations": 8, "batch": 2 * 4, "learning_rate": 1e-6, "epochs": 1}),
    ("dapo_think", "grpo", {"max_prompt": 512, "max_completion": 2048}),
    ("phybench_eed", "", {"model": "Qwen/Qwen3-1.7B", "stages": ("grpo",), "rewards": PHYSICS}),
    ("phybench_eed", "", {"format.name": "boxed", "score.__name__": "eed_score"}),
    ("phybench_eed", "source", {"path": "Eureka-Lab/PHYBench", "licence": "MIT"}),
    ("phybench_eed", "source", {"files": "PHYBench-fullques_v1.json"}),
    ("phybench_eed", "lora", {"r": 64, "targets": ("q_proj", "v_proj"), "load_in_4bit": True}),
    ("phybench_eed", "grpo", {"generations": 4, "batch": 2 * 2, "steps": 550}),
    ("phybench_eed", "grpo", {"learning_rate": 5e-7, "schedule": "linear", "warmup": 0.03}),
    ("phybench_eed", "grpo", {"beta": 0.1, "max_prompt": 4096, "max_completion": 1024}),
]
# What a system that published none of them used.
TRL_DEFAULTS = {"beta": 0.0, "epsilon": 0.2, "temperature": 1.0}
BY_TRL = [(name, key) for name in ("gsm8k_xml", "dapo_think") for key in TRL_DEFAULTS]
BY_TRL += [("phybench_eed", "epsilon"), ("phybench_eed", "temperature")]


@pytest.mark.parametrize(("name", "part", "published"), PUBLISHED)
def test_published_numbers(name, part, published):
    place = getattr(RECIPES[name], part) if part else RECIPES[name]
    assert {key: attrgetter(key)(place) for key in published} == published


def test_the_published_rewards_without_their_weights():
    assert list(RECIPES["openr1_boxed"].rewards) == ["accuracy_reward", "format_reward"]


@pytest.mark.parametrize(("name", "key"), BY_TRL)
def test_trl_s_defaults_are_written_out(name, key):
    from trl import GRPOConfig

    default = GRPOConfig.__dataclass_fields__[key].default
    assert getattr(RECIPES[name].grpo, key) == TRL_DEFAULTS[key] == default


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_whole(name):
    recipe = RECIPES[name]
    assert recipe.name == name and len(recipe.lora.targets) in (2, 7)
    assert set(recipe.rewards) <= set(REWARDS) and min(recipe.rewards.values()) > 0
    assert recipe.grpo.batch % recipe.grpo.generations == 0
    assert recipe.format.instruction in recipe.system
    assert recipe.stages == (*recipe.supervised, "grpo") and set(recipe.supervised) <= {*SUPERVISED}


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_changes_settings_and_nothing_else(name):
    """The embedded one anywhere, any other on a CPU with the quick budget."""
    recipe = RECIPES[name]
    assert for_model(recipe, False, "cuda") == recipe
    assert for_model(recipe, False, "cpu", "published") == recipe
    assert for_model(recipe, True, "cuda") == for_model(recipe, True, "cpu")
    names = [field.name for field in dataclasses.fields(recipe)]
    for embedded in (True, False):
        other = for_model(recipe, embedded, "cpu")
        changed = {name for name in names if getattr(recipe, name) != getattr(other, name)}
        assert {"grpo"} <= changed <= {"lora", *SUPERVISED, "grpo", "evaluation"}
        assert other.stages == recipe.stages
        assert other.grpo.batch % other.grpo.generations == 0


@pytest.mark.parametrize("name", RECIPES)
def test_the_parrot_of_notebook_03_can_speak(name):
    cells = (ROOT / "03_eval.ipynb").read_text().replace('\\"', '"')
    [said] = re.findall(r'recipe\.write\("(I .*?)"', cells)
    assert said in RECIPES[name].write(said, "7")


def test_an_unknown_recipe_is_named():
    with pytest.raises(ValueError, match="gsm8k_xlm.*\n.*gsm8k_xml"):
        get_recipe("gsm8k_xlm")
