"""Every recipe learns, on several seeds: `make soak`, which prints the README's table."""

import json

import pytest

from helpers import evaluation
from helpers.recipes import RECIPES, for_model
from tests.conftest import ROOT
from tests.learning import learn

PROBLEMS, SEEDS = 400, 3
RESULTS = ROOT / "outputs" / "soak"


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("name", RECIPES)
def test_it_learns(name, seed, machine, tmp_path):
    recipe = for_model(RECIPES[name], True, "cpu")
    found, minutes = learn(recipe, machine, seed, tmp_path, PROBLEMS)
    keep(name, seed, found, minutes)
    greedy = {stage: evaluation.summarise(r[0]) for stage, r in found.items()}
    sampled = {stage: evaluation.summarise(r[1]) for stage, r in found.items()}
    start = "sft" if "sft" in found else "base"
    gain = evaluation.compare(found[start][1], found["grpo"][1])
    print(
        f"\n{name}, seed {seed}\n{evaluation.show(sampled).to_string()}\n"
        f"{evaluation.show_rewards(sampled).to_string()}\n"
        f"GRPO over {start}: {gain['difference']:+.1%} [{gain['low']:+.1%}, {gain['high']:+.1%}], "
        f"p = {gain['p']:.2g}, n = {gain['n']}"
    )
    assert gain["difference"] >= 0.15 and gain["p"] < 0.001
    assert greedy["grpo"]["strict"]["value"] > greedy[start]["strict"]["value"]
    assert sampled["grpo"]["format"]["value"] >= max(0.85, sampled[start]["format"]["value"] - 0.05)
    for reward in recipe.rewards:
        before, after = (sampled[stage]["rewards"][reward]["value"] for stage in (start, "grpo"))
        assert after > before - 0.05, reward


def keep(name, seed, found, minutes):
    """What the table needs: by stage the mean of each problem's samples, and of its rewards."""
    keys = ("strict", "format", "reward", *next(iter(found.values()))[1][0].rewards)
    stages = {}
    for stage, (greedy, sampled) in found.items():
        stages[stage] = evaluation.per_problem(sampled)[[*keys]].to_dict()
        stages[stage]["greedy"] = evaluation.per_problem(greedy)["strict"].to_dict()
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}-{seed}.json").write_text(json.dumps({"minutes": minutes, "stages": stages}))
