"""Figures from evaluation: summaries and records of each model, under the models' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from helpers.plots.panels import BLUE, EDGE, GREEN, HATCHES, ORANGE, PURPLE, RED, SKY, legend, looks

OUTCOMES = {  # colour and words, in the order of the bars
    "correct": (GREEN, "correct"),
    "right_wrong_format": (SKY, "right, wrong format"),
    "wrong": (RED, "wrong"),
    "no_answer": (PURPLE, "no answer"),
    "truncated": ("#999999", "truncated"),
}


def interval(parts: pd.DataFrame, value: str) -> list[pd.Series]:
    """How far an interval reaches below and above a value."""
    below, above = parts[value] - parts["low"], parts["high"] - parts[value]
    return [below.clip(lower=0), above.clip(lower=0)]


def accuracy_bars(summaries: Mapping[str, Mapping]) -> Figure:
    """Accuracies and format rate of each model's sampled answers, with 95 % intervals."""
    figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
    bars = {"strict": (-0.26, BLUE), "flexible": (0.0, ORANGE), "format": (0.26, GREEN)}
    for key, (shift, colour) in bars.items():
        parts = pd.DataFrame([summary[key] for summary in summaries.values()])
        style = {"color": colour, "label": key, "width": 0.24, "capsize": 3}
        errors = interval(parts, "value")
        drawn = axis.bar(parts.index + shift, parts["value"], yerr=errors, **style)
        axis.bar_label(drawn, (100 * parts["value"]).map("{:.1f}".format), padding=2, fontsize=8)
    problems = next(iter(summaries.values()))["n"]
    axis.set_xticks(range(len(summaries)), list(summaries))
    axis.set_ylim(0, 1.15)
    axis.set_ylabel("share of answers (labels: %)")
    axis.set_title(f"{problems} held-out problems, sampled answers, 95 % intervals")
    axis.legend(ncols=3, loc="upper left", fontsize="small")
    return figure


def outcomes(summaries: Mapping[str, Mapping]) -> Figure:
    """How each model's answers end, stacked to 100 %."""
    figure, axis = plt.subplots(figsize=(7, 0.7 + 0.5 * len(summaries)), layout="constrained")
    counts = pd.DataFrame({name: summary["outcomes"] for name, summary in summaries.items()}).T
    counts = counts.div([summary["completions"] for summary in summaries.values()], axis="index")
    left = 0 * counts["correct"]
    for (name, (colour, words)), hatch in zip(OUTCOMES.items(), HATCHES, strict=True):
        style = {"color": colour, "hatch": hatch, "label": words, **EDGE}
        axis.barh(counts.index, counts[name], left=left, **style)
        left = left + counts[name]
    axis.invert_yaxis()
    axis.set(xlabel="share of answers", xlim=(0, 1))
    over = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
    axis.legend(ncols=5, fontsize="small", frameon=False, **over)
    return figure


def token_counts(summaries: Mapping[str, Mapping]) -> Figure:
    """Mean tokens of the answers of each model, by how they ended."""
    figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
    counts = pd.DataFrame([summary["tokens_by_outcome"] for summary in summaries.values()])
    for k, (name, (colour, words)) in enumerate(OUTCOMES.items()):
        if name in counts:
            found = counts[name].dropna()
            places = found.index + (k - 2) * 0.17
            style = {"color": colour, "hatch": HATCHES[k], "label": words, **EDGE}
            axis.bar(places, found, width=0.16, **style)
    axis.set_xticks(range(len(summaries)), list(summaries))
    axis.set(ylabel="tokens, mean", title="Length of the answers, by outcome")
    legend(axis, 0.1, columns=5)
    return figure


def scores(records: Mapping[str, Sequence]) -> Figure:
    """How the scores of each model's answers are spread, as shares of its answers."""
    count = len(records)
    size = (2.5 * count, 2.6)
    figure, grid = plt.subplots(
        1, count, figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    edges = [i / 20 for i in range(21)]
    for axis, (name, answers) in zip(grid.flat, records.items(), strict=True):
        values = [answer.score for answer in answers]
        mean = sum(values) / len(values)
        shares = [1 / len(values)] * len(values)
        axis.hist(values, bins=edges, weights=shares, color=BLUE, edgecolor="white")
        axis.axvline(mean, color=RED, linestyle="--", label=f"mean {mean:.2f}")
        axis.set(title=name, xlabel="score of an answer", xlim=(0, 1))
        axis.grid(alpha=0.3)
        legend(axis, 0.2, columns=1)
    grid[0, 0].set_ylabel("share of answers")
    return figure


def calibration(found: Mapping[str, Mapping]) -> Figure:
    """Does agreement among a problem's samples tell that they are right?

    The share of right majorities by agreement, with 95 % intervals.
    """
    figure, axis = plt.subplots(figsize=(4.6, 4), layout="constrained")
    axis.plot([0, 1], [0, 1], color="grey", linewidth=1, label="as right as they agree")
    voting = {}
    for name, agreement in found.items():
        levels = [level for level in agreement["levels"] if level["agreement"] > 0]
        if levels:  # a base without the format never votes
            voting[name] = pd.DataFrame(levels)
    for i, (name, colour, style) in enumerate(looks(list(voting))):
        levels = voting[name]
        places = levels["agreement"] - 0.012 * i
        for place, right, n in zip(places, levels["right"], levels["n"], strict=True):
            shift = {"xytext": (-4, 5 + 9 * i), "textcoords": "offset points", "ha": "right"}
            axis.annotate(f"{n}", (place, right), fontsize=7, color=colour, **shift)
        style = {"color": colour, "linestyle": style, "marker": "o", "capsize": 3, "label": name}
        axis.errorbar(places, levels["right"], yerr=interval(levels, "right"), **style)
    axis.set(xlim=(0, 1.06), ylim=(-0.03, 1.2), title="Agreement and being right")
    axis.set_xlabel("share of samples that agree (numbers: problems)")
    axis.set_ylabel("share of right majorities")
    axis.grid(alpha=0.3)
    legend(axis, 0.16)
    return figure
