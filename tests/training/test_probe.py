"""The look before GRPO: it refuses what cannot learn, and foretells how long the rest takes."""

import pytest

from helpers import data, runs, training
from tests.learning import BASE, supervise
from tests.runs import pathologies as lab


def test_the_pre_flight_refuses_what_cannot_learn(recipe, machine, capsys):
    base = training.load(BASE, recipe, machine)
    examples = data.load(recipe, None, "cpu")["train"].examples
    short = lab.changed(recipe, max_completion=2)
    with pytest.raises(ValueError, match="Nothing could be learned: .*\n.*FORCE = True"):
        training.preflight(*base, short, examples, 20, "cpu")
    found = training.preflight(*base, short, examples, 20, "cpu", force=True)
    assert found["truncated"] == 1.0 and "8 questions × 8 replies" in capsys.readouterr().out


@pytest.mark.soak
def test_the_pre_flight_foretells_the_run(recipe, machine, tmp_path):
    """Its time is an estimate from generating alone: within a factor of two."""
    splits = data.load(recipe, None, "cpu")
    taught = supervise(recipe, machine, 0, tmp_path, splits)
    model = training.load(taught, recipe, machine)
    examples = splits["train"].examples
    found = training.preflight(*model, recipe, examples, 6, machine.device)
    assert found["zero_std_groups"] < 0.5 and found["truncated"] < 0.2
    short = lab.changed(recipe, steps=6)
    assert lab.ill(short, machine, tmp_path, taught.folder, steps=6) == []
    log = runs.Run(tmp_path / recipe.name / "grpo").read_log()
    seconds = sum(line["time_per_step_s"] for line in log)
    assert 0.5 < found["minutes"] * 60 / seconds < 2
