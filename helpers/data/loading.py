"""From a dataset to its rows, and from rows to examples.

Rows that cannot be used are left out and counted by reason; nothing is cut or repaired in silence.
"""

import csv
import glob
import gzip
import hashlib
import json
import os
import random
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from io import StringIO
from itertools import chain, islice
from pathlib import Path

import pandas as pd
from tqdm.std import tqdm

from helpers.machine import check_path, hint
from helpers.recipes import Recipe, Source
from helpers.rewards import columns_of
from helpers.rows import QUESTIONS, Example, Unusable
from helpers.tiny import SCHEMAS, embedded_rows, is_embedded

EMBEDDED = "embedded"
FILE = re.compile(r".*\.(json|parquet|csv|tsv)l?(\.gz)?", re.IGNORECASE)  # and its reader
REPEATED = "repeating a question that is read once"
CONTRADICTING = "repeating a question with another answer"
SEPARATORS = ",;\t"
SURPLUS = "(beyond the header)"  # begins the names of a CSV's fields that have no column
# Of chat templates: Qwen and Llama, DeepSeek, Gemma, the first Llamas and Mistrals
CONTROL = re.compile(r"<[|｜][\w▁]{3,}[|｜]>|<(start|end)_of_turn>|</?s>|\[/?INST\]")


@dataclass(frozen=True)
class Tables:
    """The rows of several tables, one after another, as often as they are asked for."""

    parts: list[Iterable[Mapping]]

    def __iter__(self) -> Iterator[Mapping]:
        return chain.from_iterable(self.parts)

    def __len__(self) -> int:
        return sum(map(len, self.parts))


@dataclass(frozen=True)
class Split:
    """The examples of one split, and how many rows were left out for which reason."""

    examples: list[Example]
    dropped: dict[str, int]

    def take(self, count: int | None, seed: int = 0) -> list[Example]:
        """`count` examples drawn by the seed without repeats; all in order for None or too few."""
        if count is None or count >= len(self.examples):
            return list(self.examples)
        return random.Random(seed).sample(self.examples, count)

    @property
    def left_out(self) -> str:
        """The counts in words, such as "2 without an answer"; "none" where all rows were taken."""
        counts = [f"{count} {reason}" for reason, count in self.dropped.items() if count]
        return ", ".join(counts) or "none"


def load(recipe: Recipe, dataset: str | None, device: str) -> dict[str, Split]:
    """The splits "train" and "test" of a recipe's data, as examples; no question is in both.

    dataset: None for the recipe's own (on a CPU generated problems in its place), a Hub id
    (`id:config` for one of its configurations), or a local folder or file (JSON, JSONL, Parquet,
    CSV). Where there is no test split, a share is held out, the same every time.
    Raises ValueError with the cause and the cure.
    """
    rows = rows_of(recipe.source, dataset, device)
    if "test" in rows:
        test = to_examples(recipe, rows["test"], "test")
        held_out = {question_key(example.question) for example in test.examples}
        train = to_examples(recipe, rows["train"], "train", held_out)
    else:
        whole = to_examples(recipe, rows["train"], "train")
        mixed = sorted(whole.examples, key=lambda example: example.id)
        random.Random(0).shuffle(mixed)
        count = max(1, round(len(mixed) * recipe.source.held_out))
        test = Split(mixed[:count], {})
        train = Split(mixed[count:], whole.dropped)
    for name in rows:
        if name not in ("train", "test"):
            train.dropped[f"of the split {name}"] = len(rows[name])
    return {"train": train, "test": test}


def load_further(recipe: Recipe, dataset: str | None, device: str) -> Split:
    """The test split of the recipe's second held-out dataset (`recipe.further`)."""
    further = replace(recipe, read_row=recipe.read_further, source=recipe.further)
    further = replace(further, rewards={}, shaping={})  # which may ask for other columns
    rows = rows_of(further.source, dataset, device)
    return to_examples(further, rows.get("test", rows["train"]), "test")


def usable_row(recipe: Recipe, dataset: str | None, device: str, start: int = 0) -> Mapping:
    """The first usable row from number `start` on, as the dataset has it, else the first of all.

    It is of the test split where there is one.
    """
    splits = rows_of(recipe.source, dataset, device)
    rows = splits.get("test", splits["train"])
    wanted = columns_of(recipe)
    for row in map(in_small_letters, chain(islice(rows, start, None), rows)):
        example, reason = read(recipe, row)
        if not reason and not fault(recipe, example, row, wanted):
            return row
    return to_examples(recipe, rows, "test")  # raises, and says why


def to_examples(
    recipe: Recipe, rows: Iterable[Mapping], split: str, held_out: Collection[bytes] = ()
) -> Split:
    """Reads rows and leaves out, with a reason, those that cannot be taught or graded.

    held_out: keys of questions that must not occur.
    Raises ValueError with the counts when nothing is left.
    """
    examples, ids, answers, dropped = [], set(), {}, Counter()
    seen = dict.fromkeys(held_out, "with a question of the test split")
    wanted = columns_of(recipe)
    bar = tqdm(rows, f"reading {split}", leave=False, delay=2, file=sys.stdout)
    for index, row in enumerate(map(in_small_letters, bar)):
        example, reason = read(recipe, row)
        key = question_key(example.question) if example else b""
        reason = reason or seen.get(key) or fault(recipe, example, row, wanted)
        if reason is REPEATED and example.answer != answers[key]:
            reason = CONTRADICTING
        if reason:
            dropped[reason] += 1
            continue
        if wanted:
            example = replace(example, columns={name: row[name] for name in wanted})
        identity = example.id
        if not identity or identity in ids:
            identity = f"{split}-{index}"
        while identity in ids:
            identity += "+"  # a row before has this one as its own
        if identity != example.id:
            example = replace(example, id=identity)
        seen[key] = REPEATED
        answers[key] = example.answer
        ids.add(identity)
        examples.append(example)
    found = Split(examples, dropped)
    if not examples:
        raise ValueError(nothing_usable(recipe, split, found, row))
    return found


def nothing_usable(recipe: Recipe, split: str, found: Split, row: Mapping) -> str:
    """Cause and cure, where each row was left out; row: the last of them."""
    columns = ", ".join(dict.fromkeys(str(name).strip().lower() for name in row))[:150]
    cure = (
        f"Set DATASET to rows as {recipe.source.path} has them, or with question or "
        "messages, answer and, for SFT, answer_text; README: Your own data, for other columns."
    )
    if any("a reward asks for" in reason for reason in found.dropped):
        cure = "Add that column, or take the reward that asks for it out of the recipe."
    what = f"The {split} split has no usable row ({found.left_out}; its columns: {columns})."
    return f"{what}\n{cure}"


def fault(recipe: Recipe, example: Example, row: Mapping, columns: Iterable[str]) -> str | None:
    """Why an example can be neither taught nor graded; None where it can.

    columns: what rewards get of the row.
    """
    for name in columns:
        if row.get(name) is None:
            return f"without {name!r}, which a reward asks for"
    if CONTROL.search("\n".join((example.question, example.solution, example.answer))):
        return "with a control token of the chat template"
    if recipe.score(example.answer, example.answer) != 1.0:
        return "with an answer that the recipe's score cannot read"
    try:
        recipe.format.write(example.solution or "…", example.answer)
    except ValueError:
        return "that cannot be written in the format"
    return None


def read(recipe: Recipe, row: Mapping) -> tuple[Example | None, str | None]:
    """What the recipe's reader makes of a row, or the reason why it makes nothing of it."""
    if any(value for name, value in row.items() if name.startswith(SURPLUS)):
        return None, "with more fields than the header has (quote a text that holds the separator)"
    try:
        example = recipe.read_row(row)
    except KeyError as error:
        return None, f"without {error}"
    except Unusable as error:
        return None, str(error)
    except (TypeError, AttributeError, IndexError, ValueError, SyntaxError):
        return None, "with a field of the wrong type"  # such as a number where text belongs
    if example is None:
        return None, "without an answer or a verified solution"
    if not example.question:
        return None, "without a question"
    return example, None


def in_small_letters(row: Mapping) -> Mapping:
    """A row whose question stands in a column such as `Question`, also under that in lower case."""
    if any(name in row for name in QUESTIONS):
        return row
    return {name.strip().lower(): value for name, value in row.items()} | dict(row)


def question_key(question: str) -> bytes:
    """The same for questions that differ by case, spaces, invisible signs or how an accent is
    written; short, for it is kept of each row.
    """
    text = unicodedata.normalize("NFC", question).casefold().replace(" ", "")
    if not text.isprintable():
        text = "".join(filter(str.isprintable, text))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def place_of(source: Source, dataset: str | None, device: str) -> str:
    """Where rows are read from: what the user says, else on a CPU the generator."""
    if dataset:
        return dataset
    if device == "cpu" and source.path in SCHEMAS:
        return EMBEDDED
    return source.path


def note_rows(base: str, place: str) -> bool:
    """Whether rows are foreign to the embedded model; then it says why that gets nothing right."""
    foreign = is_embedded(base) and place != EMBEDDED
    if foreign:
        print(f"note      the embedded model knows its own few stories: of {place} it will get")
        print("          about 0 % right; it shows that the rows go through. Set MODEL for more.")
        print("          Its lengths, batches and rates are its own, not the recipe's.")
    return foreign


def rows_of(source: Source, dataset: str | None, device: str) -> dict[str, Iterable[Mapping]]:
    """The rows under "train" and, where there is such a split or one for validation, under "test".

    Splits that nothing uses keep their names.
    """
    where = place_of(source, dataset, device)
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
    rows = dict(found)
    rows["train"] = rows.pop(source.train)
    test = source.test if source.test in rows else "validation"
    if test in rows:
        rows["test"] = rows.pop(test)
    return rows


def stored(source: Source, where: str) -> dict[str, Iterable[Mapping]]:
    """The splits in a file, in a folder, or at a Hub id. Raises ValueError with cause and cure."""
    from datasets import load_dataset

    path = os.path.expanduser(where)
    for part in (source.config, source.files):  # a copy of the Hub's folder has these inside
        inside = os.path.join(path, part or "")
        if os.path.exists(inside):
            path = inside
    here = "Set DATASET to rows that are here"
    check_path(path, "file and no folder", "*.parquet", "*.jsonl", cure=here)
    if FILE.fullmatch(path):
        return {"train": read_file(path, where)}
    if os.path.isfile(path):
        cure = "Set DATASET to its rows as CSV in UTF-8 (a spreadsheet saves it), JSONL or Parquet."
        raise ValueError(f"{where} is a file of a kind that is not read.\n{cure}")
    if os.path.exists(path):
        found = {} if has_card(path) else read_folder(path, where)
        if found:
            return found
        options = {"path": path}
    elif where == source.path:
        options = {"path": where, "name": source.config}
        options |= {"data_files": source.files, "revision": source.revision}
    else:
        name, _, config = where.partition(":")
        options = {"path": name, "name": config or None}
    try:
        return load_dataset(**options)
    except Exception as error:  # the readers raise all kinds, StopIteration among them
        raise ValueError(not_loaded(where, error)) from error


def not_loaded(where: str, error: Exception) -> str:
    """Cause and cure, where a dataset cannot be loaded."""
    cause = error.__cause__ or error  # which says what it was
    said = str(cause).partition("\n")[0] or "no rows"
    return (
        f"{where} could not be loaded as a dataset ({type(cause).__name__}: {said:.120}).\n"
        "Set DATASET to non-empty JSON, JSONL, Parquet or CSV files in UTF-8, to a Hub id "
        "(id:config for one of several), or to embedded." + hint("*.parquet", "*.jsonl")
    )


def has_card(folder: str) -> bool:
    """Whether a dataset's card says which of a folder's files are which split."""
    card = Path(folder, "README.md")
    return card.is_file() and "\nconfigs:" in card.read_text("utf-8", "replace")


def read_folder(folder: str, where: str) -> dict[str, Tables]:
    """All files of a known kind, by the split that a word in their path names, else as "train"."""
    from datasets.data_files import FILES_TO_IGNORE, SPLIT_KEYWORDS

    splits = {word: str(split) for split, words in SPLIT_KEYWORDS.items() for word in words}
    found = defaultdict(list)
    for path in sorted(Path(folder).rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if hidden or path.name in FILES_TO_IGNORE or not FILE.fullmatch(path.name):
            continue
        words = re.split(r"[-._ 0-9/\\]+", str(inside).lower())
        named = [splits[word] for word in words if word in splits]
        split = named[0] if named else "train"
        found[split].append(read_file(str(path), os.path.join(where, inside)))
    return {split: Tables(parts) for split, parts in found.items()}


def read_file(path: str, where: str) -> Iterable[Mapping]:
    """The rows of a file. In a CSV all fields are texts, as they are written there.

    where: what the user calls it. Raises ValueError with cause and cure.
    """
    from datasets import Features, Value, load_dataset

    kind = FILE.fullmatch(path)[1].lower()
    options = {}
    try:
        if kind in ("csv", "tsv"):
            kind = "csv"
            columns, surplus, separator = header_of(path)
            features = Features({name: Value("string") for name in columns + surplus})
            options = {"sep": separator, "features": features, "index_col": False}
            if surplus:
                options |= {"names": columns + surplus, "header": None, "skiprows": 1}
        return load_dataset(kind, data_files=glob.escape(path), split="train", **options)
    except Exception as error:
        raise ValueError(not_loaded(where, broken_line(path) or error)) from error


def broken_line(path: str) -> ValueError | None:
    """The first line of a JSONL file that is none, by its number."""
    if not path.lower().endswith(".jsonl"):
        return None
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            try:
                json.loads(line.strip() or "{}")
            except json.JSONDecodeError as error:
                return ValueError(f"line {number}, character {error.colno}: {error.msg}")
    return None


def header_of(path: str) -> tuple[list[str], list[str], str]:
    """The columns of a CSV, names for what its longest row has beyond them, and what is between.

    That is a comma, a semicolon or a tab. Columns without a name, or twice of one, get pandas' own.
    """
    csv.field_size_limit(2**31 - 1)
    opened = gzip.open if path.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        line = file.readline()
        separator = max(SEPARATORS, key=line.count)
        columns = list(pd.read_csv(StringIO(line), sep=separator, index_col=False))
        longest = max(map(len, csv.reader(file, delimiter=separator)), default=0)
    return columns, [f"{SURPLUS} {place}" for place in range(len(columns), longest)], separator
