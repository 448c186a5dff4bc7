"""`python -m helpers.tiny` rebuilds the embedded model.

`python -m helpers.tiny random TOKENIZER OUT` writes an untrained one for a folder's tokenizer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from jinja2 import Template

from helpers import data, machine, training
from helpers.answers import last_number, same_number
from helpers.recipes import for_profile, get_recipe
from helpers.tiny import TINY_MODEL
from helpers.tiny.corpus import documents
from helpers.tiny.make import make_model, make_tokenizer, pretrain, write, write_random

DOCUMENTS = 120_000
HELD_OUT = 200


def main() -> None:
    """Reads the flags."""
    parser = argparse.ArgumentParser("python -m helpers.tiny", description=build.__doc__)
    parser.add_argument("--out", type=Path, default=TINY_MODEL, help="where the model is written")
    commands = parser.add_subparsers()
    random = commands.add_parser("random", help=write_random.__doc__)
    random.add_argument("tokenizer", type=Path)
    random.add_argument("out", type=Path)
    asked = parser.parse_args()
    if "tokenizer" in asked:
        write_random(asked.tokenizer, asked.out)
    else:
        build(asked.out)
        report(asked.out)


def build(folder: Path) -> None:
    """Makes tokenizer and weights from nothing, always the same, and says how good they are."""
    torch.set_num_threads(2)
    texts = list(documents(DOCUMENTS, seed=0))
    tokenizer = make_tokenizer(texts[:5000])
    model = make_model(tokenizer)
    pretrain(model, tokenizer, texts)
    write(model, tokenizer, folder)


def report(folder: Path) -> None:
    """Measures the base on held-out problems, in 4-bit as the notebooks load it, for its card."""
    recipe = for_profile(get_recipe("gsm8k_xml"), "tiny")
    model, tokenizer = training.load(str(folder), recipe, machine.detect())
    examples = data.load(recipe, data.EMBEDDED, "tiny")["test"].take(HELD_OUT)
    prompts = [data.prompt_text(recipe, tokenizer, example.question) for example in examples]
    rows = []
    for temperature in (0, 1):
        limit = recipe.grpo.max_completion
        replies = training.generate(model, tokenizer, prompts, limit, temperature)
        right = follows = 0
        for reply, example in zip(replies, examples, strict=True):
            right += same_number(last_number(reply.text), example.answer) == 1.0
            follows += recipe.format.follows(reply.text)
        rows.append((temperature, right / HELD_OUT, follows / HELD_OUT))
    template = Template((Path(__file__).parent / "card.jinja").read_text())
    card = template.render(
        parameters=training.count_parameters(model)["all"],
        tokens=len(tokenizer),
        problems=HELD_OUT,
        rows=rows,
    )
    (folder / "README.md").write_text(card + "\n")
    print(card)


if __name__ == "__main__":
    main()
