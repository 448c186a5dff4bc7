"""From a dataset's rows to examples.

Rows that cannot be used are left out and counted by reason; nothing is cut or repaired in silence.
"""

import random
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice

from tqdm.std import tqdm

from helpers.data.sources import rows_of
from helpers.recipes import Recipe
from helpers.rows import Example

CONTROL = re.compile(r"<\|(im_start|im_end|endoftext)\|>")


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
        counts = [f"{count} {reason}" for reason, count in self.dropped.items()]
        return ", ".join(counts) or "none"


def load(recipe: Recipe, dataset: str | None, profile: str) -> dict[str, Split]:
    """The splits "train" and "test" of a recipe's data, as examples; no question is in both.

    dataset: None for the recipe's own (the generated problems on the tiny profile), a Hub id
    (`id:config` for one of its configurations), or a local folder or file (JSON, JSONL, Parquet,
    CSV). Where there is no test split, a share is held out, the same every time.
    Raises ValueError with the cause and the cure.
    """
    rows = rows_of(recipe.source, dataset, profile)
    if "test" in rows:
        test = to_examples(recipe, rows["test"], "test")
        held_out = {normalised(example.question) for example in test.examples}
        train = to_examples(recipe, rows["train"], "train", held_out)
    else:
        whole = to_examples(recipe, rows["train"], "train")
        mixed = sorted(whole.examples, key=lambda example: example.id)
        random.Random(0).shuffle(mixed)
        count = max(1, round(len(mixed) * recipe.source.held_out))
        test = Split(mixed[:count], {})
        train = Split(mixed[count:], whole.dropped)
    return {"train": train, "test": test}


def load_further(recipe: Recipe, dataset: str | None, profile: str) -> Split:
    """The test split of the recipe's second held-out dataset (`recipe.further`)."""
    further = replace(recipe, read_row=recipe.read_further, source=recipe.further)
    rows = rows_of(further.source, dataset, profile)
    return to_examples(further, rows.get("test", rows["train"]), "test")


def usable_row(recipe: Recipe, dataset: str | None, profile: str, start: int = 0) -> Mapping:
    """The first usable row from number `start` on, as the dataset has it, else the first of all.

    It is of the test split where there is one.
    """
    splits = rows_of(recipe.source, dataset, profile)
    rows = splits.get("test", splits["train"])
    for row in chain(islice(rows, start, None), rows):
        example, _ = read(recipe, row)
        if example and not unusable(recipe, example):
            return row
    return to_examples(recipe, rows, "test")  # raises, and says why


def to_examples(
    recipe: Recipe, rows: Iterable[Mapping], split: str, held_out: Collection[str] = ()
) -> Split:
    """Reads rows and leaves out, with a reason, those that cannot be taught or graded.

    held_out: normalised questions that must not occur.
    Raises ValueError with the counts when nothing is left.
    """
    examples, dropped = [], Counter()
    questions, ids = set(), set()  # those before
    bar = tqdm(rows, f"reading {split}", leave=False, delay=2, file=sys.stdout)
    for index, row in enumerate(bar):
        example, reason = read(recipe, row)
        if example:
            question = normalised(example.question)
            if question in held_out:
                reason = "with a question of the test split"
            elif question in questions:
                reason = "with a question seen before"
            else:
                reason = unusable(recipe, example)
        if reason:
            dropped[reason] += 1
            continue
        if not example.id or example.id in ids:
            example = replace(example, id=f"{split}-{index}")
        questions.add(question)
        ids.add(example.id)
        examples.append(example)
    found = Split(examples, dict(dropped))
    if not examples:
        columns = ", ".join(map(str, row))[:150]
        raise ValueError(
            f"The {split} split has no usable row ({found.left_out}; its columns: {columns}).\n"
            f"Set DATASET to rows as {recipe.source.path} has them, or with messages, "
            "answer_text and answer."
        )
    return found


def read(recipe: Recipe, row: Mapping) -> tuple[Example | None, str | None]:
    """The row as an example, or the reason why it cannot be read."""
    try:
        example = recipe.read_row(row)
    except KeyError as error:
        return None, f"without {error}"
    except (TypeError, AttributeError, IndexError, ValueError):
        return None, "with a field of the wrong type"  # such as a number where text belongs
    if example is None:
        return None, "without an answer or a verified solution"
    return example, None


def unusable(recipe: Recipe, example: Example) -> str | None:
    """Why an example can be neither taught nor graded; None if it can."""
    if not example.question:
        return "without a question"
    text = "\n".join((example.question, example.solution, example.answer))
    if CONTROL.search(text):
        return "with a control token of the chat template"
    if recipe.score(example.answer, example.answer) != 1.0:
        return "with an answer that does not verify"
    try:
        recipe.format.write(example.solution or "…", example.answer)
    except ValueError:
        return "that cannot be written in the format"
    return None


def normalised(question: str) -> str:
    """A question without case, spaces, invisible characters and ways to write an accent."""
    text = unicodedata.normalize("NFC", question).casefold()
    return "".join(filter(str.isprintable, text.replace(" ", "")))
