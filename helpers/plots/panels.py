"""What the figures share: colours, smoothed lines, panels, legends, and PNG files."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from math import ceil
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's colours, told apart by colour-blind people; in grey lines are told apart by their
# strokes, areas by their hatches.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY = "#CC79A7", "#56B4E9", "#999999"
COLOURS = {"blue": BLUE, "orange": ORANGE, "green": GREEN, "red": RED, "purple": PURPLE, "sky": SKY}
STROKES = ("-", "--", "-.", ":", (0, (5, 1)))
EDGE = {"edgecolor": "white", "linewidth": 0}  # of areas with hatches
HATCHES = ("", "//", "..", "xx", "\\\\")


def table(log: Sequence[Mapping]) -> pd.DataFrame:
    """The log as a table with `step` as its index; what is no number (null) as a gap."""
    data = pd.DataFrame(log).set_index("step").drop(columns="not_finite", errors="ignore")
    return data.apply(pd.to_numeric, errors="coerce").dropna(axis="columns", how="all")


def looks(names: Iterable[str]) -> list[tuple]:
    """Each name with a colour and a stroke; no two alike among the first 30."""
    return list(zip(names, cycle(COLOURS.values()), cycle(STROKES)))


def line(axis, data: pd.DataFrame, key: str, colour: str, label="", style="-", std="") -> None:
    """The raw values thin, a running mean over a tenth of the run on top; nothing for no `key`.

    std: the key of their standard deviation, for a band around them.
    """
    if key not in data:
        return
    values = data[key]
    colour = COLOURS.get(colour, colour)
    if key == "learning_rate":  # a plan, not a measurement: nothing to smooth
        axis.plot(values, color=colour)
        return
    axis.plot(values, color=colour, alpha=0.3, linewidth=1)
    window = max(3, len(values) // 10)
    smoothed = values.rolling(window, min_periods=1, center=True).mean()
    axis.plot(smoothed, color=colour, linewidth=2, linestyle=style, label=label)
    if std in data:
        shade = {"color": colour, "alpha": 0.12, "label": "± std over the batch"}
        axis.fill_between(data.index, values - data[std], values + data[std], **shade)


def subplots(width: float, height: float, rows=1, columns=1, **more) -> tuple[Figure, list]:
    """A figure of that size in inches, and its axes."""
    figure, grid = plt.subplots(
        rows, columns, figsize=(width, height), squeeze=False, layout="constrained", **more
    )
    plt.close(figure)  # else a notebook shows it twice
    return figure, list(grid.flat)


def panels(parts: Sequence[Mapping]) -> tuple[Figure, list]:
    """A figure with a panel for each part, which has a title and the unit of the y axis."""
    rows, columns = ceil(len(parts) / 2), min(len(parts), 2)  # a phone still shows two legibly
    figure, axes = subplots(3.7 * columns, 2.7 * rows, rows, columns)
    if len(axes) > len(parts):
        axes.pop().remove()
    for axis, part in zip(axes, parts, strict=True):
        axis.set(xlabel="step", ylabel=part["unit"])
        axis.set_title(part["title"], fontsize="medium")
        axis.grid(alpha=0.3)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, axes


def curves(data: pd.DataFrame, parts: Sequence[Mapping]) -> Figure:
    """A panel for each part; its lines are what `line` takes."""
    figure, axes = panels(parts)
    for axis, part in zip(axes, parts, strict=True):
        for one in part["lines"]:
            line(axis, data, *one)
        if part["unit"].startswith("share"):
            axis.set_ylim(-0.03, 1.03)
    legends(axes)
    return figure


def legend(axis, down: float, columns: int = 2, loc: str = "upper center") -> None:
    """A legend below the panel; with a negative distance and "lower center" above it."""
    place = {"loc": loc, "bbox_to_anchor": (0.5, -down)}
    axis.legend(fontsize="small", ncols=columns, frameon=False, **place)


def legends(axes) -> None:
    """A legend where something has a name; a word where the log had nothing to draw."""
    for axis in axes:
        if not axis.lines:
            middle = {"ha": "center", "va": "center", "transform": axis.transAxes}
            axis.text(0.5, 0.5, "not in this log", color="grey", **middle)
        if axis.get_legend_handles_labels()[1]:
            legend(axis, 0.22)


def picture(figure: Figure) -> dict[str, str]:
    """The figure as a PNG in the form that IPython's display takes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=90, bbox_inches="tight")
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return {"image/png": encoded, "text/plain": "the run's curves"}


def save(figure: Figure, path: str | Path) -> Figure:
    """Writes the figure as PNG and returns it."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    return figure
