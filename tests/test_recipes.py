"""The recipes hold the published numbers, and the profiles change only what they say."""

import dataclasses

import pytest

from helpers.recipes import RECIPES, SUPERVISED, for_profile, get_recipe
from helpers.training.rewards import REWARDS

SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PUBLISHED = {  # every number that a system published; batch is device batch × accumulation
    "gsm8k_xml": {
        "model": "Qwen/Qwen3-4B",
        "source.path": "openai/gsm8k",
        "source.config": "main",
        "source.licence": "MIT",
        "format.name": "xml",
        "stages": ("sft", "grpo"),
        "score.__name__": "same_number",
        "lora.r": 64,
        "lora.load_in_4bit": True,
        "lora.targets": SEVEN,
        "sft.batch": 10 * 2,
        "sft.learning_rate": 9e-4,
        "sft.schedule": "cosine",
        "sft.epochs": 2,
        "sft.max_length": 1024,
        "grpo.generations": 4,
        "grpo.learning_rate": 5e-4,
        "grpo.schedule": "cosine",
        "grpo.max_prompt": 512,
        "grpo.max_completion": 700,
    },
    "gsm8k_hash": {
        "model": "Qwen/Qwen3-4B",
        "source.path": "openai/gsm8k",
        "source.config": "main",
        "format.name": "hash",
        "stages": ("sft", "grpo"),
        "rewards": {"accuracy_reward": 1.0},
        "score.__name__": "same_number",
        "lora.r": 16,
        "lora.load_in_4bit": False,
        "sft.batch": 4,
        "sft.learning_rate": 2e-4,
        "sft.epochs": 3,
        "grpo.generations": 4,
        "grpo.batch": 4 * 4,
        "grpo.learning_rate": 1e-6,
        "grpo.beta": 0.01,
        "grpo.epsilon": 0.2,
        "grpo.temperature": 0.7,
    },
    "openr1_boxed": {
        "model": "Qwen/Qwen3-4B-Base",
        "source.path": "open-r1/OpenR1-Math-220k",
        "source.config": "default",
        "source.licence": "Apache-2.0",
        "format.name": "boxed",
        "stages": ("priming", "sft", "grpo"),
        "rewards.keys": ["accuracy_reward", "format_reward"],
        "score.__name__": "same_math",
        "lora.load_in_4bit": True,
        "priming.rows": 60,
        "priming.epochs": 2,
        "sft.learning_rate": 2e-4,
        "sft.epochs": 1,
        "evaluation.problems": 2000,
        "further.path": "HuggingFaceH4/MATH-500",
    },
    "dapo_think": {
        "model": "Qwen/Qwen2.5-Math-1.5B",
        "source.path": "BytedTsinghua-SIA/DAPO-Math-17k",
        "source.licence": "Apache-2.0",
        "format.name": "think_boxed",
        "stages": ("grpo",),
        "rewards": {"accuracy_reward": 1.0, "format_reward": 0.5},
        "score.__name__": "same_math",
        "grpo.generations": 8,
        "grpo.batch": 2 * 4,
        "grpo.learning_rate": 1e-6,
        "grpo.max_prompt": 512,
        "grpo.max_completion": 2048,
        "grpo.epochs": 1,
    },
    "phybench_eed": {
        "model": "Qwen/Qwen3-1.7B",
        "source.path": "Eureka-Lab/PHYBench",
        "source.files": "PHYBench-fullques_v1.json",
        "source.licence": "MIT",
        "format.name": "boxed",
        "stages": ("grpo",),
        "rewards": {"format_reward": 0.2, "trace_reward": 0.3, "accuracy_reward": 0.5},
        "score.__name__": "eed_score",
        "lora.r": 64,
        "lora.targets": ("q_proj", "v_proj"),
        "lora.load_in_4bit": True,
        "grpo.generations": 4,
        "grpo.batch": 2 * 2,
        "grpo.steps": 550,
        "grpo.learning_rate": 5e-7,
        "grpo.schedule": "linear",
        "grpo.warmup": 0.03,
        "grpo.beta": 0.1,
        "grpo.max_prompt": 4096,
        "grpo.max_completion": 1024,
    },
}
# What a system that published none of them used.
TRL_DEFAULTS = {"beta": 0.0, "epsilon": 0.2, "temperature": 1.0}
BY_TRL = {
    "gsm8k_xml": TRL_DEFAULTS,
    "dapo_think": TRL_DEFAULTS,
    "phybench_eed": ("epsilon", "temperature"),
}


def differences(one, other):
    names = [field.name for field in dataclasses.fields(one)]
    return {name for name in names if getattr(one, name) != getattr(other, name)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers(name):
    found = {}
    for path in PUBLISHED[name]:
        value = RECIPES[name]
        for part in path.split("."):
            value = list(value) if part == "keys" else getattr(value, part)
        found[path] = value
    assert found == PUBLISHED[name]


@pytest.mark.parametrize("name", BY_TRL)
def test_trl_s_defaults_are_written_out(name):
    from trl import GRPOConfig

    for key in BY_TRL[name]:
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
def test_the_tiny_profile_changes_settings_and_nothing_else(name):
    recipe, tiny = RECIPES[name], for_profile(RECIPES[name], "tiny")
    assert for_profile(recipe, "gpu") == recipe
    changed = differences(recipe, tiny)
    assert {"grpo", "evaluation"} <= changed <= {"lora", *SUPERVISED, "grpo", "evaluation"}
    assert tiny.stages == recipe.stages
    assert tiny.grpo.batch % tiny.grpo.generations == 0


def test_an_unknown_recipe_is_named():
    with pytest.raises(ValueError, match="gsm8k_xlm.*\n.*gsm8k_xml"):
        get_recipe("gsm8k_xlm")
