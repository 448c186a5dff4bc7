"""Curves of runs that were made ill on purpose, to compare your own with.

`lab.json` holds them, `python -m tests.lab` made them. All are of the tiny profile, `gsm8k_xml`,
seed 0. A run is its cause in words, its verdict (of `runs.RULES`; "" for none) and at which step it
was there, and a line a step.
"""

import json
from pathlib import Path

from matplotlib.figure import Figure

from helpers.plots.panels import RED, legends, line, panels, table

FILE = Path(__file__).with_name("lab.json")


def runs(stage: str) -> dict[str, dict]:
    """The runs of "sft" or "grpo" under their names, the healthy one first."""
    return json.loads(FILE.read_text(encoding="utf-8"))[stage]


def beside(stage: str, unit: str) -> tuple[Figure, list[tuple]]:
    """A figure of a stage's runs; for each the axis of its panel, the run, its log as a table."""
    found = runs(stage)
    parts = [{"title": f"{name}\n{run['cause']}", "unit": unit} for name, run in found.items()]
    figure, axes = panels(parts)
    logs = [table(run["log"]) for run in found.values()]
    return figure, list(zip(axes, found.values(), logs, strict=True))


def sft_figure() -> Figure:
    """The loss on rows learned from and on others, of a healthy, an over-fitted, a broken SFT."""
    figure, parts = beside("sft", "loss, nats per token")
    for axis, _, data in parts:
        line(axis, data, "loss", "blue", "rows learned from")
        held_out = data["held_out"].dropna()
        axis.plot(held_out, "o--", color=RED, markersize=3, label="held-out rows")
        axis.set_ylim(0, 1.05 * data[["loss", "held_out"]].max().max())
    legends(figure.axes)
    return figure


def grpo_figure() -> Figure:
    """What was paid, what was right, what gives each illness away; red: where its verdict came."""
    figure, parts = beside("grpo", "share")
    for axis, run, data in parts:
        line(axis, data, "paid", "blue", "paid (1 = all)")
        line(axis, data, "correct", "green", "right, and in shape", "--")
        line(axis, data, run["shown_by"], "orange", run["label"], ":")
        if run["step"]:
            axis.axvline(run["step"], color=RED, linewidth=1)
        axis.set_ylim(-0.03, 1.03)
    legends(figure.axes)
    return figure


def verdicts() -> dict[str, dict]:
    """For each GRPO run its cause, and the verdict with its step."""
    found = {}
    for name, run in runs("grpo").items():
        verdict, step = run["verdict"] or "none", run["step"] or ""
        found[name] = {"cause": run["cause"], "verdict": verdict, "after step": step}
    return found
