"""From a dataset's rows to examples, and from examples to what SFT and GRPO train on.

Rows that cannot be used are left out and counted by reason; nothing is cut and nothing is repaired in silence.
"""

from __future__ import annotations

import random
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

from tqdm.std import tqdm

from helpers.data import sources
from helpers.recipes import SUPERVISED, Recipe
from helpers.rows import Example

CONTROL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
LONGEST = 10  # characters a token: a question with more for each token of the limit cannot fit


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

    @property
    def left_out(self) -> str:
        """The counts in words, such as "2 without an answer"; "none" where all rows were taken."""
        return ", ".join(f"{count} {reason}" for reason, count in self.dropped.items()) or "none"


def load(recipe: Recipe, dataset: str | None, profile: str) -> dict[str, Split]:
    """The splits "train" and "test" of a recipe's data, as examples; no question is in both.

    dataset: None for the recipe's own (the generated problems on the tiny profile), a Hub id (`id:config` for one of its
    configurations), or a local folder or file (JSON, JSONL, Parquet, CSV). Where there is no test split, a share of the examples
    is held out, the same every time.
    Raises ValueError or ConnectionError with the cause and the cure.
    """
    where, rows = sources.rows_of(recipe.source, dataset, profile)
    if "train" not in rows:
        raise ValueError(
            f"{where} has test rows and no training split {recipe.source.train!r}.\nName its splits in the recipe's Source(train=…, test=…)."
        )
    if "test" not in rows:
        return hold_out(
            to_examples(recipe, rows["train"], "train", where), recipe.source.held_out, where
        )
    test = to_examples(recipe, rows["test"], "test", where)
    return {
        "train": to_examples(
            recipe, rows["train"], "train", where, {normalised(e.question) for e in test.examples}
        ),
        "test": test,
    }


def load_further(recipe: Recipe, dataset: str | None, profile: str) -> Split:
    """The test split of the recipe's second held-out dataset (`recipe.further`)."""
    where, rows = sources.rows_of(recipe.further, dataset, profile)
    further = replace(recipe, read_row=recipe.read_further, source=recipe.further)
    return to_examples(further, rows["test"] if "test" in rows else rows["train"], "test", where)


def usable_row(recipe: Recipe, dataset: str | None, profile: str, start: int = 0) -> Mapping:
    """A row as the dataset has it, of the test split where there is one: the first from number `start` on that can be used, else the first of all."""
    where, rows = sources.rows_of(recipe.source, dataset, profile)
    split = "test" if "test" in rows else "train"
    for row in readable(chain(islice(rows[split], start, None), rows[split]), where):
        example, reason = read(recipe.read_row, row)
        if not (reason or unusable(recipe, example)):
            return row
    to_examples(recipe, rows[split], split, where)  # says why
    raise AssertionError("a row that is usable was not found")


def hold_out(split: Split, share: float, where: str) -> dict[str, Split]:
    """Keeps a share of the examples, always the same ones, for the test. The counts of what was dropped stay with the training split."""
    if len(split.examples) < 2:
        raise ValueError(
            f"{where} has one usable row (left out: {split.left_out}) and no test split.\nAdd rows: one must be held out for the test."
        )
    mixed = sorted(split.examples, key=lambda e: (e.id, e.question))
    random.Random(0).shuffle(mixed)
    count = max(1, round(len(mixed) * share))
    return {"train": Split(mixed[count:], split.dropped), "test": Split(mixed[:count], {})}


def to_examples(
    recipe: Recipe, rows: Iterable[Mapping], split: str, where: str, held_out: Iterable[str] = ()
) -> Split:
    """Reads rows by the recipe's `read_row` and leaves out, with a reason, those that cannot be taught or graded.

    held_out: normalised questions that must not occur. Raises ValueError with the counts when nothing is left.
    """
    held_out, examples, dropped, seen, names = set(held_out), [], Counter(), set(), set()
    for index, row in enumerate(
        tqdm(
            readable(rows, where),
            f"reading {split}",
            leave=False,
            file=sys.stdout,
            mininterval=0.5,
            ncols=78,
            delay=2,
        )
    ):
        example, reason = read(recipe.read_row, row)
        reason = reason or repeated(example, seen, names, held_out) or unusable(recipe, example)
        if reason:
            dropped[reason] += 1
            continue
        example = replace(example, id=example.id or f"{split}-{index}")
        seen.add(normalised(example.question))
        names.add(example.id)
        examples.append(example)
    if not examples:
        raise nothing_left(recipe, split, where, dropped, row if dropped else {})
    return Split(examples, dict(dropped))


def nothing_left(
    recipe: Recipe, split: str, where: str, dropped: Mapping[str, int], row: Mapping
) -> ValueError:
    counts = (
        f"{Split([], dropped).left_out}; its columns: {', '.join(map(str, row))[:150]}"
        if dropped
        else "it is empty"
    )
    return ValueError(
        f"The {split} split of {where} has no usable row ({counts}).\n"
        f"Set DATASET to rows as {recipe.source.path} has them, or with messages, answer_text and answer."
    )


def readable(rows: Iterable[Mapping], where: str) -> Iterator[Mapping]:
    """The rows; a file that turns out to be broken on the way is named."""
    try:
        yield from rows
    except (UnicodeDecodeError, OSError) as error:
        raise ValueError(
            f"{where} has a row that cannot be decoded ({type(error).__name__}).\nSave its files as UTF-8 text."
        ) from error


def read(
    read_row: Callable[[Mapping], Example | None], row: Mapping
) -> tuple[Example | None, str | None]:
    """The row as an example, or the reason why it cannot be read."""
    try:
        example = read_row(row)
    except KeyError as error:
        return None, f"without {error}"
    except (
        TypeError,
        AttributeError,
        IndexError,
        ValueError,
    ):  # None, a number or an empty list where text belongs
        return None, "with a field of the wrong type"
    return example, None if example else "without an answer or a verified solution"


def unusable(recipe: Recipe, example: Example) -> str | None:
    """Why an example can be neither taught nor graded; None if it can."""
    if not example.question:
        return "without a question"
    if len(example.question) > LONGEST * recipe.grpo.max_prompt:
        return f"with a question of over {LONGEST * recipe.grpo.max_prompt} characters"
    if any(
        token in text
        for token in CONTROL
        for text in (example.question, example.solution, example.answer)
    ):
        return "with a control token of the chat template"
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
    """A question without case, spacing, invisible characters and ways to write an accent, to find the same one again."""
    if question.isascii():  # no accents and nothing invisible: quickly
        return "".join(question.lower().split())
    return "".join(
        c
        for c in unicodedata.normalize("NFC", question).casefold()
        if not c.isspace() and unicodedata.category(c) != "Cf"
    )


def messages(recipe: Recipe, question: str) -> list[dict[str, str]]:
    """The conversation up to the model's turn."""
    return [{"role": "system", "content": recipe.system}, {"role": "user", "content": question}]


def template_options(recipe: Recipe) -> dict[str, bool]:
    """What the chat template is told, wherever it is used."""
    return {"enable_thinking": recipe.thinking}


def prompt_text(recipe: Recipe, tokenizer, question: str) -> str:
    """The exact text that the model continues: in SFT, in GRPO and in evaluation."""
    return tokenizer.apply_chat_template(
        messages(recipe, question),
        tokenize=False,
        add_generation_prompt=True,
        **template_options(recipe),
    )


def chosen(recipe: Recipe, tokenizer, split: Split, stage: str, seed: int = 0) -> Split:
    """The examples that a stage ("priming", "sft", "grpo") trains on, whole, and how many were left out for which reason.

    Priming takes the shortest examples, which show the format with little else; the others a draw by the seed. What has no solution is
    nothing to learn from for priming and SFT.
    """
    settings = getattr(recipe, stage)
    solved = [e for e in split.examples if e.solution or stage == "grpo"]
    unsolved = len(split.examples) - len(solved)
    if not solved:
        raise ValueError(
            f"None of the {unsolved} rows has a solution that {stage} could teach.\nAdd answer_text, or take a recipe without SFT."
        )
    if stage == "priming":
        solved.sort(key=lambda e: (len(e.question) + len(e.solution), e.id))
    drawn = (
        solved[: settings.rows]
        if stage == "priming"
        else Split(solved, {}).take(settings.rows, seed)
    )
    fitting = short_enough(recipe, tokenizer, drawn, stage)
    return Split(
        fitting.examples,
        dict(fitting.dropped) | ({"without a solution": unsolved} if unsolved else {}),
    )


def short_enough(recipe: Recipe, tokenizer, examples: Sequence[Example], stage: str) -> Split:
    """Leaves out what is longer than the stage allows: whole prompts for GRPO, prompt and target before it. Nothing is cut."""
    taught = stage in SUPERVISED
    limit = getattr(recipe, stage).max_length if taught else recipe.grpo.max_prompt
    targets = [recipe.format.write(e.solution or "…", e.answer) if taught else "" for e in examples]
    around = (
        len(tokenizer(prompt_text(recipe, tokenizer, "?"), add_special_tokens=False)["input_ids"])
        + 2
    )
    written = [
        e.question + target for e, target in zip(examples, targets, strict=True)
    ]  # of plain ASCII a token has a character or more
    unsure = [
        i for i, text in enumerate(written) if not text.isascii() or around + len(text) > limit
    ]
    texts = [prompt_text(recipe, tokenizer, examples[i].question) + targets[i] for i in unsure]
    lengths = (
        [
            len(ids) + 2 * taught
            for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        ]
        if texts
        else []
    )
    too_long = {i for i, length in zip(unsure, lengths, strict=True) if length > limit}
    kept = [e for i, e in enumerate(examples) if i not in too_long]
    if not kept:
        raise ValueError(
            f"None of the {len(examples)} rows for {stage} fits into {limit} tokens.\nRaise the recipe's limit for {stage}."
        )
    return Split(kept, {f"longer than {limit} tokens": len(too_long)} if too_long else {})


def sft_dataset(recipe: Recipe, examples: Sequence[Example]):
    """Rows with `prompt` (messages), `completion` (one assistant message) and the template's options, as SFTTrainer takes them."""
    from datasets import Dataset

    return Dataset.from_list(
        [
            {
                "prompt": messages(recipe, e.question),
                "completion": [
                    {"role": "assistant", "content": recipe.format.write(e.solution, e.answer)}
                ],
                "chat_template_kwargs": template_options(recipe),
            }
            for e in examples
        ]
    )


def grpo_dataset(recipe: Recipe, examples: Sequence[Example]):
    """Rows with `prompt` (messages), `answer` and `id`, as GRPOTrainer takes them; the rewards get the other columns."""
    from datasets import Dataset

    return Dataset.from_list(
        [{"prompt": messages(recipe, e.question), "answer": e.answer, "id": e.id} for e in examples]
    )
