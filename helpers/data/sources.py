"""Where rows come from: the Hub, a local folder or file, or, without a GPU, the generator."""

import os
import re
from collections.abc import Iterable, Mapping

from helpers.machine import hint
from helpers.recipes import Source
from helpers.tiny import SCHEMAS, embedded_rows

EMBEDDED = "embedded"
Rows = dict[str, Iterable[Mapping]]
FILE = re.compile(r".*\.(json|parquet|csv)l?(\.gz)?", re.IGNORECASE)  # and its reader


def place_of(source: Source, dataset: str | None, profile: str) -> str:
    """Where rows are read from: what the user says, else the generator on the tiny profile."""
    if dataset:
        return dataset
    if profile == "tiny" and source.path in SCHEMAS:
        return EMBEDDED
    return source.path


def rows_of(source: Source, dataset: str | None, profile: str) -> Rows:
    """The rows under "train" and, where there is such a split, under "test"."""
    where = place_of(source, dataset, profile)
    if where == EMBEDDED:
        return embedded_rows(source.path)
    found = stored(source, where)
    if len(found) == 1:  # whatever it is called, it is for training
        return {"train": next(iter(found.values()))}
    if source.train not in found:
        raise ValueError(
            f"{where} has the splits {', '.join(found)}, but no {source.train!r}.\n"
            "Name them in the recipe's Source(train=…, test=…)."
        )
    rows = {"train": found[source.train]}
    if source.test in found:
        rows["test"] = found[source.test]
    return rows


def stored(source: Source, where: str) -> Rows:
    """What `load_dataset` finds in a file, in a folder, or at a Hub id."""
    from datasets import load_dataset

    path = os.path.expanduser(where)
    for part in (source.config, source.files):
        inside = os.path.join(path, part or "")
        if os.path.exists(inside):
            path = inside
    kind = FILE.fullmatch(path)
    name, _, config = where.partition(":")
    options = {"path": name, "name": config or None}
    if kind:
        options = {"path": kind[1].lower(), "data_files": path}
    elif os.path.exists(path):
        options = {"path": path}
    elif where == source.path:
        options = {"path": where, "name": source.config}
        options |= {"data_files": source.files, "revision": source.revision}
    try:
        return load_dataset(**options)
    except Exception as error:  # the readers raise all kinds, StopIteration among them
        cause = error.__cause__ or error  # which says what it was
        said = str(cause).partition("\n")[0]
        raise ValueError(
            f"{where} could not be loaded as a dataset ({type(cause).__name__}: {said:.120}).\n"
            "Set DATASET to non-empty JSON, JSONL, Parquet or CSV files in UTF-8 with the same "
            "columns in all, to a Hub id (id:config for one of several), or to embedded."
            + hint("*.parquet", "*.jsonl")
        ) from error
