"""A project, a base or a machine that is another one since: runs go on, or the cure is true."""

import os
import shutil
from dataclasses import replace
from functools import partial
from unittest import mock

import pytest

from helpers.runs import Run
from helpers.tiny import TINY_MODEL
from helpers.tiny.make import write_random
from helpers.training import Adapter, mirroring, watching
from helpers.training import trainers as training
from tests.training.building import At, build, questions, weights
from tests.training.test_checkpoints import interrupt

STEPS = 2
train = partial(training.train, budget="published")


@pytest.fixture(scope="module")
def stages(recipe, machine):
    """Builds (trainer, run) of SFT or GRPO in the working folder; every step is saved."""
    grpo = replace(recipe.grpo, batch=8, generations=4, max_completion=24)
    recipe = replace(recipe, grpo=grpo, sft=replace(recipe.sft, batch=4))
    rows = questions(recipe, 8)

    def made(stage, base, start=None, **more):
        return build(stage, recipe, machine, "out", rows, STEPS, start, base=base, **more)

    with mock.patch.dict(watching.SAVE_SECONDS, cpu=0.0):
        yield made


@pytest.fixture(scope="module")
def before(stages, tmp_path_factory):
    """A project with a base, a finished SFT and a GRPO that was cut off, and its mirror."""
    place = tmp_path_factory.mktemp("before")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(place)
        shutil.copytree(TINY_MODEL, "base")
        start = train(*stages("sft", "base", mirror="mirror"))
        callbacks = [At(1, interrupt)]
        with pytest.raises(KeyboardInterrupt):
            train(*stages("grpo", "base", start, mirror="mirror", callbacks=callbacks))
    return place


@pytest.fixture(scope="module")
def expected(stages, before, tmp_path_factory):
    """The weights of GRPO where nothing moved."""
    place = shutil.copytree(before, tmp_path_factory.mktemp("there") / "it")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(place)
        return go_on(stages, "base")


def go_on(stages, base) -> str:
    """What a user does again, with the same settings: the finished SFT is read, GRPO goes on."""
    start = train(*stages("sft", base))
    trainer, run = stages("grpo", base, start)
    train(trainer, run)
    assert run.manifest["model"] == base  # where it lies now
    assert len(run.manifest["resumed"]) == 1 and not list(run.folder.parent.glob("*-before"))
    assert run.manifest["parent_hash"] == start.hash and start.base == base
    return weights(run)


MOVED = {"the project": "base", "the base": "../models/mine", "the machine": "{place}/models/mine"}


@pytest.mark.parametrize("moved", MOVED)
def test_runs_go_on(moved, stages, before, expected, recipe, tmp_path, monkeypatch, capsys):
    base = MOVED[moved].format(place=tmp_path)
    shutil.copytree(before, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    if base != "base":
        (tmp_path / "models").mkdir()
        shutil.move("base", tmp_path / "models" / "mine")
    if moved == "the machine":
        shutil.rmtree("out")
        assert mirroring.restore("out", recipe.name, "mirror") == ["grpo", "sft"]
    assert go_on(stages, base) == expected
    assert "this run was finished before" in capsys.readouterr().out
    # What is read later: the last run names its base as it was found here.
    assert Adapter.read("out/gsm8k_xml/grpo").base == base
    assert Adapter.read("out/gsm8k_xml/sft", base).base == base


ELSEWHERE = "Set MODEL to where that model lies now, or train again."
LIES = [  # what lies at base; what is set; what is said
    ("", None, "was trained on base, which is not here"),
    ("", "other", "was trained on base, not on other"),
    ("", "./none", "There is no model at ./none"),
    ("other", None, "was trained on base, which has other weights now"),
    ("cut", None, r"The weights of .* are not whole \(model.safetensors: .*"),
]


@pytest.mark.parametrize(("lies", "wanted", "said"), LIES)
def test_where_the_base_is_not_the_cure_can_be_followed(
    lies, wanted, said, before, tmp_path, monkeypatch
):
    shutil.copytree(before / "out", tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    write_random(TINY_MODEL, tmp_path / "other", layers=1)
    write_random(TINY_MODEL, tmp_path / "cut", layers=1)
    os.truncate("cut/model.safetensors", 1000)
    if lies:
        shutil.move(lies, "base")
    with pytest.raises((FileNotFoundError, ValueError), match=f"{said}.*\n") as caught:
        Adapter.read("out/gsm8k_xml/sft", wanted)
    if "trained on" in said:
        assert str(caught.value).endswith(ELSEWHERE)
        assert Adapter.read("out/gsm8k_xml/sft", str(before / "base")).base == str(before / "base")


def test_nothing_of_this_machine_decides_whether_a_run_goes_on(before):
    for manifest in before.glob("out/*/*/run.json"):
        made_of = Run.read(manifest.parent).manifest["fingerprint"]
        assert len(made_of) > 50 and str(before) not in str(made_of)
