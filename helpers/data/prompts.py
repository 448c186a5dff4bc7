"""From examples to the prompts and targets that SFT, GRPO and evaluation share."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from helpers.data.loading import Split
from helpers.recipes import RECIPES, SUPERVISED, Recipe
from helpers.rows import Example

HELD_OUT = 64  # problems
BATCH = 1000  # rows whose ids are held at a time


def messages(recipe: Recipe, question: str) -> list[dict[str, str]]:
    """The conversation up to the model's turn."""
    turns = []
    for shot in recipe.shots:
        turns.append({"role": "user", "content": shot.question})
        reply = recipe.format.write(shot.solution, shot.answer)
        turns.append({"role": "assistant", "content": reply})
    turns.append({"role": "user", "content": question})
    if recipe.system_turn:
        return [{"role": "system", "content": recipe.system}, *turns]
    turns[0]["content"] = f"{recipe.system}\n\n{turns[0]['content']}"
    return turns


def with_shots(recipe: Recipe, split: Split, count: int = 2) -> Recipe | None:
    """The recipe with worked examples in its prompt: those of the first rows with the most lines.

    None where the rows have no solutions.
    """
    worked = [example for example in split.examples[:50] if example.solution]
    worked.sort(key=lambda example: -example.solution.count("\n"))
    return replace(recipe, shots=tuple(worked[:count])) if len(worked) >= count else None


def prompt_text(recipe: Recipe, tokenizer, question: str) -> str:
    """The exact text that the model continues: in SFT, in GRPO and in evaluation."""
    return tokenizer.apply_chat_template(
        messages(recipe, question),
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=recipe.thinking,
    )


def turn_end(tokenizer) -> str:
    """What follows a reply that is learned: its end in the template, else the tokenizer's end."""
    return template_end(tokenizer) or tokenizer.eos_token or ""


def template_end(tokenizer) -> str:
    """What the chat template puts after a reply; "" where that begins with no special token."""
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "REPLY"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, enable_thinking=False)
    end = text.rpartition("REPLY")[2].lstrip()
    ids = tokens_of(tokenizer, [end])[0]
    return end if ids and ids[0] in tokenizer.added_tokens_decoder else ""


def tokens_of(tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The ids of texts in which all special tokens are written out."""
    return tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]


def batches(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    """The examples in parts: token ids of all rows at once would fill the memory."""
    for start in range(0, len(examples), BATCH):
        yield examples[start : start + BATCH]


def supervised_ids(
    recipe: Recipe, tokenizer, examples: Sequence[Example]
) -> list[tuple[list[int], list[int]]]:
    """The ids of each example's prompt, and of the reply that is learned, with its end."""
    end = turn_end(tokenizer)
    prompts, replies = [], []
    for example in examples:
        prompts.append(prompt_text(recipe, tokenizer, example.question))
        replies.append(recipe.write(example.solution or "…", example.answer) + end)
    return list(zip(tokens_of(tokenizer, prompts), tokens_of(tokenizer, replies), strict=True))


def solved(split: Split) -> list[Example]:
    """The examples with a worked solution, which SFT can teach. Raises ValueError for none."""
    found = [example for example in split.examples if example.solution]
    if not found:
        without_sft = [name for name, recipe in RECIPES.items() if not recipe.supervised]
        raise ValueError(
            f"None of the {len(split.examples)} rows has a worked solution that SFT could teach.\n"
            "Add one to each (column answer_text or solution), or take a recipe without SFT: "
            f"{', '.join(without_sft)}."
        )
    return found


def chosen(recipe: Recipe, tokenizer, split: Split, stage: str, seed: int = 0) -> Split:
    """The examples that a stage ("priming", "sft", "grpo") trains on, and what was left out.

    Priming takes the shortest examples, which show the format with little else; the other stages
    draw theirs by the seed. Priming and SFT leave out what has no solution. Raises ValueError if
    nothing is left.
    """
    if not split.examples:
        raise ValueError(
            "The only usable row is held out to measure with.\nAdd rows to learn from."
        )
    usable = solved(split) if stage in SUPERVISED else split.examples
    unsolved = len(split.examples) - len(usable)
    rows = getattr(recipe, stage).rows
    if stage == "priming":
        drawn = sorted(usable, key=lambda e: (len(e.question) + len(e.solution), e.id))[:rows]
    else:
        drawn = Split(usable, {}).take(rows, seed)
    fitting = short_enough(recipe, tokenizer, drawn, stage)
    fitting.dropped["without a solution"] = unsolved
    fitting.dropped[f"beyond the {rows} that {stage} takes"] = len(usable) - len(drawn)
    return fitting


def short_enough(recipe: Recipe, tokenizer, examples: Sequence[Example], stage: str) -> Split:
    """The examples that are not longer than the stage allows; nothing is cut.

    For GRPO the prompt counts, for priming and SFT the prompt and the reply together.
    """
    supervised = stage in SUPERVISED
    limit, name = recipe.grpo.max_prompt, "MAX_PROMPT"
    if supervised:
        limit, name = getattr(recipe, stage).max_length, "MAX_LENGTH"
    kept = []
    for batch in batches(examples):
        if supervised:
            pairs = supervised_ids(recipe, tokenizer, batch)
            lengths = [len(prompt) + len(reply) for prompt, reply in pairs]
        else:
            texts = [prompt_text(recipe, tokenizer, example.question) for example in batch]
            lengths = map(len, tokens_of(tokenizer, texts))
        kept += [example for example, n in zip(batch, lengths, strict=True) if n <= limit]
    if not kept:
        raise ValueError(
            f"None of the {len(examples)} rows for {stage} fits into {limit} tokens.\n"
            f"Set {name} to more."
        )
    return Split(kept, {f"longer than {limit} tokens": len(examples) - len(kept)})


def held_out(recipe: Recipe, tokenizer, split: Split) -> list[Example]:
    """The test problems that GRPO is watched on: such as evaluation does not take, if there are.

    [] where all are too long.
    """
    evaluated = {example.id for example in split.take(recipe.evaluation.problems)}
    others = [example for example in split.examples if example.id not in evaluated]
    watched = (others or split.examples)[:HELD_OUT]
    try:
        return short_enough(recipe, tokenizer, watched, "grpo").examples
    except ValueError:
        return []


def sft_dataset(recipe: Recipe, tokenizer, examples: Sequence[Example]):
    """Rows as SFTTrainer takes them: `input_ids`, and `labels`, which are −100 in the prompt."""
    from datasets import Dataset, concatenate_datasets

    parts = []
    for batch in batches(examples):
        rows = []
        for prompt, reply in supervised_ids(recipe, tokenizer, batch):
            rows.append({"input_ids": prompt + reply, "labels": [-100] * len(prompt) + reply})
        parts.append(Dataset.from_list(rows))
    return concatenate_datasets(parts)


def grpo_dataset(recipe: Recipe, examples: Sequence[Example]):
    """Rows as GRPOTrainer takes them: `prompt`, and what the rewards get."""
    from datasets import Dataset

    rows = []
    for example in examples:
        given = {"answer": example.answer, "id": example.id, **example.columns}
        rows.append({"prompt": messages(recipe, example.question), **given})
    return Dataset.from_list(rows)
