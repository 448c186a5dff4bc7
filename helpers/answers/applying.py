"""Whether a letter before a bracket is a function, as in f(2x), or a factor, as in m(g + a).

The reader cannot know: it leaves `apply name bracket marked`, the last with what stands behind it.
Here both answers of a pair are looked at. A letter is a function if it stands before a single value
somewhere, as in f(x), I(0), P(X = 2), or if it usually is one and stands nowhere by itself; else it
is a factor, and so is a usual variable that stands by itself, too: x(3/5).
"""

from functools import partial

from helpers.answers.tree import Node, changed, found, number, symbol, walk
from helpers.answers.vocabulary import words

USUAL, VARIABLES = words("usual_functions"), words("usual_variables")
SINGLE = ("number", "symbol", "constant", "relation", "group")


def applied(first: Node, second: Node, physics: bool = False) -> tuple[Node, Node]:
    """Both trees without doubt: `apply name argument …` for functions, products for factors.

    physics: the letters that are usually functions are quantities.
    """
    brackets = [part for side in (first, second) for part in walk(side) if part.kind == "apply"]
    if not brackets:
        return first, second
    alone = found(first, "symbol") | found(second, "symbol")
    functions = {part[1] for part in brackets if single(part)} - (VARIABLES & alone)
    functions |= (repeated(first) | repeated(second)) - (VARIABLES | alone)
    if not physics:
        functions |= {part[1] for part in brackets if part[1] in USUAL - alone}
    settle = partial(settled, functions=functions)
    return changed(first, settle), changed(second, settle)


def repeated(side: Node) -> set[str]:
    """The letters before several brackets that differ."""
    inside = {}
    for part in walk(side):
        if part.kind == "apply":
            inside.setdefault(part[1], set()).add(part[2])
    return {name for name, arguments in inside.items() if len(arguments) > 1}


def single(node: Node) -> bool:
    """Whether one value stands in the brackets, perhaps with a minus, but not the letter itself."""
    inside = node[2]
    if inside.kind == "multiply" and len(inside) == 3 and inside[1] == number(-1):
        inside = inside[2]
    return inside.kind in SINGLE and inside != symbol(node[1])


def settled(node: Node, functions: set[str]) -> Node:
    """A node that is in doubt as a function with its arguments, or as a product."""
    if node.kind != "apply":
        return node
    name, inside, marked = node.args
    if name not in functions:
        return symbol(name) * marked
    arguments = inside[3:] if inside.kind == "group" else [inside]
    application = Node("apply", name, *arguments)
    return changed(marked, lambda part: application if part == inside else part)
