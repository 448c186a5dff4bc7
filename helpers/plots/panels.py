"""What the figures share: colours, smoothed lines, panels, legends, and PNG files.

`figures.json` holds their data: titles, units, looks, and for each figure of a log its panels. A
line of a panel is what `line` takes: key of the log, colour, label, stroke, key of its band.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
COLOURS = {"blue": BLUE, "orange": ORANGE, "green": GREEN, "red": RED}
COLOURS |= {"purple": "#CC79A7", "sky": "#56B4E9"}
STROKES = ("-", "--", "-.", ":", (0, (5, 1)))
FIGURES = json.loads(Path(__file__).with_name("figures.json").read_text(encoding="utf-8"))


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
    if key == "held_out":  # looked at every few steps
        axis.plot(values.dropna(), style, color=colour, marker="o", markersize=3, label=label)
        return
    axis.plot(values, color=colour, alpha=0.3, linewidth=1)
    window = max(3, len(values) // 10)
    smoothed = values.rolling(window, min_periods=1, center=True).mean()
    axis.plot(smoothed, color=colour, linewidth=2, linestyle=style, label=label)
    if std in data:
        low, high = values - data[std], values + data[std]
        axis.fill_between(data.index, low, high, color=colour, **FIGURES["band"])


def subplots(width: float, height: float, rows=1, columns=1, **more) -> tuple[Figure, list]:
    """A figure of that size in inches, and its axes."""
    figure, grid = plt.subplots(
        rows, columns, figsize=(width, height), squeeze=False, layout="constrained", **more
    )
    figure.get_layout_engine().set(w_pad=0.1)  # its ticks may get wider while it is laid out
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
    """A panel for each part, with its lines."""
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
    place = (0.5, -down)
    axis.legend(fontsize="small", ncols=columns, frameon=False, loc=loc, bbox_to_anchor=place)


def legends(axes) -> None:
    """A legend where something has a name; a word where the log had nothing to draw."""
    for axis in axes:
        if not axis.lines:
            axis.text(0.5, 0.5, "not in this log", transform=axis.transAxes, **FIGURES["word"])
        if axis.get_legend_handles_labels()[1]:
            legend(axis, 0.22)


@dataclass(frozen=True)
class Picture:
    """A figure's PNG file, which a notebook shows without drawing it again."""

    path: Path

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()


def save(figure: Figure, path: str | Path) -> Picture:
    """Writes the figure as PNG."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return Picture(Path(path))
