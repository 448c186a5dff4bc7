"""Figures from a run's log. Each function returns the figure; `save_all` writes all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from helpers.plots.panels import (
    BLUE,
    EDGE,
    GREEN,
    HATCHES,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    legends,
    line,
    looks,
    panels,
    save,
    table,
)

Log = Sequence[Mapping]
SHARE = (-0.03, 1.03)  # the limits of an axis that shows a share
SPREAD = {
    ("Groups in which all rewards are equal", "share"): [("zero_std_groups", RED)],
    ("Completion length", "tokens"): [
        ("completion_mean", BLUE, "mean"),
        ("completion_max", ORANGE, "longest", "--"),
    ],
    ("Cut off at the limit", "share"): [("truncated", RED)],
}
REPLIES = {
    ("Right, and in shape", "share of replies"): [
        ("correct", GREEN, "correct"),
        ("follows", SKY, "follows the format", "--"),
    ],
    ("Variety, and repetition", "share"): [
        ("distinct", BLUE, "different replies of a group"),
        ("repetition", RED, "repetition in a reply", "--"),
    ],
    ("Entropy", "nats per token"): [("entropy", PURPLE)],
}
COMPARED = {  # key of the log → title and unit
    "reward_mean": ("Total reward", "weighted sum"),
    "correct": ("Right, and in shape", "share of replies"),
    "loss": ("Loss", "nats per token"),
    "completion_mean": ("Completion length", "tokens"),
    "zero_std_groups": ("Groups in which all rewards are equal", "share"),
    "grad_norm": ("Gradient norm", "norm"),
    "time_per_step_s": ("Time of a step", "seconds"),
}


def losses(log: Log) -> Figure:
    """Loss, gradient norm and learning rate; with a KL term also the loss's parts and the KL."""
    data = table(log)
    divergence = "kl_loss" in data and (data["kl_loss"] != 0).any()
    names, unit = ["loss"], "nats per token"
    if "grpo_loss" in data:
        names, unit = ["grpo_loss"], "no unit"
    parts = [("Loss", unit), ("Gradient norm", "no unit"), ("Learning rate", "no unit")]
    if divergence:
        names += ["policy_loss", "kl_loss"]
        parts.append(("KL divergence from the start", "nats per token"))
    figure, axes = panels(parts)
    for name, colour, style in looks(names):
        line(axes[0], data, name, colour, name.replace("_", " "), style)
    line(axes[1], data, "grad_norm", BLUE)
    if "learning_rate" in data:  # a plan, not a measurement: nothing to smooth
        axes[2].plot(data.index, data["learning_rate"], color=BLUE)
    if divergence:
        line(axes[3], data, "kl", BLUE)
        legends(axes[:1])
    legends(axes[1:])
    return figure


def rewards(log: Log, weights: Collection[str] = ()) -> Figure:
    """The total reward and the advantages with ± one standard deviation, and every reward.

    weights: the recipe's rewards, for their order; without them those that the log has.
    """
    data = table(log)
    names = list(weights)
    if not names:
        for key in data:
            if key.startswith("reward/") and not key.endswith("_std"):
                names.append(key.removeprefix("reward/"))
    total = ("Total reward", "weighted sum")
    each = ("Each reward, before its weight", "mean over the batch")
    figure, axes = panels([total, each, ("Advantage", "mean over the batch")])
    line(axes[0], data, "reward_mean", BLUE, "mean")
    band(axes[0], data, "reward", BLUE)
    for name, colour, style in looks(names):
        line(axes[1], data, f"reward/{name}", colour, name, style)
    line(axes[2], data, "adv_mean", PURPLE, "mean")
    band(axes[2], data, "adv", PURPLE)
    legends(axes)
    return figure


def band(axis, data: pd.DataFrame, key: str, colour: str) -> None:
    """± one standard deviation around a mean; nothing where the log has none."""
    if f"{key}_mean" in data and f"{key}_std" in data:
        mean, std = data[f"{key}_mean"], data[f"{key}_std"]
        label = "± std over the batch"
        axis.fill_between(data.index, mean - std, mean + std, color=colour, alpha=0.12, label=label)


def curves(log: Log, parts: Mapping[tuple[str, str], list[tuple]]) -> Figure:
    """A panel for each (title, unit), with its lines as (key, colour, label, stroke)."""
    data = table(log)
    figure, axes = panels(list(parts))
    for axis, lines in zip(axes, parts.values(), strict=True):
        for one in lines:
            line(axis, data, *one)
    legends(axes)
    for axis, (_, unit) in zip(axes, parts, strict=True):
        if unit.startswith("share"):
            axis.set_ylim(SHARE)
    return figure


def spread(log: Log) -> Figure:
    """What GRPO works with: groups without variance, completion lengths, replies cut off."""
    return curves(log, SPREAD)


def replies(log: Log) -> Figure:
    """What the completions are like, judged as in evaluation, and how unsure the model is."""
    return curves(log, REPLIES)


def timing(log: Log) -> Figure:
    """Where a step's seconds go."""
    data = table(log)
    figure, (axis,) = panels([("Time of a step", "seconds")])
    names = [f"{part}_time_s" for part in ("generation", "backward", "other")]
    parts = data[[name for name in names if name in data]].fillna(0)
    if len(parts.columns):
        looks_of = {"colors": (BLUE, ORANGE, "#BBBBBB"), "hatch": HATCHES[: len(parts.columns)]}
        labels = parts.columns.str.removesuffix("_time_s")
        axis.stackplot(data.index, parts.T, labels=labels, **looks_of, **EDGE)
    if "time_per_step_s" in data:
        whole = data["time_per_step_s"]
        axis.plot(data.index, whole, color="black", linewidth=1, label="whole step")
    legends([axis])
    return figure


def tokens(log: Log) -> Figure:
    """Tokens a step (generated by GRPO, read by SFT, the prompt's included) and a second."""
    data = table(log)
    if "tokens_generated" not in data and {"tokens_per_second", "time_per_step_s"} <= set(data):
        data["tokens_trained"] = data["tokens_per_second"] * data["time_per_step_s"]
    figure, axes = panels([("Tokens of a step", "tokens"), ("Speed", "tokens per second")])
    line(axes[0], data, "tokens_generated", BLUE, "generated")
    line(axes[0], data, "tokens_trained", BLUE, "read, prompt and reply")
    line(axes[1], data, "tokens_per_second", GREEN)
    legends(axes)
    for axis in axes:
        axis.set_ylim(0, 1.05 * axis.get_ylim()[1])
    return figure


def live(log: Log, weights: Collection[str], title: str) -> Figure:
    """A run while it goes on: what should rise (or the loss), and what should stay low."""
    data = table(log)
    if "reward_mean" in data:
        figure, axes = panels([("Reward", "mean over the batch"), ("Should stay low", "share")])
        line(axes[0], data, "reward_mean", "black", "total")
        for name, colour, style in looks(list(weights)):
            line(axes[0], data, f"reward/{name}", colour, name, style)
        line(axes[1], data, "zero_std_groups", ORANGE, "groups without variance")
        line(axes[1], data, "truncated", RED, "cut off", "--")
        axes[1].set_ylim(SHARE)
    else:
        figure, axes = panels([("Loss", "nats per token")])
        line(axes[0], data, "loss", "black", "loss")
    legends(axes)
    figure.suptitle(title, fontsize="small")
    return figure


def compare_runs(logs: Mapping[str, Log]) -> Figure:
    """Several runs over each other, in what all of them have. logs: each run's under its name."""
    data = {name: table(log) for name, log in logs.items()}
    shared = set.intersection(*(set(one) for one in data.values()))
    keys = [key for key in COMPARED if key in shared]
    grpo = ["reward_mean" in one for one in data.values()]
    if not keys or any(grpo) != all(grpo):
        raise ValueError("These runs have no figure in common.\nCompare runs of the same stage.")
    figure, axes = panels([COMPARED[key] for key in keys])
    for axis, key in zip(axes, keys, strict=True):
        for name, colour, style in looks(list(data)):
            line(axis, data[name], key, colour, name, style)
    named = axes[0].get_legend_handles_labels()
    figure.legend(*named, loc="outside lower center", fontsize="small", frameon=False)
    return figure


def save_all(log: Log, folder: str | Path, weights: Collection[str] = ()) -> list[Path]:
    """Writes every figure that a log of SFT or GRPO gives as PNG, and returns the files."""
    figures = {"losses": losses, "timing": timing, "tokens": tokens}
    if any("reward_mean" in step for step in log):
        figures |= {"rewards": partial(rewards, weights=weights)}
        figures |= {"spread": spread, "replies": replies}
    files = []
    for name, draw in figures.items():
        files.append(Path(folder) / f"{name}.png")
        save(draw(log), files[-1])
    return files
