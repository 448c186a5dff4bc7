"""What GRPO pays: labelled texts, cheats, golds, advantages."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.recipes import Example
from helpers.rewards import REWARDS, check_golds, group_advantages, maximum, reward_functions, reward_table, texts

GOOD = "<reasoning>\n3 + 4 = 7\n</reasoning>\n<answer>\nThe final answer is 7.\n</answer>"


@pytest.mark.parametrize(("text", "strict", "soft", "count", "right"), [
    (GOOD, 1, 1, 1, 1),
    (GOOD.replace("7.\n", "8.\n"), 1, 1, 1, 0),
    (GOOD.replace("\n", " "), 0, 1, 1, 1),
    ("3 + 4 = 7", 0, 0, 0, 1),
    ("", 0, 0, 0, 0),
    ("<reasoning>3 + 4 = 7</reasoning>", 0, 0, 0.5, 1),
    (GOOD + GOOD, 0, 0, 0, 1),
    ("<answer>7</answer><reasoning>x</reasoning>", 0, 0, 1, 1),
    ("<reasoning></reasoning><answer></answer>", 0, 0, 1, 0),
    (GOOD[:-9], 0, 0, 0.75, 1),
    (GOOD.replace("is 7.", "is 5, 6 or 7."), 0, 0, 1, 1),
])
def test_labelled_texts(text, strict, soft, count, right):
    for completion in (text, [{"role": "assistant", "content": text}]):
        found = [REWARDS[name](completions=[completion], answer=["7"], prompts=["p"], unknown=3)[0]
                 for name in ("r_strict", "r_soft", "r_xmlcount", "r_correctness")]
        assert found == [strict, soft, count, right]


def test_form_weighs_as_much_as_the_number(recipe):
    paid = reward_table(recipe, [GOOD, GOOD.replace("7.\n", "8.\n"), "7", ""], ["7"] * 4)["total"]
    assert paid == [2.0, 1.0, 1.0, 0.0] and maximum(recipe) == 2.0


def test_functions_follow_trl_s_contract(recipe):
    functions, weights = reward_functions(recipe)
    assert [f.__name__ for f in functions] == list(recipe.rewards) and weights == list(recipe.rewards.values())
    assert all(pickle.loads(pickle.dumps(f)) is f for f in functions)
    assert REWARDS["r_correctness"]([GOOD], answer=["unreadable"]) == [None]


def test_the_length_reward_knows_the_recipe_s_limit(recipe):
    import dataclasses

    (function,), _ = reward_functions(dataclasses.replace(recipe, rewards={"r_length": 1.0}))
    function = pickle.loads(pickle.dumps(function))
    limit = recipe.grpo.max_completion
    assert function.__name__ == "r_length" and function([""] * 2, completion_ids=[[1] * limit, [1] * (limit // 2)]) == [-1.0, 0.0]


def test_optional_rewards():
    ids = [list(range(30)), [1, 2, 3] * 10, list(range(95))]
    assert REWARDS["r_repeat"]([""] * 3, completion_ids=ids)[0] == 0 > REWARDS["r_repeat"]([""] * 3, completion_ids=ids)[1]
    assert REWARDS["r_length"]([""] * 3, completion_ids=ids, max_completion_length=100) == [0.0, 0.0, -0.75]
    with pytest.raises(ValueError, match="completion_ids"):
        REWARDS["r_repeat"]([""])


def test_golds_earn_everything_or_training_stops(recipe):
    examples = [Example("a", "q", "3 + 4 = 7", "7"), Example("b", "q", "so", "1,234")]
    assert check_golds(recipe, examples) == 2
    with pytest.raises(ValueError, match="1 of 3 golds.*c: 'seven'"):
        check_golds(recipe, [*examples, Example("c", "q", "so", "seven")])
    with pytest.raises(ValueError, match="no examples"):
        check_golds(recipe, [])


@given(st.lists(st.floats(-5, 5), min_size=8, max_size=8))
def test_advantages_sum_to_zero_and_ignore_scale(values):
    found = group_advantages(values, 4)
    assert np.allclose(found.reshape(2, 4).sum(axis=1), 0, atol=1e-6)
    assert not group_advantages([1.5] * 8, 4).any()


def test_advantages_equal_torch_s():
    import torch

    r = torch.tensor([0.0, 1.0, 2.0, 2.0])
    expected = (r - r.mean()) / (r.std() + 1e-4)
    assert np.allclose(group_advantages(r.tolist(), 4), expected.numpy(), atol=1e-6)
    with pytest.raises(ValueError, match="groups of 3"):
        group_advantages(r.tolist(), 3)


def test_texts_of_both_kinds():
    assert texts(["a", [{"role": "assistant", "content": "b"}]]) == ["a", "b"]
