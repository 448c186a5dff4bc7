"""What several tests need: the tiny recipe, a small trained run, and the folder of real data if it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.recipes import for_profile, get_recipe

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared, with the real datasets and tokenizer, is not here")


@pytest.fixture(scope="session")
def recipe():
    return for_profile(get_recipe("gsm8k_xml"), "tiny")


@pytest.fixture(scope="session")
def machine():
    from helpers.machine import detect

    return detect()


def pytest_collection_modifyitems(items):
    """For two workers: the long runs of the notebooks first, each for itself, then every other file as a whole, since its tests share what is slow to make."""
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.nodeid if item.path.stem == "test_running" else str(item.path)))
    items.sort(key=lambda item: item.path.stem != "test_running")
