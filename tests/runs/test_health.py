"""Ill runs are named, healthy ones are left alone. The lab trains for real; illness is injected."""

import numpy as np
import pytest

from helpers import data, runs
from helpers.recipes import RECIPES
from tests.learning import BASE, supervise
from tests.runs import pathologies as lab
from tests.sharing.test_export import make_adapter

QUICK = ("NaN",)  # the others in `make soak`
SLOW = [pytest.param(name, marks=pytest.mark.soak) for name in lab.ILLNESSES if name not in QUICK]


@pytest.fixture(scope="module")
def taught(recipe, machine, tmp_path_factory):
    out = tmp_path_factory.mktemp("taught")
    return supervise(recipe, machine, 0, out, data.load(recipe, None, "cpu"))


@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_an_illness_is_named(name, request, recipe, machine, tmp_path):
    if name == "NaN":  # of any adapter
        start = make_adapter(BASE, tmp_path / "adapter", recipe, machine, 0.02)
    elif name == "repetition":
        start = lab.stammering(recipe, machine, tmp_path)
    else:
        start = request.getfixturevalue("taught")
    found = lab.ill(recipe, machine, tmp_path, start, name, **lab.ILLNESSES[name])
    [verdict] = [verdict for verdict in found if verdict.name == name]
    assert verdict.step <= lab.STEPS and verdict.evidence and verdict.cure


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_a_healthy_run_raises_no_alarm(seed, recipe, machine, tmp_path):
    assert lab.healthy(recipe, machine, tmp_path, seed) == []


def log_of(steps, **figures):
    """A healthy log of so many steps but for these figures, each a number or a function of it."""
    log = []
    for step in range(1, steps + 1):
        line = {"step": step, "reward_mean": 1.0, "follows": 0.9, "zero_std_groups": 0.1}
        line |= {"correct": 0.5, "score": 0.5}
        for key, value in figures.items():
            line[key] = value(step) if callable(value) else value
        log.append(line)
    return log


def found(log, recipe):
    return {verdict.name: verdict.evidence for verdict in runs.verdicts(log, recipe)}


EQUAL, NARROW, LENGTH = "zero-variance groups", "entropy collapse", "length-only reward"
FORM, FAST = "format-only learning", "learning rate too high"
FALLING = {"distinct": 0.125, "entropy": lambda step: 0.5 / step}
OPPOSED = {"reward_gap": 0.0, "reward_length_corr": -0.95}
CHANCE = "steps by chance"
FELL = "held-out accuracy fell"
LOOKS = {"held_out": lambda step: {1: 0.5, 3: 0.6, 6: 0.4}.get(step)}
DROP = {"reward_mean": lambda step: 1.0 if step < 4 else 0.1}
GAP = "reward_gap 0.01 (right replies earn that much more than wrong ones)"


@pytest.mark.parametrize(
    ("name", "evidence", "figures"),
    [
        ("KL blow-up", "kl 1.50", {"kl": 1.5}),
        ("truncation", "truncated 0.60", {"truncated": 0.6}),
        ("repetition", "repetition 0.50", {"repetition": 0.5}),
        ("NaN", "grpo_loss not finite", {"not_finite": ["grpo_loss"]}),
        (EQUAL, "zero_std_groups 0.95, correct 0.50", {"zero_std_groups": 0.95}),
        (EQUAL, "zero_std_groups 1.00", {"zero_std_groups": 1.0, "correct": None}),
        (NARROW, "distinct 0.12, correct 0.50", {"distinct": 0.125}),
        (NARROW, "distinct 0.12", {"distinct": 0.125, "correct": None}),
        (NARROW, "entropy 0.500 → 0.145, distinct 0.12, correct 0.50", FALLING),
        (LENGTH, "reward_gap 0.00, reward_length_corr -0.95", OPPOSED),
        (FORM, GAP, {"reward_gap": 0.01}),
        (FAST, "reward_mean fell from 1.00 to 0.46", DROP),
        (CHANCE, "zero_std_groups 0.80, correct 0.50", {"zero_std_groups": 0.8}),
        (FELL, "held_out 0.60 → 0.40, while reward_mean 1.00 → 1.00", LOOKS),
    ],
)
def test_a_verdict_names_the_key_that_shows_it(name, evidence, figures, recipe):
    [verdict] = runs.verdicts(log_of(6, **figures), recipe)
    assert (verdict.name, verdict.step, verdict.evidence) == (name, 6, evidence)
    assert str(verdict) == f"⚠ {name}, at step 6: {evidence}.\n  {runs.RULES[name]['cure']}"


def test_all_right_is_no_alarm(recipe):
    learned = {"correct": 0.95, "zero_std_groups": 0.95, "distinct": 0.125}
    for figures in ({}, learned, {"distinct": 0.125, "entropy": 0.5}):
        assert runs.verdicts(log_of(8, **figures), recipe) == []


def test_a_reward_that_rises_alone_is_named(recipe):
    rising = {"reward_mean": lambda step: 0.5 + 0.05 * step}
    alone = log_of(18, follows=lambda step: 0.4 + 0.03 * step, **rising)
    assert set(found(alone, recipe)) == {"reward up, correctness not", "format-only learning"}
    assert found(alone[:14], recipe) == {}  # too early for a trend
    assert found(log_of(18, score=lambda step: 0.2 + 0.03 * step, **rising), recipe) == {}


@pytest.mark.parametrize(
    ("before", "after", "evidence"),
    [
        (1.0, 2.0, {FAST: "loss rose from 1.00 to 2.00"}),
        *[(0.004, 0.008, {}), (2.0, 1.0, {})],  # small losses may double
    ],
)
def test_an_sft_loss_that_rises_is_named(before, after, evidence, recipe):
    log = [{"step": step, "loss": before if step < 5 else after} for step in range(1, 12)]
    assert found(log, recipe) == evidence


def test_what_is_infinite_stops_a_run_but_for_a_gradient_under_loss_scaling(recipe):
    """float16 on a GPU: the step is skipped and the scale halved."""
    line = {"step": 1, "not_finite": ["grad_norm"]}
    runs.stop_if_ruined(line | {"fp16": True})
    with pytest.raises(FloatingPointError, match="At step 1 grad_norm not finite.\nLower"):
        runs.stop_if_ruined(line)
    line = runs.finite({"step": 1, "reward_mean": float("inf"), "grpo_loss": 0.0})
    assert found([line], recipe) == {"NaN": "reward_mean not finite"}


@pytest.mark.parametrize(("groups", "size"), [(1, 8), (1, 4), (2, 4), (4, 4)])
def test_small_batches_are_no_illness(groups, size):
    """A step of one group is all chance: slowly improving runs of 300 steps raise no alarm."""
    recipe = lab.changed(RECIPES["gsm8k_hash"], batch=groups * size, generations=size)
    for seed in range(2):
        rng = np.random.default_rng(seed)
        log = []
        for step in range(300):
            ease = rng.normal(-0.6 + step / 300, 1.5, groups)  # log-odds of each question, rising
            right = rng.random((groups, size)) < (1 / (1 + np.exp(-ease)))[:, None]
            line = dict.fromkeys(("reward_mean", "correct", "score"), float(right.mean()))
            line["reward_std"] = float(right.std())
            line["zero_std_groups"] = float((right.std(axis=1) == 0).mean())
            log += log_of(1, step=step + 1, **line)
        assert runs.history(log, recipe) == []


def test_completions_without_golds_and_of_one_group_are_judged_as_far_as_possible(recipe):
    sample = {"question": "1 + 1?", "completion": "two", "answer": None, "tokens": 3, "reward": 1.0}
    assert set(runs.figures(recipe, [sample] * 4, 4)) == {"repetition", "distinct", "follows"}
    sample["answer"] = "2"
    assert runs.figures(recipe, [sample], 1)["correct"] == 0.0
    samples = []
    for number in ("2", "3", "2", "3"):
        text = recipe.format.write(f"1 + 1 = {number}", number)
        samples.append(sample | {"completion": text, "reward": float(number == "2")})
    figures = runs.figures(recipe, samples, 4)
    assert figures["reward_gap"] == 1.0 and figures["correct"] == figures["score"] == 0.5


def test_the_report_has_a_row_for_each_verdict(recipe):
    seen = dict(runs.report(log_of(8, truncated=1.0), recipe)["seen"])
    assert list(seen) == list(runs.RULES)
    assert seen.pop("truncation").startswith("step 5: truncated 1.00. Replies do not end")
    absent = ("kl", "distinct", "reward_gap", "repetition", "held_out")
    missing = {f"this log has no {key}" for key in absent}
    unjudged = {line.removeprefix("not judged: ") for line in seen.values()}
    assert unjudged == missing | {"no", "it takes 15 steps"}
    short = runs.report(log_of(1), recipe)["seen"]
    assert (short == "not judged: it takes 5 steps").sum() == 10
    sft = runs.report([{"step": step, "loss": 1.0} for step in range(1, 20)], recipe)["seen"]
    judged = sft[sft != "not judged: for GRPO only"]
    assert dict(judged) == {"NaN": "no", "learning rate too high": "no"}
