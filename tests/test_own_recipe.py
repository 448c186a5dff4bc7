"""A sixth recipe, as anyone would add one: the README's lines, through SFT and GRPO."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest

from helpers import data, recipes, rewards, rows
from helpers.notebooks import NOTEBOOKS
from helpers.recipes import Recipe, Source
from helpers.tiny.problems import generate
from helpers.training import check_golds
from tests.conftest import ROOT
from tests.learning import measure, reinforce, supervise

SHOWN = re.compile(r"```python\n(# helpers/rows\.py, at the end\n.*?)```", re.DOTALL)
[LINES] = SHOWN.findall((ROOT / "README.md").read_text())


READER, REWARD, ENTRY = (
    part.partition("\n")[2] for part in re.split(r"^# helpers/", LINES, flags=re.MULTILINE)[1:]
)


@pytest.fixture
def homework(monkeypatch) -> Recipe:
    """What the README's lines add, executed where they say that they belong."""
    beside = dict(vars(rows))
    exec(READER, beside)
    monkeypatch.setattr(rows, "read_homework", beside["read_homework"], raising=False)
    monkeypatch.setattr(rewards, "REWARDS", dict(rewards.REWARDS))
    exec(REWARD, vars(rewards) | {"REWARDS": rewards.REWARDS})
    monkeypatch.setattr(recipes, "RECIPES", dict(recipes.RECIPES))
    exec(ENTRY, vars(recipes) | {"RECIPES": recipes.RECIPES})
    return recipes.get_recipe("homework")


def test_each_part_is_at_most_ten_lines():
    assert max(len(part.splitlines()) for part in (READER, REWARD, ENTRY)) <= 10


@pytest.mark.soak
def test_it_runs_through_the_notebooks(tmp_path):
    """As the README says: its lines at the ends of the files, the CSV beside, make run."""
    shutil.copytree(ROOT / "helpers", tmp_path / "helpers")
    for name in NOTEBOOKS:
        shutil.copy(ROOT / name, tmp_path)
    for name, part in (("rows", READER), ("rewards", REWARD), ("recipes", ENTRY)):
        with open(tmp_path / "helpers" / f"{name}.py", "a") as file:
            file.write(f"\n\n{part}")
    sums = [f"Task {n}: what is {n} + 7?,{n} + 7 = {n + 7},{n + 7},3" for n in range(80)]
    (tmp_path / "homework.csv").write_text("\n".join(["task,working,result,lines", *sums]))
    words = ["run", "RECIPE=homework", "MAX_STEPS=2", "PROBLEMS=5"]
    command = [sys.executable, "-m", "helpers", *words]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "r_brief: base" in shown.stdout and not shown.returncode, shown.stdout + shown.stderr


ROW = {"task": "How many are 1 + 1?", "working": "1 + 1 = 2", "result": "2"}


def test_a_reward_s_column_is_needed_where_it_is_paid_and_nowhere_else(homework):
    example = homework.read_row(ROW)
    assert data.loading.fault(homework, example, ROW | {"lines": 3}, ["lines"]) is None
    for row in (ROW, ROW | {"lines": None}):
        reason = data.loading.fault(homework, example, row, ["lines"])
        assert reason == "without 'lines', which a reward asks for"
    hashed = recipes.RECIPES["gsm8k_hash"]
    own = {"rewards": {**hashed.rewards, "r_brief": 0.1}, "shaping": {"r_brief": (-1, 0)}}
    paying = replace(hashed, **own)
    with pytest.raises(ValueError, match="2000 without 'lines', which a reward asks for"):
        data.load(paying, "embedded", "cpu")
    assert len(data.load_further(paying, None, "cpu").examples) > 100
    asking = replace(homework, rewards={}, shaping={})  # as an export does: it pays nothing
    assert not rewards.columns_of(asking)


def test_a_reward_that_asks_for_one_prompt_is_told(homework, monkeypatch):
    monkeypatch.setitem(rewards.REWARDS, "r_one", lambda completions, prompt, **_: [0.0])
    with pytest.raises(ValueError, match="asks for 'prompt'.\nIt gets prompts"):
        rewards.columns_of(replace(homework, rewards={"r_one": 1.0}, shaping={}))


def test_it_runs_through_sft_and_grpo(homework, machine, tmp_path):
    """Its penalty reads a column of the rows, in training and in evaluation."""
    some = [(problem.question, problem.short, problem.result) for problem in generate("train", 120)]
    table = pd.DataFrame([*some, ("?", "", None)], columns=["task", "working", "result"])
    table["lines"] = 0
    table.astype({"result": "object"}).to_csv(tmp_path / "homework.csv", index=False)
    own = replace(homework, source=Source(str(tmp_path / homework.source.path)))
    recipe = recipes.for_model(own, True, "cpu")
    splits = data.load(recipe, None, "cpu")
    assert (len(splits["train"].examples), len(splits["test"].examples)) == (108, 12)
    assert sum(splits["train"].dropped.values()) == 1
    assert len(check_golds(recipe, splits["train"]).examples) == 108
    start = supervise(recipe, machine, 0, tmp_path, splits, steps=3)
    end = reinforce(recipe, machine, 0, tmp_path, splits, start, steps=2)
    assert [len(adapter.run.read_log()) for adapter in (start, end)] == [3, 2]
    for sample in end.run.read_samples():
        breaks = sample["completion"].count("\n")
        assert sample["r_brief"] == pytest.approx(-min(breaks / 10, 1))
    greedy, sampled = measure(recipe, machine, 0, tmp_path, splits["test"].examples[:4], end)
    assert (len(greedy), len(sampled)) == (4, 16)
    for record in sampled:
        breaks = record.completion.count("\n")
        assert record.rewards["r_brief"] == pytest.approx(-min(breaks / 10, 1))


def test_a_column_that_rows_do_not_have_is_named(homework, tmp_path):
    lines = "task,working,result\nHow many are 1 + 1?,1 + 1 = 2,2\n"
    (tmp_path / "homework.csv").write_text(lines)
    own = replace(homework, source=Source(str(tmp_path / "homework.csv")))
    with pytest.raises(ValueError, match="1 without 'lines', which a reward asks for"):
        data.load(own, None, "cpu")
