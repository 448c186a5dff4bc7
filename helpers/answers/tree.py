"""The tree of a mathematical answer. Nothing is evaluated here.

A tree is a tuple `Node(kind, *args)`; the kinds and their arguments are:

    number Fraction        symbol name          constant pi | e | i | infinity
    add a b …              multiply a b …       power a b            plusminus a b (a ± b)
    call name a …          list a b …           set a b …            group "(" "]" a b …
    matrix (row a b …) …   union a b …          relation op a b …    ratio a b
    unit a name            text words           base digits base         apply name a …
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from operator import itemgetter


class Unreadable(ValueError):
    """The text states no answer that can be read."""


class Node(tuple):
    """One node, a plain tuple inside: `node[1]` is its first argument."""

    __slots__ = ()

    def __new__(cls, kind: str, *args):
        return super().__new__(cls, (kind, *args))

    kind = property(itemgetter(0))
    args = property(itemgetter(slice(1, None)))

    @property
    def children(self) -> list[Node]:
        """The arguments that are nodes."""
        return [part for part in self if isinstance(part, Node)]

    def __mul__(self, other: Node) -> Node:
        """A product, with the factors of both in one row and without those that are 1."""
        factors = []
        for side in (self, other):
            if side.kind == "multiply":
                factors += side.args
            elif side != ONE:
                factors.append(side)
        return joined("multiply", factors or [ONE])

    def __truediv__(self, below: Node) -> Node:
        """A quotient; of two numbers it is one number, other than a division by zero."""
        if self.kind == below.kind == "number" and below[1]:
            return number(self[1] / below[1])
        return self * Node("power", below, number(-1))

    def __neg__(self) -> Node:
        if self.kind == "unit":
            return Node("unit", -self[1], self[2])
        return scaled(number(-1), self)


def number(value: int | str | Fraction) -> Node:
    return Node("number", Fraction(value))


def symbol(name: str) -> Node:
    return Node("symbol", name)


ONE = number(1)


def joined(kind: str, parts: list[Node]) -> Node:
    """A node of several parts; one part alone is itself."""
    return parts[0] if len(parts) == 1 else Node(kind, *parts)


def scaled(factor: Node, value: Node) -> Node:
    """The product, as one number where both are."""
    if factor.kind == value.kind == "number":
        return number(factor[1] * value[1])
    return factor * value


def walk(node: Node) -> list[Node]:
    """The node and all below it."""
    nodes = [node]
    for each in nodes:  # the list grows meanwhile
        nodes += each.children
    return nodes


def depth(node: Node) -> int:
    return 1 + max(map(depth, node.children), default=0)


def found(node: Node, kind: str) -> set:
    """The first arguments of all nodes of a kind, as the names of all symbols."""
    return {part[1] for part in walk(node) if part.kind == kind}


def changed(node: Node, change: Callable[[Node], Node]) -> Node:
    """The node after a change of each of its parts, the innermost first, and of itself."""
    parts = [changed(part, change) if isinstance(part, Node) else part for part in node]
    return change(Node(*parts))
