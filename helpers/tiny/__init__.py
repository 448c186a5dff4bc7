"""The embedded base model and its problems: what runs where there is no GPU and no network.

TINY_MODEL     the folder of the model that comes with the project
TINY           the same, by its path in this project
is_embedded    whether a base is that model, from wherever its name was written down
SCHEMAS        for each dataset the function that makes generated rows with its columns
embedded_rows  generated rows in the columns of a dataset, as its splits
generate       generated problems of a split, the same ones every time
without_marks  a solution without GSM8K's calculator marks
"""

from pathlib import Path

from helpers.tiny.problems import generate
from helpers.tiny.schemas import SCHEMAS, embedded_rows, without_marks

TINY_MODEL = Path(__file__).parent / "model"
TINY = "helpers/tiny/model"


def is_embedded(base: str) -> bool:
    return Path(base).as_posix().endswith(TINY)
