"""Exact values without SymPy: fractions, and, for what is larger or has letters, remainders.

Two expressions that sums, products, whole powers and factorials make of whole numbers and letters
are equal just if their remainders modulo large primes are, with random numbers for the letters
(Schwartz 1980, Zippel 1979): the chance of an error is below 1e-15. So numbers may be as long as
they like, and letters need no algebra system.
"""

import functools
import hashlib
import math
from fractions import Fraction

from helpers.answers.tree import Node

LARGEST = 4096  # bits of a number that is written out
LARGEST_FACTORIAL = 200
LARGEST_PRODUCT = 20_000  # of a factorial's remainder
PRIMES = (2**89 - 1, 2**107 - 1, 2**127 - 1)


def rational(node: Node) -> Fraction | None:
    """The exact value of an expression in whole numbers; None where there is none, or too long."""
    if node.kind == "number":
        return node[1]
    values = [rational(child) for child in node.children]
    if None in values:
        return None
    match node:
        case ("add", *_):
            return sum(values, Fraction(0))
        case ("multiply", *_) if sum(map(bits, values)) < LARGEST:
            return math.prod(values)
        case ("power", *_):
            base, exponent = values
            small = bits(base) * abs(exponent) <= LARGEST
            if exponent.denominator == 1 and small and (base or exponent > 0):
                return base ** int(exponent)
        case ("unit", _, "percent"):
            return values[0] / 100
        case ("call", "factorial", _) if values[0] in range(LARGEST_FACTORIAL + 1):
            return Fraction(math.factorial(int(values[0])))
    return None


def bits(value: Fraction) -> int:
    return value.numerator.bit_length() + value.denominator.bit_length()


def remainders(node: Node) -> list[int] | None:
    """The value modulo each of PRIMES; None for what is not made of sums, products and powers."""
    try:
        return [remainder(node, prime) for prime in PRIMES]
    except (TypeError, ValueError):  # a part has none; a division by zero
        return None


def remainder(node: Node, prime: int) -> int:
    """Raises TypeError or ValueError where there is none."""
    match node:
        case ("number", value):
            return value.numerator * pow(value.denominator, -1, prime) % prime
        case ("symbol" | "constant", name) if name not in ("i", "infinity"):
            return drawn(name, prime)
        case ("add", *parts):
            return sum(remainder(part, prime) for part in parts) % prime
        case ("multiply", *parts):
            return math.prod(remainder(part, prime) for part in parts) % prime
        case ("power", base, exponent):
            return pow(remainder(base, prime), whole(exponent), prime)
        case ("apply", name, *parts):
            inside = [remainder(part, prime) for part in parts]
            return drawn(f"{name} of {inside}", prime)
        case ("call", "factorial", of) if whole(of) in range(LARGEST_PRODUCT):
            factors = range(2, whole(of) + 1)
            return functools.reduce(lambda product, factor: product * factor % prime, factors, 1)
    raise TypeError


def whole(node: Node) -> int:
    """A whole number, such as an exponent. Raises TypeError for what is none."""
    value = rational(node)
    if value is None or value.denominator != 1:
        raise TypeError
    return int(value)


def drawn(name: str, prime: int) -> int:
    """The number that a letter stands for, as if drawn by chance, and always the same."""
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest) % prime
