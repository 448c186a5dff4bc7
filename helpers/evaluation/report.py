"""An evaluation as one HTML page that opens by double-click: tables, figures, and every problem with its replies, filtered by outcome.

Replies are a model's text: they reach the page as data that a script shows as text, and never as HTML.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from helpers.evaluation.records import (
    OUTCOMES,
    points,
    show,
    show_control,
    show_rewards,
    show_tries,
)

SHOWN = ("completion", "extracted", "flexible", "outcome", "score", "tokens")


def write(
    path: str | Path,
    title: str,
    facts: str,
    records: Mapping[str, Sequence[Mapping]],
    results: Mapping,
    figures: Mapping[str, Figure],
) -> Path:
    """Writes the page and returns its path.

    records: of each model one record a problem, such as the greedy ones. results: as `records.results` gives them. facts: a sentence
    on what was measured. figures: by name.
    """
    tables = {
        "Greedy": show(results["greedy"]),
        "Sampled": show(results["sampled"]),
        "Rewards, sampled": show_rewards(results["sampled"]),
        "Several tries": show_tries(results["tries"]).T,
        "Each against the one before, strict, sampled": against(results["compare"]),
        "Problems nobody can have learned by heart, against the recipe's own (flexible, sampled)": show_control(
            results.get("control", {})
        ),
    }
    page = Template(
        resources.files("helpers.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    ).substitute(
        title=html.escape(title),
        facts=html.escape(facts),
        data=as_data(records),
        tables="".join(
            f'<h2>{name}</h2><div class="wide">{table.to_html(border=0)}</div>'
            for name, table in tables.items()
            if len(table)
        ),
        figures="".join(
            f'<figure><img alt="{html.escape(name)}" src="data:image/png;base64,{png(figure)}"></figure>'
            for name, figure in figures.items()
        ),
    )
    Path(path).write_text(page, encoding="utf-8")
    return Path(path)


def against(comparisons: Mapping[str, Mapping]) -> pd.DataFrame:
    """A table for people: a row a comparison, with the difference, its interval and p."""
    return pd.DataFrame(
        {
            name: {"difference": points(c), "p": f"{c['p']:.2g}", "n": c["n"]}
            for name, c in comparisons.items()
        }
    ).T


def as_data(records: Mapping[str, Sequence[Mapping]]) -> str:
    """The problems with each model's reply as JSON that may stand within a script element: no `<`, so that no text can end it."""
    problems: dict[str, dict] = {}
    for model, lines in records.items():
        for line in lines:
            problem = problems.setdefault(
                line["id"], {"question": line["question"], "gold": line["gold"], "replies": {}}
            )
            problem["replies"].setdefault(model, {key: line[key] for key in SHOWN})
    found = {"models": list(records), "outcomes": OUTCOMES, "problems": list(problems.values())}
    return json.dumps(found, ensure_ascii=True).replace("<", "\\u003c")


def png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=90, format="png", bbox_inches="tight")
    plt.close(figure)
    return base64.b64encode(buffer.getvalue()).decode()
