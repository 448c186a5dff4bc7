"""Each figure is drawn from what a log holds, with names and units on its axes."""

import pytest

from helpers import plots

WEIGHTS = {"r_soft": 0.5, "r_correctness": 1.0}
SFT = [{"step": i, "loss": 1 / i, "grad_norm": 0.1, "learning_rate": 1e-3} for i in range(1, 8)]
GRPO = [
    {
        "step": i,
        "grpo_loss": 0.0,
        "policy_loss": 0.0,
        "kl_loss": 0.0,
        "grad_norm": 0.1,
        "learning_rate": 1e-3,
        "reward_mean": i / 8,
        "reward_std": 0.1,
        "reward/r_soft": 1.0,
        "reward/r_correctness": i / 8,
        "zero_std_groups": 0.0,
        "completion_mean": 30,
        "completion_max": 40,
        "truncated": 0.0,
        "generation_time_s": 1.0,
        "backward_time_s": 0.5,
        "other_time_s": 0.2,
        "time_per_step_s": 1.7,
        "tokens_generated": 300,
        "tokens_per_second": 176.0,
        "adv_mean": 0.0,
        "adv_std": 0.9,
        "correct": i / 8,
        "follows": 1.0,
        "distinct": 0.5,
        "repetition": 0.0,
        "entropy": 0.1,
    }
    for i in range(1, 8)
]
PART = {"value": 0.5, "low": 0.4, "high": 0.6}
SUMMARY = {
    "n": 10,
    "completions": 10,
    "strict": PART,
    "flexible": PART,
    "format": PART,
    "outcomes": {"correct": 5, "right_wrong_format": 0, "wrong": 3, "no_answer": 1, "truncated": 1},
}


@pytest.mark.parametrize(
    ("draw", "panels"),
    [
        (lambda: plots.losses(SFT), 3),
        (lambda: plots.losses(GRPO), 3),
        (lambda: plots.rewards(GRPO, WEIGHTS), 3),
        (lambda: plots.spread(GRPO), 3),
        (lambda: plots.timing(GRPO), 1),
        (lambda: plots.tokens(GRPO), 2),
        (lambda: plots.replies(GRPO), 3),
        (lambda: plots.live(GRPO, WEIGHTS, "now"), 2),
        (lambda: plots.live(SFT, {}, "now"), 1),
        (lambda: plots.compare_runs({"one": GRPO, "two": GRPO}), 6),
        (lambda: plots.accuracy_bars({"base": SUMMARY, "sft": SUMMARY}), 1),
        (lambda: plots.outcomes({"base": SUMMARY}), 1),
    ],
)
def test_figures(draw, panels, tmp_path):
    figure = plots.save(draw(), tmp_path / "plots" / "x.png")
    assert len(figure.axes) == panels and (tmp_path / "plots" / "x.png").stat().st_size > 3000
    for axis in figure.axes:
        assert axis.get_xlabel() or axis.get_xticklabels()
        assert axis.lines or axis.patches or axis.collections


def test_curves_show_the_log_s_own_values():
    raw, smoothed = plots.losses(SFT).axes[0].lines
    assert list(raw.get_ydata()) == [1 / i for i in range(1, 8)] and list(
        smoothed.get_ydata()
    ) != list(raw.get_ydata())


def test_smoothing_is_a_running_mean():
    import pandas as pd

    assert list(smooth(pd.Series([1.0, 3.0, 5.0]))) == [2.0, 3.0, 4.0]


def test_a_log_with_gaps_is_drawn():
    """Null where a figure was no number, and keys that a published log does not have."""
    log = [
        {
            "step": i,
            "grpo_loss": None if i == 3 else 0.1,
            "reward_mean": 0.5,
            "grad_norm": 0.1,
            "learning_rate": 1e-3,
            "time_per_step_s": 1.0,
        }
        for i in range(1, 6)
    ]
    values = plots.losses(log).axes[0].lines[0].get_ydata()
    assert list(values[:2]) == [0.1, 0.1] and values[2] != values[2]
    assert (
        plots.rewards(log).axes[0].lines
        and plots.tokens(log).axes
        and plots.spread(log).axes
        and plots.timing(log).axes
    )


def test_every_figure_of_a_run_is_written(tmp_path):
    names = {path.name for path in plots.save_all(GRPO, tmp_path / "grpo", WEIGHTS)}
    assert (
        names
        == {"losses.png", "rewards.png", "timing.png", "tokens.png", "spread.png", "replies.png"}
        == {p.name for p in (tmp_path / "grpo").iterdir()}
    )
    sft = [step | {"time_per_step_s": 1.0, "tokens_per_second": 80.0} for step in SFT]
    assert {path.name for path in plots.save_all(sft, tmp_path / "sft")} == {
        "losses.png",
        "timing.png",
        "tokens.png",
    }


def test_a_picture_is_a_png_and_no_widget():
    import base64

    shown = plots.picture(plots.live(GRPO, WEIGHTS, "now"))
    assert set(shown) == {"image/png", "text/plain"} and base64.b64decode(
        shown["image/png"]
    ).startswith(b"\x89PNG")
