"""What an answer comes to when its dress is off: names before values, approximations, intervals."""

import re
from fractions import Fraction
from itertools import pairwise

from helpers.answers.tree import Node, found, number, symbol

ENDLESS = Node("constant", "infinity")
BRACKETS = {"<": "()", "<=": "[]"}
SOLVED = ("ln", "log", "lg", "exp", "factorial")  # ln x = 2 is an equation, cos A = 1/2 a value
QUANTITIES = ("z", "v", "w")  # |z| = 7 is a modulus, |x| = 7 has two solutions
NEGATED = re.compile(r"\b(?:not|cannot|never)\b")
MIRRORED = {">": "<", ">=": "<="}


def exact(node: Node) -> Node:
    r"""`\frac13 \approx 0.333` is 1/3; `x \approx 0.333` is x = 0.333. ℝ∖{0} is a union."""
    outside = excluded(node)
    if outside:
        ends = [-ENDLESS, *map(number, sorted(outside)), ENDLESS]
        return Node("union", *(Node("group", "(", ")", *two) for two in pairwise(ends)))
    if node.kind != "relation" or "~" not in node[1].split():
        return node
    signs, sides = node[1].split(), node[2:]
    at = signs.index("~")
    if at > 0:  # x = 1/3 ≈ 0.333
        return Node("relation", " ".join(signs[:at]), *sides[: at + 1])
    if is_name(sides[0]):
        return Node("relation", " ".join(["=", *signs[1:]]), *sides)
    return sides[0]


def excluded(node: Node) -> set[Fraction]:
    r"""The points that `\mathbb{R}\setminus\{0,1\}` or `x \ne 0` leaves out; none for others."""
    outside = []
    match node:
        case ("call", "setminus", ("symbol", "mathbb R"), ("set", *points)):
            outside = points
        case ("relation", "!=", ("symbol", _), point):
            outside = [point]
    if any(point.kind != "number" for point in outside):
        return set()
    return {point[1] for point in outside}


def without_in(node: Node) -> Node:
    r"""Of `x \in A` only A; any other node as it is."""
    if node.kind == "relation" and node[1] == "in" and is_name(node[2]):
        return node[-1]
    return node


def is_name(node: Node) -> bool:
    r"""What may stand left of `=` in an answer: `x`, `f(x)`, `AB`, `a + b`, `\text{Area}`, `|AB|`,
    `(x, y)`, `a : b`, `\frac{dy}{dx}`.
    """
    match node:
        case ("text", words):
            return not NEGATED.search(words)
        case ("symbol" | "apply", *_):
            return True
        case ("call", "abs", ("symbol", name)):
            return name.isupper() or name in QUANTITIES or " " in name
        case ("call", "abs", inside):
            return is_name(inside)
        case ("call", name, *_):
            return name not in SOLVED and bool(found(node, "symbol"))
        case ("multiply", *parts):
            word = sum(part.kind == "symbol" for part in parts) > 1  # `Area` has an e
            bare = [part for part in parts if not (word and part.kind == "constant")]
            return all(is_name(part) or divides(part) or part[1:] == (-1,) for part in bare)
        case ("power", ("symbol", name), ("number", -1)):
            return name.isupper()  # an inverse
        case ("add", *parts):
            return all(is_name(part) or divides(part) for part in parts)
        case ("ratio", *parts) | ("group", _, _, *parts):
            return all(map(is_name, parts))
    return False


def divides(node: Node) -> bool:
    """Whether a factor is one over a name."""
    return node.kind == "power" and node[2] == number(-1) and is_name(node[1])


def named(node: Node) -> tuple[Node | None, Node]:
    """(name, value) of `x = …`, where the last of several sides counts; else (None, the node)."""
    if node.kind == "relation" and set(node[1].split()) == {"="}:
        name, value = node[2], node[-1]
        if is_name(name) and name != value and name[1:2] != (number(-1),):
            return in_order(name, value)
    return None, node


def in_order(name: Node, value: Node) -> tuple[Node, Node]:
    """`(y, x) = (1, 2)` is (x, y) = (2, 1)."""
    if name.kind == value.kind == "group" and len(name) == len(value):
        pairs = sorted(zip(name[3:], value[3:], strict=True), key=str)
        name = Node("group", *name[1:3], *(pair[0] for pair in pairs))
        value = Node("group", *value[1:3], *(pair[1] for pair in pairs))
    return name, value


def interval(node: Node) -> Node:
    """The interval that `2 < x ≤ 5` or `x > 2` or ℝ describes; anything else as it is."""
    if node == symbol("mathbb R"):
        return Node("group", "(", ")", -ENDLESS, ENDLESS)
    if node.kind != "relation":
        return node
    signs, sides = node[1].split(), list(node[2:])
    name = sides[0] if is_name(sides[0]) else sides[-1]  # of x > a it is x
    if MIRRORED.keys() >= set(signs):
        signs = [MIRRORED[sign] for sign in reversed(signs)]
        sides.reverse()
    if len(sides) == 2 and sides[0] == name:
        signs.insert(0, "<")
        sides.insert(0, -ENDLESS)
    elif len(sides) == 2:
        signs.append("<")
        sides.append(ENDLESS)
    if len(sides) != 3 or not is_name(sides[1]) or not BRACKETS.keys() >= set(signs):
        return node
    return Node("group", BRACKETS[signs[0]][0], BRACKETS[signs[1]][1], sides[0], sides[2])
