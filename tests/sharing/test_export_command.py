"""`python -m helpers export`: which adapter, which evaluation, and what it says of neither."""

import os
from unittest import mock

import pytest

from helpers import commands, sharing
from helpers.runs import Run, write_json
from helpers.settings import Settings
from helpers.training import Adapter, stages
from tests.conftest import fails
from tests.sharing.test_card import results
from tests.sharing.test_export import BASE, make_adapter


def test_the_last_adapter_is_of_the_run_that_ended_last(tmp_path, monkeypatch):
    """Whatever the files' times say, which a copy or a mirror changes."""
    monkeypatch.chdir(tmp_path)
    ends = {"gsm8k_xml/grpo": "2026-11-02", "gsm8k_xml/sft": "2026-11-03"}
    ends |= {"gsm8k_hash/grpo": "2026-11-01", "gsm8k_hash/sft": None}
    for place, end in ends.items():
        adapter = tmp_path / "outputs" / place / "adapter"
        adapter.mkdir(parents=True)
        (adapter / "adapter_config.json").write_text("{}")
        if end:
            write_json(adapter.parent / "run.json", {"status": "finished", "end": end})
    for recipe, place in (("", "gsm8k_xml/sft"), ("gsm8k_hash", "gsm8k_hash/grpo")):
        assert commands.last_adapter(recipe).as_posix() == f"outputs/{place}/adapter"
    with pytest.raises(FileNotFoundError, match="no adapter under outputs"):
        commands.last_adapter("dapo_think")


@pytest.fixture
def evaluated(recipe, tmp_path):
    """An export, its adapter beside a finished run, and a function that writes an evaluation."""
    manifest = {"model": "/home/alice/q3", "stage": "grpo", "seed": 0, "commit": None}
    manifest |= {"status": "finished", "settings": {}, "versions": {}, "adapter_hash": "0a"}
    run = Run(tmp_path / "grpo", manifest)
    adapter = Adapter(run.adapter, "/home/alice/q3", None, run)
    export = sharing.Export(tmp_path / "merged", "merged", "fp32", {"base": "q3"})
    export.folder.mkdir()
    run.folder.mkdir()

    def evaluate(name, weights="0a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "accuracy.png").write_text(name)
        found = results(recipe) | {"weights": {"grpo": weights}}
        write_json(tmp_path / name / "summary.json", found)

    return export, adapter, evaluate


@pytest.mark.parametrize("name", ["eval", "evaluate"])
def test_the_card_is_of_the_evaluation_that_there_is(name, evaluated, recipe):
    """Notebook 03's, or that of the command; one of another adapter does not stand in its way."""
    export, adapter, evaluate = evaluated
    said = commands.write_card(export, adapter, recipe, "")
    assert said.startswith("no card  It was not evaluated: python -m helpers evaluate ")
    others = {"eval": "evaluate", "evaluate": "eval"}[name]
    evaluate(others, "0b")
    said = commands.write_card(export, adapter, recipe, "")
    assert "no card  The evaluation is of another grpo" in said and "helpers evaluate /" in said
    evaluate(name)
    said = commands.write_card(export, adapter, recipe, "me/model")
    place = adapter.run.folder.with_name(name)
    assert said == f"card     {export.folder / 'README.md'}, of what is in {place}"
    assert (export.folder / "images" / "accuracy.png").read_text() == name
    os.utime(place / "summary.json", (1, 1))
    write_json(place.with_name(others) / "summary.json", results(recipe) | {"weights": {}})
    said = commands.write_card(export, adapter, recipe, "me/model")
    assert said.endswith(others)  # the newest that fits
    adapter.run.manifest["status"] = "failed"
    assert "no finished run" in commands.write_card(export, adapter, recipe, "")


def test_a_merge_of_an_untrained_adapter_is_not_left_in_place(
    recipe, machine, tmp_path, monkeypatch
):
    """Nor is the proof of an export that lay there before."""
    monkeypatch.setattr(commands, "ASKED", 2)
    make_adapter(BASE, tmp_path / "untrained", recipe, machine, 0)
    write_json(tmp_path / "merged-proof.json", {})
    said = fails("did nothing", "export", tmp_path / "untrained", "--out", tmp_path / "merged")
    assert "logits of the base model" in said and "It is called merged-unproved now, and" in said
    assert {path.name for path in tmp_path.iterdir()} == {"untrained", "merged-unproved"}


def test_grpo_from_an_adapter_is_of_the_recipe_of_its_run(recipe, machine, tmp_path, monkeypatch):
    """Without --recipe, as with evaluate and export."""
    folder = make_adapter(BASE, tmp_path / "run" / "adapter", recipe, machine, 0).folder
    write_json(tmp_path / "run" / "run.json", {"status": "finished", "recipe": "gsm8k_hash"})
    opened = mock.Mock(side_effect=InterruptedError)
    monkeypatch.setattr(stages, "open_job", opened)
    for given, learned in (("", "gsm8k_hash"), ("dapo_think", "dapo_think")):
        for place in (folder, folder.parent):
            with pytest.raises(InterruptedError):
                commands.grpo(Settings(adapter=str(place), recipe=given))
            assert opened.call_args.args[0].recipe == learned
