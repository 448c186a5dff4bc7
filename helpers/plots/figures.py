"""Figures from a run's log or from evaluation summaries. Each function returns the figure; `save` writes it as PNG too."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's colours, told apart by colour-blind people; in grey lines are told apart by their strokes, areas by their hatches.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
)
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
HATCHES = ("", "//", "..", "xx", "\\\\")
OUTCOME_COLOURS = {
    "correct": GREEN,
    "right_wrong_format": SKY,
    "wrong": RED,
    "no_answer": PURPLE,
    "truncated": "#999999",
}


def table(log: Sequence[Mapping]) -> pd.DataFrame:
    """The log as a table with `step` as its index; what is no number (null) as a gap."""
    return (
        pd.DataFrame(log)
        .set_index("step")
        .drop(columns="not_finite", errors="ignore")
        .apply(pd.to_numeric, errors="coerce")
    )


def smooth(values: pd.Series) -> pd.Series:
    """A running mean over a tenth of the run, centred."""
    return values.rolling(max(3, len(values) // 10), min_periods=1, center=True).mean()


def looks(names: Sequence[str]) -> list[tuple[str, str, object]]:
    """Each name with a colour and a stroke; no two alike among the first 36."""
    return [(name, COLOURS[i % 6], STYLES[(i + i // 6) % 6]) for i, name in enumerate(names)]


def line(
    axis, data: pd.DataFrame, key: str, colour: str, label: str = "", style: str = "-"
) -> None:
    """The raw values thin, the smoothed ones on top; nothing for a key that the log does not have."""
    if key in data and data[key].notna().any():
        axis.plot(data.index, data[key], color=colour, alpha=0.3, linewidth=1)
        axis.plot(
            data.index, smooth(data[key]), color=colour, linewidth=2, linestyle=style, label=label
        )


def band(axis, data: pd.DataFrame, key: str, colour: str) -> None:
    """± one standard deviation around a mean; nothing where the log has none."""
    mean, std = (f"{key}_mean", f"{key}_std") if f"{key}_mean" in data else (key, f"{key}_std")
    if {mean, std} <= set(data):
        axis.fill_between(
            data.index,
            data[mean] - data[std],
            data[mean] + data[std],
            color=colour,
            alpha=0.12,
            label="± std over the batch",
        )


def panels(parts: Sequence[tuple[str, str]]) -> tuple[Figure, list]:
    """A figure with one panel for each (title, unit of the y axis): two beside each other, which a phone still shows legibly."""
    rows, columns = -(-len(parts) // 2), min(len(parts), 2)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.7 * columns, 2.7 * rows), squeeze=False, layout="constrained"
    )
    for axis, (title, unit) in zip(axes.flat, parts, strict=False):
        axis.set(xlabel="step", ylabel=unit)
        axis.set_title(title, fontsize="medium")
        axis.grid(alpha=0.3)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in list(axes.flat)[len(parts) :]:
        axis.remove()
    return figure, list(axes.flat)[: len(parts)]


def legends(axes) -> None:
    """A legend where something has a name; a word where the log had nothing to draw."""
    for axis in axes:
        if not axis.lines:
            axis.text(
                0.5,
                0.5,
                "not in this log",
                ha="center",
                va="center",
                transform=axis.transAxes,
                color="grey",
            )
        if axis.get_legend_handles_labels()[1]:
            axis.legend(
                fontsize="small",
                loc="upper center",
                bbox_to_anchor=(0.5, -0.22),
                ncols=2,
                frameon=False,
            )


def losses(log: Sequence[Mapping]) -> Figure:
    """Loss, gradient norm and learning rate; for GRPO with a KL term also the loss's two parts and the divergence."""
    data = table(log)
    grpo, divergence = "grpo_loss" in data, "kl_loss" in data and (data["kl_loss"] != 0).any()
    parts = [
        ("Loss", "no unit" if grpo else "nats per token"),
        ("Gradient norm", "no unit"),
        ("Learning rate", "no unit"),
    ]
    figure, axes = panels(
        parts + ([("KL divergence from the start", "nats per token")] if divergence else [])
    )
    for name, colour, style in looks(
        ("grpo_loss" if grpo else "loss", *(("policy_loss", "kl_loss") if divergence else ()))
    ):
        line(axes[0], data, name, colour, name.replace("_", " "), style)
    line(axes[1], data, "grad_norm", BLUE)
    if "learning_rate" in data:
        axes[2].plot(
            data.index, data["learning_rate"], color=BLUE
        )  # a plan, not a measurement: nothing to smooth
    if divergence:
        line(axes[3], data, "kl", BLUE)
    legends(axes if divergence else axes[1:])
    return figure


def rewards(log: Sequence[Mapping], weights: Mapping[str, float] = MappingProxyType({})) -> Figure:
    """The total reward and the advantages with ± one standard deviation, and every reward on its own, before its weight.

    weights: the recipe's rewards, for their order; without them those that the log has.
    """
    data = table(log)
    names = list(weights) or names_of_rewards(data)
    figure, axes = panels(
        [
            ("Total reward", "weighted sum"),
            ("Each reward, before its weight", "mean over the batch"),
            ("Advantage", "mean over the batch"),
        ]
    )
    line(axes[0], data, "reward_mean", BLUE, "mean")
    band(axes[0], data, "reward", BLUE)
    for name, colour, style in looks(names):
        line(axes[1], data, f"reward/{name}", colour, name, style)
    line(axes[2], data, "adv_mean", PURPLE, "mean")
    band(axes[2], data, "adv", PURPLE)
    legends(axes)
    return figure


def names_of_rewards(data: pd.DataFrame) -> list[str]:
    return [
        key.removeprefix("reward/")
        for key in data
        if key.startswith("reward/") and not key.endswith("_std")
    ]


def spread(log: Sequence[Mapping]) -> Figure:
    """What GRPO has to work with: groups without variance, completion lengths, and replies that are cut off."""
    data = table(log)
    parts = [
        ("Groups in which all rewards are equal", "share"),
        ("Completion length", "tokens"),
        ("Cut off at the limit", "share"),
    ]
    figure, axes = panels(parts)
    line(axes[0], data, "zero_std_groups", RED)
    line(axes[1], data, "completion_mean", BLUE, "mean")
    line(axes[1], data, "completion_max", ORANGE, "longest", "--")
    line(axes[2], data, "truncated", RED)
    legends(axes)
    for axis in (axes[0], axes[2]):
        axis.set_ylim(-0.03, 1.03)
    return figure


def replies(log: Sequence[Mapping]) -> Figure:
    """What the completions are like, judged as in evaluation: right and in shape, how varied, and how unsure the model is."""
    data = table(log)
    figure, axes = panels(
        [
            ("Right, and in shape", "share of replies"),
            ("Variety, and repetition", "share"),
            ("Entropy", "nats per token"),
        ]
    )
    line(axes[0], data, "correct", GREEN, "correct")
    line(axes[0], data, "follows", SKY, "follows the format", "--")
    line(axes[1], data, "distinct", BLUE, "different replies of a group")
    line(axes[1], data, "repetition", RED, "repetition in a reply", "--")
    line(axes[2], data, "entropy", PURPLE)
    legends(axes)
    for axis in axes[:2]:
        axis.set_ylim(-0.03, 1.03)
    return figure


def timing(log: Sequence[Mapping]) -> Figure:
    """Where a step's seconds go."""
    data = table(log)
    figure, (axis,) = panels([("Time of a step", "seconds")])
    parts = [n for n in ("generation_time_s", "backward_time_s", "other_time_s") if n in data]
    if parts:
        axis.stackplot(
            data.index,
            *(data[n].fillna(0) for n in parts),
            labels=[n.removesuffix("_time_s") for n in parts],
            colors=(BLUE, ORANGE, "#BBBBBB"),
            hatch=HATCHES[: len(parts)],
            edgecolor="white",
            linewidth=0,
        )
    if "time_per_step_s" in data:
        axis.plot(
            data.index, data["time_per_step_s"], color="black", linewidth=1, label="whole step"
        )
    legends([axis])
    return figure


def tokens(log: Sequence[Mapping]) -> Figure:
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


def live(log: Sequence[Mapping], weights: Mapping[str, float], title: str) -> Figure:
    """A run in two panels while it goes on: what should rise (or the loss, which should fall), and what should stay low."""
    data = table(log)
    grpo = "reward_mean" in data
    figure, axes = panels(
        [("Reward", "mean over the batch"), ("Should stay low", "share")]
        if grpo
        else [("Loss", "nats per token")]
    )
    line(axes[0], data, "reward_mean" if grpo else "loss", "black", "total" if grpo else "loss")
    if grpo:
        for name, colour, style in looks(list(weights)):
            line(axes[0], data, f"reward/{name}", colour, name, style)
        line(axes[1], data, "zero_std_groups", ORANGE, "groups without variance")
        line(axes[1], data, "truncated", RED, "cut off", "--")
        axes[1].set_ylim(-0.03, 1.03)
    legends(axes)
    figure.suptitle(title, fontsize="small")
    return figure


def compare_runs(logs: Mapping[str, Sequence[Mapping]]) -> Figure:
    """Several runs over each other, in the figures that all of them have. logs: the log of each run under its name."""
    parts = [
        ("reward_mean", "Total reward", "weighted sum"),
        ("correct", "Right, and in shape", "share of replies"),
        ("loss", "Loss", "nats per token"),
        ("completion_mean", "Completion length", "tokens"),
        ("zero_std_groups", "Groups in which all rewards are equal", "share"),
        ("grad_norm", "Gradient norm", "norm"),
        ("time_per_step_s", "Time of a step", "seconds"),
    ]
    data = {name: table(log) for name, log in logs.items()}
    parts = [part for part in parts if all(part[0] in d for d in data.values())]
    if not parts or len({"reward_mean" in d for d in data.values()}) > 1:
        raise ValueError("These runs have no figure in common.\nCompare runs of the same stage.")
    figure, axes = panels([part[1:] for part in parts])
    for axis, (key, *_) in zip(axes, parts, strict=True):
        for name, colour, style in looks(list(data)):
            line(axis, data[name], key, colour, name, style)
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        fontsize="small",
        frameon=False,
    )
    return figure


def save_all(
    log: Sequence[Mapping], folder: str | Path, weights: Mapping[str, float] = MappingProxyType({})
) -> list[Path]:
    """Writes every figure that a log of SFT or GRPO gives as PNG, and returns the files."""
    grpo = any("reward_mean" in step for step in log)
    draw = {"losses": losses, "timing": timing, "tokens": tokens}
    draw |= (
        {"rewards": lambda log: rewards(log, weights), "spread": spread, "replies": replies}
        if grpo
        else {}
    )
    files = [Path(folder) / f"{name}.png" for name in draw]
    for path, function in zip(files, draw.values(), strict=True):
        save(function(log), path)
    return files


def accuracy_bars(summaries: Mapping[str, Mapping]) -> Figure:
    """Strict and flexible accuracy and the format rate of each model's sampled answers, with 95 % intervals."""
    figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
    keys = ("strict", "flexible", "format")
    for k, (key, colour) in enumerate(zip(keys, (BLUE, ORANGE, GREEN), strict=True)):
        values = [s[key]["value"] for s in summaries.values()]
        errors = [
            [s[key]["value"] - s[key]["low"] for s in summaries.values()],
            [s[key]["high"] - s[key]["value"] for s in summaries.values()],
        ]
        places = [i + (k - 1) * 0.26 for i in range(len(summaries))]
        bars = axis.bar(
            places,
            values,
            width=0.24,
            yerr=[[max(0.0, e) for e in side] for side in errors],
            capsize=3,
            color=colour,
            label=key,
        )
        axis.bar_label(bars, [f"{100 * v:.1f}" for v in values], padding=2, fontsize=8)
    n = next(iter(summaries.values()))["n"]
    axis.set_xticks(range(len(summaries)), list(summaries))
    axis.set(
        ylabel="share of answers (labels: %)",
        ylim=(0, 1.15),
        title=f"{n} held-out problems, sampled answers, 95 % intervals",
    )
    axis.legend(ncols=3, loc="upper left", fontsize="small")
    return figure


def spoken(outcome: str) -> str:
    return {"right_wrong_format": "right, wrong format"}.get(outcome, outcome.replace("_", " "))


def outcomes(summaries: Mapping[str, Mapping]) -> Figure:
    """How each model's answers end, stacked to 100 %."""
    figure, axis = plt.subplots(figsize=(7, 0.7 + 0.5 * len(summaries)), layout="constrained")
    left = [0.0] * len(summaries)
    for (name, colour), hatch in zip(OUTCOME_COLOURS.items(), HATCHES, strict=True):
        shares = [s["outcomes"][name] / s["completions"] for s in summaries.values()]
        axis.barh(
            list(summaries),
            shares,
            left=left,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0,
            label=spoken(name),
        )
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axis.invert_yaxis()
    axis.set(xlabel="share of answers", xlim=(0, 1))
    axis.legend(
        ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize="small", frameon=False
    )
    return figure


def token_counts(summaries: Mapping[str, Mapping]) -> Figure:
    """Mean tokens of the answers of each model, by how they ended."""
    figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
    models, names = list(summaries), list(OUTCOME_COLOURS)
    for k, ((name, colour), hatch) in enumerate(zip(OUTCOME_COLOURS.items(), HATCHES, strict=True)):
        found = [
            (i, s["tokens_by_outcome"][name])
            for i, s in enumerate(summaries.values())
            if name in s["tokens_by_outcome"]
        ]
        if found:
            axis.bar(
                [i + (k - len(names) / 2 + 0.5) * 0.17 for i, _ in found],
                [tokens for _, tokens in found],
                width=0.16,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                linewidth=0,
                label=spoken(name),
            )
    axis.set_xticks(range(len(models)), models)
    axis.set(ylabel="tokens, mean", title="Length of the answers, by outcome")
    axis.legend(
        fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=5, frameon=False
    )
    return figure


def scores(records: Mapping[str, Sequence[Mapping]]) -> Figure:
    """How the scores of each model's answers are spread, as shares; with partial credit (EED) more than nothing and everything."""
    figure, axes = plt.subplots(
        1,
        len(records),
        figsize=(2.5 * len(records), 2.6),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, (name, lines) in zip(axes.flat, records.items(), strict=True):
        values = [record.score for record in lines]
        axis.hist(
            values,
            bins=[i / 20 for i in range(21)],
            weights=[1 / len(values)] * len(values),
            color=BLUE,
            edgecolor="white",
        )
        axis.axvline(
            sum(values) / len(values),
            color=RED,
            linestyle="--",
            label=f"mean {sum(values) / len(values):.2f}",
        )
        axis.set(title=name, xlabel="score of an answer", xlim=(0, 1))
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False)
    axes[0, 0].set_ylabel("share of answers")
    return figure


def calibration(found: Mapping[str, Mapping]) -> Figure:
    """Does agreement among a problem's samples tell that they are right? Share of right majorities by agreement, with 95 % intervals."""
    figure, axis = plt.subplots(figsize=(4.6, 4), layout="constrained")
    axis.plot([0, 1], [0, 1], color="grey", linewidth=1, label="as right as they agree")
    voting = [
        name for name in found if any(level["agreement"] > 0 for level in found[name]["levels"])
    ]  # a base without the format never votes
    for i, (name, colour, style) in enumerate(looks(voting)):
        levels = [level for level in found[name]["levels"] if level["agreement"] > 0]
        places, right = (
            [level["agreement"] - 0.012 * i for level in levels],
            [level["right"] for level in levels],
        )
        errors = [
            [max(0.0, level["right"] - level["low"]) for level in levels],
            [max(0.0, level["high"] - level["right"]) for level in levels],
        ]
        for place, level in zip(places, levels, strict=True):
            axis.annotate(
                f"{level['n']}",
                (place, level["right"]),
                xytext=(-4, 5 + 9 * i),
                textcoords="offset points",
                ha="right",
                fontsize=7,
                color=colour,
            )
        axis.errorbar(
            places,
            right,
            yerr=errors,
            color=colour,
            linestyle=style,
            marker="o",
            capsize=3,
            label=name,
        )
    axis.set(
        xlabel="share of samples that agree (numbers: problems)",
        ylabel="share of right majorities",
        title="Agreement and being right",
        xlim=(0, 1.06),
        ylim=(-0.03, 1.2),
    )
    axis.grid(alpha=0.3)
    axis.legend(
        fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False
    )
    return figure


def picture(figure: Figure) -> dict[str, str]:
    """The figure as a PNG in the form that IPython's display takes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=90, format="png", bbox_inches="tight")
    plt.close(figure)
    return {
        "image/png": base64.b64encode(buffer.getvalue()).decode(),
        "text/plain": "the run's curves",
    }


def save(figure: Figure, path: str | Path) -> Figure:
    """Writes the figure as PNG and returns it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
    return figure
