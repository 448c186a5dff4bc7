"""What relations say: the value of a name, `x = 5`, and the interval of an inequality."""

from __future__ import annotations

from helpers.answers.tree import Node, negative, symbol

ENDLESS = Node("constant", "infinity")
OPENER = {"<": "(", "<=": "["}
CLOSER = {"<": ")", "<=": "]"}
MIRRORED = {">": "<", ">=": "<="}


def is_name(node: Node) -> bool:
    r"""What may stand left of `=` in an answer: `x`, `f(x)`, `AB`, `a + b`, `\text{Area}`."""
    if node.kind in ("symbol", "text"):
        return True
    return node.kind in ("multiply", "add") and all(is_name(part) for part in node.args)


def named(node: Node) -> tuple[Node | None, Node]:
    """(name, value) of `x = …`, else (None, the node).

    Of a chain of equals signs, the last side is the value.
    """
    if node.kind == "relation" and set(node[1].split()) == {"="}:
        name, value = node[2], node[-1]
        if is_name(name) and name != value:
            return name, value
    return None, node


def interval(node: Node) -> Node:
    """The interval that an inequality in one name describes, `2 < x ≤ 5` or `x > 2`, or ℝ.

    Anything else stays as it is.
    """
    if node == symbol("mathbb R"):
        return Node("group", "(", ")", negative(ENDLESS), ENDLESS)
    if node.kind != "relation":
        return node
    signs, sides = node[1].split(), list(node[2:])
    if set(signs) <= MIRRORED.keys():
        signs = [MIRRORED[sign] for sign in reversed(signs)]
        sides.reverse()
    if not set(signs) <= OPENER.keys():
        return node
    if len(sides) == 2 and is_name(sides[0]):
        signs, sides = ["<", *signs], [negative(ENDLESS), *sides]
    elif len(sides) == 2 and is_name(sides[1]):
        signs, sides = [*signs, "<"], [*sides, ENDLESS]
    if len(sides) != 3 or not is_name(sides[1]):
        return node
    return Node("group", OPENER[signs[0]], CLOSER[signs[1]], sides[0], sides[2])
