"""The runner's own parts: parameters, and what is left in stored outputs."""

import json

import pytest
import typer

from helpers.__main__ import parse, store, tidy


def test_parameters_get_their_types():
    assert parse(["SEED=3", "PUSH=true", "RECIPE=gsm8k_xml", "DATASET=a=b"]) == {"SEED": 3, "PUSH": True, "RECIPE": "gsm8k_xml", "DATASET": "a=b"}
    assert parse(["PUSH=false"]) == {"PUSH": False}
    for bad in ("SEED", "MAX_STEPS=-1", "PROBLEMS=some"):
        with pytest.raises(typer.Exit):
            parse([bad])


def book(*outputs, tags=()):
    return {"cells": [{"cell_type": "code", "execution_count": 7, "metadata": {"tags": list(tags), "papermill": {}}, "source": "x", "outputs": list(outputs)}],
            "metadata": {"papermill": {}}}


def stream(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


def test_progress_bars_leave_nothing_behind(tmp_path):
    path = tmp_path / "book.ipynb"
    path.write_text(json.dumps(book(stream("bar: 0%"), stream("\rbar: 100%"), stream("\r          \rdone\n"))))
    tidy(path)
    assert [o["text"] for o in json.loads(path.read_text())["cells"][0]["outputs"]] == ["done\n"]
    path.write_text(json.dumps(book(stream("bar: 0%"), stream("\r       \r"))))
    tidy(path)
    assert json.loads(path.read_text())["cells"][0]["outputs"] == []


def test_stored_books_hold_nothing_of_the_runner(tmp_path):
    (tmp_path / "copy.ipynb").write_text(json.dumps(book(stream("a\n"))))
    store(tmp_path / "copy.ipynb", tmp_path / "book.ipynb")
    stored = json.loads((tmp_path / "book.ipynb").read_text())
    assert stored["cells"][0]["execution_count"] == 1 and "papermill" not in json.dumps(stored)
    (tmp_path / "copy.ipynb").write_text(json.dumps(book(tags=["injected-parameters"])))
    store(tmp_path / "copy.ipynb", tmp_path / "book.ipynb")
    assert json.loads((tmp_path / "book.ipynb").read_text())["cells"] == []
