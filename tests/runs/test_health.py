"""Ill runs are named, healthy ones are left alone. The lab trains for real; each illness is injected."""

import pytest

from helpers import runs as runlog
from helpers.recipes import RECIPES
from helpers.runs import health
from helpers.training import preflight
from tests.learning import supervise
from tests.runs import pathologies as lab

ILLNESSES = {
    "zero-variance groups": dict(paid=lab.constant),
    "length-only reward": dict(paid=lab.length_only),
    "format-only learning": dict(paid=lab.form_only),
    "truncation": dict(max_completion=8),
    "learning rate too high": dict(learning_rate=0.05),
    "NaN": dict(spoil=lab.nan_gradient),
    "entropy collapse": dict(paid=lab.same_as_the_group, learning_rate=2e-3),
    "repetition": dict(max_completion=200),
}


@pytest.fixture(scope="module")
def taught(recipe, machine, tmp_path_factory):
    from helpers import data

    return supervise(
        recipe, machine, 0, tmp_path_factory.mktemp("taught"), data.load(recipe, None, "tiny")
    )


HERE = ("zero-variance groups", "truncation", "NaN", "repetition")  # the others in `make soak`


@pytest.mark.parametrize(
    "name",
    [name if name in HERE else pytest.param(name, marks=pytest.mark.soak) for name in ILLNESSES],
)
def test_an_illness_is_named(name, taught, recipe, machine, tmp_path):
    how = dict(ILLNESSES[name])
    injected = {key: how.pop(key) for key in ("paid", "spoil") if key in how}
    start = lab.stammering(recipe, machine, tmp_path) if name == "repetition" else taught
    found = lab.ill(lab.changed(recipe, **how), machine, tmp_path, start, name, **injected)
    print("\n".join(map(str, found)))
    verdict = next(v for v in found if v.name == name)
    assert (
        verdict.step <= lab.STEPS
        and verdict.keys
        and verdict.evidence
        and verdict.cure == health.RULES[name][1]
    )


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_a_healthy_run_raises_no_alarm(seed, recipe, machine, tmp_path):
    assert lab.healthy(recipe, machine, tmp_path, seed) == []


def step(number, **figures):
    return {
        "step": number,
        "device": "cpu",
        "reward_mean": 1.0,
        "correct": 0.5,
        "score": 0.5,
        "follows": 0.9,
        "zero_std_groups": 0.1,
        **figures,
    }


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("KL blow-up", {"kl": 1.5}),
        ("truncation", {"truncated": 0.6}),
        ("repetition", {"repetition": 0.5}),
        ("zero-variance groups", {"zero_std_groups": 0.95}),
        ("NaN", {"not_finite": ["grpo_loss"]}),
        ("entropy collapse", {"distinct": 0.125}),
    ],
)
def test_a_verdict_names_the_key_that_shows_it(name, figures, recipe):
    log = [step(k, **figures) for k in range(1, 7)]
    assert [v.name for v in health.verdicts(log, recipe)] == [name] and health.verdicts(
        [step(k) for k in range(1, 7)], recipe
    ) == []
    (verdict,) = health.verdicts(log, recipe)
    assert (
        set(figures) & {*verdict.keys, "not_finite"}
        and str(verdict).count("\n") == 1
        and verdict.cure in str(verdict)
    )


def test_all_right_is_no_alarm(recipe):
    """Groups without variance because every reply is right: there is nothing left to learn, and nothing wrong."""
    assert (
        health.verdicts(
            [step(k, correct=0.95, zero_std_groups=0.95, distinct=0.125) for k in range(1, 9)],
            recipe,
        )
        == []
    )


def test_a_reward_that_rises_alone_is_named(recipe):
    rising = [step(k, reward_mean=0.5 + 0.05 * k, follows=0.4 + 0.03 * k) for k in range(1, 19)]
    assert {v.name for v in health.verdicts(rising, recipe)} == {
        "reward up, correctness not",
        "format-only learning",
    }
    assert health.verdicts(rising[:14], recipe) == []  # too early for a trend
    both = [step(k, reward_mean=0.5 + 0.05 * k, score=0.2 + 0.03 * k) for k in range(1, 19)]
    assert health.verdicts(both, recipe) == []


def test_one_infinite_gradient_under_loss_scaling_is_normal(recipe):
    """float16 on a GPU: the step is skipped and the scale halved."""
    line = step(1, not_finite=["grad_norm"])
    health.stop_if_ruined(line | {"fp16": True})
    with pytest.raises(FloatingPointError, match="At step 1 grad_norm not finite.\nLower"):
        health.stop_if_ruined(line)


@pytest.mark.parametrize(("groups", "size"), [(1, 8), (1, 4), (2, 4), (4, 4)])
def test_small_batches_are_no_illness(groups, size):
    """A step of one group is all chance. Slowly improving runs of 300 steps, right or wrong by question and by luck, raise no alarm."""
    import numpy as np

    recipe = lab.changed(RECIPES["gsm8k_hash"], batch=groups * size, generations=size)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        log = []
        for k in range(300):
            ease = rng.normal(-0.6 + k / 300, 1.5, groups)  # log-odds of each question, rising
            right = rng.random((groups, size)) < (1 / (1 + np.exp(-ease)))[:, None]
            log.append(
                step(
                    k + 1,
                    reward_mean=float(right.mean()),
                    reward_std=float(right.std()),
                    correct=float(right.mean()),
                    score=float(right.mean()),
                    completions=groups * size,
                    zero_std_groups=float((right.std(axis=1) == 0).mean()),
                )
            )
        assert [str(v) for v in health.history(log, recipe)] == []


def test_completions_without_golds_and_of_one_group_are_judged_as_far_as_possible(recipe):
    sample = {"question": "1 + 1?", "completion": "two", "answer": None, "tokens": 3, "reward": 1.0}
    assert set(health.figures(recipe, [sample] * 4, 4)) == {"repetition", "distinct", "follows"}
    assert health.figures(recipe, [sample | {"answer": "2"}], 1)["correct"] == 0.0
    right = [recipe.format.write("1 + 1 = 2", "2"), recipe.format.write("1 + 1 = 3", "3")] * 2
    found = health.figures(
        recipe,
        [
            sample | {"answer": "2", "completion": text, "reward": float("2." in text)}
            for text in right
        ],
        4,
    )
    assert found["reward_gap"] == 1.0 and found["correct"] == found["score"] == 0.5


def test_the_report_has_a_row_for_each_verdict(recipe):
    table = health.report([step(k, truncated=1.0) for k in range(1, 9)], recipe)
    assert list(table.index) == list(health.RULES) and table.loc["truncation", "seen"].startswith(
        "step 5: truncated 1.00"
    )
    assert set(table["seen"]) == {
        table.loc["truncation", "seen"],
        "no",
        "not judged: it takes 15 steps",
    } | {
        f"not judged: this log has no {key}"
        for key in ("kl", "distinct", "reward_gap", "repetition")
    }
    assert (health.report([step(1)], recipe)["seen"] == "not judged: it takes 5 steps").sum() == 8
    sft = health.report([{"step": k, "loss": 1.0} for k in range(1, 20)], recipe)["seen"]
    assert dict(sft) == {
        name: "no" if name in ("NaN", "learning rate too high") else "not judged: for GRPO only"
        for name in health.RULES
    }


def test_an_unknown_share_of_right_replies_is_not_said_to_be_zero(recipe):
    log = [
        {
            key: value
            for key, value in step(k, zero_std_groups=1.0, distinct=0.1).items()
            if key != "correct"
        }
        for k in range(1, 9)
    ]
    found = {verdict.name: verdict.evidence for verdict in health.verdicts(log, recipe)}
    assert (
        found["zero-variance groups"] == "zero_std_groups 1.00"
        and "correct" not in found["entropy collapse"]
    )


def test_small_losses_may_double(recipe):
    assert (
        health.verdicts(
            [{"step": k, "loss": 0.004 if k < 5 else 0.008} for k in range(1, 12)], recipe
        )
        == []
    )


def test_a_reward_that_is_infinite_is_named(recipe):
    from helpers.runs.run import finite

    line = finite({"step": 1, "reward_mean": float("inf"), "grpo_loss": 0.0})
    assert (
        health.verdicts([line], recipe)[0].name == "NaN"
        and "reward_mean" in health.verdicts([line], recipe)[0].evidence
    )
    with pytest.raises(FloatingPointError, match="reward_mean not finite"):
        health.stop_if_ruined(line)


@pytest.fixture(scope="module")
def base(recipe, machine):
    from helpers.training import models
    from tests.learning import BASE

    return models.load(BASE, recipe, machine)


def test_the_pre_flight_refuses_what_cannot_learn(base, recipe, capsys):
    from helpers import data

    examples, short = (
        data.load(recipe, None, "tiny")["train"].examples,
        lab.changed(recipe, max_completion=2),
    )
    with pytest.raises(ValueError, match="Nothing could be learned: .*\n.*FORCE = True"):
        preflight(*base, short, examples, 20, "cpu")
    found = preflight(*base, short, examples, 20, "cpu", force=True)
    assert found["truncated"] == 1.0 and "8 questions × 8 replies" in capsys.readouterr().out


def test_the_pre_flight_foretells_the_run(taught, recipe, machine, tmp_path):
    """Its time is an estimate from generating alone: within a factor of two of the run on the tiny profile."""
    from helpers import data
    from helpers.training import models

    model, tokenizer = models.load(str(taught), recipe, machine)
    found = preflight(
        model,
        tokenizer,
        recipe,
        data.load(recipe, None, "tiny")["train"].examples,
        6,
        machine.device,
    )
    assert found["zero_std_groups"] < 0.5 and found["truncated"] < 0.2
    reinforced = lab.ill(lab.changed(recipe, steps=6), machine, tmp_path, taught, steps=6)
    log = runlog.read_lines(tmp_path / recipe.name / "grpo" / "log.jsonl")
    assert (
        not reinforced
        and 0.5 < found["minutes"] * 60 / sum(line["time_per_step_s"] for line in log) < 2
    )
