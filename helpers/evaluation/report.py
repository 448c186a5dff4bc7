"""An evaluation as one HTML page: tables, figures, and every problem with its replies.

Replies are a model's text: a script shows them as text, and they never reach the page as HTML.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader

from helpers.data import EMBEDDED
from helpers.evaluation import records
from helpers.evaluation.grading import Record

SHOWN = ("completion", "extracted", "flexible", "outcome", "score", "tokens")


def write(
    path: Path,
    title: str,
    greedy: Mapping[str, Sequence[Record]],
    results: Mapping,
    pictures: Sequence[Path],
) -> None:
    """Writes the page. results: what summary.json holds."""
    tables = {
        "Greedy": records.show(results["greedy"]),
        "Sampled": records.show(results["sampled"]),
        "Rewards, sampled": records.show_rewards(results["sampled"]),
        "Several tries": records.show_tries(results["tries"]).T,
        "Each against the one before, strict, sampled": against(results["compare"]),
        "Problems nobody can have learned by heart, against the recipe's own (flexible, sampled)": (
            records.show_control(results.get("control", {}))
        ),
    }
    figures = {file.stem: base64.b64encode(file.read_bytes()).decode() for file in pictures}
    where = results["data"]
    page = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    text = page.get_template("report.html").render(
        title=title,
        models=list(greedy),
        n=next(iter(results["greedy"].values()))["n"],
        where="the embedded generator" if where == EMBEDDED else where,
        tables={name: table.to_html(border=0) for name, table in tables.items() if len(table)},
        figures=figures,
        data=as_data(greedy),
    )
    path.write_text(text, encoding="utf-8")


def against(comparisons: Mapping[str, Mapping]) -> pd.DataFrame:
    """A row a comparison, with the difference, its interval and p."""
    rows = {}
    for name, change in comparisons.items():
        p = f"{change['p']:.2g}"
        rows[name] = {"difference": records.points(change), "p": p, "n": change["n"]}
    return pd.DataFrame(rows).T


def as_data(greedy: Mapping[str, Sequence[Record]]) -> str:
    """The problems with each model's reply as JSON without `<`, which could end the script."""
    problems = {}
    for model, answers in greedy.items():
        for record in answers:
            new = {"question": record.question, "gold": record.gold, "replies": {}}
            problem = problems.setdefault(record.id, new)
            problem["replies"][model] = {key: getattr(record, key) for key in SHOWN}
    outcomes = records.OUTCOMES
    found = {"models": list(greedy), "outcomes": outcomes, "problems": list(problems.values())}
    return json.dumps(found).replace("<", "\\u003c")
