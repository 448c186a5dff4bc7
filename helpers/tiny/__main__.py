"""`python -m helpers.tiny` rebuilds the embedded model; `random` writes an untrained one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from helpers.answers import last_number, same_number
from helpers.recipes import for_profile, get_recipe

app = typer.Typer(add_completion=False, help=__doc__)
MODEL = Path(__file__).parent / "model"
DOCUMENTS = 120_000


@app.callback(invoke_without_command=True)
def build(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="where the model is written")] = MODEL,
) -> None:
    """Makes tokenizer and weights from nothing, always the same, and says how good they are."""
    if context.invoked_subcommand:
        return
    import torch
    from transformers.utils import logging

    from helpers.tiny.corpus import documents
    from helpers.tiny.make import make_model, make_tokenizer, pretrain, write

    logging.disable_progress_bar()
    torch.set_num_threads(2)
    begun = time.time()
    texts = list(documents(DOCUMENTS, seed=0))
    tokenizer = make_tokenizer(texts[:5000])
    model = make_model(tokenizer)
    typer.echo(
        f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens, {len(texts):,} documents"
    )
    pretrain(model, tokenizer, texts)
    write(model, tokenizer, out)
    minutes = (time.time() - begun) / 60
    size = (out / "model.safetensors").stat().st_size / 1e6
    typer.echo(f"built in {minutes:.1f} minutes; weights {size:.2f} MB in {out}")
    report(out)


CARD = """\
---
license: mit
library_name: transformers
tags: [qwen3, tiny, education]
---

# A tiny Qwen3

{parameters:,} parameters, {tokens} tokens, made by `python -m helpers.tiny` from generated word \
problems with two steps and physics problems
with a formula as the answer. It is a base model for learning how SFT and GRPO work, and of no \
other use: it knows a few dozen names and things, and
numbers up to about a hundred.

On {problems} held-out word problems, with the system prompt of the recipe \
`gsm8k_xml`, loaded in 4-bit:

| temperature | last number right | in the recipe's format |
|---|---|---|
{rows}
"""


def report(folder: Path, problems: int = 200) -> None:
    """Measures the base on held-out problems, in 4-bit as the notebooks load it, for its card."""
    from helpers import data, machine, training

    recipe = for_profile(get_recipe("gsm8k_xml"), "tiny")
    model, tokenizer = training.load(str(folder), recipe, machine.detect())
    examples = data.load(recipe, data.EMBEDDED, "tiny")["test"].take(problems)
    prompts = [data.prompt_text(recipe, tokenizer, example.question) for example in examples]
    rows = []
    for temperature in (0.0, 1.0):
        limit = recipe.grpo.max_completion
        replies = training.generate(model, tokenizer, prompts, limit, temperature)
        right = shaped = 0
        for reply, example in zip(replies, examples, strict=True):
            right += same_number(last_number(reply.text), example.answer) == 1.0
            shaped += recipe.format.follows(reply.text)
        rows.append(f"| {temperature:.0f} | {right / problems:.1%} | {shaped / problems:.1%} |")
    card = CARD.format(
        parameters=training.count_parameters(model)["all"],
        tokens=len(tokenizer),
        problems=problems,
        rows="\n".join(rows),
    )
    (folder / "README.md").write_text(card)
    typer.echo(card.split("\n\n", 3)[-1])


@app.command()
def random(tokenizer: Path, out: Path, hidden: int = 64, layers: int = 2, seed: int = 0) -> None:
    """Writes a small Qwen3 with random weights for a folder's tokenizer and chat template."""
    from transformers import AutoTokenizer

    from helpers.tiny.make import make_model, write

    if not (tokenizer / "tokenizer.json").is_file():
        raise typer.BadParameter(f"{tokenizer} holds no tokenizer.json")
    real = AutoTokenizer.from_pretrained(str(tokenizer))
    write(make_model(real, hidden, layers, seed), real, out)
    typer.echo(f"wrote {out}")


if __name__ == "__main__":
    app()
