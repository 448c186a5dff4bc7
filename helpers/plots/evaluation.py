"""Figures from evaluation: summaries and records of each model, under the models' names."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from helpers.plots.panels import (
    BLUE,
    EDGE,
    GREEN,
    GREY,
    HATCHES,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    legend,
    looks,
    subplots,
)

OUTCOMES = {  # words, colour and hatch, in the order of the bars
    "correct": ("correct", GREEN, HATCHES[0]),
    "right_wrong_format": ("right, wrong format", SKY, HATCHES[1]),
    "wrong": ("wrong", RED, HATCHES[2]),
    "no_answer": ("no answer", PURPLE, HATCHES[3]),
    "truncated": ("truncated", GREY, HATCHES[4]),
}


EDGES = [i / 20 for i in range(21)]  # of the bins of scores


def bars(draw, places, values, outcome: str, **style):
    """An outcome's bars by `draw`, which is an axis's bar or barh."""
    label, colour, hatch = OUTCOMES[outcome]
    draw(places, values, color=colour, hatch=hatch, label=label, **EDGE, **style)


def interval(parts: pd.DataFrame, value: str) -> list[pd.Series]:
    """How far an interval reaches below and above a value; rounding may put an end beyond it."""
    return [abs(parts[value] - parts["low"]), abs(parts["high"] - parts[value])]


def accuracy_bars(summaries: Mapping[str, Mapping]) -> Figure:
    """Accuracies and format rate of each model's sampled answers, with 95 % intervals."""
    figure, (axis,) = subplots(7, 3.4)
    for k, key in enumerate(("strict", "flexible", "format")):
        parts = pd.DataFrame([summary[key] for summary in summaries.values()])
        style = {"color": (BLUE, ORANGE, GREEN)[k], "label": key, "width": 0.24, "capsize": 3}
        places, errors = parts.index + 0.26 * (k - 1), interval(parts, "value")
        drawn = axis.bar(places, parts["value"], yerr=errors, **style)
        axis.bar_label(drawn, fmt=lambda share: f"{100 * share:.1f}", padding=2, fontsize=8)
    name_models(axis, summaries)
    axis.set(ylim=(0, 1.15), ylabel="share of answers (labels: %)")
    problems = max(summary["n"] for summary in summaries.values())
    axis.set_title(f"{problems} held-out problems, sampled answers, 95 % intervals")
    axis.legend(ncols=3, loc="upper left", fontsize="small")
    return figure


def name_models(axis, names: Collection[str]) -> None:
    axis.set_xticks(range(len(names)), names)


def outcomes(summaries: Mapping[str, Mapping]) -> Figure:
    """How each model's answers end, stacked to 100 %."""
    figure, (axis,) = subplots(7, 0.7 + 0.5 * len(summaries))
    counts = pd.DataFrame([summary["outcomes"] for summary in summaries.values()], summaries)
    shares = counts.div(counts.sum(axis="columns"), axis="index")
    ends = shares.cumsum(axis="columns")
    for name in OUTCOMES:
        bars(axis.barh, shares.index, shares[name], name, left=ends[name] - shares[name])
    axis.invert_yaxis()
    axis.set(xlabel="share of answers", xlim=(0, 1))
    legend(axis, -1.0, columns=5, loc="lower center")
    return figure


def token_counts(summaries: Mapping[str, Mapping]) -> Figure:
    """Mean tokens of the answers of each model, by how they ended."""
    figure, (axis,) = subplots(7, 3.2)
    counts = pd.DataFrame([summary["tokens_by_outcome"] for summary in summaries.values()])
    for k, name in enumerate(OUTCOMES):
        if name in counts:
            bars(axis.bar, counts.index + (k - 2) * 0.17, counts[name], name, width=0.16)
    name_models(axis, summaries)
    axis.set(ylabel="tokens, mean", title="Length of the answers, by outcome")
    legend(axis, 0.1, columns=5)
    return figure


def scores(records: Mapping[str, Sequence]) -> Figure:
    """How the scores of each model's answers are spread, as shares of its answers."""
    figure, axes = subplots(2.5 * len(records), 2.6, 1, len(records), sharey=True)
    for axis, (name, answers) in zip(axes, records.items(), strict=True):
        values = pd.Series([answer.score for answer in answers])
        shares = [1 / len(values)] * len(values)
        axis.hist(values, bins=EDGES, weights=shares, color=BLUE, edgecolor="white")
        mean = values.mean()
        axis.axvline(mean, color=RED, linestyle="--", label=f"mean {mean:.2f}")
        axis.set(title=name, xlabel="score of an answer", xlim=(0, 1))
        axis.grid(alpha=0.3)
        legend(axis, 0.2, columns=1)
    axes[0].set_ylabel("share of answers")
    return figure


def calibration(found: Mapping[str, Mapping]) -> Figure:
    """Does agreement among a problem's samples tell that they are right?

    The share of right majorities by agreement, with 95 % intervals.
    """
    figure, (axis,) = subplots(4.6, 4)
    axis.plot([0, 1], [0, 1], color="grey", linewidth=1, label="as right as they agree")
    voting = {}
    for name, agreement in found.items():
        levels = pd.DataFrame(agreement["levels"]).query("agreement > 0")
        if len(levels):  # a base without the format never votes
            voting[name] = levels
    for i, (name, colour, stroke) in enumerate(looks(voting)):
        levels, look = voting[name], {"color": colour}
        places, right = levels["agreement"] - 0.012 * i, levels["right"]
        for place, height, n in zip(places, right, levels["n"], strict=True):
            shift = {"xytext": (-4, 5 + 9 * i), "textcoords": "offset points", "ha": "right"}
            axis.annotate(f"{n}", (place, height), fontsize=7, **look, **shift)
        look |= {"linestyle": stroke, "marker": "o", "capsize": 3, "label": name}
        axis.errorbar(places, right, yerr=interval(levels, "right"), **look)
    axis.set(xlim=(0, 1.06), ylim=(-0.03, 1.2), title="Agreement and being right")
    axis.set_xlabel("share of samples that agree (numbers: problems)")
    axis.set_ylabel("share of right majorities")
    axis.grid(alpha=0.3)
    legend(axis, 0.16)
    return figure
