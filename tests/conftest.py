"""What several tests need: the tiny recipe, a small trained run, and real data if it is there."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.recipes import for_model, get_recipe

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
# The published ones; a recipe of your own needs none of what these have.
FIVE = ("gsm8k_xml", "gsm8k_hash", "openr1_boxed", "dapo_think", "phybench_eed")
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="../shared, with the real datasets and tokenizer, is not here"
)


@pytest.fixture(scope="session")
def recipe():
    return for_model(get_recipe("gsm8k_xml"), True, "cpu")


@pytest.fixture(scope="session")
def machine():
    from helpers.machine.computer import detect

    return detect()


def works(*words, status: int = 0) -> str:
    """What `python -m helpers` with these words prints, in this process."""
    from helpers.__main__ import main

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        found = main([str(word) for word in words])
    assert found == status, printed.getvalue()
    return printed.getvalue()


def fails(said: str, *words) -> str:
    """The same of one that ends with cause and cure."""
    shown = works(*words, status=1)
    assert said in shown and "Traceback" not in shown, shown
    error = shown[shown.index("error: ") :]
    assert len(error.strip().split("\n")) <= 3, error
    return shown


@contextlib.contextmanager
def held_by_another(place: Path):
    """Another process has `place` to itself, until it is killed at the end."""
    script = (
        "import sys; from pathlib import Path; from helpers.training import checkpoints\n"
        "with checkpoints.lock_folder(Path(sys.argv[1]), 'working in'):\n"
        "    print('in', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(place)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    other = subprocess.Popen(command, cwd=ROOT, **pipes)
    try:
        assert other.stdout.readline() == "in\n"
        yield
    finally:
        other.kill()
        other.wait()


def pytest_collection_modifyitems(items):
    """What takes longest comes first, so that no worker is left with it."""
    longest = ["test_soak", "test_real_model", "test_running"]
    places = {name: place for place, name in enumerate(longest)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
