"""Where rows come from: the Hub, a local folder or file, or, without a GPU, the generator."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from helpers.machine import hint
from helpers.recipes import Source

EMBEDDED = "embedded"
READERS = {".json": "json", ".jsonl": "json", ".parquet": "parquet", ".csv": "csv"}
Rows = dict[str, Iterable[Mapping]]


def place_of(source: Source, dataset: str | None, profile: str) -> str:
    """Where rows are read from: what the user says, else the generator on the tiny profile, else the source."""
    from helpers.tiny.schemas import SCHEMAS

    return dataset or (EMBEDDED if profile == "tiny" and source.path in SCHEMAS else source.path)


def rows_of(source: Source, dataset: str | None, profile: str) -> tuple[str, Rows]:
    """Where the rows were read from (`place_of`), and the rows under "train" and, where there is such a split, "test"."""
    from helpers.tiny.schemas import embedded_rows

    where = place_of(source, dataset, profile)
    return where, embedded_rows(source.path) if where == EMBEDDED else named_splits(
        stored(source, where), source, where
    )


def stored(source: Source, where: str) -> Mapping:
    """What `load_dataset` finds at a Hub id, in a folder, or in a file."""
    from datasets import load_dataset

    path = Path(os.path.expanduser(where))
    try:
        if os.path.isfile(path):
            return load_dataset(reader_of(path), data_files=str(path))
        if os.path.isdir(path):
            if source.files and (path / source.files).is_file():
                return load_dataset(
                    reader_of(path / source.files), data_files=str(path / source.files)
                )
            return load_dataset(
                str(
                    path / source.config
                    if source.config and (path / source.config).is_dir()
                    else path
                )
            )
        if is_local(where):
            raise DatasetError(
                f"There is nothing at {where}.\nSet DATASET to a folder, a file, or a Hub id."
                + hint("*.parquet", "*.jsonl")
            )
        if where == source.path:
            return load_dataset(
                where, source.config, data_files=source.files, revision=source.revision
            )
        name, _, config = where.partition(":")
        return load_dataset(name, config or None)
    except DatasetError:
        raise
    except (
        Exception
    ) as error:  # the readers raise all kinds, StopIteration among them; the cause stays attached
        raise explain(where, error) from error


class DatasetError(ValueError):
    """A dataset that is not there, or not of a kind that can be read; its text says what to do."""


def reader_of(path: Path) -> str:
    """The reader for a file, by its ending; it may be compressed."""
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    if ending not in READERS:
        raise DatasetError(
            f"{path} is not one of {', '.join(READERS)}.\nConvert it, or set DATASET to a Hub id or a folder."
        )
    return READERS[ending]


def is_local(where: str) -> bool:
    """Whether a text that names nothing here looks like a path rather than a Hub id."""
    return (
        where.startswith((".", "/", "~", "\\"))
        or where[1:3] in (":/", ":\\")
        or Path(where.lower().removesuffix(".gz")).suffix in READERS
    )


def explain(where: str, error: Exception) -> Exception:
    """The two lines that a person needs when a dataset does not load."""
    error = (
        error.__cause__ or error
    )  # `datasets` says "while generating the dataset", and in its cause what it was
    said = str(error).strip().splitlines()
    cause = (
        f"{type(error).__name__}: {said[0][:120]}"
        if said
        else "it is empty"
        if isinstance(error, StopIteration)
        else type(error).__name__
    )
    if os.path.exists(os.path.expanduser(where)):
        return ValueError(
            f"{where} holds no dataset that can be read ({cause}).\n"
            "It needs non-empty JSON, JSONL, Parquet or CSV files in UTF-8, with one row a problem and the same columns in all."
        )
    return ConnectionError(
        f"The dataset {where!r} could not be loaded from the Hub ({cause}).\n"
        "Check the network and the id (id:config for one of several), or set DATASET to a local folder, or DATASET=embedded."
        + hint("*.parquet", "*.jsonl")
    )


def named_splits(found: Mapping, source: Source, where: str) -> Rows:
    """The dataset's splits under our names; a single split, whatever it is called, is for training."""
    if source.train in found:
        return {"train": found[source.train]} | (
            {"test": found[source.test]} if source.test in found else {}
        )
    if len(found) == 1:
        return {"train": next(iter(found.values()))}
    if source.test in found:
        return {"test": found[source.test]}
    raise ValueError(
        f"{where} has the splits {', '.join(found)}, but no {source.train!r}.\nName them in the recipe's Source(train=…, test=…)."
    )
