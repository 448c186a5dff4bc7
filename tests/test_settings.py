"""Settings as make, papermill, notebooks and the command line hand them over."""

import os
import subprocess

import pytest

from helpers.notebooks import NOTEBOOKS
from helpers.settings import DEFAULT_RECIPE, Settings, names
from tests.conftest import ROOT
from tests.texts import BOOKS, tagged


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_shows_few_settings_with_the_defaults_of_the_list(name):
    found: dict = {}
    exec(tagged(BOOKS[name], "parameters")[0].source, found)
    shown = {key: value for key, value in found.items() if key.isupper()}
    assert 0 < len(shown) <= 10 and set(shown) <= set(names())
    assert Settings.read(shown | {"other": 1}) == Settings(recipe=DEFAULT_RECIPE)


GOOD = [("PUSH", "false", False), ("RESUME", "No", False), ("USE_4BIT", "no", False)]
GOOD += [("PUSH", "true", True), ("RESUME", "on", True), ("FORCE", 1, True)]
GOOD += [("SEED", "7", 7), ("MAX_STEPS", 5, 5), ("ROWS", "16", 16), ("EPOCHS", "0.5", 0.5)]
GOOD += [("ADAPTER", None, ""), ("LEARNING_RATE", "", None), ("OUTPUT", " ", "outputs")]
GOOD += [("DATASET", 5, "5"), ("OUTPUT", "~/runs", os.path.expanduser("~/runs"))]


@pytest.mark.parametrize(("name", "given", "meant"), GOOD)
def test_text_becomes_what_it_stands_for(name, given, meant):
    found = getattr(Settings.read({"REPO": "me/x", name: given}), name.lower())
    assert found == meant and type(found) is type(meant)


BAD = [("PUSH", "ture"), ("PUSH", None), ("RESUME", "maybe"), ("RESUME", ""), ("BATCH", "4.5")]
BAD += [("SEED", value) for value in ("x", -1, 2**32, "²", "9" * 5000)]
BAD += [("MAX_STEPS", "1.5"), ("MAX_STEPS", 1.5), ("PROBLEMS", "-1"), ("PROBLEMS", True)]
BAD += [("BUDGET", "fast"), ("FORM", "gguff"), ("VLLM", "on"), ("REPORT_TO", "nothing")]
BAD += [("REPO", "bad name!"), ("LEARNING_RATE", "inf"), ("EPOCHS", "nan")]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_what_stands_for_nothing_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"^{name} is .*\n\S.*$"):
        Settings.read({name: value})


def test_a_push_needs_a_repository():
    with pytest.raises(ValueError, match="PUSH is set, and REPO is not.\nSet REPO"):
        Settings.read({"PUSH": "yes", "REPO": ""})


def make(*given):
    """What make would run, or why it would not; nothing is run."""
    done = subprocess.run(["make", "-n", *given], cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_make_knows_every_setting_and_no_other():
    code, shown = make("run", *(f"{name}=1" for name in names()))
    assert code == 0 and all(f' {name}="${name}"' in shown for name in names())
    for name in ("MAX_STEP", "max_steps"):
        code, shown = make("run", f"{name}=3")
        assert code == 2 and f"There is no parameter {name}. There are RECIPE " in shown


def test_make_hands_programs_no_variable_that_others_read():
    """torch, for one, takes RANK for the number of its process, and fails at an empty one."""
    show = ["make", "-s", "--eval=show: ; @env -0", "show", "LORA_RANK=8"]
    bare = {"PATH": os.environ["PATH"]}
    shown = subprocess.run(show, cwd=ROOT, env=bare, capture_output=True, text=True, check=True)
    added = {line.partition("=")[0] for line in shown.stdout.split("\0")}
    assert {name for name in added if name in names() or name == "URL"} == {"LORA_RANK"}
    read = {"RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "DEVICE"}
    assert not read & set(names())


def test_make_never_runs_what_stands_in_a_value(tmp_path):
    """The values go through the environment; the program called here writes down what it got."""
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\nfor given in "$@"; do echo "$given"; done > {tmp_path}/got\n')
    python.chmod(0o755)
    for stamp in (".ready", ".ready-for-tests"):
        (tmp_path / stamp).write_text("")
    touch = f"touch {tmp_path}/owned"
    evil = f"a\"; {touch}; echo \"$({touch})`{touch}` 'x' $HOME $$ $(shell {touch}) #"
    for target, name in (("run", "OUTPUT"), ("address", "URL"), ("bench-gpu", "MODEL")):
        command = ["make", target, f"VENV={tmp_path}", f"{name}={evil}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and evil in (tmp_path / "got").read_text(), done.stderr
    assert not (tmp_path / "owned").exists()
