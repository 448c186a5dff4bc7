"""The notebooks run: as they are, and on real rows with the real tokenizer.

As they are, nbval compares the by-hand cells.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest

from helpers.notebooks import NOTEBOOKS, execute
from helpers.recipes import RECIPES
from tests.conftest import ROOT, SHARED, needs_shared
from tests.exercises import with_answers


def copy_project(folder):
    """The package and the notebooks, with the answers to their exercises as cells at their ends."""
    shutil.copytree(
        ROOT / "helpers", folder / "helpers", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in NOTEBOOKS:
        (folder / name).write_text(json.dumps(with_answers(json.loads((ROOT / name).read_text()))))
    return folder


def run(arguments, folder, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def as_they_are(folder):
    flags = ["--nbval-lax", "--nbval-cell-timeout=600", "-p", "no:cacheprovider"]
    return run(["-m", "pytest", "-q", "-x", *flags, *NOTEBOOKS], copy_project(folder))


def real_rows(folder):
    """A small random model with the real tokenizer, on GSM8K; one step a stage: learns nothing."""
    made = run(["-m", "helpers.tiny", "random", str(SHARED / "qwen3"), str(folder / "model")], ROOT)
    if made.returncode:
        return made
    pairs = {
        "MODEL": folder / "model",
        "DATASET": SHARED / "data/gsm8k",
        "MAX_STEPS": 1,
        "PROBLEMS": 4,
        "OUTPUT": folder / "out",
        "FORCE": "true",
    }
    return run(["-m", "helpers", "run", *(f"{name}={v}" for name, v in pairs.items())], ROOT)


def two_steps(name, folder):
    pairs = [f"RECIPE={name}", "MAX_STEPS=2", "PROBLEMS=6", f"OUTPUT={folder}"]
    return run(["-m", "helpers", "run", *pairs], ROOT)


def test_all_four_as_they_are_and_the_answers_to_their_exercises(tmp_path):
    done = as_they_are(tmp_path)
    assert done.returncode == 0, done.stdout[-4000:]
    summary = json.loads((tmp_path / "outputs/gsm8k_xml/eval/summary.json").read_text())
    assert (
        summary["greedy"]["grpo"]["strict"]["value"] > summary["greedy"]["base"]["strict"]["high"]
    )


@needs_shared
@pytest.mark.soak
def test_real_rows_through_all_four(tmp_path):
    """GSM8K, the real tokenizer and a small random model, one step a stage."""
    done = real_rows(tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    out = tmp_path / "out/gsm8k_xml"
    books = {name: (out / "notebooks" / name).read_text() for name in NOTEBOOKS}
    assert "train: 7473 examples" in books["01_sft.ipynb"]
    assert "test: 1319 examples" in books["01_sft.ipynb"]
    assert "7473 golds earn 2.0 each" in books["02_grpo.ipynb"]
    assert "4 problems, 4 samples each" in books["03_eval.ipynb"]
    for stage in ("sft", "grpo"):
        manifest = json.loads((out / stage / "run.json").read_text())
        assert (manifest["status"], manifest["steps"]) == ("finished", 1)
    assert "base" in done.stdout and "grpo" in done.stdout


@needs_shared
def test_real_template_and_mask(recipe):
    from transformers import AutoTokenizer

    from helpers import data

    splits = data.load(recipe, str(SHARED / "data/gsm8k"), "tiny")
    with_comma = [e for split in splits.values() for e in split.examples if "," in e.answer]
    assert len(with_comma) == 93 and not splits["train"].dropped and not splits["test"].dropped
    tokenizer = AutoTokenizer.from_pretrained(str(SHARED / "qwen3"))
    example = with_comma[0]
    row = data.sft_dataset(recipe, [example])[0]
    prompt = tokenizer.apply_chat_template(
        row["prompt"], tokenize=False, add_generation_prompt=True, **row["chat_template_kwargs"]
    )
    whole = tokenizer.apply_chat_template(
        row["prompt"] + row["completion"], tokenize=False, **row["chat_template_kwargs"]
    )
    assert prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n") and whole.startswith(
        prompt
    )
    assert recipe.format.extract(whole.removesuffix("<|im_end|>\n")) == example.answer
    assert "<<" not in whole


# The others in `make soak`: this one has the most stages.
HERE = ("openr1_boxed",)


@pytest.mark.parametrize(
    "name",
    [
        name if name in HERE else pytest.param(name, marks=pytest.mark.soak)
        for name in RECIPES
        if name != "gsm8k_xml"
    ],
)
def test_every_recipe_through_all_four(name, tmp_path):
    """From the generated rows to the proven export, in few steps; gsm8k_xml runs in full above."""
    done = two_steps(name, tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    recipe, folder = RECIPES[name], tmp_path / name
    for stage in recipe.stages:
        manifest = json.loads((folder / stage / "run.json").read_text())
        assert (manifest["status"], manifest["steps"], manifest["recipe"]) == ("finished", 2, name)
    assert {path.name for path in folder.iterdir() if (path / "run.json").is_file()} == set(
        recipe.stages
    )
    summary = json.loads((folder / "eval/summary.json").read_text())
    assert list(summary["sampled"]) == [
        "base",
        *(stage for stage in recipe.stages if stage != "priming"),
    ]
    assert all(
        set(part["rewards"]) == set(recipe.rewards) and part["n"] == 6
        for part in summary["sampled"].values()
    )
    assert (folder / "eval/further_base_sampled.jsonl").is_file() == bool(recipe.further)
    assert (
        list((folder / "export/merged-fp32").glob("*.safetensors"))
        and recipe.system in (folder / "export/merged-bf16/README.md").read_text()
    )
    texts = {book: (folder / "notebooks" / book).read_text() for book in NOTEBOOKS}
    assert f"stages    {' → '.join(recipe.stages)}" in texts["02_grpo.ipynb"]
    assert (f"{name} has no SFT" in texts["01_sft.ipynb"]) == (recipe.sft is None)


@pytest.mark.parametrize(
    ("settings", "cause", "cure"),
    [
        ({"RECIPE": "gsm9k"}, "Unknown recipe 'gsm9k'", "gsm8k_xml"),
        ({"MAX_STEPS": "many"}, "MAX_STEPS is 'many'", "whole number"),
        ({"OUTPUT": "/proc/nowhere"}, "Cannot write to", "OUTPUT"),
        ({"DATASET": "./nothing"}, "./nothing could not be loaded", "DATASET"),
        ({"MODEL": "./nothing"}, "no model at ./nothing", "MODEL"),
    ],
)
def test_bad_input_ends_with_cause_and_cure(settings, cause, cure, tmp_path):
    given = {"OUTPUT": str(tmp_path)} | settings
    flags = [f"{name}={value}" for name, value in given.items()]
    done = run(["-m", "helpers", "run", *flags], ROOT)
    assert done.returncode == 1 and cause in done.stderr and cure in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().split("\n")) <= 3
    assert not list(tmp_path.rglob("adapter"))


def test_later_notebooks_say_what_is_missing(tmp_path):
    import papermill
    from papermill.exceptions import PapermillExecutionError

    for name, words in (
        ("02_grpo.ipynb", "Run 01_sft.ipynb first, or set ADAPTER"),
        ("04_export_push.ipynb", "Run 01_sft.ipynb first, or set ADAPTER"),
    ):
        with pytest.raises(PapermillExecutionError) as caught:
            papermill.execute_notebook(
                ROOT / name,
                tmp_path / name,
                {"OUTPUT": str(tmp_path)},
                kernel_name="python3",
                cwd=ROOT,
                progress_bar=False,
            )
        assert words in caught.value.evalue


def test_03_and_04_before_02_take_what_there_is(tmp_path):
    flags = {"OUTPUT": str(tmp_path), "MAX_STEPS": 2, "PROBLEMS": 4}
    printed = {}
    for name in ("01_sft.ipynb", "03_eval.ipynb", "04_export_push.ipynb"):
        execute(name, tmp_path / name, flags)
        cells = json.loads((tmp_path / name).read_text())["cells"]
        printed[name] = "".join(
            str(output.get("text", ""))
            for cell in cells
            if cell["cell_type"] == "code"
            for output in cell["outputs"]
        )
    assert (
        "No grpo run yet: it is left out." in printed["03_eval.ipynb"]
        and "evaluated: base sft" in printed["03_eval.ipynb"]
    )
    assert (
        "stage    sft" in printed["01_sft.ipynb"]
        and "PUSH is False" in printed["04_export_push.ipynb"]
    )
