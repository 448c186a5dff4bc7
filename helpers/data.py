"""From a dataset's rows to examples, and from examples to what SFT and GRPO train on.

The rows come from the Hub, a local folder or file, or, on the tiny profile, from the generator. Rows that cannot be used are
left out and counted by reason; nothing is cut and nothing is repaired in silence.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from helpers.recipes import Example, Recipe

EMBEDDED = "embedded"
READERS = {".json": "json", ".jsonl": "json", ".parquet": "parquet", ".csv": "csv"}
EMBEDDED_ROWS = {"train": 4000, "test": 2000}
HELD_OUT = 0.1  # share of the rows that is kept for the test where a dataset has no test split


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
    """The splits "train" and "test" of a recipe's data, as examples.

    dataset: None for the recipe's own (the generated problems on the tiny profile), a Hub id, or a local folder or file
    (JSON, JSONL, Parquet, CSV). Questions that are in the test split are left out of the training split.
    Raises ValueError or FileNotFoundError with the cause and the cure.
    """
    where = dataset or (EMBEDDED if profile == "tiny" else recipe.source.path)
    rows = embedded_rows() if where == EMBEDDED else stored_rows(recipe, where)
    test = to_examples(recipe, rows["test"], "test", where)
    held_out = {normalised(e.question) for e in test.examples}
    return {"train": to_examples(recipe, rows["train"], "train", where, held_out), "test": test}


def embedded_rows() -> dict[str, list[dict]]:
    from helpers.tiny.problems import gsm8k_rows

    return {split: gsm8k_rows(split, count) for split, count in EMBEDDED_ROWS.items()}


def stored_rows(recipe: Recipe, where: str) -> dict[str, Iterable[Mapping]]:
    """The rows under "train" and "test", from a Hub id, a folder or a file."""
    from datasets import load_dataset

    path = Path(where).expanduser()
    try:
        if path.is_file():
            if path.suffix not in READERS:
                raise ValueError(f"{where} is not one of {', '.join(READERS)}.\nConvert it, or set DATASET to a Hub id or a folder.")
            found = load_dataset(READERS[path.suffix], data_files=str(path))
        elif path.is_dir():
            config = recipe.source.config
            found = load_dataset(str(path), config if config and (path / config).is_dir() else None)
        elif where.startswith((".", "/", "~")):
            raise FileNotFoundError(f"There is nothing at {where}.\nSet DATASET to a folder, a file, or a Hub id.")
        else:
            found = load_dataset(where, recipe.source.config if where == recipe.source.path else None)
    except Exception as error:  # the readers raise all kinds, StopIteration among them; the cause stays attached
        raise explain(where, path, error) from error
    return with_test_split(found, recipe, where)


def explain(where: str, path: Path, error: Exception) -> Exception:
    """The two lines that a person needs when a dataset does not load."""
    if str(error).startswith((f"{where} is not", "There is nothing")):
        return error
    if path.exists():
        return ValueError(f"{where} holds no dataset that can be read ({type(error).__name__}).\n"
                          "It needs non-empty JSON, JSONL, Parquet or CSV files with one row a problem.")
    return ConnectionError(f"The dataset {where!r} could not be loaded from the Hub ({type(error).__name__}).\n"
                           "Check the network and the id, or set DATASET to a local folder, or DATASET=embedded.")


def with_test_split(found: Mapping, recipe: Recipe, where: str) -> dict[str, Iterable[Mapping]]:
    """Train and test rows; where there is no test split, every tenth row by a fixed draw is held out."""
    train = found.get(recipe.source.train, next(iter(found.values())) if len(found) == 1 else None)
    if train is None:
        raise ValueError(f"{where} has the splits {', '.join(found)}, but no {recipe.source.train!r}.\nRename one of them.")
    if recipe.source.test in found:
        return {"train": train, "test": found[recipe.source.test]}
    rows = list(train)
    random.Random(0).shuffle(rows)
    held = max(1, round(len(rows) * HELD_OUT)) if len(rows) > 1 else 0
    return {"train": rows[held:], "test": rows[:held]}


def to_examples(recipe: Recipe, rows: Iterable[Mapping], split: str, where: str, held_out: Iterable[str] = ()) -> Split:
    """Reads rows by the recipe's `read_row` and leaves out, with a reason, those that cannot be taught or graded."""
    examples, dropped, seen = [], Counter(), set(held_out)
    for index, row in enumerate(rows):
        try:
            example = recipe.read_row(row)
        except KeyError as error:
            raise ValueError(f"{where} has no column {error}; its columns are: {', '.join(row)}.\n"
                             f"{recipe.name} needs question and answer, or messages, answer_text and answer.") from error
        except (TypeError, AttributeError):
            dropped["not text"] += 1
            continue
        reason = unusable(recipe, example, seen)
        if reason:
            dropped[reason] += 1
            continue
        seen.add(normalised(example.question))
        examples.append(replace(example, id=f"{split}-{index}"))
    if not examples:
        counts = ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "it is empty"
        raise ValueError(f"The {split} split of {where} has no usable row ({counts}).\nLook at its rows, or set DATASET to another.")
    return Split(examples, dict(dropped))


def unusable(recipe: Recipe, example: Example | None, seen: set[str]) -> str | None:
    """Why an example cannot be used; None if it can."""
    if example is None:
        return "without an answer"
    if not example.question:
        return "without a question"
    if recipe.score(example.answer, example.answer) != 1.0:
        return "with an answer that cannot be graded"
    if normalised(example.question) in seen:
        return "seen before"
    try:
        recipe.format.write(example.solution or "…", example.answer)
    except ValueError:
        return "that cannot be written in the format"
    return None


def normalised(question: str) -> str:
    """A question without case and spacing, to find the same one again."""
    return " ".join(question.lower().split())


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


def short_enough(recipe: Recipe, tokenizer, examples: Sequence[Example], stage: str) -> Split:
    """Leaves out what is longer than the stage allows: whole prompts for GRPO, prompt and target for SFT. Nothing is cut."""
    settings = recipe.sft if stage == "sft" else recipe.grpo
    limit = settings.max_length if stage == "sft" else settings.max_prompt
    prompts = [prompt_text(recipe, tokenizer, e.question) for e in examples]
    if stage == "sft":
        prompts = [p + recipe.format.write(e.solution or "…", e.answer) for p, e in zip(prompts, examples, strict=True)]
    lengths = [len(ids) + 2 * (stage == "sft") for ids in tokenizer(prompts, add_special_tokens=False)["input_ids"]]
    kept = [e for e, length in zip(examples, lengths, strict=True) if length <= limit]
    if not kept:
        raise ValueError(f"All {len(examples)} rows are longer than {limit} tokens.\nRaise the recipe's limit for {stage}.")
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
