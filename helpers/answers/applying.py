"""Whether a letter before a bracket is a function, as in f(2x), or a factor, as in m(g + a).

The reader cannot know: it leaves `apply name bracket`. Here both answers of a pair are looked at. A
letter is a function if it stands before a single value somewhere, as in f(x), I(0), P(X = 2), or if
it usually is one and stands nowhere by itself; else it is a factor.
"""

from __future__ import annotations

from functools import partial

from helpers.answers.tree import Node, changed, found, number, symbol, walk
from helpers.answers.vocabulary import words

USUAL = words("usual_functions")
SINGLE = ("number", "symbol", "constant", "relation", "group")
MARKS = ("power", "unit", "call")  # that may stand behind a bracket


def applied(first: Node, second: Node, physics: bool = False) -> tuple[Node, Node]:
    """Both trees without doubt: `apply name argument …` for functions, products for factors.

    physics: the letters that are usually functions are quantities.
    """
    brackets = [part for side in (first, second) for part in walk(side) if part.kind == "apply"]
    if not brackets:
        return first, second
    functions = {part[1] for part in brackets if single(part)}
    if not physics:
        alone = found(first, "symbol") | found(second, "symbol")
        functions |= {part[1] for part in brackets if part[1] in USUAL - alone}
    settle = partial(settled, functions=functions)
    return changed(first, settle), changed(second, settle)


def single(node: Node) -> bool:
    inside = inner(node[2])
    if inside.kind == "multiply" and len(inside) == 3 and inside[1] == number(-1):
        inside = inside[2]
    return inside.kind in SINGLE and inside != symbol(node[1])


def inner(node: Node) -> Node:
    """What is in the bracket, without an exponent or another mark behind it."""
    return inner(node[-1 if node.kind == "call" else 1]) if node.kind in MARKS else node


def settled(node: Node, functions: set[str]) -> Node:
    if node.kind != "apply":
        return node
    name, bracket = node.args
    if name not in functions:
        return symbol(name) * bracket
    return around(bracket, name)


def around(bracket: Node, name: str) -> Node:
    """The function of what is in the bracket; a mark behind it is on the function's value."""
    if bracket.kind == "power":
        return Node("power", around(bracket[1], name), bracket[2])
    if bracket.kind == "group":
        return Node("apply", name, *bracket[3:])
    return Node("apply", name, bracket)
