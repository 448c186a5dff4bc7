"""An evaluation as one HTML page: tables, figures, and every problem with its replies.

Replies are a model's text: a script shows them as text, and they never reach the page as HTML.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from helpers.data import EMBEDDED
from helpers.evaluation import records
from helpers.evaluation.grading import Record

Greedy = Mapping[str, Sequence[Record]]  # of each model a record a problem


def write(folder: Path, title: str, greedy: Greedy, results: Mapping, figures: list[str]) -> None:
    """Writes report.html. results: what summary.json holds; figures: names of PNG files there."""
    pictures = {}
    for name in figures:
        content = (folder / f"{name}.png").read_bytes()
        pictures[name] = base64.b64encode(content).decode()
    template = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    page = template.get_template("report.html").render(
        title=f"{title}: {', '.join(greedy)}",
        results=results,
        embedded=results["data"] == EMBEDDED,
        pictures=pictures,
        data=as_data(greedy),
        records=records,
    )
    (folder / "report.html").write_text(page, encoding="utf-8")


def as_data(greedy: Greedy) -> str:
    """The problems with each model's reply as JSON without `<`, which could end the script."""
    problems = {}
    for model, answers in greedy.items():
        for record in answers:
            new = {"question": record.question, "gold": record.gold, "replies": {}}
            problems.setdefault(record.id, new)["replies"][model] = record.line
    outcomes = records.OUTCOMES
    found = {"models": list(greedy), "outcomes": outcomes, "problems": list(problems.values())}
    return json.dumps(found).replace("<", "\\u003c")
