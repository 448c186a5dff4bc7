"""The units of answers: which ones are the same, and what converts one into the other."""

from __future__ import annotations

import re

from helpers.answers.tokens import pairs
from helpers.answers.tree import Node, multiply, number

SCALES = """
    m: mm 1/1000 cm 1/100 dm 1/10 m 1 km 1000
    inch: inch 1 ft 12 yard 36 mile 63360
    g: mg 1/1000 g 1 kg 1000
    s: ms 1/1000 s 1 minute 60 h 3600 day 86400 week 604800
    dollar: cent 1/100 dollar 1
    l: ml 1/1000 l 1
"""
UNITS = {}  # name: (the unit it is measured in, how many of those it is)
for line in SCALES.strip().splitlines():
    base, _, scales = line.strip().partition(":")
    UNITS |= {name: (base, number(scale)) for name, scale in pairs(scales).items()}

ALIASES = pairs("""
    millimeter mm  millimetre mm  centimeter cm  centimetre cm  meter m  metre m
    kilometer km  kilometre km  inche inch  in inch  foot ft  feet ft
    gram g  kilogram kg  kg kg  sec s  second s  min minute  hr h  hour h
    liter l  litre l  usd dollar  deg degree  percentage percent
""")
MAGNITUDES = pairs("""
    dozen 12  hundred 100  k 1000  thousand 1000  million 1e6  billion 1e9  trillion 1e12
""")


def split_unit(node: Node) -> tuple[Node, str]:
    r"""The bare expression and its unit: `\text{2 million dollars}` is 2000000 and `dollar`."""
    if node.kind == "multiply" and node[-1].kind == "unit":  # −5 cm
        value, name = split_unit(node[-1])
        return scaled(multiply(*node[1:-1]), value), name
    if node.kind != "unit":
        return node, ""
    value, unit = split_unit(node[1])
    words = re.sub(r"\bper\b", "/", node[2]).replace("/", " / ").split()
    parts = [singular(word) for word in words]
    while parts and parts[0] in MAGNITUDES:
        value = scaled(number(MAGNITUDES[parts.pop(0)]), value)
    if unit:
        parts.insert(0, unit)
    if len(parts) > 1 and parts[0] in ("square", "sq", "cubic"):
        power = "^3" if parts.pop(0) == "cubic" else "^2"
        parts[0] += power
    return value, "".join(parts)


def singular(word: str) -> str:
    """The name of a unit in the singular; its exponent stays."""
    name, caret, exponent = word.partition("^")
    if name not in UNITS and name not in ALIASES:
        name = name.removesuffix("s")
    return ALIASES.get(name, name) + caret + exponent


def scaled(factor: Node, value: Node) -> Node:
    """The product, as one number where both are."""
    if factor.kind == value.kind == "number":
        return number(factor[1] * value[1])
    return multiply(factor, value)


def converted(left: Node, first: str, right: Node, second: str) -> tuple[Node, Node] | None:
    """Two values in one unit; None where their units measure different things."""
    if first not in UNITS or second not in UNITS:
        return None
    (base, scale), (other_base, other_scale) = UNITS[first], UNITS[second]
    if base != other_base:
        return None
    return multiply(left, scale), multiply(right, other_scale)
