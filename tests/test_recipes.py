"""The recipes hold the published numbers, and the profiles change only what they say."""

import dataclasses

import pytest

from helpers.recipes import RECIPES, for_profile, get_recipe, read_gsm8k
from helpers.rewards import REWARDS

PUBLISHED = {
    "gsm8k_xml": {"model": "Qwen/Qwen3-4B", "source.path": "openai/gsm8k", "source.config": "main", "lora.r": 64, "lora.load_in_4bit": True,
                  "sft.batch": 20, "sft.learning_rate": 9e-4, "sft.epochs": 2, "sft.schedule": "cosine", "sft.max_length": 1024,
                  "grpo.generations": 4, "grpo.batch": 16, "grpo.learning_rate": 5e-4, "grpo.schedule": "cosine",
                  "grpo.max_prompt": 512, "grpo.max_completion": 700, "stages": ("sft", "grpo")},
    "gsm8k_hash": {"model": "Qwen/Qwen3-4B", "lora.r": 16, "sft.batch": 4, "sft.learning_rate": 2e-4, "sft.epochs": 3, "grpo.generations": 4,
                   "grpo.batch": 16, "grpo.learning_rate": 1e-6, "grpo.beta": 0.01, "grpo.epsilon": 0.2, "grpo.temperature": 0.7,
                   "rewards": {"accuracy_reward": 1.0}, "stages": ("sft", "grpo")},
    "openr1_boxed": {"model": "Qwen/Qwen3-4B-Base", "sft.learning_rate": 2e-4, "sft.epochs": 1, "evaluation.problems": 2000},
    "dapo_think": {"model": "Qwen/Qwen2.5-Math-1.5B", "grpo.generations": 8, "grpo.batch": 8, "grpo.learning_rate": 1e-6, "grpo.max_prompt": 512,
                   "grpo.max_completion": 2048, "grpo.epochs": 1, "rewards": {"accuracy_reward": 1.0, "format_reward": 0.5}, "stages": ("grpo",)},
    "phybench_eed": {"model": "Qwen/Qwen3-1.7B", "lora.r": 64, "lora.targets": ("q_proj", "v_proj"), "lora.load_in_4bit": True, "grpo.generations": 4,
                     "grpo.batch": 4, "grpo.steps": 550, "grpo.learning_rate": 5e-7, "grpo.schedule": "linear", "grpo.warmup": 0.03, "grpo.beta": 0.1,
                     "grpo.max_prompt": 4096, "grpo.max_completion": 1024, "stages": ("grpo",),
                     "rewards": {"format_reward": 0.2, "trace_reward": 0.3, "accuracy_reward": 0.5}},
}


@pytest.mark.parametrize(("name", "path", "value"), [(n, p, v) for n, numbers in PUBLISHED.items() for p, v in numbers.items()])
def test_published_numbers(name, path, value):
    found = RECIPES[name]
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_whole(name):
    recipe = RECIPES[name]
    assert recipe.name == name and len(recipe.lora.targets) in (2, 7)
    assert set(recipe.rewards) <= set(REWARDS) and all(weight > 0 for weight in recipe.rewards.values())
    assert recipe.grpo.batch % recipe.grpo.generations == 0
    assert recipe.format.instruction in recipe.system


def test_profiles():
    recipe = get_recipe("gsm8k_xml")
    assert for_profile(recipe, "gpu") == recipe
    tiny = for_profile(recipe, "tiny")
    changed = {f.name for f in dataclasses.fields(recipe) if getattr(recipe, f.name) != getattr(tiny, f.name)}
    assert changed == set(recipe.tiny)
    assert tiny.grpo.batch % tiny.grpo.generations == 0
    with pytest.raises(ValueError, match="dapo_think.*GPU.*\n.*gsm8k_xml"):
        for_profile(get_recipe("dapo_think"), "tiny")


def test_an_unknown_recipe_is_named():
    with pytest.raises(ValueError, match="gsm8k_xlm.*\n.*gsm8k_xml"):
        get_recipe("gsm8k_xlm")


def test_rows_of_both_kinds():
    assert read_gsm8k({"question": "q", "answer": "a <<1+1=2>>2\n#### 1,234"}).answer == "1,234"
    assert read_gsm8k({"question": "q", "answer": "no mark"}) is None
    own = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}], "answer_text": "so", "answer": 7}
    assert dataclasses.astuple(read_gsm8k(own)) == ("", "q", "so", "7")
