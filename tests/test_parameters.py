"""Parameters as make, papermill and the command line hand them over."""

import os
import subprocess

import nbformat
import pytest

from helpers import settings as parameters
from helpers.notebooks import NOTEBOOKS
from tests.conftest import ROOT


def defaults(name="01_sft.ipynb"):
    """What the notebook's own cell sets."""
    cells = nbformat.read(ROOT / name, as_version=4).cells
    found: dict = {}
    exec(next(c.source for c in cells if "parameters" in c.metadata.get("tags", ())), found)
    return {key: value for key, value in found.items() if key.isupper()}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebooks_own_are_all_known_and_stay_as_they_are(name):
    assert parameters.checked(defaults(name) | {"other": 1}) == defaults(name) and set(
        defaults(name)
    ) == set(parameters.NAMES)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"PUSH": "false"}, {"PUSH": False}),
        ({"RESUME": "on"}, {"RESUME": True}),
        ({"FORCE": 1}, {"FORCE": True}),
        ({"RESUME": "No"}, {"RESUME": False}),
        ({"SEED": "7"}, {"SEED": 7}),
        ({"MAX_STEPS": 5}, {"MAX_STEPS": 5}),
        ({"ADAPTER": None}, {"ADAPTER": ""}),
        ({"DATASET": 5}, {"DATASET": "5"}),
        ({"OUTPUT": "~/runs"}, {"OUTPUT": os.path.expanduser("~/runs")}),
        ({"PUSH": "true", "REPO": "me/x"}, {"PUSH": True, "REPO": "me/x"}),
    ],
)
def test_text_becomes_what_it_stands_for(given, meant):
    assert parameters.checked(given) == meant


@pytest.mark.parametrize(
    "given",
    [
        {"PUSH": "ture"},
        {"RESUME": "maybe"},
        {"SEED": "x"},
        {"SEED": -1},
        {"SEED": 2**32},
        {"SEED": "²"},
        {"SEED": "9" * 5000},
        {"OUTPUT": " "},
        {"RESUME": ""},
        {"PUSH": None},
        {"MAX_STEPS": "1.5"},
        {"MAX_STEPS": 1.5},
        {"PROBLEMS": "-1"},
        {"PROBLEMS": True},
        {"BUDGET": "fast"},
        {"FORM": "gguff"},
        {"VLLM": "on"},
        {"REPORT_TO": "nothing"},
        {"REPO": "bad name!"},
    ],
)
def test_what_stands_for_nothing_is_refused_by_name(given):
    with pytest.raises(ValueError, match=rf"^{next(iter(given))} is .*\n\S.*$"):
        parameters.checked(given)


def test_a_push_needs_a_repository():
    with pytest.raises(ValueError, match="PUSH is set, and REPO is not.\nSet REPO"):
        parameters.checked({"PUSH": "yes", "REPO": ""})


def make(*given):
    """What make would run, or why it would not; nothing is run."""
    done = subprocess.run(["make", "-n", *given], cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_make_knows_every_parameter_and_no_other():
    code, shown = make("run", *(f"{name}=1" for name in parameters.NAMES))
    assert code == 0 and all(f'--set {name}="${name}"' in shown for name in parameters.NAMES)
    for typo in ("MAX_STEP=3", "max_steps=3"):
        code, shown = make("run", typo)
        assert (
            code == 2
            and f"There is no parameter {typo.partition('=')[0]}. There are RECIPE " in shown
        )


def test_make_never_runs_what_stands_in_a_value(tmp_path):
    """The values go through the environment; the program that make calls here writes down what it got."""
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\nfor given in "$@"; do echo "$given"; done > {tmp_path}/got\n')
    python.chmod(0o755)
    for stamp in (".ready", ".ready-for-tests"):
        (tmp_path / stamp).write_text("")
    evil = f"a\"; touch {tmp_path}/owned; echo \"$(touch {tmp_path}/owned)`touch {tmp_path}/owned` 'x' $HOME $$ $(shell touch {tmp_path}/owned) #"
    for target, name in (("run", "OUTPUT"), ("address", "URL"), ("bench-gpu", "MODEL")):
        done = subprocess.run(
            ["make", target, f"VENV={tmp_path}", f"{name}={evil}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and evil in (tmp_path / "got").read_text(), done.stderr
    assert not (tmp_path / "owned").exists()
