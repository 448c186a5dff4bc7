"""Figures from evaluation: summaries and records of each model, under the models' names."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.plots.panels import BLUE, FIGURES, RED, legend, looks, subplots

AXES = FIGURES["axes"]  # labels and limits
BINS = [edge / 20 for edge in range(21)]  # of scores
OUTCOMES = FIGURES["outcomes"]  # words, colour and hatch, in the order of the bars


def error_bars(parts: pd.DataFrame, value: str) -> np.ndarray:
    """How far intervals reach below and above a value; rounding may put an end beyond it."""
    return parts[["low", "high"]].sub(parts[value], axis="index").abs().to_numpy().T


def accuracy_bars(summaries: Mapping[str, Mapping]) -> Figure:
    """Accuracies and format rate of each model's sampled answers, with 95 % intervals."""
    figure, [axis] = subplots(7, 3.4)
    for key, look in FIGURES["accuracies"].items():
        parts = pd.DataFrame([summary[key] for summary in summaries.values()])
        places = parts.index + look["shift"]
        errors = error_bars(parts, "value")
        drawn = axis.bar(places, parts["value"], yerr=errors, label=key, **look["bar"])
        axis.bar_label(drawn, fmt=lambda share: f"{100 * share:.1f}", padding=2, fontsize=8)
    votes = [summary["vote"]["value"] for summary in summaries.values()]
    places = np.arange(len(votes)) - 0.42  # beside the first bar, where no number stands
    axis.plot(places, votes, label="strict, by vote", **FIGURES["vote"])
    axis.set_xticks(range(len(summaries)), summaries)
    problems = max(summary["n"] for summary in summaries.values())
    axis.set_title(f"{problems} held-out problems, sampled answers, 95 % intervals")
    axis.set(**AXES["accuracy"])
    legend(axis, 0.1, columns=4)
    return figure


def outcomes(summaries: Mapping[str, Mapping]) -> Figure:
    """How each model's answers end, stacked to 100 %."""
    figure, [axis] = subplots(7, 0.7 + 0.5 * len(summaries))
    counts = pd.DataFrame([summary["outcomes"] for summary in summaries.values()], summaries)
    shares = counts.div(counts.sum(axis="columns"), axis="index")
    begins = shares.cumsum(axis="columns") - shares
    for name, look in OUTCOMES.items():
        axis.barh(shares.index, shares[name], left=begins[name], **look)
    axis.invert_yaxis()
    axis.set(**AXES["outcomes"])
    legend(axis, -1.0, columns=5, loc="lower center")
    return figure


def token_counts(summaries: Mapping[str, Mapping]) -> Figure:
    """Mean tokens of the answers of each model, by how they ended."""
    figure, [axis] = subplots(7, 3.2)
    counts = pd.DataFrame([summary["tokens_by_outcome"] for summary in summaries.values()])
    for k, (name, look) in enumerate(OUTCOMES.items()):
        if name in counts:
            axis.bar(counts.index + (k - 2) * 0.17, counts[name], width=0.16, **look)
    axis.set_xticks(range(len(summaries)), summaries)
    axis.set(**AXES["tokens"])
    legend(axis, 0.1, columns=5)
    return figure


def scores(records: Mapping[str, Sequence]) -> Figure:
    """How the scores of each model's answers are spread, as shares of its answers."""
    figure, axes = subplots(2.5 * len(records), 2.6, 1, len(records), sharey=True)
    for axis, (name, answers) in zip(axes, records.items(), strict=True):
        values = pd.Series([answer.score for answer in answers])
        shares = [1 / len(values)] * len(values)
        axis.hist(values, weights=shares, bins=BINS, color=BLUE, edgecolor="white")
        mean = values.mean()
        axis.axvline(mean, color=RED, linestyle="--", label=f"mean {mean:.2f}")
        axis.set(title=name, **AXES["scores"])
        axis.grid(alpha=0.3)
        legend(axis, 0.2, columns=1)
    axes[0].set_ylabel("share of answers")
    return figure


def calibration(found: Mapping[str, Mapping]) -> Figure:
    """Does agreement among a problem's samples tell that they are right?

    The share of right majorities by agreement, with 95 % intervals; larger dots: more problems.
    """
    figure, [axis] = subplots(4.6, 4)
    axis.plot([0, 1], [0, 1], color="grey", linewidth=1, label="as right as they agree")
    voting = {}
    for name, agreement in found.items():
        levels = pd.DataFrame(agreement["levels"]).query("agreement > 0")
        if len(levels):  # a base without the format never votes
            voting[name] = levels
    for i, (name, colour, stroke) in enumerate(looks(voting)):
        levels = voting[name]
        places = levels["agreement"] - 0.012 * i  # beside each other
        errors = error_bars(levels, "right")
        look = {"color": colour, "linestyle": stroke, "label": name, "capsize": 3}
        axis.errorbar(places, levels["right"], errors, **look)
        areas = 10 + 200 * levels["n"] / levels["n"].sum()
        axis.scatter(places, levels["right"], areas, color=colour, zorder=3)
    axis.set(**AXES["calibration"])
    axis.grid(alpha=0.3)
    legend(axis, 0.16)
    return figure
