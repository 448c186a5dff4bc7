"""Each figure is drawn from what a log holds, with names and units on its axes."""

import pytest

from helpers import plots

WEIGHTS = {"r_soft": 0.5, "r_correctness": 1.0}
SFT = [{"step": i, "loss": 1 / i, "grad_norm": 0.1, "learning_rate": 1e-3} for i in range(1, 8)]
GRPO = [{"step": i, "grpo_loss": 0.0, "policy_loss": 0.0, "kl_loss": 0.0, "grad_norm": 0.1, "learning_rate": 1e-3, "reward_mean": i / 8, "reward_std": 0.1,
         "reward/r_soft": 1.0, "reward/r_correctness": i / 8, "zero_std_groups": 0.0, "completion_mean": 30, "completion_max": 40, "truncated": 0.0,
         "generation_time_s": 1.0, "backward_time_s": 0.5, "other_time_s": 0.2} for i in range(1, 8)]
PART = {"value": 0.5, "low": 0.4, "high": 0.6}
SUMMARY = {"n": 10, "completions": 10, "strict": PART, "flexible": PART, "format": PART,
           "outcomes": {"correct": 5, "right_wrong_format": 0, "wrong": 3, "no_answer": 1, "truncated": 1}}


@pytest.mark.parametrize(("draw", "panels"), [
    (lambda: plots.losses(SFT), 3), (lambda: plots.losses(GRPO), 3), (lambda: plots.rewards(GRPO, WEIGHTS), 2), (lambda: plots.spread(GRPO), 3),
    (lambda: plots.timing(GRPO), 1), (lambda: plots.accuracy_bars({"base": SUMMARY, "sft": SUMMARY}), 1), (lambda: plots.outcomes({"base": SUMMARY}), 1)])
def test_figures(draw, panels, tmp_path):
    figure = plots.save(draw(), tmp_path / "plots" / "x.png")
    assert len(figure.axes) == panels and (tmp_path / "plots" / "x.png").stat().st_size > 3000
    for axis in figure.axes:
        assert axis.get_xlabel() or axis.get_xticklabels()
        assert axis.lines or axis.patches or axis.collections


def test_curves_show_the_log_s_own_values():
    raw, smoothed = plots.losses(SFT).axes[0].lines
    assert list(raw.get_ydata()) == [1 / i for i in range(1, 8)] and list(smoothed.get_ydata()) != list(raw.get_ydata())


def test_smoothing_is_a_running_mean():
    import pandas as pd

    assert list(plots.smooth(pd.Series([1.0, 3.0, 5.0]))) == [1.0, 2.0, 4.0]
