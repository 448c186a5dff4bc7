"""Compares answers that no exact arithmetic on fractions decides; runs in a child of `isolation`.

Two expressions are equal if SymPy finds them identical, or if they have the same value, to 40
digits, at several random points. Such a test cannot take a rounded number for an exact one, needs
no `simplify`, and so costs milliseconds.
"""

from __future__ import annotations

import random

import sympy

from helpers.answers.comparing import same
from helpers.answers.parser import read
from helpers.answers.tree import Node, Unreadable, found
from helpers.answers.vocabulary import FUNCTIONS, meanings

LARGEST = 20_000  # bits of a whole number that is written out
LARGEST_FACTORIAL = 1000
DIGITS = 40
NEAR = sympy.Float(10) ** (5 - DIGITS)  # the relative error of equal values
ZERO = sympy.Float(10) ** (-2 * DIGITS)
POINTS = 3
SCALES = (1, 12, sympy.Rational(1, 5))
KINKS = {"abs", "floor", "ceil", "max", "min"}
NAMES = meanings("sympy")
UNITS = {"percent": sympy.Rational(1, 100), "degree": sympy.pi / 180}
CONSTANTS = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I}


def expression(node: Node, **assumptions) -> sympy.Expr:
    """The SymPy expression of a tree. Raises Unreadable for what is none, or fills the memory."""
    inside = [expression(child, **assumptions) for child in node.children]
    match node:
        case ("number", value):
            return sympy.Rational(value.numerator, value.denominator)
        case ("symbol", name):
            return sympy.Symbol(name, **assumptions)
        case ("constant", name) if name in CONSTANTS:
            return CONSTANTS[name]
        case (kind, *_) if kind in OPERATIONS:
            return OPERATIONS[kind](*inside)
        case ("call", name, *_):
            return call(name, inside)
        case ("unit", _, name):
            return inside[0] * UNITS.get(name, sympy.Symbol(f"unit {name}", **assumptions))
    raise Unreadable(f"{node.kind} is no expression")


def power(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    if base.is_Rational and exponent.is_Rational:
        bits = max(abs(base.p), base.q).bit_length()
        if bits * abs(exponent.p) > LARGEST * exponent.q:
            raise Unreadable("a number too large to write out")
    return sympy.Pow(base, exponent)


OPERATIONS = {"add": sympy.Add, "multiply": sympy.Mul, "power": power}


def call(name: str, args: list[sympy.Expr]) -> sympy.Expr:
    if name == "log":
        return sympy.log(args[0]) / sympy.log(args[1])
    if name in ("factorial", "binom"):
        for value in args:
            if not value.is_Symbol and not (value.is_Integer and 0 <= value <= LARGEST_FACTORIAL):
                raise Unreadable("a factorial too large to write out")
    elif name not in FUNCTIONS | KINKS:
        raise Unreadable(name)
    return getattr(sympy, NAMES.get(name, name.replace("arc", "a")))(*args)


def equal(a: sympy.Expr, b: sympy.Expr) -> bool:
    """Same form, or same value at random points; if it has none at any point, unequal."""
    if a == b:
        return True
    symbols = sorted(a.free_symbols | b.free_symbols, key=str)
    # A function with a kink needs both of its sides.
    points = POINTS if all(s.is_positive for s in symbols) else 8 * POINTS
    dice, agreed = random.Random(0), 0
    for turn in range(3 * points if symbols else 1):
        point = {symbol: coordinate(symbol, dice, SCALES[turn % 3]) for symbol in symbols}
        verdict = agree(a, b, point)
        if verdict is False:
            return False
        agreed += verdict is True
        if agreed == points:
            break
    return agreed > 0


def coordinate(symbol: sympy.Symbol, dice: random.Random, scale: sympy.Rational) -> sympy.Rational:
    """A random number about 1, 12 or 1/5, so that √((x − 3)²) is not 3 − x; of either sign."""
    size = sympy.Rational(dice.randint(2 * 10**5, 3 * 10**6), 2 * 10**6) * scale
    return size if symbol.is_positive or dice.random() < 0.5 else -size


def agree(a: sympy.Expr, b: sympy.Expr, point: dict) -> bool | None:
    """Whether both have the same value at a point; None where one has no finite value."""
    try:
        left, right = sympy.N(a, DIGITS, subs=point), sympy.N(b, DIGITS, subs=point)
        for value in (left, right):
            if not value.is_number or not value.is_finite:
                return None
        size = max(abs(left), abs(right))
        return bool(abs(left - right) <= size * NEAR or size < ZERO)
    except (ArithmeticError, ValueError, TypeError):
        return None


def same_leaf(a: Node, b: Node) -> bool:
    """Symbols stand for positive numbers, as in physics, unless a kink says that signs matter."""
    kinks = KINKS & (found(a, "call") | found(b, "call"))
    assumptions = {"real": True} if kinks else {"positive": True}
    try:
        return equal(expression(a, **assumptions), expression(b, **assumptions))
    except Unreadable:
        return False


def same_symbols(predicted: str, gold: str) -> float:
    """`grading.same_math` with SymPy for what exact fractions cannot decide."""
    return float(same(read(predicted), read(gold), same_leaf))
