"""A folder appears whole or not at all, never over something else, and survives kills."""

import os
import shutil
from pathlib import Path

import pytest

from helpers.sharing import export as staging
from tests.conftest import held_by_another


def make(folder, elsewhere=None, made_from=(), end=None):
    """An export of two files."""
    with staging.staged(folder, 1000, made_from, elsewhere) as made:
        (made / "model.safetensors").write_bytes(b"weights")
        (made / "export.json").write_text("{}")
        if end:
            end()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


WHOLE = ["export.json", "model.safetensors"]


def test_the_disk_is_looked_at_first(tmp_path, monkeypatch):
    full = shutil._ntuple_diskusage(10**12, 10**12, 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: full)
    with pytest.raises(OSError, match="needs 0.00 GB; 0.00 GB are free.*\n.*larger disk"):
        make(tmp_path / "m")
    assert names(tmp_path) == []


def test_it_can_be_made_elsewhere(tmp_path):
    make(tmp_path / "final" / "m", tmp_path / "staging")
    assert names(tmp_path / "final" / "m") == WHOLE
    assert names(tmp_path / "final") == ["m"] and names(tmp_path / "staging") == []


def test_what_breaks_off_leaves_the_earlier_export(tmp_path):
    def broken():
        raise KeyboardInterrupt

    def swept():
        shutil.rmtree(tmp_path / ".m.export.new")

    make(tmp_path / "m")
    for end, error in ((broken, KeyboardInterrupt), (swept, OSError)):
        with pytest.raises(error):
            make(tmp_path / "m", end=end)
        assert names(tmp_path / "m") == WHOLE and names(tmp_path) == ["m"]


class Killed(BaseException):
    """What stands in for a kill: nothing is tidied up after it."""


@pytest.mark.parametrize("moment", ["while it is written", "copied", "the earlier one goes"])
def test_killed_at_any_moment_it_is_made_again(moment, tmp_path, monkeypatch):
    """Nobody must move by hand what a kill leaves behind."""

    def killed(*_, **__):
        raise Killed

    def copied(source, target):
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("export.json"))
        raise Killed

    tidy, rename = staging.tidy, Path.rename
    tidied = []

    def tidy_at_the_start(*places):
        if not tidied:
            tidy(*places)
        tidied.append(places)

    def rename_once(source, target):
        patched.setattr(Path, "rename", killed)
        rename(source, target)

    elsewhere = tmp_path / "staging"
    make(tmp_path / "m")
    with monkeypatch.context() as patched:
        patched.setattr(staging, "tidy", tidy_at_the_start)
        if moment == "copied":
            patched.setattr(shutil, "move", copied)
        if moment == "the earlier one goes":
            patched.setattr(Path, "rename", rename_once)
        with pytest.raises(Killed):
            make(tmp_path / "m", elsewhere, end=killed if moment.startswith("while") else None)
    make(tmp_path / "m", elsewhere)
    assert names(tmp_path / "m") == WHOLE
    assert names(tmp_path) == ["m", "staging"] and names(elsewhere) == []


def test_an_earlier_export_comes_back_after_a_kill(tmp_path):
    make(tmp_path / "m")
    (tmp_path / "m").rename(tmp_path / ".m.export.old")
    with pytest.raises(ZeroDivisionError):
        make(tmp_path / "m", end=lambda: 1 / 0)
    assert names(tmp_path) == ["m"]


def test_what_it_is_made_from_is_not_written_over(tmp_path):
    base, adapter = tmp_path / "base", tmp_path / "x" / "adapter"
    for source in (base, adapter):
        make(source)
    for folder in (base, adapter, base / "inside", tmp_path / "x", tmp_path):
        with pytest.raises(FileExistsError, match="made from.\nChoose another folder"):
            make(folder, made_from=(base, adapter))
    assert names(base) == names(adapter) == WHOLE


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_not_from_an_export_is_left_alone(kind, tmp_path):
    target = tmp_path / "target"
    mine = target / "thesis.tex" if kind == "folder" else target
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("years")
    with pytest.raises(FileExistsError, match="not from an export.\nMove them"):
        make(target)
    assert mine.read_text() == "years"


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    os.symlink(tmp_path / "real", tmp_path / "link")
    make(tmp_path / "link")
    assert names(tmp_path / "real") == WHOLE


def test_two_processes_do_not_export_to_one_folder(tmp_path):
    make(tmp_path / "m")
    (tmp_path / "staging").mkdir()
    for place in (tmp_path / "m", tmp_path / "staging" / ".m.export.new"):
        taken = pytest.raises(RuntimeError, match="Another process is exporting to")
        with held_by_another(place), taken:
            make(tmp_path / "m", tmp_path / "staging")
    assert names(tmp_path / "m") == WHOLE
