"""The model card of an export: how to ask and load it, what was measured, its limits.

Its text, and what it says of these values, is in `card.jinja`.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from helpers.machine import make_readable
from helpers.recipes import Recipe
from helpers.runs import Run
from helpers.settings import check_repo
from helpers.sharing.export import Export, is_hub_id, local_base, public_name

OWNER = "your-name/"  # stands where nobody said whose the repository is
PICTURES = {  # below a run's folder, and beside it the evaluation's
    "plots/rewards.png": "Rewards by step",
    "plots/losses.png": "Losses by step",
    "../{evaluation}/accuracy.png": "Accuracy by stage",
}
# Bases with this licence
APACHE = r"(qwen|unsloth)/(qwen3-(0\.6|1\.7|4|8|14|32)b(-base)?|qwen2\.5-math-1\.5b)"
TEMPLATE = Path(__file__).with_name("card.jinja")


def write_card(
    export: Export,
    recipe: Recipe,
    run: Run,
    results: Mapping,
    repo: str,
    own: Mapping | None = None,
    evaluation: str = "eval",
) -> ModelCard:
    """Puts README.md and the run's pictures into an export's folder.

    run: a finished run. results: what summary.json holds, in the folder `evaluation` beside the
    run. own: a summary of sampled answers by this very export, if it was measured.
    Raises ValueError if the results do not hold the run's stage, or are of another adapter.
    """
    check_repo(repo)
    stage = run.folder.name  # the stage's; `grpo-before` of a run that was put aside
    trained = run.manifest.get("adapter_hash")
    cure = f"Run 03_eval.ipynb again, or in a terminal: python -m helpers evaluate {run.adapter}"
    if stage not in results["sampled"]:
        raise ValueError(f"The evaluation has no results of {stage}.\n{cure}")
    if results.get("weights", {}).get(stage, trained) != trained:
        what = f"The evaluation is of another {stage} adapter than this run's"
        raise ValueError(f"{what}.\n{cure}")
    card = ModelCard.from_template(
        ModelCardData(),  # the metadata is in the template
        # not template_path, which is read in the encoding of the machine
        template_str=TEMPLATE.read_text(encoding="utf-8"),
        export=export,
        recipe=recipe,
        run=run,
        stage=stage,
        steps=steps_trained(run),
        results=results,
        own=own,
        repo=repo,
        pictures=copy_pictures(run, export, evaluation),
        apache=re.compile(APACHE, re.IGNORECASE),
        is_hub_id=is_hub_id,
        public_name=public_name,
        local_base=local_base,
    )
    card.save(export.folder / "README.md")
    make_readable(export.folder)
    return card


def steps_trained(run: Run) -> dict[str, int]:
    """How many steps each stage took on the way to a run, by its name."""
    found = {}
    while run:
        stage, steps = run.manifest["stage"], run.manifest.get("steps")
        found[stage] = found.get(stage, 0) + (steps or 0)  # one can go on from another
        learned, parent = run.manifest.get("parent_hash"), run.manifest.get("parent")
        run = Run.read(Path(parent).parent) if parent else None
        if run and run.manifest.get("adapter_hash") != learned:  # that has been trained anew
            break
    return found


def copy_pictures(run: Run, export: Export, evaluation: str) -> dict[str, str]:
    """Copies those pictures that there are; their titles by file name."""
    images = export.folder / "images"
    copied = {}
    for path, title in PICTURES.items():
        picture = run.folder / path.format(evaluation=evaluation)
        (images / picture.name).unlink(missing_ok=True)
        if picture.is_file():
            images.mkdir(exist_ok=True)
            shutil.copy(picture, images)
            copied[picture.name] = title
    return copied
