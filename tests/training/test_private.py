"""The private names that private.py touches are still there, and nothing else touches any."""

import ast

import pytest

from helpers.training import private
from tests.conftest import ROOT
from tests.training import building

TOUCHED = {  # by what has them
    "grpo": (private.GENERATE, private.SCORE, private.LOAD, private.SAVE, "_metrics", "_logs")
    + ("_total_train_tokens", "_step", "_buffered_inputs", "is_fsdp_enabled"),
    "sft": (private.LOAD, private.SAVE, "_metrics", "_total_train_tokens"),
    "accelerator": ("backward",),
    "scheduler": ("scheduler",),
    "schedule": ("lr_lambdas", "base_lrs", "last_epoch", "_last_lr"),
}


@pytest.fixture(scope="module")
def owners(recipe, machine, tmp_path_factory):
    out, rows = tmp_path_factory.mktemp("private"), building.questions(recipe, 64)
    sft, _ = building.sft(recipe, machine, out, rows, 1)
    grpo, _ = building.grpo(recipe, machine, out, rows, 1)
    sft.create_optimizer_and_scheduler(1)
    scheduler = sft.accelerator.prepare(sft.lr_scheduler)
    return {
        "sft": sft,
        "grpo": grpo,
        "accelerator": sft.accelerator,
        "scheduler": scheduler,
        "schedule": scheduler.scheduler,
    }


@pytest.mark.parametrize(("owner", "name"), [(o, name) for o in TOUCHED for name in TOUCHED[o]])
def test_a_private_name_is_where_it_was(owner, name, owners):
    assert hasattr(owners[owner], name)


def test_nothing_else_touches_a_private_name_of_another_object():
    found = []
    for path in (ROOT / "helpers").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if path.name == "private.py" or not isinstance(node, ast.Attribute):
                continue
            public = not node.attr.startswith("_") or node.attr.startswith("__")
            if not public and node.attr != "_replace":  # of a named tuple
                found.append(f"{path.name}:{node.lineno} {node.attr}")
    assert found == []
