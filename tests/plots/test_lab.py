"""The stored curves of healthy and ill runs say what the notebooks say of them."""

import pytest

from helpers.plots import lab
from helpers.runs import health
from tests.lab import GRPO_RUNS, SFT_RUNS
from tests.runs.pathologies import STEPS


def column(run, key):
    return [line[key] for line in run["log"] if key in line]


def test_over_fitted_and_broken_are_worse_on_held_out_rows():
    healthy, over, broken = lab.runs("sft").values()
    assert column(over, "loss")[-1] < column(healthy, "loss")[-1] and column(over, "held_out")[
        -1
    ] > 1.2 * min(column(over, "held_out"))
    assert (
        column(healthy, "held_out")[-1]
        < 1.05 * min(column(healthy, "held_out"))
        < column(over, "held_out")[-1]
    )
    assert column(broken, "held_out")[-1] > 2 * column(healthy, "held_out")[-1]


def test_right_answers_rise_where_nothing_is_ill_and_by_luck_where_steps_are_paid_for_as_length():
    gains = {
        name: sum(column(run, "correct")[-5:]) / 5 - sum(column(run, "correct")[:3]) / 3
        for name, run in lab.runs("grpo").items()
    }
    healthy, lucky = gains.pop("Healthy"), gains.pop("Paid for length")
    assert min(healthy, lucky) > 0.2 > 0.1 > max(gains.values()), (healthy, lucky, gains)


def test_every_ill_run_has_its_verdict():
    assert {name: run["verdict"] for name, run in lab.runs("grpo").items()} == {
        name: how[1] for name, how in GRPO_RUNS.items()
    }
    for name, run in lab.runs("grpo").items():
        assert (
            (0 < run["step"] <= STEPS and run["verdict"] in health.RULES)
            if run["verdict"]
            else name == "Healthy" and run["step"] == 0
        )
        assert not run["shown_by"] or len(column(run, run["shown_by"])) == len(run["log"])


@pytest.mark.parametrize(
    ("draw", "names"), [(lab.sft_figure, SFT_RUNS), (lab.grpo_figure, GRPO_RUNS)]
)
def test_a_panel_for_each_run(draw, names):
    axes = draw().axes
    assert [axis.get_title().partition("\n")[0] for axis in axes] == list(names) and all(
        len(axis.lines) >= 3 for axis in axes
    )
