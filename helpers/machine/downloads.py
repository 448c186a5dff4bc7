"""Compares what comes from the Hub with the hash that the Hub names; the client compares sizes."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from helpers.machine.folders import file_hash

HASHES = (40, 64)  # how long git's hash is, and the SHA-256 that large files have
STARTED = time.time()
checked: set[Path] = set()


@contextlib.contextmanager
def checked_downloads() -> Iterator[None]:
    """Checks, at its end, each file that came into the Hub's cache since this process began, once.

    Raises RuntimeError for a damaged one, which is deleted, so that the next call fetches it anew.
    """
    try:
        yield
    finally:
        damaged = []
        for file in arrived():
            if is_intact(file):
                checked.add(file)
            else:
                damaged.append(file)
        if damaged:
            names = ", ".join(name_in_repository(file) for file in damaged)
            for file in damaged:
                file.resolve().unlink(missing_ok=True)  # several repositories can share it
                file.unlink(missing_ok=True)
            raise RuntimeError(
                f"What arrived is not what the Hub names by its hash: {names}.\n"
                "It was deleted: load the model again, and it is fetched anew."
            )


def arrived() -> list[Path]:
    """The files of the Hub's cache that are new and not checked; their names are their hashes."""
    from huggingface_hub import constants  # not before it is known whether there is a network

    found = []
    for file in sorted(Path(constants.HF_HUB_CACHE).glob("*--*/blobs/*")):
        if len(file.name) in HASHES and file not in checked and file.stat().st_mtime >= STARTED:
            found.append(file)
    return found


def is_intact(file: Path) -> bool:
    """Whether a file of the cache has the hash that is its name."""
    from huggingface_hub.utils.sha import git_hash

    if len(file.name) == 64:
        return file_hash(file) == file.name
    return git_hash(file.read_bytes()) == file.name


def name_in_repository(blob: Path) -> str:
    """The name of a file of the cache, and its repository."""
    folder = blob.parents[1]
    repository = folder.name.partition("--")[2].replace("--", "/")
    for file in (folder / "snapshots").rglob("*"):
        if os.path.realpath(file) == os.path.realpath(blob):
            return f"{file.name} of {repository}"
    return f"{blob.name} of {repository}"
