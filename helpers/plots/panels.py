"""What the figures share: colours, smoothed lines, panels, legends, and PNG files."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's colours, told apart by colour-blind people; in grey lines are told apart by their
# strokes, areas by their hatches.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY = "#CC79A7", "#56B4E9"
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
EDGE = {"edgecolor": "white", "linewidth": 0}  # of areas with hatches
HATCHES = ("", "//", "..", "xx", "\\\\")


def table(log: Sequence[Mapping]) -> pd.DataFrame:
    """The log as a table with `step` as its index; what is no number (null) as a gap."""
    data = pd.DataFrame(log).set_index("step").drop(columns="not_finite", errors="ignore")
    return data.apply(pd.to_numeric, errors="coerce")


def smooth(values: pd.Series) -> pd.Series:
    """A running mean over a tenth of the run, centred."""
    return values.rolling(max(3, len(values) // 10), min_periods=1, center=True).mean()


def looks(names: Sequence[str]) -> list[tuple[str, str, object]]:
    """Each name with a colour and a stroke; no two alike among the first 36."""
    found = []
    for i, name in enumerate(names):
        found.append((name, COLOURS[i % 6], STYLES[(i + i // 6) % 6]))
    return found


def line(axis, data: pd.DataFrame, key: str, colour: str, label: str = "", style="-") -> None:
    """The raw values thin, the smoothed ones on top; nothing for a key that the log lacks."""
    if key in data and data[key].notna().any():
        axis.plot(data.index, data[key], color=colour, alpha=0.3, linewidth=1)
        smoothed = smooth(data[key])
        axis.plot(data.index, smoothed, color=colour, linewidth=2, linestyle=style, label=label)


def panels(parts: Sequence[tuple[str, str]]) -> tuple[Figure, list]:
    """A figure with a panel for each (title, unit of the y axis), two beside each other."""
    rows, columns = -(-len(parts) // 2), min(len(parts), 2)  # a phone still shows two legibly
    size = (3.7 * columns, 2.7 * rows)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    axes = list(grid.flat)
    for axis in axes[len(parts) :]:
        axis.remove()
    for axis, (title, unit) in zip(axes, parts, strict=False):
        axis.set(xlabel="step", ylabel=unit)
        axis.set_title(title, fontsize="medium")
        axis.grid(alpha=0.3)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, axes[: len(parts)]


def legend(axis, down: float, columns: int = 2) -> None:
    """A legend below the panel."""
    place = (0.5, -down)
    axis.legend(
        fontsize="small", loc="upper center", bbox_to_anchor=place, ncols=columns, frameon=False
    )


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
    figure.savefig(buffer, dpi=90, format="png", bbox_inches="tight")
    plt.close(figure)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return {"image/png": encoded, "text/plain": "the run's curves"}


def save(figure: Figure, path: str | Path) -> Figure:
    """Writes the figure as PNG and returns it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
    return figure
