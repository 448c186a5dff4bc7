"""The notebooks as text: whole, executed in order, readable, and using only what exists."""

import ast
import importlib
import json
import re
import shutil

import nbformat
import pytest

from helpers.notebooks import NOTEBOOKS, fingerprint
from tests.conftest import ROOT

BOOKS = {name: json.loads((ROOT / name).read_text()) for name in NOTEBOOKS}
TOKEN = re.compile(r"hf_[A-Za-z0-9]{20,}|Bearer [A-Za-z0-9]{12,}|ghp_[A-Za-z0-9]{20,}")
PATHS = re.compile(r"/(?:home|root|Users|work|mnt)/[A-Za-z0-9]")


def code(book):
    return [cell for cell in book["cells"] if cell["cell_type"] == "code"]


def source(cell):
    return "".join(cell["source"])


def tagged(book, tag):
    return [cell for cell in code(book) if tag in cell["metadata"].get("tags", [])]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_valid_executed_in_order_and_small(name):
    book = BOOKS[name]
    nbformat.validate(nbformat.read(ROOT / name, as_version=4))
    assert [cell["execution_count"] for cell in code(book)] == list(range(1, len(code(book)) + 1))
    assert (ROOT / name).stat().st_size < 1_000_000
    assert "widgets" not in book["metadata"] and "papermill" not in book["metadata"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_outputs_hold_no_errors_widgets_tokens_or_paths(name):
    for cell in code(BOOKS[name]):
        for output in cell["outputs"]:
            assert output["output_type"] != "error" and output.get("name") != "stderr", source(cell)
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
    text = (ROOT / name).read_text()
    assert not TOKEN.findall(text)
    assert not [hit for hit in PATHS.findall(re.sub(r'"image/png": "[^"]*"', "", text))]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_cells_are_short_and_plain(name):
    for cell in code(BOOKS[name]):
        lines = source(cell).split("\n")
        assert len(lines) <= 25 and max(map(len, lines)) <= 80, source(cell)
        assert "if False" not in source(cell) and "input(" not in source(cell)
        assert not re.search(r"^\s*[!%]", source(cell), re.MULTILINE)
        ast.parse(source(cell))


def test_set_up_and_start_are_short_and_the_same_in_all():
    for place in (0, 2):
        assert len({source(code(book)[place]) for book in BOOKS.values()}) == 1
    assert len(source(code(BOOKS[NOTEBOOKS[0]])[0]).split("\n")) <= 14
    for book in BOOKS.values():
        assert len(tagged(book, "parameters")) == 1
    assert "PUSH = False" in source(tagged(BOOKS[NOTEBOOKS[3]], "parameters")[0])


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_imports_from_faces_only(name):
    """Rooms, not the files in them: what a notebook uses is public."""
    for cell in code(BOOKS[name])[1:]:
        for node in ast.walk(ast.parse(source(cell))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("helpers"):
                assert node.module.count(".") <= 1, source(cell)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_helpers_name_exists(name):
    modules = {}
    for node in (n for cell in code(BOOKS[name]) for n in ast.walk(ast.parse(source(cell)))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("helpers"):
            for alias in node.names:
                try:
                    modules[alias.asname or alias.name] = importlib.import_module(
                        f"{node.module}.{alias.name}"
                    )
                except ModuleNotFoundError:
                    assert hasattr(importlib.import_module(node.module), alias.name), alias.name
    used = {
        (n.value.id, n.attr)
        for cell in code(BOOKS[name])
        for n in ast.walk(ast.parse(source(cell)))
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id in modules
    }
    assert used and not [
        f"{module}.{attribute}"
        for module, attribute in used
        if not hasattr(modules[module], attribute)
    ]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_between_the_notebooks_lead_somewhere(name):
    text = "".join(
        "".join(cell["source"]) for cell in BOOKS[name]["cells"] if cell["cell_type"] == "markdown"
    )
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert targets and all((ROOT / target).is_file() for target in targets)


def test_enough_cells_are_compared():
    assert sum(len(tagged(book, "nbval-check-output")) for book in BOOKS.values()) >= 25


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_stored_outputs_are_of_this_code(name):
    assert BOOKS[name]["metadata"].get("fingerprint") == fingerprint(name), (
        "The package or the cells have changed since: make write"
    )


def test_the_fingerprint_is_of_the_package_and_the_cells_that_show_something(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.notebooks.ROOT", tmp_path)
    shutil.copytree(ROOT / "helpers" / "answers", tmp_path / "helpers")
    for book in NOTEBOOKS:
        shutil.copy(ROOT / book, tmp_path)
    first, last = NOTEBOOKS[0], NOTEBOOKS[-1]
    before = fingerprint(first), fingerprint(last)

    def changed(path, old, new):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        now = fingerprint(first), fingerprint(last)
        path.write_text(text)
        return [a != b for a, b in zip(before, now, strict=True)]

    assert (
        changed(tmp_path / first, "What you will learn", "What there is")
        == changed(tmp_path / first, "REPOSITORY", "ADDRESS")
        == [False, False]
    )
    assert (
        changed(tmp_path / first, "SEED = 0", "SEED = 1")
        == changed(tmp_path / "helpers" / "formats.py", "def ", "def  ")
        == [True, True]
    )
    assert changed(tmp_path / last, "SEED = 0", "SEED = 1") == [False, True]
