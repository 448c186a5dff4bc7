"""Compares answers that no exact arithmetic on fractions decides. Runs inside a child of `isolation`, never in the main process.

Two expressions are equal if SymPy finds them identical, or if they have the same value, to 40 digits, at several random points.
Such a test cannot take a rounded number for an exact one, needs no `simplify`, and so costs milliseconds.
"""

from __future__ import annotations

import random

import sympy

from helpers.answers.comparing import same
from helpers.answers.latex import Node, Unreadable, read

LARGEST = 20_000  # bits of a whole number that is written out
DIGITS = 40
POINTS = 3
SCALES = (1, 12, sympy.Rational(1, 5))
FUNCTIONS = {
    "sin": sympy.sin,
    "cos": sympy.cos,
    "tan": sympy.tan,
    "cot": sympy.cot,
    "sec": sympy.sec,
    "csc": sympy.csc,
    "arcsin": sympy.asin,
    "arccos": sympy.acos,
    "arctan": sympy.atan,
    "arccot": sympy.acot,
    "arcsec": sympy.asec,
    "arccsc": sympy.acsc,
    "sinh": sympy.sinh,
    "cosh": sympy.cosh,
    "tanh": sympy.tanh,
    "coth": sympy.coth,
    "arcsinh": sympy.asinh,
    "arccosh": sympy.acosh,
    "arctanh": sympy.atanh,
    "exp": sympy.exp,
    "ln": sympy.log,
    "abs": sympy.Abs,
    "floor": sympy.floor,
    "ceil": sympy.ceiling,
    "max": sympy.Max,
    "min": sympy.Min,
    "gcd": sympy.gcd,
    "lcm": sympy.lcm,
}
CONSTANTS = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I}


def expression(node: Node, **assumptions) -> sympy.Expr:
    """The SymPy expression of a tree. Raises Unreadable for what is no expression and for numbers that would fill the memory."""
    inside = [expression(a, **assumptions) for a in node.args if isinstance(a, Node)]
    match node.kind:
        case "number":
            return sympy.Rational(node.args[0].numerator, node.args[0].denominator)
        case "symbol":
            return sympy.Symbol(node.args[0], **assumptions)
        case "constant" if node.args[0] in CONSTANTS:
            return CONSTANTS[node.args[0]]
        case "add":
            return sympy.Add(*inside)
        case "multiply":
            return sympy.Mul(*inside)
        case "power":
            return power(*inside)
        case "call":
            return call(node.args[0], inside)
        case "unit" if node.args[1] == "percent":
            return inside[0] / 100
        case "unit" if node.args[1] == "degree":
            return inside[0] * sympy.pi / 180
        case "unit":
            return inside[0] * sympy.Symbol(f"unit {node.args[1]}", **assumptions)
    raise Unreadable(f"{node.kind} is no expression")


def power(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    if (
        base.is_Rational
        and exponent.is_Rational
        and max(abs(base.p), base.q).bit_length() * abs(exponent.p) > LARGEST * exponent.q
    ):
        raise Unreadable("a number too large to write out")
    return sympy.Pow(base, exponent)


def call(name: str, args: list[sympy.Expr]) -> sympy.Expr:
    if name == "log":
        return sympy.log(args[0]) / sympy.log(args[1])
    if name in ("factorial", "binom"):
        if not all(a.is_Symbol or (a.is_Integer and 0 <= a <= 1000) for a in args):
            raise Unreadable("a factorial too large to write out")
        return (sympy.factorial if name == "factorial" else sympy.binomial)(*args)
    if name not in FUNCTIONS:
        raise Unreadable(name)
    return FUNCTIONS[name](*args)


def equal(a: sympy.Expr, b: sympy.Expr) -> bool:
    """Same form, or same value at random points; where a value cannot be had at any point, unequal."""
    if a == b:
        return True
    symbols = sorted(a.free_symbols | b.free_symbols, key=str)
    dice, agreed = random.Random(0), 0
    points = (
        POINTS if all(s.is_positive for s in symbols) else 8 * POINTS
    )  # a function with a kink needs both of its sides
    for turn in range(3 * points if symbols else 1):
        verdict = agree(a, b, {s: coordinate(s, dice, SCALES[turn % 3]) for s in symbols})
        if verdict is False:
            return False
        agreed += verdict is True
        if agreed == points:
            return True
    return agreed > 0


def coordinate(symbol: sympy.Symbol, dice: random.Random, scale: sympy.Rational) -> sympy.Rational:
    """A random number of either sign, or positive for a positive symbol: about 1, 12 or 1/5, so that √((x − 3)²) is not 3 − x."""
    size = sympy.Rational(dice.randint(2 * 10**5, 3 * 10**6), 2 * 10**6) * scale
    return size if symbol.is_positive or dice.random() < 0.5 else -size


def agree(a: sympy.Expr, b: sympy.Expr, point: dict) -> bool | None:
    """Whether both have the same value at a point, to 35 digits; None where one has no finite value."""
    try:
        left, right = (sympy.N(e, DIGITS, subs=point) for e in (a, b))
        if not (left.is_number and right.is_number and left.is_finite and right.is_finite):
            return None
        gap, size = abs(left - right), max(abs(left), abs(right))
        return bool(
            gap <= size * sympy.Float(10) ** (5 - DIGITS) or size < sympy.Float(10) ** (-2 * DIGITS)
        )
    except (ArithmeticError, ValueError, TypeError):
        return None


KINKS = frozenset(("abs", "floor", "ceil", "max", "min"))


def has_kink(node: Node) -> bool:
    return (node.kind == "call" and node.args[0] in KINKS) or any(
        has_kink(a) for a in node.args if isinstance(a, Node)
    )


def same_leaf(a: Node, b: Node) -> bool:
    """Symbols stand for positive numbers, as in physics, unless an absolute value or a rounding says that signs matter."""
    assumptions = {"real": True} if has_kink(a) or has_kink(b) else {"positive": True}
    try:
        return equal(expression(a, **assumptions), expression(b, **assumptions))
    except Unreadable:
        return False


def same_symbols(predicted: str, gold: str) -> float:
    """`grading.same_math` with SymPy for what exact fractions cannot decide."""
    return float(same(read(predicted), read(gold), same_leaf))
