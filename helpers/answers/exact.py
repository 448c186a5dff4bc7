"""Exact equality without SymPy, by remainders modulo a large prime.

Two expressions that sums, products, whole powers and factorials make of numbers and letters are
taken as equal if their remainders are, with random numbers for the letters (Schwartz 1980, Zippel
1979): the chance of an error is below 1e-57. So numbers may be as long as they like, and letters
need no algebra system.
"""

import hashlib
import math
from collections.abc import Iterable

from helpers.answers.tree import Node, found

PRIME = 2**256 - 2**32 - 977
LARGEST = 2**64  # of the whole numbers that are told from other remainders
LARGEST_FACTORIAL = 20_000


class NeedsSymbols(Exception):
    """Exact arithmetic cannot decide this pair."""


def exactly(a: Node, b: Node) -> bool:
    """Equality by exact arithmetic alone. Raises NeedsSymbols where it does not decide."""
    if a.kind == b.kind == "number":
        return a == b
    try:
        return remainder(a) == remainder(b)
    except ValueError:
        if found(a, "symbol") != found(b, "symbol"):
            return False
        raise NeedsSymbols from None


def remainder(node: Node) -> int:
    """The value's remainder. Raises ValueError where there is none, as of 1/0 and roots."""
    match node:
        case ("number", value):
            return value.numerator * pow(value.denominator, -1, PRIME) % PRIME
        case ("symbol" | "constant", name) if name not in ("i", "infinity"):
            return drawn(name)
        case ("add", *parts):
            return sum(map(remainder, parts)) % PRIME
        case ("multiply", *parts):
            return product(map(remainder, parts))
        case ("power", base, exponent):
            return pow(remainder(base), whole(exponent), PRIME)
        case ("apply", name, *parts):
            return drawn(f"{name} of {[remainder(part) for part in parts]}")
        case ("call", "binom", above, below) if whole(above) in range(LARGEST_FACTORIAL):
            return math.comb(whole(above), whole(below)) % PRIME if whole(below) >= 0 else 0
        case ("call", "factorial", of) if whole(of) in range(LARGEST_FACTORIAL):
            return product(range(1, whole(of) + 1))
    raise ValueError


def product(factors: Iterable[int]) -> int:
    value = 1
    for factor in factors:
        value = value * factor % PRIME
    return value


def whole(node: Node) -> int:
    """The whole number that an exponent comes to. Raises ValueError where it is not one.

    Only whole numbers have a remainder so near 0.
    """
    value = remainder(node)
    if value > PRIME // 2:
        value -= PRIME
    if abs(value) > LARGEST:
        raise ValueError
    return value


def drawn(name: str) -> int:
    """The number that a letter stands for, as if drawn by chance, and always the same."""
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest) % PRIME
