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
KNOWN = FURTHER.union(POWERS, SCALES, MAGNITUDES, COMPOUND)
PIECE = re.compile(r"(/|\bper\b)|([^\W\d_]+|[%°'\"])(?:\s*\^\s*(-?)\s*([0-9]))?")


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
        if name in KNOWN:
            return name
    return lower.removesuffix("s") if len(word) > 2 else lower


def is_unit(word: str) -> bool:
    return canonical(word) in KNOWN


@functools.lru_cache(maxsize=4096)
def unit(name: str) -> Unit | None:
    """The unit that words and signs, such as `m / s ^ 2`, describe; None for none."""
    scale, basic = Fraction(1), Counter()
    sign = power = 1
    name = " ".join(COMPOUND.get(word, word) for word in name.split())
    for over, word, minus, exponent in PIECE.findall(name):
        if over:
            sign = -1
        elif word in POWERS:
            power = POWERS[word]
        else:
            known = canonical(word)
            base, factor = SCALES.get(known, (known, Fraction(1)))
            times = sign * power * int(minus + (exponent or "1"))
            basic[base] += times
            scale *= factor**times
            sign = power = 1
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
