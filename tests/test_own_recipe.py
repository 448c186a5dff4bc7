"""A sixth recipe, as anyone would add one: the README's ten lines, through SFT and GRPO."""

import re
from dataclasses import replace

import pandas as pd
import pytest

from helpers import data, recipes, rows
from helpers.recipes import Recipe, Source
from helpers.tiny.problems import generate
from helpers.training import check_golds
from tests.conftest import ROOT
from tests.learning import measure, reinforce, supervise

SHOWN = re.compile(r"```python\n(# helpers/rows\.py, at the end\n.*?)```", re.DOTALL)
[LINES] = SHOWN.findall((ROOT / "README.md").read_text())


@pytest.fixture
def homework(monkeypatch) -> Recipe:
    """What the README's lines add, executed where they say that they belong."""
    reader, _, entry = LINES.partition("# helpers/recipes.py, at the end\n")
    beside = dict(vars(rows))
    exec(reader, beside)
    monkeypatch.setattr(rows, "read_homework", beside["read_homework"], raising=False)
    monkeypatch.setattr(recipes, "RECIPES", dict(recipes.RECIPES))
    exec(entry, vars(recipes) | {"RECIPES": recipes.RECIPES})
    return recipes.get_recipe("homework")


def test_they_are_ten_lines():
    assert len([line for line in LINES.splitlines() if not line.startswith("#")]) <= 10


def test_it_runs_through_sft_and_grpo(homework, machine, tmp_path):
    some = [(problem.question, problem.short, problem.result) for problem in generate("train", 120)]
    table = pd.DataFrame([*some, ("?", "", None)], columns=["task", "working", "result"])
    table.astype({"result": "object"}).to_csv(tmp_path / "homework.csv", index=False)
    own = replace(homework, source=Source(str(tmp_path / homework.source.path)))
    recipe = recipes.for_model(own, True, "cpu")
    splits = data.load(recipe, None, "cpu")
    assert (len(splits["train"].examples), len(splits["test"].examples)) == (108, 12)
    assert sum(splits["train"].dropped.values()) == 1
    assert check_golds(recipe, splits["train"].examples) == 108
    start = supervise(recipe, machine, 0, tmp_path, splits, steps=3)
    end = reinforce(recipe, machine, 0, tmp_path, splits, start, steps=2)
    assert [len(adapter.run.read_log()) for adapter in (start, end)] == [3, 2]
    greedy, sampled = measure(recipe, machine, 0, tmp_path, splits["test"].examples[:4], end)
    assert (len(greedy), len(sampled)) == (4, 16)
