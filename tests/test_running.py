"""The notebooks run: as they are, and on real rows with the real tokenizer."""

import json
import shutil
import subprocess
import sys

import nbformat
import pytest

from helpers.notebooks import NOTEBOOKS, execute
from helpers.recipes import RECIPES
from tests.conftest import ROOT, SHARED, needs_shared
from tests.texts import BOOKS, code, with_answers


def run(*arguments, folder=ROOT):
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def ran(*arguments, folder=ROOT):
    """What it printed, once it ended well."""
    done = run(*arguments, folder=folder)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def test_all_four_as_they_are_and_the_answers_to_their_exercises(tmp_path):
    """The answers are cells at the ends; nbval compares the by-hand cells."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "helpers", tmp_path / "helpers", ignore=ignored)
    for name, book in BOOKS.items():
        nbformat.write(with_answers(book), tmp_path / name)
    flags = ["--nbval-lax", "--nbval-cell-timeout=600", "-p", "no:cacheprovider"]
    ran("pytest", "-q", "-x", *flags, *NOTEBOOKS, folder=tmp_path)
    summary = json.loads((tmp_path / "outputs/gsm8k_xml/eval/summary.json").read_text())
    greedy = {stage: part["strict"] for stage, part in summary["greedy"].items()}
    assert greedy["grpo"]["value"] > greedy["base"]["high"]


@needs_shared
@pytest.mark.soak
def test_real_rows_through_all_four(tmp_path):
    """GSM8K, the real tokenizer and a small random model, one step a stage: it learns nothing."""
    ran("helpers.tiny", "random", SHARED / "qwen3", tmp_path / "model")
    pairs = [f"MODEL={tmp_path}/model", f"DATASET={SHARED}/data/gsm8k", f"OUTPUT={tmp_path}/out"]
    shown = ran("helpers", "run", *pairs, "MAX_STEPS=1", "PROBLEMS=4", "FORCE=true")
    out = tmp_path / "out/gsm8k_xml"
    for name, words in (
        ("01_sft.ipynb", "train: 7473 examples"),
        ("01_sft.ipynb", "test: 1319 examples"),
        ("02_grpo.ipynb", "7473 golds each earn r_strict"),
        ("03_eval.ipynb", "4 problems of "),
    ):
        assert words in (out / "notebooks" / name).read_text()
    for stage in ("sft", "grpo"):
        manifest = json.loads((out / stage / "run.json").read_text())
        assert (manifest["status"], manifest["steps"]) == ("finished", 1)
    assert "base" in shown and "grpo" in shown


# gsm8k_xml runs in full above.
@pytest.mark.soak
@pytest.mark.parametrize("name", sorted(RECIPES.keys() - {"gsm8k_xml"}))
def test_every_recipe_through_all_four(name, tmp_path):
    """From the generated rows to the proven export, in few steps."""
    ran("helpers", "run", f"RECIPE={name}", "MAX_STEPS=2", "PROBLEMS=6", f"OUTPUT={tmp_path}")
    recipe, folder = RECIPES[name], tmp_path / name
    for stage in recipe.stages:
        manifest = json.loads((folder / stage / "run.json").read_text())
        assert (manifest["status"], manifest["steps"], manifest["recipe"]) == ("finished", 2, name)
    assert {path.parent.name for path in folder.glob("*/run.json")} == set(recipe.stages)
    sampled = json.loads((folder / "eval/summary.json").read_text())["sampled"]
    trained = [stage for stage in recipe.stages if stage != "priming"]
    assert [model for model in sampled if model != "base, 2 shots"] == ["base", *trained]
    for part in sampled.values():
        assert set(part["rewards"]) == set(recipe.rewards) and part["n"] == 6
    assert (folder / "eval/further_base_sampled.jsonl").is_file() == bool(recipe.further)
    assert list((folder / "export/merged-fp32").glob("*.safetensors"))
    assert recipe.system in (folder / "export/merged-bf16/README.md").read_text()
    texts = {book: (folder / "notebooks" / book).read_text() for book in NOTEBOOKS}
    assert f"stages    {' → '.join(recipe.stages)}" in texts["02_grpo.ipynb"]
    assert (f"{name} has no SFT" in texts["01_sft.ipynb"]) == (recipe.sft is None)


@pytest.mark.parametrize(
    ("given", "cause", "cure"),
    [
        (["OUTPUT=/proc/nowhere"], "Cannot write to", "OUTPUT"),
        (["DATASET=./nothing"], "no folder at ./nothing", "Set DATASET to rows that are here"),
        pytest.param(
            *(["MODEL=./nothing"], "no adapter at ./nothing", "Give one"), marks=pytest.mark.soak
        ),
    ],
)
def test_bad_input_ends_with_cause_and_cure(given, cause, cure, tmp_path):
    done = run("helpers", "run", f"OUTPUT={tmp_path}", *given)
    assert done.returncode == 1 and cause in done.stderr and cure in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().split("\n")) <= 3
    assert not list(tmp_path.rglob("adapter"))


@pytest.mark.parametrize(
    "name", [pytest.param("02_grpo.ipynb", marks=pytest.mark.soak), "04_export_push.ipynb"]
)
def test_later_notebooks_say_what_is_missing(name, tmp_path):
    with pytest.raises(RuntimeError, match="Run 01_sft.ipynb first, or set ADAPTER"):
        execute(name, tmp_path / name, {"OUTPUT": str(tmp_path)})


@pytest.mark.soak
def test_03_and_04_before_02_take_what_there_is(tmp_path):
    flags = {"OUTPUT": str(tmp_path), "MAX_STEPS": 2, "PROBLEMS": 4}
    for name, said in (
        ("01_sft.ipynb", ["stage    sft"]),
        (
            "03_eval.ipynb",
            ["No grpo run yet: it is left out.", "evaluated: base base, 2 shots sft"],
        ),
        ("04_export_push.ipynb", ["PUSH is False"]),
    ):
        cells = code(execute(name, tmp_path / name, flags))
        printed = "".join(output.get("text", "") for cell in cells for output in cell.outputs)
        assert [words for words in said if words not in printed] == []
