"""The README's tables and picture of what was learned: `python -m tests.results`.

They come from what `make soak` measured.
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from helpers.evaluation.statistics import interval_of_mean, paired_p, share
from helpers.plots.panels import BLUE, ORANGE
from helpers.recipes import RECIPES
from tests.conftest import ROOT

FOLDER = ROOT / "outputs" / "soak"


def runs_of(name: str, folder: Path = FOLDER) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"{name}-*.json"))]


def pooled(runs: list[dict], stage: str, key: str) -> pd.Series:
    """One number a problem: the mean over seeds. The problems are the same for every seed."""
    return pd.DataFrame([run["stages"][stage][key] for run in runs]).mean()


def cell(values: pd.Series, percent: bool = True) -> str:
    part = share(values)
    form = (
        "{value:.1%} [{low:.1%}, {high:.1%}]" if percent else "{value:.2f} [{low:.2f}, {high:.2f}]"
    )
    return form.format(**part)


def row_of(name: str, runs: list[dict]) -> list[str]:
    """A line of the main table: strict accuracy, sampled."""
    start = "sft" if "sft" in runs[0]["stages"] else "base"
    gains = [
        pd.Series(run["stages"]["grpo"]["strict"]) - pd.Series(run["stages"][start]["strict"])
        for run in runs
    ]
    low, high = interval_of_mean(pd.DataFrame(gains).mean())
    worst = max(
        paired_p(
            pd.Series(run["stages"][start]["strict"]), pd.Series(run["stages"]["grpo"]["strict"])
        )
        for run in runs
    )
    return [
        f"`{name}`",
        cell(pooled(runs, "base", "strict")),
        cell(pooled(runs, "sft", "strict")) if start == "sft" else "no SFT",
        cell(pooled(runs, "grpo", "strict")),
        f"{100 * pd.DataFrame(gains).mean().mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]",
        " / ".join(f"{100 * gain.mean():+.1f}" for gain in gains),
        f"{worst:.2g}",
        cell(pooled(runs, "grpo", "greedy")),
        f"{np.mean([run['minutes'] for run in runs]):.1f}",
    ]


def markdown(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def stages_of(name: str, keys: dict[str, str], percent: bool) -> str:
    """A recipe's stages, one a row, with some of what was measured."""
    runs = runs_of(name)
    rows = [
        [stage, *(cell(pooled(runs, stage, key), percent) for key in keys)]
        for stage in runs[0]["stages"]
        if stage != "priming"
    ]
    return markdown(
        [f"`{name}`", *keys.values()],
        sorted(rows, key=lambda row: ("base", "sft", "grpo").index(row[0])),
    )


def picture(measured: dict[str, list[dict]]) -> None:
    """`tests/results.svg`: strict accuracy of base, SFT and GRPO by recipe, with intervals."""
    figure, axis = plt.subplots(figsize=(7.5, 0.55 * len(measured) + 1.3), layout="constrained")
    marks = {"base": ("o", "#999999"), "sft": ("s", ORANGE), "grpo": ("D", BLUE)}
    for place, (name, runs) in enumerate(reversed(measured.items())):
        parts = {
            stage: {key: 100 * value for key, value in share(pooled(runs, stage, "strict")).items()}
            for stage in marks
            if stage in runs[0]["stages"]
        }
        axis.plot(
            [part["value"] for part in parts.values()],
            [place] * len(parts),
            color="#cccccc",
            linewidth=1,
            zorder=0,
        )
        for stage, part in parts.items():
            mark, colour = marks[stage]
            axis.errorbar(
                part["value"],
                place,
                xerr=[[part["value"] - part["low"]], [part["high"] - part["value"]]],
                fmt=mark,
                color=colour,
                capsize=3,
                label={"base": "base", "sft": "after SFT", "grpo": "after GRPO"}[stage]
                if name == next(iter(measured))
                else None,
            )
    axis.set(
        yticks=range(len(measured)),
        yticklabels=list(reversed(measured)),
        xlim=(-2, 102),
        ylim=(-0.6, len(measured) - 0.4),
        xlabel="right, in the format asked for: % of sampled answers to 400 held-out problems",
        title="The tiny model, without a GPU: three seeds, 95 % intervals",
    )
    axis.grid(axis="x", alpha=0.3)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, -0.36), ncols=3, frameon=False)
    with plt.rc_context({"svg.hashsalt": "results"}):
        figure.savefig(ROOT / "tests" / "results.svg", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    measured = {name: runs for name in RECIPES if (runs := runs_of(name))}
    print(
        markdown(
            [
                "recipe",
                "base",
                "SFT",
                "GRPO",
                "GRPO over its start, points",
                "each seed",
                "largest p",
                "GRPO, greedy",
                "minutes of training",
            ],
            [row_of(name, runs) for name, runs in measured.items()],
        )
    )
    print(
        "\n"
        + stages_of(
            "openr1_boxed",
            {"strict": "strict, sampled", "greedy": "strict, greedy", "format": "format"},
            percent=True,
        )
    )
    print(
        "\n"
        + stages_of(
            "phybench_eed",
            {
                "reward": "total reward",
                "format_reward": "format",
                "trace_reward": "trace",
                "accuracy_reward": "EED",
                "strict": "exactly right",
            },
            percent=False,
        )
    )
    picture(measured)


if __name__ == "__main__":
    main()
