"""The private names that private.py touches are still there, and nothing else touches any."""

import re

from helpers.training import private
from tests.conftest import ROOT
from tests.training import building

BOTH = (private.LOAD, private.SAVE, "_metrics", "_total_train_tokens")
GRPO = (private.GENERATE, private.SCORE, "_logs", "_step", "_buffered_inputs", "is_fsdp_enabled")


def test_the_private_names_are_where_they_were(recipe, machine, tmp_path):
    rows = building.questions(recipe, 64)
    sft, _ = building.build("sft", recipe, machine, tmp_path, rows, 1)
    grpo, _ = building.build("grpo", recipe, machine, tmp_path, rows, 1)
    sft.create_optimizer_and_scheduler(1)
    schedule = sft.accelerator.prepare(sft.lr_scheduler).scheduler
    touched = [(sft, BOTH), (grpo, BOTH + GRPO), (sft.accelerator, ("backward",))]
    touched.append((schedule, ("lr_lambdas", "base_lrs", "last_epoch", "_last_lr")))
    assert [name for owner, names in touched for name in names if not hasattr(owner, name)] == []


def test_nothing_else_touches_a_private_name_of_another_object():
    found = []
    for path in (ROOT / "helpers").rglob("*.py"):
        if path.name != "private.py":
            names = re.findall(r"\._(?!_|replace\b)\w+", path.read_text(encoding="utf-8"))
            found += [(path.name, name) for name in names]
    assert found == []
