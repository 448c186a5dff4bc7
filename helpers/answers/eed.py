"""Expression Edit Distance (EED), the score of PHYBench: partial credit for a formula.

Both formulas are simplified, all symbols taken as positive, and become trees whose leaves are
numbers and symbols. D is the least cost of turning the answer's tree into the gold's, S the gold's
number of nodes, and the score is 1 if they are equal, else max(0, 0.6 − D/S). The scale is 0 to 1
where the paper has 0 to 100. Source: Qiu et al., 2025, arXiv 2504.16074.
"""

from __future__ import annotations

import functools
import itertools
import signal

from helpers.answers import isolation
from helpers.answers.comparing import rational
from helpers.answers.parser import read
from helpers.answers.tree import Node, Unreadable, found, walk

LIMIT = 2.8  # seconds for one pair
PATIENCE = 1.0  # seconds for one simplification
MOST_NODES = 300
FORMULAS = {"number", "symbol", "constant", "add", "multiply", "power", "call", "unit"}
NO_FORMULAS = ("infinity", "cap", "setminus", "backslash")


def eed_score(predicted: str | None, gold: str) -> float | None:
    r"""How near the formula `predicted` is to `gold`: 1.0 if equal, else up to 0.6.

    Of an equation the right side counts. Integrals and sums, cut-off or unreadable text, and what
    takes too long earn 0. None when the gold cannot be read.

    >>> eed_score(r"4\frac{mv^2}{l} + 2 m g", r"T = 2 m g + 4\frac{mv^2}{l}")
    1.0
    >>> round(eed_score(r"2 m g + 2\frac{mv^2}{l}", r"2 m g + 4\frac{mv^2}{l}"), 4)
    0.4667
    """
    try:
        truth = formula(gold)
    except Unreadable:
        return None
    try:
        answer = formula(predicted or "")
    except Unreadable:
        return 0.0
    if answer == truth:
        return 1.0
    if rational(truth) is not None and rational(answer) is not None:
        # Any edit of a tree with one node costs all of it.
        return float(rational(truth) == rational(answer))
    return isolation.ask("edit_distance", predicted, gold, LIMIT) or 0.0


def formula(text: str) -> Node:
    """The tree of the formula in a text; of an equation such as `E = mc^2`, of its right side.

    Raises Unreadable for what is no formula: several values, relations, text, infinity.
    """
    node = read(text, physics=True)
    if node.kind == "relation" and set(node[1].split()) == {"="}:
        *sides, last = node[2:]
        if last not in sides and found(sides[0], "symbol"):
            node = last
    for part in walk(node):
        if part.kind not in FORMULAS or part[1] in NO_FORMULAS:
            raise Unreadable(f"{part.kind} is no formula")
    return node


def edit_distance(predicted: str, gold: str) -> float:
    """The score of a pair that is not trivially equal. Runs inside a child of `isolation`."""
    import sympy

    from helpers.answers.symbolic import equal, expression

    answer = expression(formula(predicted), positive=True)
    truth = expression(formula(gold), positive=True)
    if equal(answer, truth):
        return 1.0
    goal, tree = simplified(truth), simplified(answer)
    if len(list(sympy.preorder_traversal(tree))) > MOST_NODES:
        return 0.0
    a, b = Tree(tree), Tree(goal)
    return max(0.0, 0.6 - a.distance(b) / len(b.labels))


@functools.lru_cache(maxsize=256)
def simplified(formula):
    """SymPy's `simplify`, or the formula as it is where that takes more than PATIENCE seconds."""
    import sympy

    if not hasattr(signal, "setitimer"):  # Windows
        return sympy.simplify(formula)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        return sympy.simplify(formula)
    except KeyboardInterrupt:
        return formula
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class Tree:
    """A SymPy expression as lists in postorder.

    labels: of each node; left: the index of each node's leftmost leaf; roots: the nodes that have
    a left sibling, and the root.
    """

    def __init__(self, expression):
        self.labels: list[str] = []
        self.left: list[int] = []
        self.add(expression)
        highest = {leaf: node for node, leaf in enumerate(self.left)}
        self.roots = sorted(highest.values())

    def add(self, expression) -> int:
        """Adds a subtree; returns the index of its leftmost leaf."""
        if expression.is_Number or not expression.args:
            label, leaves = str(expression), [len(self.labels)]
        else:
            label, leaves = type(expression).__name__, [self.add(e) for e in expression.args]
        self.left.append(leaves[0])
        self.labels.append(label)
        return leaves[0]

    def distance(self, other: Tree) -> float:
        """The least cost to turn this tree into `other`; after Zhang and Shasha (1989).

        To insert, delete or change one node costs 1, to insert or delete a whole subtree `bulk`.
        """
        done = [[0.0] * len(other.labels) for _ in self.labels]
        for i in self.roots:
            for j in other.roots:
                self.forests(other, i, j, done)
        return done[-1][-1]

    def forests(self, other: Tree, i: int, j: int, done: list[list[float]]) -> None:
        """Fills `done` for the pairs of subtrees whose leftmost leaves are those of i and j."""
        first, second = self.left[i], other.left[j]
        rows, columns = i - first + 2, j - second + 2
        cost = [[0.0] * columns for _ in range(rows)]
        for x, y in itertools.product(range(rows), range(columns)):
            a, b = first + x - 1, second + y - 1
            options = []
            if x:
                above = self.left[a] - first
                options += [cost[x - 1][y] + 1, cost[above][y] + bulk(x - above)]
            if y:
                beside = other.left[b] - second
                options += [cost[x][y - 1] + 1, cost[x][beside] + bulk(y - beside)]
            if x and y and above == beside == 0:  # two whole trees
                options.append(cost[x - 1][y - 1] + (self.labels[a] != other.labels[b]))
                done[a][b] = min(options)
            elif x and y:
                options.append(cost[above][beside] + done[a][b])
            cost[x][y] = min(options, default=0.0)


def bulk(nodes: int) -> float:
    """What it costs to insert or delete a whole subtree at once."""
    return min(nodes, 0.6 * (nodes - 5) + 5)
