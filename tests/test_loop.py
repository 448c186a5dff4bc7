"""The loop of notebook 02, which makes GRPO steps without TRL: its own cells, run here."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers import data, machine, training
from helpers.evaluation.statistics import paired_p
from helpers.recipes import RECIPES, for_model
from tests.texts import BOOKS, code

PROBLEMS, TRIES = 48, 2
MARKS = ("small = ", "def draw(", "def log_probabilities(", "# 5. The loss", "trl_loss(")


def cells() -> list[str]:
    found = []
    for cell in code(BOOKS["02_grpo.ipynb"]):
        if any(mark in cell.source for mark in MARKS):
            found.append(cell.source)
    return found


def rewards(space: dict, problems) -> pd.Series:
    """The mean reward of each problem, of fresh replies."""
    asked = np.repeat(problems, TRIES)
    ids, _, mask = space["draw"]([example.question for example in asked])
    replies = space["tokens"].batch_decode(ids[:, -mask.shape[1] :], True)
    golds = [example.answer for example in asked]
    paid = training.reward_table(space["small"], replies, golds)["total"]
    return pd.Series(np.reshape(paid, (-1, TRIES)).mean(axis=1))


@pytest.mark.parametrize(
    "name", ["gsm8k_xml", *(pytest.param(r, marks=pytest.mark.soak) for r in RECIPES)]
)
def test_steps_without_a_library_teach_and_have_trls_loss(name, capsys):
    recipe = for_model(RECIPES[name], True, "cpu")
    space = {"np": np, "pd": pd, "training": training, "recipe": recipe}
    space |= {"settings": SimpleNamespace(seed=0), "here": machine.detect()}
    model, *between, compared = cells()
    problems = data.load(recipe, None, "cpu")["test"].take(PROBLEMS)
    exec(model, space)
    loop = next(source for source in between if "# 5. The loss" in source)
    for source in between:
        if source is loop:
            before = rewards(space, problems)
        exec(source, space)
    after = rewards(space, problems)
    assert after.mean() > before.mean() and paired_p(before, after) < 0.05
    exec(compared, space)
    assert "ours is TRL's, to 0.00001: True" in capsys.readouterr().out
