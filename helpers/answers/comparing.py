"""Compares two answers part by part: lists, sets, pairs, intervals, equations, units, words.

What is left at the leaves are single expressions. `exactly` decides those that are rational numbers, without SymPy; for the others
`same` takes a function, so that one description of what "the same answer" means serves the fast path and the symbolic one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction

from helpers.answers.latex import Node, divide, multiply, number

Leaf = Callable[[Node, Node], bool]
LARGEST = 4096  # bits of a number that is computed here
WORDS = dict(
    zip(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
        "nineteen twenty".split(),
        range(21),
    )
)
MAGNITUDES = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "k": 1000,
}
UNITS = {
    "mm": ("m", "1/1000"),
    "cm": ("m", "1/100"),
    "dm": ("m", "1/10"),
    "m": ("m", 1),
    "km": ("m", 1000),
    "inch": ("inch", 1),
    "ft": ("inch", 12),
    "yard": ("inch", 36),
    "mile": ("inch", 63360),
    "mg": ("g", "1/1000"),
    "g": ("g", 1),
    "kg": ("g", 1000),
    "s": ("s", 1),
    "ms": ("s", "1/1000"),
    "minute": ("s", 60),
    "h": ("s", 3600),
    "day": ("s", 86400),
    "week": ("s", 604800),
    "cent": ("dollar", "1/100"),
    "dollar": ("dollar", 1),
    "ml": ("l", "1/1000"),
    "l": ("l", 1),
}
ALIASES = {
    "millimeter": "mm",
    "millimetre": "mm",
    "centimeter": "cm",
    "centimetre": "cm",
    "meter": "m",
    "metre": "m",
    "kilometer": "km",
    "kilometre": "km",
    "inche": "inch",
    "in": "inch",
    "foot": "ft",
    "feet": "ft",
    "gram": "g",
    "kilogram": "kg",
    "kg": "kg",
    "sec": "s",
    "second": "s",
    "min": "minute",
    "hr": "h",
    "hour": "h",
    "liter": "l",
    "litre": "l",
    "usd": "dollar",
    "deg": "degree",
    "percentage": "percent",
}


class NeedsSymbols(Exception):
    """Fractions cannot decide this pair."""


def rational(node: Node) -> Fraction | None:
    """The exact value of an expression in whole numbers; None where there is none, or where it would be huge."""
    values = [rational(a) for a in node.args if isinstance(a, Node)]
    if node.kind == "number":
        return node.args[0]
    if any(v is None for v in values):
        return None
    if node.kind == "add":
        return sum(values, Fraction(0))
    if node.kind == "multiply":
        return math.prod(values) if sum(size(v) for v in values) < LARGEST else None
    if node.kind == "power":
        return power(*values)
    if node.kind == "unit" and node.args[1] == "percent":
        return values[0] / 100
    if (
        node.kind == "call"
        and node.args[0] == "factorial"
        and values[0].denominator == 1
        and 0 <= values[0] <= 200
    ):
        return Fraction(math.factorial(int(values[0])))
    return None


def size(value: Fraction) -> int:
    return value.numerator.bit_length() + value.denominator.bit_length()


def power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if (
        exponent.denominator != 1
        or (base == 0 and exponent <= 0)
        or size(base) * abs(exponent) > LARGEST
    ):
        return None
    return base ** int(exponent)


def names(node: Node) -> set[str]:
    found = {node.args[0]} if node.kind == "symbol" else set()
    return found.union(*(names(a) for a in node.args if isinstance(a, Node)))


def exactly(a: Node, b: Node) -> bool:
    """Equality by fractions alone. Raises NeedsSymbols where they do not decide."""
    left, right = rational(a), rational(b)
    if left is not None and right is not None:
        return left == right
    if names(a) != names(b):
        return False
    raise NeedsSymbols


def same(p: Node, g: Node, leaf: Leaf) -> bool:
    """Whether the answer `p` says what the gold `g` says. `leaf(a, b)` decides single expressions."""
    p, g = number_word(p, g), number_word(g, p)
    if p == g:
        return True
    kinds = {p.kind, g.kind}
    if "unit" in kinds:
        return same_unit(p, g, leaf)
    if "text" in kinds:
        return same_text(p, g)
    if "base" in kinds:
        return p.kind != g.kind and digits(p) == digits(g)
    if "relation" in kinds:
        return same_relation(p, g, leaf)
    if "ratio" in kinds:
        return same_ratio(p, g)
    if kinds & {"list", "set"} or has_plusminus(p) or has_plusminus(g):
        return same_items(p, g, leaf)
    if kinds & {"group", "matrix"}:
        return same_places(p, g, leaf)
    if "union" in kinds:
        return p.kind == g.kind and matched(list(p.args), list(g.args), leaf)
    return leaf(p, g)


def number_word(node: Node, other: Node) -> Node:
    """`two` is the number 2 where the other side is no word."""
    if node.kind == "text" and other.kind != "text" and node.args[0].lower() in WORDS:
        return number(WORDS[node.args[0].lower()])
    return node


def digits(node: Node) -> str | None:
    """The digits of a whole number, whatever its base, since a base may be left out but not changed."""
    return (
        node.args[0]
        if node.kind == "base"
        else str(node.args[0])
        if node.kind == "number"
        else None
    )


def letters(node: Node) -> str | None:
    """The word that a text is, or that letters side by side would be."""
    if node.kind == "multiply":
        parts = [letters(a) for a in node.args]
        return None if None in parts else "".join(parts)
    if node.kind in ("symbol", "constant", "text"):
        return "".join(node.args[0].split())
    return None


def same_text(p: Node, g: Node) -> bool:
    """Words are equal in any case of letters; a single letter is a choice or a name, and its case counts."""
    left, right = letters(p), letters(g)
    if not left or not right:
        return False
    return left == right or (len(left) > 1 and left.casefold() == right.casefold())


def same_unit(p: Node, g: Node, leaf: Leaf) -> bool:
    """A unit may be left out or converted, but not exchanged."""
    (left, first), (right, second) = split_unit(p), split_unit(g)
    if first == second:
        return same(left, right, leaf)
    if {first, second} == {"percent", ""}:
        bare, percent = (left, right) if second else (right, left)
        return same(left, right, leaf) or same(
            *(
                (bare, divide(percent, number(100)))
                if second
                else (divide(percent, number(100)), bare)
            ),
            leaf,
        )
    if {first, second} == {"degree", ""} and "pi" in constants(left) | constants(right):
        degree, bare = (left, right) if first else (right, left)
        return same(multiply(degree, Node("constant", ("pi",)), number("1/180")), bare, leaf)
    if "" in (first, second):
        return same(left, right, leaf)
    scale, other = UNITS.get(first), UNITS.get(second)
    if scale is None or other is None or scale[0] != other[0]:
        return False
    return same(multiply(left, number(scale[1])), multiply(right, number(other[1])), leaf)


def split_unit(node: Node) -> tuple[Node, str]:
    """The bare expression and its unit under one name: `\\text{ million dollars}` is a factor of 10⁶ and `dollar`."""
    if node.kind == "multiply" and node.args[-1].kind == "unit":  # −5 cm
        value, name = split_unit(node.args[-1])
        return scaled(multiply(*node.args[:-1]), value), name
    if node.kind != "unit":
        return node, ""
    value, unit = split_unit(node.args[0])
    parts = [singular(w) for w in re.sub(r"\bper\b", "/", node.args[1]).replace("/", " / ").split()]
    while parts and parts[0] in MAGNITUDES:
        value = scaled(number(MAGNITUDES[parts.pop(0)]), value)
    parts = [unit] + parts if unit else parts
    if len(parts) > 1 and parts[0] in ("square", "sq", "cubic"):
        parts = [parts[1] + ("^3" if parts[0] == "cubic" else "^2"), *parts[2:]]
    return value, "".join(parts)


def scaled(factor: Node, value: Node) -> Node:
    """The product, as one number where both are."""
    return (
        number(factor.args[0] * value.args[0])
        if factor.kind == value.kind == "number"
        else multiply(factor, value)
    )


def singular(word: str) -> str:
    name, power, exponent = word.partition("^")
    name = name if name in UNITS or name in ALIASES else name.removesuffix("s")
    return ALIASES.get(name, name) + power + exponent


def constants(node: Node) -> set[str]:
    found = {node.args[0]} if node.kind == "constant" else set()
    return found.union(*(constants(a) for a in node.args if isinstance(a, Node)))


def is_name(node: Node) -> bool:
    """What may stand left of `=` in an answer: `x`, `f(x)`, `AB`, `a + b`, `\\text{Area}`; nothing with a number in it."""
    if node.kind in ("symbol", "text"):
        return True
    return node.kind in ("multiply", "add") and all(is_name(a) for a in node.args)


def named(node: Node) -> tuple[Node | None, Node]:
    """(name, value) of `x = …`, else (None, the node); of a chain of equals signs, the last side is the value."""
    if (
        node.kind == "relation"
        and set(node.args[0].split()) == {"="}
        and is_name(node.args[1])
        and node.args[1] != node.args[-1]
    ):
        return node.args[1], node.args[-1]
    return None, node


def same_relation(p: Node, g: Node, leaf: Leaf) -> bool:
    p, g = (
        n.args[-1] if n.kind == "relation" and n.args[0] == "in" and is_name(n.args[1]) else n
        for n in (p, g)
    )
    if p.kind != "relation" and g.kind != "relation":
        return same(p, g, leaf)
    (left, p_value), (right, g_value) = named(p), named(g)
    if left is not None and (left == right or (right is None and g.kind != "relation")):
        return same(p_value, g_value, leaf)
    if right is not None and p.kind != "relation":
        return same(p_value, g_value, leaf)
    if {p.kind, g.kind} == {"relation", "group"} or {p.kind, g.kind} == {"relation", "union"}:
        return same_interval(interval(p), interval(g), leaf)
    if p.kind != "relation" or g.kind != "relation":
        return same_items(p, g, leaf) if {p.kind, g.kind} & {"list", "set"} else False
    if p.args[0] == g.args[0] == "=":
        return same_equation(p, g, leaf)
    if "=" in p.args[0].split() or "=" in g.args[0].split():
        return False
    first, second = interval(p), interval(g)
    if first.kind == second.kind == "group" and names(p) == names(g):
        return same_interval(first, second, leaf)
    return p.args[0] == g.args[0] and all(
        same(a, b, leaf) for a, b in zip(p.args[1:], g.args[1:], strict=True)
    )


def same_equation(p: Node, g: Node, leaf: Leaf) -> bool:
    """Two equations in the same unknowns, at least two of them, are one if their sides differ by a constant factor."""
    unknowns = names(g)
    if len(unknowns) < 2 or names(p) != unknowns:
        return all(same(a, b, leaf) for a, b in zip(p.args[1:], g.args[1:], strict=True))
    first, second = (Node("add", (n.args[1], multiply(number(-1), n.args[2]))) for n in (p, g))
    point = {name: number(Fraction(10 * i + 17, 7)) for i, name in enumerate(sorted(unknowns))}
    there, here = at(first, point), at(second, point)
    return not same(here, number(0), leaf) and leaf(multiply(first, here), multiply(second, there))


def at(node: Node, point: dict[str, Node]) -> Node:
    """The node with numbers in place of its symbols."""
    if node.kind == "symbol":
        return point[node.args[0]]
    return Node(node.kind, tuple(at(a, point) if isinstance(a, Node) else a for a in node.args))


FLIP = {"<": "<", "<=": "<=", ">": "<", ">=": "<="}


def interval(node: Node) -> Node:
    """The interval that an inequality in one name describes, `2 < x ≤ 5` or `x > 2`, or ℝ; anything else as it is."""
    endless = Node("constant", ("infinity",))
    if node == Node("symbol", ("mathbb R",)):
        return Node("group", ("(", ")", multiply(number(-1), endless), endless))
    if node.kind != "relation":
        return node
    signs, sides = node.args[0].split(), list(node.args[1:])
    if not all(s in FLIP for s in signs) or len({s[0] for s in signs}) != 1:
        return node
    if signs[0][0] == ">":
        signs, sides = [FLIP[s] for s in reversed(signs)], sides[::-1]
    if len(sides) == 2 and is_name(sides[0]):
        signs, sides = ["<", *signs], [multiply(number(-1), endless), *sides]
    elif len(sides) == 2 and is_name(sides[1]):
        signs, sides = [*signs, "<"], [*sides, endless]
    if len(sides) != 3 or not is_name(sides[1]):
        return node
    return Node(
        "group",
        ("[" if signs[0] == "<=" else "(", "]" if signs[1] == "<=" else ")", sides[0], sides[2]),
    )


def same_interval(p: Node, g: Node, leaf: Leaf) -> bool:
    return p.kind == g.kind == "group" and same_places(p, g, leaf)


def same_ratio(p: Node, g: Node) -> bool:
    """`3:4` is `6:8` and the fraction 3/4; what may be a time of day, `3:30`, is only itself."""

    def clock(n: Node) -> bool:
        return n.kind == "ratio" and n.args[1].kind == "number" and 10 <= n.args[1].args[0] < 60

    if clock(p) or clock(g):
        return False
    left, right = (rational(divide(*n.args) if n.kind == "ratio" else n) for n in (p, g))
    return left is not None and left == right


def has_plusminus(node: Node) -> bool:
    return node.kind == "plusminus" or any(
        has_plusminus(a) for a in node.args if isinstance(a, Node)
    )


def branch(node: Node, sign: int) -> Node:
    """The node with every ± read as + (sign 1) or as − (sign −1)."""
    args = tuple(branch(a, sign) if isinstance(a, Node) else a for a in node.args)
    if node.kind != "plusminus":
        return Node(node.kind, args)
    return Node("add", (args[0], multiply(number(sign), args[1])))


def items(node: Node) -> list[Node]:
    """The members of a list or set: `1 ± √5` is two, and `x = 1` among them is 1."""
    if node.kind in ("list", "set"):
        members = (
            node.args[0].args if len(node.args) == 1 and node.args[0].kind == "list" else node.args
        )
        labels = {named(m)[0] for m in members} - {None}
        return [i for m in members for i in items(named(m)[1] if len(labels) == 1 else m)]
    if has_plusminus(node):
        return [branch(named(node)[1], 1), branch(named(node)[1], -1)]
    return [node]


def same_items(p: Node, g: Node, leaf: Leaf) -> bool:
    """Members in any order. A pair or triple is ordered: a list of three or more without brackets matches one in its order only."""
    for one, other in ((p, g), (g, p)):
        if one.kind == "group" and other.kind == "list":
            same_order = (
                len(other.args) > 2
                and one.args[:2] == ("(", ")")
                and len(one.args) == len(other.args) + 2
            )
            return same_order and all(
                same(a, b, leaf) for a, b in zip(one.args[2:], other.args, strict=True)
            )
    if g.kind == "union" and p.kind == "list":
        return matched([interval(i) for i in p.args], list(g.args), leaf)
    return matched(items(p), items(g), leaf)


def matched(left: list[Node], right: list[Node], leaf: Leaf) -> bool:
    """Whether each member of one side has its own equal on the other side."""
    if len(left) != len(right) or len(left) > 30:
        return False
    rest = list(right)
    for member in left:
        found = next((r for r in rest if same(member, r, leaf)), None)
        if found is None:
            return False
        rest.remove(found)
    return True


def same_places(p: Node, g: Node, leaf: Leaf) -> bool:
    """Pairs, intervals and matrices: brackets and each place count. A column and a tuple are both vectors."""
    p, g = interval(vector(p, g)), interval(vector(g, p))
    if p.kind != g.kind or p.kind not in ("group", "matrix") or len(p.args) != len(g.args):
        return False
    if p.kind == "group":
        return p.args[:2] == g.args[:2] and all(
            same(a, b, leaf) for a, b in zip(p.args[2:], g.args[2:], strict=True)
        )
    return all(
        len(a) == len(b) and all(same(x, y, leaf) for x, y in zip(a, b, strict=True))
        for a, b in zip(p.args, g.args, strict=True)
    )


def vector(node: Node, other: Node) -> Node:
    if node.kind == "matrix" and other.kind == "group" and all(len(row) == 1 for row in node.args):
        return Node("group", ("(", ")", *(row[0] for row in node.args)))
    return node
