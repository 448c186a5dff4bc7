"""From a dataset's rows to examples, and from examples to what SFT and GRPO train on.

The rows come from the Hub, a local folder or file, or, on the tiny profile, from the generator. Rows that cannot be used are
left out and counted by reason; nothing is cut and nothing is repaired in silence.
"""

from __future__ import annotations

import random
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from helpers.recipes import SUPERVISED, Recipe, Source
from helpers.rows import Example

EMBEDDED = "embedded"
READERS = {".json": "json", ".jsonl": "json", ".parquet": "parquet", ".csv": "csv"}
LONGEST = 10  # characters a token: a question with more for each token of the limit cannot fit
Rows = dict[str, Iterable[Mapping]]


@dataclass(frozen=True)
class Split:
    """The examples of one split, and how many rows were left out for which reason."""

    examples: list[Example]
    dropped: Mapping[str, int]

    def take(self, count: int | None, seed: int = 0) -> list[Example]:
        """`count` examples drawn by the seed without repeats; all of them in their order for None or too few."""
        if count is None or count >= len(self.examples):
            return list(self.examples)
        return random.Random(seed).sample(self.examples, count)


def load(recipe: Recipe, dataset: str | None, profile: str) -> dict[str, Split]:
    """The splits "train" and "test" of a recipe's data, as examples; no question is in both.

    dataset: None for the recipe's own (the generated problems on the tiny profile), a Hub id (`id:config` for one of its
    configurations), or a local folder or file (JSON, JSONL, Parquet, CSV). Where there is no test split, a share of the examples
    is held out, the same every time.
    Raises ValueError, FileNotFoundError or ConnectionError with the cause and the cure.
    """
    where = place(recipe.source, dataset, profile)
    rows = raw_rows(recipe.source, where)
    if "test" not in rows:
        return hold_out(to_examples(recipe, rows["train"], "train", where), recipe.source.held_out, where)
    test = to_examples(recipe, rows["test"], "test", where)
    return {"train": to_examples(recipe, rows["train"], "train", where, {normalised(e.question) for e in test.examples}), "test": test}


def load_further(recipe: Recipe, dataset: str | None, profile: str) -> Split:
    """The test split of the recipe's second held-out dataset (`recipe.further`)."""
    where = place(recipe.further, dataset, profile)
    rows = raw_rows(recipe.further, where)
    return to_examples(replace(recipe, read_row=recipe.read_further), rows.get("test", rows["train"]), "test", where)


def raw_row(recipe: Recipe, dataset: str | None, profile: str, index: int = 0) -> Mapping:
    """One row of the test split (else of the training split), as the dataset has it; the first one where there are too few."""
    rows = raw_rows(recipe.source, place(recipe.source, dataset, profile))
    found = list(islice(rows.get("test", rows["train"]), index + 1))
    return found[index if index < len(found) else 0]


def place(source: Source, dataset: str | None, profile: str) -> str:
    """Where the rows are read from: what the user says, else the generator on the tiny profile, else the source."""
    from helpers.tiny.schemas import SCHEMAS

    return dataset or (EMBEDDED if profile == "tiny" and source.path in SCHEMAS else source.path)


def raw_rows(source: Source, where: str) -> Rows:
    """The rows under "train" and, where there is such a split, "test"."""
    from helpers.tiny.schemas import embedded_rows

    return embedded_rows(source.path) if where == EMBEDDED else named_splits(stored(source, where), source, where)


def stored(source: Source, where: str) -> Mapping:
    """What `load_dataset` finds at a Hub id, in a folder, or in a file."""
    from datasets import load_dataset

    path = Path(where).expanduser()
    try:
        if path.is_file():
            if path.suffix not in READERS:
                raise ValueError(f"{where} is not one of {', '.join(READERS)}.\nConvert it, or set DATASET to a Hub id or a folder.")
            return load_dataset(READERS[path.suffix], data_files=str(path))
        if path.is_dir():
            files = source.files if source.files and (path / source.files).is_file() else None
            return load_dataset(str(path), source.config if source.config and (path / source.config).is_dir() else None, data_files=files)
        if where.startswith((".", "/", "~")):
            raise FileNotFoundError(f"There is nothing at {where}.\nSet DATASET to a folder, a file, or a Hub id.")
        if where == source.path:
            return load_dataset(where, source.config, data_files=source.files, revision=source.revision)
        name, _, config = where.partition(":")
        return load_dataset(name, config or None)
    except Exception as error:  # the readers raise all kinds, StopIteration among them; the cause stays attached
        raise explain(where, path, error) from error


def explain(where: str, path: Path, error: Exception) -> Exception:
    """The two lines that a person needs when a dataset does not load."""
    if str(error).startswith((f"{where} is not", "There is nothing")):
        return error
    if path.exists():
        return ValueError(f"{where} holds no dataset that can be read ({type(error).__name__}).\n"
                          "It needs non-empty JSON, JSONL, Parquet or CSV files with one row a problem.")
    return ConnectionError(f"The dataset {where!r} could not be loaded from the Hub ({type(error).__name__}).\n"
                           "Check the network and the id, or set DATASET to a local folder, or DATASET=embedded.")


def named_splits(found: Mapping, source: Source, where: str) -> Rows:
    """The dataset's splits under our names; a single split, whatever it is called, is for training."""
    if source.train in found:
        return {"train": found[source.train]} | ({"test": found[source.test]} if source.test in found else {})
    if len(found) == 1:
        return {"train": next(iter(found.values()))}
    raise ValueError(f"{where} has the splits {', '.join(found)}, but no {source.train!r}.\nRename one of them.")


def hold_out(split: Split, share: float, where: str) -> dict[str, Split]:
    """Keeps a share of the examples, always the same ones, for the test. The counts of what was dropped stay with the training split."""
    if len(split.examples) < 2:
        raise ValueError(f"{where} has one usable row and no test split.\nAdd rows: one must be held out for the test.")
    mixed = sorted(split.examples, key=lambda e: (e.id, e.question))
    random.Random(0).shuffle(mixed)
    count = max(1, round(len(mixed) * share))
    return {"train": Split(mixed[count:], split.dropped), "test": Split(mixed[:count], {})}


def to_examples(recipe: Recipe, rows: Iterable[Mapping], split: str, where: str, held_out: Iterable[str] = ()) -> Split:
    """Reads rows by the recipe's `read_row` and leaves out, with a reason, those that cannot be taught or graded.

    held_out: normalised questions that must not occur. Raises ValueError with the counts when nothing is left.
    """
    held_out, examples, dropped, seen, names = set(held_out), [], Counter(), set(), set()
    for index, row in enumerate(rows):
        example, reason = read(recipe.read_row, row)
        reason = reason or repeated(example, seen, names, held_out) or unusable(recipe, example)
        if reason:
            dropped[reason] += 1
            continue
        seen.add(normalised(example.question))
        names.add(example.id)
        examples.append(replace(example, id=example.id or f"{split}-{index}"))
    if not examples:
        counts = ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "it is empty"
        raise ValueError(f"The {split} split of {where} has no usable row ({counts}).\n"
                         f"Set DATASET to rows as {recipe.source.path} has them, or with messages, answer_text and answer.")
    return Split(examples, dict(dropped))


def read(read_row: Callable[[Mapping], Example | None], row: Mapping) -> tuple[Example | None, str | None]:
    """The row as an example, or the reason why it cannot be read."""
    try:
        example = read_row(row)
    except KeyError as error:
        return None, f"without {error}"
    except (TypeError, AttributeError, IndexError):  # None, a number or an empty list where text belongs
        return None, "with a field of the wrong type"
    return example, None if example else "without an answer or a verified solution"


def unusable(recipe: Recipe, example: Example) -> str | None:
    """Why an example can be neither taught nor graded; None if it can."""
    if not example.question:
        return "without a question"
    if len(example.question) > LONGEST * recipe.grpo.max_prompt:
        return f"with a question of over {LONGEST * recipe.grpo.max_prompt} characters"
    if recipe.score(example.answer, example.answer) != 1.0:
        return "with an answer that does not verify"
    try:
        recipe.format.write(example.solution or "…", example.answer)
    except ValueError:
        return "that cannot be written in the format"
    return None


def repeated(example: Example, seen: set[str], names: set[str], held_out: set[str]) -> str | None:
    """Where a question, or an id, was before; None if it is new."""
    question = normalised(example.question)
    if question in held_out:
        return "with a question of the test split"
    if question in seen:
        return "with a question seen before"
    return "with an id seen before" if example.id and example.id in names else None


def normalised(question: str) -> str:
    """A question without case, spacing and variants of characters, to find the same one again."""
    return "".join(unicodedata.normalize("NFKC", question).casefold().split())


def messages(recipe: Recipe, question: str) -> list[dict[str, str]]:
    """The conversation up to the model's turn."""
    return [{"role": "system", "content": recipe.system}, {"role": "user", "content": question}]


def template_options(recipe: Recipe) -> dict[str, bool]:
    """What the chat template is told, wherever it is used."""
    return {"enable_thinking": recipe.thinking}


def prompt_text(recipe: Recipe, tokenizer, question: str) -> str:
    """The exact text that the model continues: in SFT, in GRPO and in evaluation."""
    return tokenizer.apply_chat_template(
        messages(recipe, question), tokenize=False, add_generation_prompt=True, **template_options(recipe))


def chosen(recipe: Recipe, tokenizer, split: Split, stage: str, seed: int = 0) -> Split:
    """The examples that a stage ("priming", "sft", "grpo") trains on, whole, and how many were left out for which reason.

    Priming takes the shortest examples, which show the format with little else; the others a draw by the seed. What has no solution is
    nothing to learn from for priming and SFT.
    """
    settings = getattr(recipe, stage)
    solved = [e for e in split.examples if e.solution or stage == "grpo"]
    unsolved = len(split.examples) - len(solved)
    if stage == "priming":
        solved.sort(key=lambda e: (len(e.question) + len(e.solution), e.id))
    drawn = solved[:settings.rows] if stage == "priming" else Split(solved, {}).take(settings.rows, seed)
    fitting = short_enough(recipe, tokenizer, drawn, stage)
    return Split(fitting.examples, dict(fitting.dropped) | ({"without a solution": unsolved} if unsolved else {}))


def short_enough(recipe: Recipe, tokenizer, examples: Sequence[Example], stage: str) -> Split:
    """Leaves out what is longer than the stage allows: whole prompts for GRPO, prompt and target before it. Nothing is cut."""
    taught = stage in SUPERVISED
    limit = getattr(recipe, stage).max_length if taught else recipe.grpo.max_prompt
    texts = [prompt_text(recipe, tokenizer, e.question) + (recipe.format.write(e.solution or "…", e.answer) if taught else "") for e in examples]
    lengths = [len(ids) + 2 * taught for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]] if texts else []
    kept = [e for e, length in zip(examples, lengths, strict=True) if length <= limit]
    if not kept:
        raise ValueError(f"None of the {len(examples)} rows for {stage} fits into {limit} tokens.\nRaise the recipe's limit for {stage}.")
    too_long = len(examples) - len(kept)
    return Split(kept, {f"longer than {limit} tokens": too_long} if too_long else {})


def sft_dataset(recipe: Recipe, examples: Sequence[Example]):
    """Rows with `prompt` (messages), `completion` (one assistant message) and the template's options, as SFTTrainer takes them."""
    from datasets import Dataset

    return Dataset.from_list([{
        "prompt": messages(recipe, e.question),
        "completion": [{"role": "assistant", "content": recipe.format.write(e.solution, e.answer)}],
        "chat_template_kwargs": template_options(recipe)} for e in examples])


def grpo_dataset(recipe: Recipe, examples: Sequence[Example]):
    """Rows with `prompt` (messages), `answer` and `id`, as GRPOTrainer takes them; the rewards get the other columns."""
    from datasets import Dataset

    return Dataset.from_list([{"prompt": messages(recipe, e.question), "answer": e.answer, "id": e.id} for e in examples])
