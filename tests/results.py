"""The README's tables and picture of what `make soak` measured: `python -m tests.results`."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from helpers.evaluation.statistics import interval_of_mean, paired_p, share
from helpers.notebooks import interval
from helpers.plots.panels import BLUE, ORANGE
from helpers.recipes import RECIPES
from tests.conftest import ROOT

FOLDER = ROOT / "outputs" / "soak"
TITLE = "The tiny model, without a GPU: three seeds, 95 % intervals"
UNIT = "right, in the format asked for: % of sampled answers to 400 held-out problems"
HEAD = ["recipe", "base", "SFT", "GRPO", "GRPO over its start, points", "each seed", "largest p"]
HEAD += ["GRPO, greedy", "minutes of training"]
BOXED = {"strict": "strict, sampled", "greedy": "strict, greedy", "format": "format"}
PHYSICS = {"reward": "total reward", "format_reward": "format", "trace_reward": "trace"}
PHYSICS |= {"accuracy_reward": "EED", "strict": "exactly right"}
LOOKS = {  # label, mark and colour of a stage, in their order
    "base": ("base", "o", "#999999"),
    "sft": ("after SFT", "s", ORANGE),
    "grpo": ("after GRPO", "D", BLUE),
}


def runs_of(name: str) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(FOLDER.glob(f"{name}-*.json"))]


def by_seed(runs: list[dict], stage: str, key: str) -> pd.DataFrame:
    """A row a seed, a column a problem; the problems are the same for every seed."""
    return pd.DataFrame([run["stages"][stage][key] for run in runs])


def cell(runs: list[dict], stage: str, key: str, form: str = ".1%") -> str:
    """The mean over seeds, and over problems its 95 % interval."""
    return interval(share(by_seed(runs, stage, key).mean()), form)


def row_of(name: str, runs: list[dict]) -> list[str]:
    """A line of the main table: strict accuracy, sampled."""
    start = "sft" if "sft" in runs[0]["stages"] else "base"
    before, after = (by_seed(runs, stage, "strict") for stage in (start, "grpo"))
    gains = after - before
    low, high = interval_of_mean(gains.mean())
    worst = max(paired_p(before.loc[seed], after.loc[seed]) for seed in before.index)
    return [
        f"`{name}`",
        cell(runs, "base", "strict"),
        cell(runs, "sft", "strict") if start == "sft" else "no SFT",
        cell(runs, "grpo", "strict"),
        f"{100 * gains.mean().mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]",
        " / ".join(f"{100 * gain:+.1f}" for gain in gains.mean(axis="columns")),
        f"{worst:.2g}",
        cell(runs, "grpo", "greedy"),
        f"{np.mean([run['minutes'] for run in runs]):.1f}",
    ]


def show(head: list[str], rows: list[list[str]]) -> None:
    print("\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)))


def show_stages(name: str, keys: dict[str, str], form: str) -> None:
    """A recipe's stages, one a row, with some of what was measured."""
    runs, rows = runs_of(name), []
    for stage in LOOKS:
        if stage in runs[0]["stages"]:
            rows.append([stage, *(cell(runs, stage, key, form) for key in keys)])
    print()
    show([f"`{name}`", *keys.values()], rows)


def picture(measured: dict[str, list[dict]]) -> None:
    """`tests/results.svg`: strict accuracy of base, SFT and GRPO by recipe, with intervals."""
    figure, axis = plt.subplots(figsize=(7.5, 0.55 * len(measured) + 1.3), layout="constrained")
    names = list(reversed(measured))
    for place, name in enumerate(names):
        values = []
        for stage, (label, mark, colour) in LOOKS.items():
            if stage not in measured[name][0]["stages"]:
                continue
            part = share(by_seed(measured[name], stage, "strict").mean())
            value, low, high = (100 * part[key] for key in ("value", "low", "high"))
            values.append(value)
            errors = [[value - low], [high - value]]
            looks = {"fmt": mark, "color": colour, "capsize": 3}
            looks["label"] = label if name == names[-1] else None
            axis.errorbar(value, place, xerr=errors, **looks)
        axis.plot(values, [place] * len(values), color="#cccccc", linewidth=1, zorder=0)
    axis.set(yticks=range(len(names)), yticklabels=names, ylim=(-0.6, len(names) - 0.4))
    axis.set(xlim=(-2, 102), xlabel=UNIT, title=TITLE)
    axis.grid(axis="x", alpha=0.3)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, -0.36), ncols=3, frameon=False)
    with plt.rc_context({"svg.hashsalt": "results"}):
        figure.savefig(ROOT / "tests" / "results.svg", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    measured = {name: runs for name in RECIPES if (runs := runs_of(name))}
    show(HEAD, [row_of(name, runs) for name, runs in measured.items()])
    show_stages("openr1_boxed", BOXED, ".1%")
    show_stages("phybench_eed", PHYSICS, ".2f")
    picture(measured)


if __name__ == "__main__":
    main()
