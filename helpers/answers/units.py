"""The units behind a number: which words are some, and which convert into which."""

import functools
import math
import re
from collections import Counter
from fractions import Fraction
from typing import NamedTuple

from helpers.answers.tree import ONE, Node, number, scaled
from helpers.answers.vocabulary import VOCABULARY, meanings, words

SCALES = {}  # name: (the unit it is measured in, how many of those it is)
for base, scales in VOCABULARY["units"].items():
    for name, scale in scales.items():
        SCALES[name] = (base, Fraction(scale))
NAMES = meanings("unit_names")
FURTHER = words("further_units")
MAGNITUDES = VOCABULARY["magnitudes"]
COMPOUND = VOCABULARY["compound_units"]
POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
PIECE = re.compile(r"\^\s*-?\s*[0-9]|/|\bper\b|[^\W\d_]+|[%°'\"]")


class Unit(NamedTuple):
    """scale: how many of the basic units it is; basic: each of these with its power."""

    scale: Fraction
    basic: frozenset[tuple[str, int]]


@functools.lru_cache(maxsize=4096)
def canonical(word: str) -> str:
    """One name for a unit's spellings; the word in lower case for what is none that is known."""
    lower = word.lower() if len(word) > 1 else word
    for spelling in (word, lower, lower.removesuffix("s"), lower.removesuffix("es")):
        name = NAMES.get(spelling, spelling)
        if name in SCALES or name in FURTHER or name in MAGNITUDES:
            return name
    return lower.removesuffix("s") if len(word) > 2 else lower


def is_unit(word: str) -> bool:
    name = canonical(word)
    known = (POWERS, SCALES, FURTHER, MAGNITUDES, COMPOUND)
    return any(name in table for table in known)


@functools.lru_cache(maxsize=4096)
def unit(name: str) -> Unit | None:
    """The unit that words and signs, such as `m / s ^ 2`, describe; None for none."""
    scale, basic = Fraction(1), Counter()
    sign, power, last = 1, 1, None
    name = " ".join(COMPOUND.get(word, word) for word in name.split())
    for piece in PIECE.findall(name):
        if piece in ("/", "per"):
            sign = -1
        elif piece in POWERS:
            power = POWERS[piece]
        elif piece[0] == "^" and last:
            base, factor, before = last
            further = before * (int(re.sub(r"[^0-9-]", "", piece)) - 1)
            basic[base] += further
            scale *= factor**further
        elif piece[0] != "^":
            known = canonical(piece)
            base, factor = SCALES.get(known, (known, Fraction(1)))
            basic[base] += sign * power
            scale *= factor ** (sign * power)
            last = (base, factor, sign * power)
            sign, power = 1, 1
    found = frozenset((base, exponent) for base, exponent in basic.items() if exponent)
    return Unit(scale, found) if found or scale != 1 else None  # hours a day have no dimension


def split_unit(node: Node) -> tuple[Node, Unit | None]:
    r"""The bare expression and its unit: `\text{2 million dollars}` is 2000000 and dollars."""
    if node.kind == "multiply" and node[-1].kind == "unit":  # 3 · 5 cm
        value, found = split_unit(node[-1])
        return scaled(math.prod(node[1:-1], start=ONE), value), found
    if node.kind != "unit":
        return node, None
    value, inner = split_unit(node[1])
    pieces = node[2].split()
    while pieces and canonical(pieces[0]) in MAGNITUDES:
        value = scaled(number(MAGNITUDES[canonical(pieces.pop(0))]), value)
    found = unit(" ".join(pieces))
    return value, inner or found
