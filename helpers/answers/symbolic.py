"""What exact arithmetic on fractions cannot decide; runs in a child of `isolation`.

Two expressions are equal if SymPy finds them identical, or if they have the same value, to 40
digits and those of their own whole numbers, at several random points where both are real. Such a
test cannot take a rounded number for an exact one, needs no `simplify`, and so costs milliseconds.
"""

import functools
import itertools
import random
import signal

import sympy
from sympy.core.function import AppliedUndef

from helpers.answers.comparing import says_the_same
from helpers.answers.eed import formulas
from helpers.answers.tree import Node, Unreadable, found
from helpers.answers.vocabulary import FUNCTIONS, meanings, words

LARGEST = 20_000  # bits of a whole number that is written out
LARGEST_FACTORIAL = 1000
DIGITS = 40
MOST_DIGITS = 6000
NEAR = 1e-9  # the relative error of a few digits
POINTS, FURTHER = 3, 15  # that decide, and more of them to find some
SCALES = (1, 12, sympy.Rational(1, 5))
KINKS = words("kinks")
NAMES = meanings("sympy")
CALLS = FUNCTIONS | KINKS | {"factorial", "binom"}
UNITS = {"percent": sympy.Rational(1, 100), "degree": sympy.pi / 180}
CONSTANTS = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I}
PATIENCE = 6.0  # seconds of computing for one simplification: PHYBench has them of 2, and of 12
MOST_NODES = 300  # of an answer's tree


def same_symbols(predicted: str, gold: str) -> float:
    """`same_math` with SymPy at the leaves."""
    return float(says_the_same(predicted, gold, same_leaf))


def same_leaf(a: Node, b: Node) -> bool:
    """Symbols stand for positive numbers, as in physics, unless a kink says that signs matter."""
    kinks = KINKS & (found(a, "call") | found(b, "call"))
    assumptions = {"real": True} if kinks else {"positive": True}
    try:
        return equal(expression(a, **assumptions), expression(b, **assumptions))
    except Unreadable:
        return False


def expression(node: Node, **assumptions) -> sympy.Expr:
    """The SymPy expression of a tree. Raises Unreadable for what is none, or fills the memory."""
    inside = [expression(child, **assumptions) for child in node.children]
    match node:
        case ("number", value):
            return sympy.Rational(value.numerator, value.denominator)
        case ("symbol", name):
            return sympy.Symbol(name, **assumptions)
        case ("constant", name) if name in CONSTANTS:
            return CONSTANTS[name]
        case ("add", *_):
            return sympy.Add(*inside)
        case ("multiply", *_):
            return sympy.Mul(*inside)
        case ("power", *_):
            return power(*inside)
        case ("call", name, *_) if name in CALLS:
            return call(name, inside)
        case ("apply", name, *_):
            return sympy.Function(name)(*inside)
        case ("unit", _, name):
            return inside[0] * UNITS.get(name, sympy.Symbol(f"unit {name}", **assumptions))
    raise Unreadable


def power(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    if base.is_Rational and exponent.is_Rational:
        bits = max(abs(base.p), base.q).bit_length()
        if bits * abs(exponent.p) > LARGEST * exponent.q:
            raise Unreadable
    return sympy.Pow(base, exponent)


def call(name: str, args: list[sympy.Expr]) -> sympy.Expr:
    if name in ("factorial", "binom"):
        for value in args:
            if value.is_number and not (value.is_Integer and 0 <= value <= LARGEST_FACTORIAL):
                raise Unreadable
    return getattr(sympy, NAMES.get(name, name.replace("arc", "a")))(*args)


def equal(a: sympy.Expr, b: sympy.Expr) -> bool:
    """Same form, or same value at random points; if it has none at any point, unequal.

    A coordinate is about 1, 12 or 1/5, so that √((x − 3)²) is not 3 − x; of either sign. Where they
    differ counts only if all roots and functions are real there: √(x − 1) is meant for x > 1.
    """
    difference = a - b  # like terms cancel, so that no digits are lost by them
    if difference == 0:
        return True
    digits = DIGITS + sum(len(str(part)) for part in difference.atoms(sympy.Rational))
    if digits > MOST_DIGITS:
        return False
    difference = difference.replace(AppliedUndef, stand_in)
    symbols = sorted(difference.free_symbols, key=str)
    # A function with a kink needs both of its sides.
    points = POINTS if all(s.is_positive for s in symbols) else 8 * POINTS
    dice, agreed = random.Random(0), 0
    for turn in range(3 * points + FURTHER if symbols else 1):
        point = {}
        for symbol in symbols:
            size = sympy.Rational(dice.randint(2 * 10**5, 3 * 10**6), 2 * 10**6) * SCALES[turn % 3]
            point[symbol] = size if symbol.is_positive or dice.random() < 0.5 else -size
        zero = vanishes(difference, point, digits)
        if zero is False and is_real(difference, point):
            return False
        agreed += zero is True
        if agreed == points:
            break
    return agreed > 0


def stand_in(*args: sympy.Expr) -> sympy.Expr:
    """Some function, for one that is only named, as in f(2x)."""
    return sympy.cos(1 + sum((place + 2) * value for place, value in enumerate(args)))


def vanishes(difference: sympy.Expr, point: dict, digits: int) -> bool | None:
    """Whether the parts of a sum cancel at a point; None where one has no finite value."""
    try:
        parts = [sympy.N(p, digits, subs=point) for p in sympy.Add.make_args(difference)]
        if not all(part.is_number and part.is_finite for part in parts):
            return None
        ten, largest = sympy.Float(10), max(map(abs, parts))
        error = max(largest * ten ** (5 - digits), ten ** (-2 * digits))
        return bool(abs(sympy.Add(*parts)) <= error)
    except (ArithmeticError, ValueError, TypeError):
        return None


def is_real(formula: sympy.Expr, point: dict) -> bool:
    """Whether all roots and functions of a formula are real at a point, or it has an i."""
    if formula.has(sympy.I):
        return True
    for part in formula.atoms(sympy.Pow, sympy.Function):
        value = sympy.N(part, subs=point)
        if abs(sympy.im(value)) > NEAR * abs(value):
            return False
    return True


def edit_distance(predicted: str, gold: str) -> float:
    """`eed_score` of a pair that is not trivially equal."""
    answer, truth = (expression(node, positive=True) for node in formulas(predicted, gold))
    if equal(answer, truth):
        return 1.0
    goal, tree = simplified(truth), simplified(answer)
    if size(tree) > MOST_NODES:
        return 0.0
    return max(0.0, 0.6 - distance(tree, goal) / size(goal))


@functools.lru_cache(maxsize=256)
def simplified(formula: sympy.Expr) -> sympy.Expr:
    """SymPy's `simplify`, or the formula as it is where that computes longer than PATIENCE."""
    if not hasattr(signal, "setitimer"):  # on Windows; there the pair has a limit as a whole
        return sympy.simplify(formula)
    signal.signal(signal.SIGVTALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE)
    try:
        return sympy.simplify(formula)
    except KeyboardInterrupt:
        return formula
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def size(tree: sympy.Expr) -> int:
    return sum(1 for _ in sympy.postorder_traversal(tree))


def postorder(tree: sympy.Expr) -> tuple[list[str], list[int], list[int]]:
    """Of each node a label and the index of its leftmost leaf; and which have a left sibling.

    The root counts among the latter.
    """
    parts = list(sympy.postorder_traversal(tree))
    labels = [type(part).__name__ if part.args else str(part) for part in parts]
    left = [index + 1 - size(part) for index, part in enumerate(parts)]
    highest = {leaf: node for node, leaf in enumerate(left)}
    return labels, left, sorted(highest.values())


def distance(tree: sympy.Expr, goal: sympy.Expr) -> float:
    """The least cost to turn one tree into another; after Zhang and Shasha (1989).

    To insert, delete or change one node costs 1, to insert or delete a whole subtree `bulk`.
    """
    labels, left, roots = postorder(tree)
    goal_labels, goal_left, goal_roots = postorder(goal)
    done = [[0.0] * len(goal_labels) for _ in labels]  # of the pairs of subtrees
    for i, j in itertools.product(roots, goal_roots):
        first, second = left[i], goal_left[j]
        rows, columns = i - first + 2, j - second + 2
        cost = [[0.0] * columns for _ in range(rows)]
        for x, y in itertools.product(range(rows), range(columns)):
            a, b = first + x - 1, second + y - 1
            options = []
            if x:
                above = left[a] - first
                options += [cost[x - 1][y] + 1, cost[above][y] + bulk(x - above)]
            if y:
                beside = goal_left[b] - second
                options += [cost[x][y - 1] + 1, cost[x][beside] + bulk(y - beside)]
            if x and y and above == beside == 0:  # two whole trees
                options.append(cost[x - 1][y - 1] + (labels[a] != goal_labels[b]))
                done[a][b] = min(options)
            elif x and y:
                options.append(cost[above][beside] + done[a][b])
            cost[x][y] = min(options, default=0.0)
    return done[-1][-1]


def bulk(nodes: int) -> float:
    """What it costs to insert or delete a whole subtree at once."""
    return min(nodes, 0.6 * (nodes - 5) + 5)
