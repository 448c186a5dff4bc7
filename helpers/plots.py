"""Figures from a run's log or from evaluation summaries. Each function returns the figure; `save` writes it as PNG too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's colours: told apart by colour-blind people, and in grey by their lightness.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
OUTCOME_COLOURS = {"correct": GREEN, "right_wrong_format": SKY, "wrong": RED, "no_answer": PURPLE, "truncated": "#999999"}


def table(log: Sequence[Mapping]) -> pd.DataFrame:
    """The log as a table with `step` as its index."""
    return pd.DataFrame(log).set_index("step")


def smooth(values: pd.Series) -> pd.Series:
    """A running mean over a tenth of the run."""
    return values.rolling(max(2, len(values) // 10), min_periods=1).mean()


def line(axis, values: pd.Series, colour: str, label: str) -> None:
    """The raw values thin, the smoothed ones on top."""
    axis.plot(values.index, values, color=colour, alpha=0.3, linewidth=1)
    axis.plot(values.index, smooth(values), color=colour, linewidth=2, label=label)


def panels(parts: Sequence[tuple[str, str]], columns: int = 2) -> tuple[Figure, list]:
    """A figure with one panel for each (title, unit of the y axis)."""
    rows = -(-len(parts) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.5 * columns, 2.8 * rows), squeeze=False, layout="constrained")
    for axis, (title, unit) in zip(axes.flat, parts, strict=False):
        axis.set(title=title, xlabel="step", ylabel=unit)
        axis.grid(alpha=0.3)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in list(axes.flat)[len(parts):]:
        axis.remove()
    return figure, list(axes.flat)[:len(parts)]


def losses(log: Sequence[Mapping]) -> Figure:
    """Loss, gradient norm and learning rate; for GRPO also the policy's and the KL part."""
    data = table(log)
    names = [n for n in ("loss", "grpo_loss", "policy_loss", "kl_loss") if n in data]
    figure, axes = panels([("Loss", "nats per token"), ("Gradient norm", "norm"), ("Learning rate", "rate")], columns=3)
    for name, colour in zip(names, COLOURS, strict=False):
        line(axes[0], data[name], colour, name.replace("_", " "))
    line(axes[1], data["grad_norm"], BLUE, "gradient norm")
    axes[2].plot(data.index, data["learning_rate"], color=BLUE)
    if len(names) > 1:
        axes[0].legend()
    return figure


def rewards(log: Sequence[Mapping], weights: Mapping[str, float]) -> Figure:
    """The total reward with ± one standard deviation, and every reward on its own, before its weight."""
    data = table(log)
    figure, axes = panels([("Total reward", "weighted sum"), ("Each reward, before its weight", "mean over the batch")])
    line(axes[0], data["reward_mean"], BLUE, "mean")
    axes[0].fill_between(data.index, data["reward_mean"] - data["reward_std"], data["reward_mean"] + data["reward_std"], color=BLUE, alpha=0.12,
                         label="± std over the batch")
    for name, colour in zip(weights, COLOURS, strict=False):
        line(axes[1], data[f"reward/{name}"], colour, name)
    for axis in axes:
        axis.legend(fontsize="small")
    return figure


def spread(log: Sequence[Mapping]) -> Figure:
    """What GRPO has to work with: groups without variance, completion lengths, and how sure the model is."""
    data = table(log)
    parts = [("Groups in which all rewards are equal", "share"), ("Completion length", "tokens"), ("Cut off at the limit", "share")]
    figure, axes = panels(parts, columns=3)
    line(axes[0], data["zero_std_groups"], RED, "")
    line(axes[1], data["completion_mean"], BLUE, "mean")
    line(axes[1], data["completion_max"], ORANGE, "longest")
    line(axes[2], data["truncated"], RED, "")
    axes[1].legend()
    for axis in (axes[0], axes[2]):
        axis.set_ylim(-0.03, 1.03)
    return figure


def timing(log: Sequence[Mapping]) -> Figure:
    """Where a step's seconds go."""
    data = table(log)
    figure, (axis,) = panels([("Time of a step", "seconds")], columns=1)
    parts = [n for n in ("generation_time_s", "backward_time_s", "other_time_s") if n in data]
    axis.stackplot(data.index, *(data[n].fillna(0) for n in parts), labels=[n.removesuffix("_time_s") for n in parts], colors=COLOURS)
    axis.legend()
    return figure


def accuracy_bars(summaries: Mapping[str, Mapping]) -> Figure:
    """Strict and flexible accuracy and the format rate of each model, with 95 % intervals."""
    figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
    keys = ("strict", "flexible", "format")
    for k, (key, colour) in enumerate(zip(keys, (BLUE, ORANGE, GREEN), strict=True)):
        values = [s[key]["value"] for s in summaries.values()]
        errors = [[s[key]["value"] - s[key]["low"] for s in summaries.values()], [s[key]["high"] - s[key]["value"] for s in summaries.values()]]
        places = [i + (k - 1) * 0.26 for i in range(len(summaries))]
        bars = axis.bar(places, values, width=0.24, yerr=[[max(0.0, e) for e in side] for side in errors], capsize=3, color=colour, label=key)
        axis.bar_label(bars, [f"{v:.0%}" for v in values], padding=2, fontsize=8)
    n = next(iter(summaries.values()))["n"]
    axis.set_xticks(range(len(summaries)), list(summaries))
    axis.set(ylabel="share of problems", ylim=(0, 1.15), title=f"{n} held-out problems, 95 % intervals")
    axis.legend(ncols=3, loc="upper left", fontsize="small")
    return figure


def outcomes(summaries: Mapping[str, Mapping]) -> Figure:
    """How each model's answers end, stacked to 100 %."""
    figure, axis = plt.subplots(figsize=(7, 0.7 + 0.5 * len(summaries)), layout="constrained")
    left = [0.0] * len(summaries)
    for name, colour in OUTCOME_COLOURS.items():
        shares = [s["outcomes"][name] / s["completions"] for s in summaries.values()]
        axis.barh(list(summaries), shares, left=left, color=colour, label={"right_wrong_format": "right, wrong format"}.get(name, name.replace("_", " ")))
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axis.invert_yaxis()
    axis.set(xlabel="share of answers", xlim=(0, 1))
    axis.legend(ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize="small", frameon=False)
    return figure


def save(figure: Figure, path: str | Path) -> Figure:
    """Writes the figure as PNG and returns it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return figure
