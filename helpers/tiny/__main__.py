"""`python -m helpers.tiny` rebuilds the embedded model, always the same.

`python -m helpers.tiny random TOKENIZER OUT` writes an untrained one for a folder's tokenizer.
How good a base is, `python -m helpers evaluate helpers/tiny/model` says.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from helpers.tiny import TINY_MODEL
from helpers.tiny.corpus import documents
from helpers.tiny.make import make_model, make_tokenizer, pretrain, write, write_random

DOCUMENTS = 120_000


def main() -> None:
    parser = argparse.ArgumentParser("python -m helpers.tiny", description=build.__doc__)
    parser.add_argument("--out", type=Path, default=TINY_MODEL, help="where the model is written")
    random = parser.add_subparsers().add_parser("random", help=write_random.__doc__)
    random.add_argument("tokenizer", type=Path)
    random.add_argument("out", type=Path)
    asked = parser.parse_args()
    if "tokenizer" in asked:
        write_random(asked.tokenizer, asked.out)
    else:
        build(asked.out)


def build(folder: Path) -> None:
    """Makes the tokenizer and the weights of the embedded model from nothing."""
    torch.set_num_threads(2)
    texts = list(documents(DOCUMENTS, seed=0))
    tokenizer = make_tokenizer(texts[:5000])
    model = make_model(tokenizer)
    pretrain(model, tokenizer, texts)
    write(model, tokenizer, folder)


if __name__ == "__main__":
    main()
