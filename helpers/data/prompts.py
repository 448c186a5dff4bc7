"""From examples to the prompts and targets that SFT, GRPO and evaluation share."""

from collections.abc import Sequence

from helpers.data.loading import Split
from helpers.recipes import SUPERVISED, Recipe
from helpers.rows import Example


def messages(recipe: Recipe, question: str) -> list[dict[str, str]]:
    """The conversation up to the model's turn."""
    return [{"role": "system", "content": recipe.system}, {"role": "user", "content": question}]


def prompt_text(recipe: Recipe, tokenizer, question: str) -> str:
    """The exact text that the model continues: in SFT, in GRPO and in evaluation."""
    return tokenizer.apply_chat_template(
        messages(recipe, question),
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=recipe.thinking,
    )


def chosen(recipe: Recipe, tokenizer, split: Split, stage: str, seed: int = 0) -> Split:
    """The examples that a stage ("priming", "sft", "grpo") trains on, and what was left out.

    Priming takes the shortest examples, which show the format with little else; the others a draw
    by the seed. What has no solution is nothing to learn from for priming and SFT.
    """
    examples = split.examples
    if stage in SUPERVISED:
        examples = [example for example in examples if example.solution]
    unsolved = len(split.examples) - len(examples)
    if not examples:
        raise ValueError(
            f"None of the {unsolved} rows has a solution that {stage} could teach.\n"
            "Add answer_text, or take a recipe without SFT."
        )
    rows = getattr(recipe, stage).rows
    if stage == "priming":
        examples = sorted(examples, key=lambda e: (len(e.question) + len(e.solution), e.id))[:rows]
    else:
        examples = Split(examples, {}).take(rows, seed)
    fitting = short_enough(recipe, tokenizer, examples, stage)
    fitting.dropped["without a solution"] = unsolved
    return fitting


def short_enough(recipe: Recipe, tokenizer, examples: Sequence[Example], stage: str) -> Split:
    """Leaves out what is longer than the stage allows: prompts for GRPO, with the target before it.

    Nothing is cut.
    """
    texts = [prompt_text(recipe, tokenizer, example.question) for example in examples]
    limit = room = recipe.grpo.max_prompt
    if stage in SUPERVISED:
        limit = getattr(recipe, stage).max_length
        room = limit - 2  # the end of the model's turn and a line break follow
        for number, example in enumerate(examples):
            texts[number] += recipe.format.write(example.solution or "…", example.answer)
    rows = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    kept = [example for example, ids in zip(examples, rows, strict=True) if len(ids) <= room]
    if not kept:
        raise ValueError(
            f"None of the {len(examples)} rows for {stage} fits into {limit} tokens.\n"
            f"Raise the recipe's limit for {stage}."
        )
    return Split(kept, {f"longer than {limit} tokens": len(examples) - len(kept)})


def sft_dataset(recipe: Recipe, examples: Sequence[Example]):
    """Rows as SFTTrainer takes them: `prompt` and `completion` (messages), template options."""
    from datasets import Dataset

    rows = []
    for example in examples:
        target = recipe.format.write(example.solution, example.answer)
        row = {
            "prompt": messages(recipe, example.question),
            "completion": [{"role": "assistant", "content": target}],
            "chat_template_kwargs": {"enable_thinking": recipe.thinking},
        }
        rows.append(row)
    return Dataset.from_list(rows)


def grpo_dataset(recipe: Recipe, examples: Sequence[Example]):
    """Rows as GRPOTrainer takes them: `prompt`, and `answer` and `id`, which the rewards get."""
    from datasets import Dataset

    rows = []
    for example in examples:
        prompt = messages(recipe, example.question)
        rows.append({"prompt": prompt, "answer": example.answer, "id": example.id})
    return Dataset.from_list(rows)
