"""A folder appears whole or not at all, never over something else, and survives kills."""

import os
import shutil
from pathlib import Path

import pytest

from helpers.sharing import export as staging
from helpers.training import lock_folder


def make(folder, elsewhere=None, end=None, made_from=Path("source")):
    """An export of two files."""
    with staging.staged(folder, made_from, 1000, elsewhere) as made:
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


@pytest.mark.parametrize("place", ["m", "m/inside", "."])
def test_an_export_is_not_written_over_what_it_is_made_from(place, tmp_path):
    make(tmp_path / "m")
    with pytest.raises(FileExistsError, match="written over .*\nChoose another folder"):
        make(tmp_path / place, made_from=tmp_path / "m")
    assert names(tmp_path / "m") == WHOLE


def test_another_adapters_export_is_not_replaced_without_a_word(tmp_path, capsys):
    (tmp_path / "m").mkdir()
    for adapter, said in (
        ("a", ""),
        ("a", ""),
        ("b", f"replaced  the export of another adapter in {tmp_path / 'm'}\n"),
    ):
        with staging.staged(tmp_path / "m", Path("source"), 1000) as made:
            (made / "export.json").write_text(f'{{"adapter_sha256": "{adapter}"}}')
        assert capsys.readouterr().out == said


def test_the_proof_of_an_export_goes_with_it(tmp_path):
    make(tmp_path / "m")
    proof = staging.proof_file(tmp_path / "m")
    proof.write_text("{}")
    with pytest.raises(ZeroDivisionError):
        make(tmp_path / "m", end=lambda: 1 / 0)
    assert proof.exists()
    make(tmp_path / "m")
    assert not proof.exists()


def test_what_breaks_off_leaves_the_earlier_export(tmp_path):
    final, staging = tmp_path / "final", tmp_path / "staging"
    make(final / "m", staging)
    with pytest.raises(ZeroDivisionError):
        make(final / "m", staging, end=lambda: 1 / 0)
    assert names(final / "m") == WHOLE and names(final) == ["m"] and names(staging) == []


@pytest.mark.parametrize("left", ["m", "staging/.m.export.new", ".m.export.new", ".m.export.old"])
def test_what_a_kill_leaves_is_no_hindrance(left, tmp_path):
    make(tmp_path / "m")
    if left != "m":
        (tmp_path / "staging").mkdir()
        (tmp_path / "m").rename(tmp_path / left)
        (tmp_path / left / "half.safetensors").write_bytes(b"half")
    make(tmp_path / "m", tmp_path / "staging")
    assert names(tmp_path / "m") == WHOLE
    assert names(tmp_path) == ["m", "staging"] and names(tmp_path / "staging") == []


@pytest.mark.parametrize("empty", [True, False])
def test_hidden_files_of_the_system_are_no_hindrance(empty, tmp_path):
    (tmp_path / "m").mkdir()
    if not empty:
        make(tmp_path / "m")
    (tmp_path / "m" / ".DS_Store").touch()
    make(tmp_path / "m")
    assert names(tmp_path / "m") == WHOLE


@pytest.mark.parametrize("name", ["target", "target/thesis.tex"])
def test_what_is_not_from_an_export_is_left_alone(name, tmp_path):
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("years")
    with pytest.raises(FileExistsError, match=rf"not from an export \({mine.name}\).\nMove them"):
        make(tmp_path / "target")
    assert mine.read_text() == "years"


def test_a_file_of_the_users_in_an_export_is_not_deleted(tmp_path):
    make(tmp_path / "m")
    (tmp_path / "m" / "images").mkdir()
    for name in ("README.md", "images/losses.png"):  # these are the card's
        (tmp_path / "m" / name).write_text("card")
    make(tmp_path / "m")
    assert names(tmp_path / "m") == WHOLE
    (tmp_path / "m" / "images").mkdir()
    mine = tmp_path / "m" / "images" / "cat.png"
    mine.write_text("years")
    with pytest.raises(FileExistsError, match=r"not from an export \(images/cat.png\).\nMove"):
        make(tmp_path / "m")
    assert mine.read_text() == "years"


def test_others_may_read_it(tmp_path):
    make(tmp_path / "m", end=lambda: (tmp_path / ".m.export.new" / WHOLE[1]).chmod(0o600))
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "m", *(tmp_path / "m").iterdir())]
    assert modes == [0o755, 0o644, 0o644]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    os.symlink(tmp_path / "real", tmp_path / "link")
    make(tmp_path / "link")
    assert names(tmp_path / "real") == WHOLE


def test_two_exports_do_not_go_to_one_folder(tmp_path):
    make(tmp_path / "m", tmp_path / "staging")
    for place in (tmp_path / "m", tmp_path / "staging" / ".m.export.new"):
        taken = pytest.raises(RuntimeError, match="Another process is exporting to")
        with lock_folder(place, "exporting to"), taken:
            make(tmp_path / "m", tmp_path / "staging")
    assert names(tmp_path / "m") == WHOLE
