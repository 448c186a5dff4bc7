"""Each figure is drawn from what a log holds, with names and units on its axes."""

from types import SimpleNamespace

import pytest

from helpers import plots

WEIGHTS = {"r_soft": 0.5, "r_correctness": 1.0}
STEPS = range(1, 8)
SFT = [{"step": i, "loss": 1 / i, "grad_norm": 0.1, "learning_rate": 1e-3} for i in STEPS]
ALWAYS = (
    "grpo_loss policy_loss kl_loss kl grad_norm learning_rate reward_std reward/r_soft adv_mean "
    "adv_std zero_std_groups completion_mean completion_max truncated generation_time_s "
    "backward_time_s other_time_s time_per_step_s tokens_generated tokens_per_second follows "
    "distinct repetition entropy"
)
GROWING = ("reward_mean", "reward/r_correctness", "correct")
FLAT = dict.fromkeys(ALWAYS.split(), 0.5)
GRPO = [{"step": i} | FLAT | dict.fromkeys(GROWING, i / 8) for i in STEPS]
SUMMARY = {
    **dict.fromkeys(
        ("strict", "vote", "flexible", "format"), {"value": 0.5, "low": 0.4, "high": 0.6}
    ),
    **dict.fromkeys(("n", "completions"), 10),
    "outcomes": {"correct": 5, "right_wrong_format": 0, "wrong": 3, "no_answer": 1, "truncated": 1},
    "tokens_by_outcome": {"correct": 30.0, "wrong": 12.0},
}
LEVEL = {"n": 5, "agreement": 0.5, "right": 0.6, "low": 0.5, "high": 0.7}
VOTES = {"base": {"levels": [LEVEL | {"agreement": 0.0}]}, "sft": {"levels": [LEVEL, LEVEL]}}
SCORES = {"base": [SimpleNamespace(score=0.0)], "sft": [SimpleNamespace(score=0.5)] * 2}


@pytest.mark.parametrize(
    ("draw", "panels"),
    [
        *[(lambda: plots.losses(SFT), 3), (lambda: plots.losses(GRPO), 4)],
        (lambda: plots.losses([line | {"kl_loss": 0.0} for line in GRPO]), 3),
        *[(lambda: plots.rewards(GRPO, WEIGHTS), 3), (lambda: plots.spread(GRPO), 3)],
        *[(lambda: plots.timing(GRPO), 1), (lambda: plots.tokens(GRPO), 2)],
        (lambda: plots.replies(GRPO), 3),
        *[(lambda: plots.live(GRPO, WEIGHTS, "now"), 2), (lambda: plots.live(SFT, {}, "now"), 1)],
        (lambda: plots.compare_runs({"one": GRPO, "two": GRPO}), 6),
        (lambda: plots.accuracy_bars({"base": SUMMARY, "sft": SUMMARY}), 1),
        (lambda: plots.outcomes({"base": SUMMARY}), 1),
        (lambda: plots.token_counts({"base": SUMMARY}), 1),
        *[(lambda: plots.scores(SCORES), 2), (lambda: plots.calibration(VOTES), 1)],
    ],
)
def test_figures(draw, panels, tmp_path):
    figure = draw()
    shown = plots.save(figure, tmp_path / "plots" / "x.png")._repr_png_()
    assert len(figure.axes) == panels and len(shown) > 3000
    for axis in figure.axes:
        assert axis.get_xlabel() or axis.get_xticklabels()
        assert axis.lines or axis.patches or axis.collections


def test_curves_show_the_log_s_own_values_and_a_running_mean():
    log = [{"step": i, "loss": value} for i, value in enumerate((1.0, 3.0, 8.0), start=1)]
    raw, smoothed = plots.losses(log).axes[0].lines
    assert list(raw.get_xdata()) == [1, 2, 3] and list(raw.get_ydata()) == [1.0, 3.0, 8.0]
    assert list(smoothed.get_ydata()) == [2.0, 4.0, 5.5]


def test_who_never_votes_is_not_in_the_calibration():
    labels = plots.calibration(VOTES).axes[0].get_legend_handles_labels()[1]
    assert labels == ["as right as they agree", "sft"]


def test_the_dot_of_more_problems_is_larger():
    levels = [LEVEL | {"agreement": 0.5, "n": 1}, LEVEL | {"agreement": 1.0, "n": 9}]
    *_, dots = plots.calibration({"sft": {"levels": levels}}).axes[0].collections
    small, large = dots.get_sizes()
    assert 3 * small < large


def test_runs_are_compared_in_what_they_have_in_common():
    (axis,) = plots.compare_runs({"one": SFT, "two": GRPO}).axes
    assert axis.get_title() == "Gradient norm" and len(axis.lines) == 4
    with pytest.raises(ValueError, match="no figure in common"):
        plots.compare_runs({"one": SFT, "two": [{"step": 1, "x": 1.0}]})


def test_a_log_with_gaps_is_drawn():
    """Null where a figure was no number."""
    log = [{"step": i, "grpo_loss": None if i == 3 else 0.1, "reward_mean": 0.5} for i in STEPS]
    values = plots.losses(log).axes[0].lines[0].get_ydata()
    assert list(values[:2]) == [0.1, 0.1] and values[2] != values[2]


def test_sft_has_no_figures_of_grpo(tmp_path):
    found = {path.name for path in plots.save_all(SFT, tmp_path)}
    assert found == {"losses.png", "timing.png", "tokens.png"}
