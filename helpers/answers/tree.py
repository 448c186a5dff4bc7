"""The tree of a mathematical answer. Nothing is evaluated here.

A tree is a tuple `Node(kind, *args)`; the kinds and their arguments are:

    number Fraction        symbol name          constant pi | e | i | infinity
    add a b …              multiply a b …       power a b            plusminus a b (a ± b)
    call name a …          list a b …           set a b …            group "(" "]" a b …
    matrix row row …       union a b …          relation op a b …    ratio a b
    unit a name            text words           base digits base
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
        """The arguments that are nodes; the rows of a matrix are not."""
        return [part for part in self if isinstance(part, Node)]


def number(value: int | str | Fraction) -> Node:
    return Node("number", Fraction(value))


def symbol(name: str) -> Node:
    return Node("symbol", name)


ONE = number(1)


def joined(kind: str, parts: list[Node]) -> Node:
    """A node of several parts; one part alone is itself."""
    return parts[0] if len(parts) == 1 else Node(kind, *parts)


def multiply(*factors: Node) -> Node:
    """A product, with the factors of its factors in one row and without those that are 1."""
    flat = []
    for factor in factors:
        if factor.kind == "multiply":
            flat += factor.args
        elif factor != ONE:
            flat.append(factor)
    return joined("multiply", flat or [ONE])


def divide(above: Node, below: Node) -> Node:
    """A quotient; two whole numbers make one number, other than a division by zero."""
    if above.kind == below.kind == "number" and below[1]:
        return number(above[1] / below[1])
    return multiply(above, Node("power", below, number(-1)))


def scaled(factor: Node, value: Node) -> Node:
    """The product, as one number where both are."""
    if factor.kind == value.kind == "number":
        return number(factor[1] * value[1])
    return multiply(factor, value)


def negative(node: Node) -> Node:
    return scaled(number(-1), node)


def walk(node: Node) -> list[Node]:
    """The node and all below it."""
    nodes = [node]
    for each in nodes:  # the list grows meanwhile
        nodes += each.children
    return nodes


def found(node: Node, kind: str) -> set:
    """The first arguments of all nodes of a kind, as the names of all symbols."""
    return {part[1] for part in walk(node) if part.kind == kind}


def mapped(node: Node, change: Callable[[Node], Node]) -> Node:
    """The node with every child changed."""
    return Node(*(change(part) if isinstance(part, Node) else part for part in node))
