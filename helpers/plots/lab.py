"""Curves of runs that were made ill on purpose, to compare your own with.

`lab.json` holds them, `python -m tests.lab` made them. All are of the tiny profile, `gsm8k_xml`,
seed 0. A run is its cause in words, its verdict (of `runs.RULES`; "" for none) and at which step it
was there, and a line a step.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from helpers.plots.panels import BLUE, GREEN, ORANGE, RED, legends, line, panels, table

FILE = Path(__file__).with_name("lab.json")


def runs(stage: str) -> dict[str, dict]:
    """The runs of "sft" or "grpo" under their names, the healthy one first."""
    return json.loads(FILE.read_text(encoding="utf-8"))[stage]


def beside(stage: str, unit: str, draw: Callable) -> Figure:
    """A panel for each run of the stage, drawn by `draw(axis, run, its log as a table)`."""
    found = runs(stage)
    figure, axes = panels([(f"{name}\n{run['cause']}", unit) for name, run in found.items()])
    for axis, run in zip(axes, found.values(), strict=True):
        draw(axis, run, table(run["log"]))
    legends(axes)
    plt.close(figure)  # else a notebook shows it twice
    return figure


def draw_sft(axis, run: Mapping, data: pd.DataFrame) -> None:
    line(axis, data, "loss", BLUE, "rows learned from")
    held_out = data["held_out"].dropna()
    axis.plot(held_out, "o--", color=RED, markersize=3, label="held-out rows")
    axis.set_ylim(0, 1.05 * max(data["loss"].max(), held_out.max()))


def draw_grpo(axis, run: Mapping, data: pd.DataFrame) -> None:
    line(axis, data, "paid", BLUE, "paid (1 = all)")
    line(axis, data, "correct", GREEN, "right, and in shape", "--")
    if run["shown_by"]:
        line(axis, data, run["shown_by"], ORANGE, run["label"], ":")
    if run["step"]:
        axis.axvline(run["step"], color=RED, linewidth=1)
    axis.set_ylim(-0.03, 1.03)


def sft_figure() -> Figure:
    """The loss on rows learned from and on others, of a healthy, an over-fitted, a broken SFT."""
    return beside("sft", "loss, nats per token", draw_sft)


def grpo_figure() -> Figure:
    """What was paid, what was right, what gives each illness away; red: where its verdict came."""
    return beside("grpo", "share", draw_grpo)


def verdicts() -> dict[str, Mapping]:
    """For each GRPO run its cause, and the verdict with its step."""
    found = {}
    for name, run in runs("grpo").items():
        verdict, step = run["verdict"] or "none", run["step"] or ""
        found[name] = {"cause": run["cause"], "verdict": verdict, "after step": step}
    return found
