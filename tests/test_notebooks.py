"""The notebooks as text: whole, executed in order, readable, and using only what exists."""

import ast
import inspect
import re
import shutil

import pytest

from helpers.notebooks import NOTEBOOKS, fingerprint
from tests.conftest import ROOT
from tests.texts import BOOKS, code, tagged

TOKEN = re.compile(r"hf_[A-Za-z0-9]{20,}|Bearer [A-Za-z0-9]{12,}|ghp_[A-Za-z0-9]{20,}")
PATHS = re.compile(r"/(?:home|root|Users|work|mnt)/[A-Za-z0-9]")
every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


@every_notebook
def test_executed_in_order_and_small(name):
    book = BOOKS[name]
    assert [cell.execution_count for cell in code(book)] == list(range(1, len(code(book)) + 1))
    assert (ROOT / name).stat().st_size < 1_000_000
    assert not {"widgets", "papermill"} & book.metadata.keys()


@every_notebook
def test_outputs_hold_no_errors_widgets_tokens_or_paths(name):
    for cell in code(BOOKS[name]):
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr", cell.source
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
    text = (ROOT / name).read_text()
    assert not TOKEN.findall(text)
    assert not PATHS.findall(re.sub(r'"image/png": "[^"]*"', "", text))


@every_notebook
def test_cells_are_short_and_plain(name):
    for cell in code(BOOKS[name]):
        lines = cell.source.split("\n")
        assert len(lines) <= 25 and max(map(len, lines)) <= 80, cell.source
        assert "if False" not in cell.source and "input(" not in cell.source
        assert not re.search(r"^\s*[!%]", cell.source, re.MULTILINE)


def test_set_up_and_start_are_short_and_the_same_in_all():
    for place in (0, 2):
        assert len({code(book)[place].source for book in BOOKS.values()}) == 1
    assert len(code(BOOKS[NOTEBOOKS[0]])[0].source.split("\n")) <= 14
    for book in BOOKS.values():
        assert len(tagged(book, "parameters")) == 1
    assert "PUSH = False" in tagged(BOOKS[NOTEBOOKS[3]], "parameters")[0].source


@every_notebook
def test_every_name_of_the_package_exists_and_comes_from_a_room(name):
    """Rooms, not the files in them: what a notebook uses is public."""
    set_up, *cells = [list(ast.walk(ast.parse(cell.source))) for cell in code(BOOKS[name])]
    imported = {}
    for cell in [set_up, *cells]:
        for node in cell:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("helpers"):
                assert cell is set_up or node.module.count(".") <= 1, node.module
                exec(ast.unparse(node), imported)
    used = 0
    for node in (node for cell in [set_up, *cells] for node in cell):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = imported.get(node.value.id)
            if inspect.ismodule(module):
                assert hasattr(module, node.attr), f"{node.value.id}.{node.attr}"
                used += 1
    assert used


def test_enough_cells_are_compared():
    assert sum(len(tagged(book, "nbval-check-output")) for book in BOOKS.values()) >= 25


@every_notebook
def test_the_stored_outputs_are_of_this_code(name):
    stored = BOOKS[name].metadata.get("fingerprint")
    assert stored == fingerprint(name), "The package or the cells have changed since: make write"


CHANGES = [  # in a file of the project, and whether the first and the last fingerprint change
    (NOTEBOOKS[0], "What you will learn", "What there is", [False, False]),
    (NOTEBOOKS[0], "REPOSITORY", "ADDRESS", [False, False]),
    (NOTEBOOKS[0], "SEED = 0", "SEED = 1", [True, True]),
    ("helpers/formats.py", "def ", "def  ", [True, True]),
    (NOTEBOOKS[-1], "SEED = 0", "SEED = 1", [False, True]),
]


def test_the_fingerprint_is_of_the_package_and_the_cells_that_show_something(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.notebooks.ROOT", tmp_path)
    shutil.copytree(ROOT / "helpers" / "answers", tmp_path / "helpers")
    for book in NOTEBOOKS:
        shutil.copy(ROOT / book, tmp_path)
    ends = (NOTEBOOKS[0], NOTEBOOKS[-1])
    before = [fingerprint(name) for name in ends]
    for name, old, new, changed in CHANGES:
        path = tmp_path / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        now = [fingerprint(name) for name in ends]
        assert [a != b for a, b in zip(before, now, strict=True)] == changed, (name, old)
        path.write_text(text)
