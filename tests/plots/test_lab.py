"""The stored curves of healthy and ill runs say what the notebooks say of them."""

import pandas as pd

from helpers.plots import lab
from helpers.runs import RULES
from tests.lab import GRPO_RUNS, SFT_RUNS
from tests.runs.pathologies import STEPS


def columns(stage):
    return {name: pd.DataFrame(run["log"]) for name, run in lab.runs(stage).items()}


def test_over_fitted_and_broken_are_worse_on_held_out_rows():
    logs = columns("sft").values()
    loss, over_loss, _ = [log["loss"].iloc[-1] for log in logs]
    held_out, over_held_out, broken_held_out = [log["held_out"].iloc[-1] for log in logs]
    least, over_least, _ = [log["held_out"].min() for log in logs]
    assert over_loss < loss and over_held_out > 1.2 * over_least
    assert held_out < 1.05 * least < over_held_out
    assert broken_held_out > 2 * held_out


def test_right_answers_rise_where_nothing_is_ill_and_nowhere_else():
    gains = {}
    for name, log in columns("grpo").items():
        gains[name] = log["correct"].tail(5).mean() - log["correct"].head(3).mean()
    assert gains.pop("Healthy") > 0.2 > 0.1 > max(gains.values()), gains
    assert gains["Paid for brevity"] < -0.1


def test_every_ill_run_has_its_verdict():
    for name, run in lab.runs("grpo").items():
        assert run["verdict"] == GRPO_RUNS[name][1]
        if name == "Healthy":
            assert (run["verdict"], run["step"]) == ("", 0)
        else:
            assert run["verdict"] in RULES and 0 < run["step"] <= STEPS
            assert all(run["shown_by"] in line for line in run["log"])


def test_a_panel_for_each_run():
    for draw, names in ((lab.sft_figure, SFT_RUNS), (lab.grpo_figure, GRPO_RUNS)):
        axes = draw().axes
        assert [axis.get_title().partition("\n")[0] for axis in axes] == list(names)
        assert all(len(axis.lines) >= 3 for axis in axes)
