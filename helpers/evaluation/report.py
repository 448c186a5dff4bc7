"""What an evaluation leaves: summary.json, pictures, and one HTML page that opens by double-click.

Replies are a model's text: a script shows them as text, and they never reach the page as HTML.
"""

import base64
import json
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from safetensors.torch import load_file

from helpers import plots
from helpers.data import EMBEDDED
from helpers.evaluation import records
from helpers.evaluation.generating import stored_state
from helpers.evaluation.records import Answers
from helpers.machine import file_hash
from helpers.recipes import Recipe
from helpers.runs import Run, write_json
from helpers.training import adapter_identity

PICTURES = ("accuracy", "outcomes", "scores", "tokens", "agreement")  # as the page shows them


def draw(found: Mapping[str, Answers], results: Mapping, folder: Path) -> None:
    """Draws into `folder` the pictures of the page, as notebook 03 does."""
    summaries = results["sampled"]
    drawn = {name: sampled for name, (_, sampled) in found.items()}
    plots.save(plots.accuracy_bars(summaries), folder / "accuracy.png")
    plots.save(plots.outcomes(summaries), folder / "outcomes.png")
    plots.save(plots.scores(drawn), folder / "scores.png")
    plots.save(plots.token_counts(summaries), folder / "tokens.png")
    plots.save(plots.calibration(results["agreement"]), folder / "agreement.png")


def conclude(
    found: Mapping[str, Answers],
    results: Mapping,
    recipe: Recipe,
    folder: Path,
    where: str,
    remembered: Mapping,
) -> dict:
    """Writes summary.json, and report.html with the pictures in `folder`; returns the summary.

    results: of `found`. where: the place of the problems. remembered: what `memory` says of each
    model; {} for nothing.
    """
    greedy, weights = {}, {}
    for name, (first, _) in found.items():
        greedy[name] = [record.line for record in first]
        weights |= adapter_hash(name, folder)
    results = {**results, "recipe": recipe.name, "data": where, "weights": weights}
    if remembered:
        results["control"] = remembered
    write_json(folder / "summary.json", results)
    grpo = Run.read(folder.parent / "grpo")
    parent = grpo.manifest.get("parent_hash") if grpo else None
    if "sft" in weights and weights.get("grpo") and weights["sft"] != parent:
        print("grpo was trained from another sft: their comparison says nothing; run 02 again")
    pictures = {}
    for name in PICTURES:
        pictures[name] = base64.b64encode((folder / f"{name}.png").read_bytes()).decode()
    template = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    page = template.get_template("report.html").render(
        title=f"{recipe.title}: {', '.join(found)}",
        results=results,
        embedded=where == EMBEDDED,
        pictures=pictures,
        # "<" could end the script; Jinja's own filter would sort the models
        answers=json.dumps(greedy).replace("<", "\\u003c"),
        records=records,
    )
    (folder / "report.html").write_text(page, encoding="utf-8")
    return results


def adapter_hash(label: str, folder: Path) -> dict[str, str | None]:
    """SHA-256 of the adapter of the run beside `folder`, where there is one, by the run's name.

    None where another adapter answered than the one that lies there now.
    """
    file = folder.parent / label / "adapter" / "adapter_model.safetensors"
    answered = stored_state(folder / f"{label}_sampled.jsonl").get("adapter")
    if not file.is_file() or not answered:
        return {}
    now = adapter_identity(load_file(file).items(), dtype=answered.split()[0])
    return {label: file_hash(file) if now == answered else None}
