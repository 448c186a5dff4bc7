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


def test_an_unknown_recipe_is_named():
    with pytest.raises(ValueError, match="gsm8k_xlm.*\n.*gsm8k_xml"):
        get_recipe("gsm8k_xlm")


def test_rows_of_both_kinds():
    assert read_gsm8k({"question": "q", "answer": "a <<1+1=2>>2\n#### 1,234"}).answer == "1,234"
    assert read_gsm8k({"question": "q", "answer": "no mark"}) is None
    own = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}], "answer_text": "so", "answer": 7}
    assert dataclasses.astuple(read_gsm8k(own)) == ("", "q", "so", "7")
