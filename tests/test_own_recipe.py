"""A sixth recipe, as anyone would add one: from their own CSV, with one adapter and one literal entry, through SFT and GRPO."""

import ast
import inspect
from pathlib import Path

import pandas as pd

from helpers import data, runlog
from helpers.answers import BOXED, same_number
from helpers.recipes import EvaluationSettings, GRPOSettings, LoRASettings, Recipe, SFTSettings, Source
from helpers.rewards import check_golds
from helpers.rows import Example, plain
from helpers.tiny.problems import generate
from tests.learning import measure, reinforce, supervise


def read_homework(row):
    """A row of `homework.csv`, with the columns task, working and result."""
    return Example("", row["task"].strip(), row["working"].strip(), plain(row["result"])) if plain(row["result"]) else None


def homework(csv: Path) -> Recipe:
    return Recipe(
        name="homework",
        title="Our own homework",
        model="Qwen/Qwen3-4B",
        source=Source(str(csv)),
        read_row=read_homework,
        system="Solve the problem. " + BOXED.instruction,
        format=BOXED,
        score=same_number,
        rewards={"accuracy_reward": 1.0, "format_reward": 0.5},
        lora=LoRASettings(r=32, alpha=32),
        sft=SFTSettings(batch=16, learning_rate=2e-4, epochs=1, max_length=1024),
        grpo=GRPOSettings(batch=16, generations=4, learning_rate=5e-6, max_prompt=512, max_completion=512),
        evaluation=EvaluationSettings(problems=100, samples=4),
    )


def test_it_takes_fewer_than_forty_lines():
    assert sum(len(inspect.getsource(part).splitlines()) for part in (read_homework, homework)) < 40
    assert ast.parse(inspect.getsource(homework))


def test_it_runs_through_sft_and_grpo(machine, tmp_path):
    from helpers.recipes import for_profile

    rows = [{"task": p.question, "working": p.short, "result": p.result} for p in generate("train", 120)] + [{"task": "?", "working": "", "result": None}]
    pd.DataFrame(rows).astype({"result": "object"}).to_csv(tmp_path / "homework.csv", index=False)
    recipe = for_profile(homework(tmp_path / "homework.csv"), "tiny")
    splits = data.load(recipe, None, "tiny")
    assert (len(splits["train"].examples), len(splits["test"].examples)) == (108, 12) and sum(splits["train"].dropped.values()) == 1
    assert check_golds(recipe, splits["train"].examples) == 108
    start = supervise(recipe, machine, 0, tmp_path, splits, steps=3)
    end = reinforce(recipe, machine, 0, tmp_path, splits, start, steps=2)
    assert [len(runlog.read_lines(adapter.parent / "log.jsonl")) for adapter in (start, end)] == [3, 2]
    greedy, sampled = measure(recipe, machine, 0, tmp_path, splits["test"].examples[:4], end)
    assert len(greedy) == 4 and len(sampled) == 16 and {"reward", "rewards", "outcome"} <= set(greedy[0])
