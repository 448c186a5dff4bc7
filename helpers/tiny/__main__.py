"""`python -m helpers.tiny` rebuilds the embedded model, always the same.

`python -m helpers.tiny --out FOLDER` writes it elsewhere, and `python -m helpers.tiny random
TOKENIZER OUT` writes an untrained one for a folder's tokenizer.
How good a base is, `python -m helpers evaluate helpers/tiny/model` says.
"""

import sys
from pathlib import Path

import torch

from helpers.tiny.make import TINY_MODEL, build, write_random

torch.set_num_threads(2)  # with another number the sums, and so the weights, would differ
match sys.argv[1:]:
    case []:
        build(TINY_MODEL)
    case ["--out", folder]:
        build(Path(folder))
    case ["random", tokenizer, folder]:
        write_random(Path(tokenizer), Path(folder))
    case _:
        sys.exit(__doc__)
