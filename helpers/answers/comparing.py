"""Compares two answers part by part: lists, sets, pairs, intervals, equations, units, words.

What is left at the leaves are single expressions. `exactly` decides those of sums, products and
whole powers, without SymPy; for the others `same` takes a function, so that one description of
what "the same answer" means serves the fast path and the symbolic one.

Why no library does this: of 1,457 near misses of MATH-500's golds (a number, sign, root or bracket
changed) math-verify 0.9.0 pays 11, this grader none, and it is over ten times as fast; both are
measured in `tests/README.md`.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial

from helpers.answers import isolation
from helpers.answers.applying import applied
from helpers.answers.choices import same_in_letters, without_letter
from helpers.answers.exact import NeedsSymbols, exactly
from helpers.answers.forms import exact, interval, named, without_in
from helpers.answers.parser import plain_number, read
from helpers.answers.tree import ONE, Node, Unreadable, changed, found, number, scaled, symbol
from helpers.answers.units import split_unit, unit
from helpers.answers.vocabulary import NUMBERS

Leaf = Callable[[Node, Node], bool]
LONGEST_LIST = 30  # members that are compared in any order
NUMBER_WORDS = {word: number(n) for word, n in NUMBERS.items()}
PERCENT, DEGREE = unit("percent"), unit("degree")
# What a unit that is none but a factor comes to
BARE = {None: ONE, PERCENT: number("1/100"), DEGREE: Node("constant", "pi") * number("1/180")}
MIRROR = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "∥": "∥", "⊥": "⊥", "!=": "!="}
VECTORS = re.compile(r"\\(?:vec|nabla|overrightarrow|mathbf\s*\{?\s*[A-Za-z])")


def same_math(predicted: str | None, gold: str) -> float | None:
    r"""1.0 if both texts, in TeX or typed, say the same answer, else 0.0; None when the gold cannot
    be read.

    Numbers, expressions, equations, pairs, sets, intervals, vectors, angles, units and words.
    Sums, products and whole powers are compared here, exactly; all else by SymPy in a child process
    (`isolation`), and what takes it too long is not equal. Never raises on a text.

    >>> same_math(r"\sqrt{12}", r"2\sqrt{3}"), same_math("[2,5]", "(2,5)"), same_math("x=5", "5")
    (1.0, 0.0, 1.0)
    """
    try:
        return float(says_the_same(predicted or "", gold))
    except NeedsSymbols:
        return isolation.ask("same_symbols", predicted, gold) or 0.0
    except Unreadable:
        return no_answer(gold, read)


def no_answer(gold: str, reader: Callable[[str], Node]) -> float | None:
    """The score of an answer that cannot be read: None where its gold cannot, either."""
    try:
        reader(gold)
    except Unreadable:
        return None
    return 0.0


def says_the_same(one: str, other: str, leaf: Leaf = exactly) -> bool:
    """Whether two texts say the same answer. Raises Unreadable or, of `exactly`, NeedsSymbols."""
    left, right = plain_number(one), plain_number(other)
    if left and right:
        return left[0] * right[1] == right[0] * left[1]
    in_letters = same_in_letters(one, other)
    if in_letters is not None:
        return in_letters
    answer, truth = applied(read_answer(one), read(without_letter(other)))
    return crossed(one) == crossed(other) and same(answer, truth, leaf)


def crossed(text: str) -> list[str]:
    """The factors of a cross product, whose order counts; none for other products."""
    if "\\times" not in text or not VECTORS.search(text):
        return []
    return re.sub(r"[\s{}$.]", "", text).split("\\times")


def read_answer(text: str) -> Node:
    r"""The tree of an answer; of `\lim f = 7`, whose left side is none, that of its right side."""
    try:
        return read(text)
    except Unreadable:
        name, sign, value = text.rpartition("=")
        if not sign or not re.search("[A-Za-z]", name) or name.endswith(("<", ">", "!")):
            raise
        return read(value)


def same(p: Node, g: Node, leaf: Leaf) -> bool:
    """Whether the answer `p` says what the gold `g` says. `leaf(a, b)` decides single expressions.

    The first kind in BY_KIND that either of the two has says how they are compared.
    """
    p, g = exact(number_word(p, g)), exact(number_word(g, p))
    if p == g:
        return True
    kinds = {p.kind, g.kind}
    if found(p, "plusminus") or found(g, "plusminus"):
        kinds.add("plusminus")
    for kind, compare in BY_KIND.items():
        if kind in kinds:
            return compare(p, g, leaf)
    return leaf(p, g)


def number_word(node: Node, other: Node) -> Node:
    """`two` is the number 2 where the other side is no word."""
    if node.kind == "text" != other.kind:
        return NUMBER_WORDS.get(node[1].lower(), node)
    return node


def each_same(p: Sequence[Node], g: Sequence[Node], leaf: Leaf) -> bool:
    """Whether two rows are the same, place by place."""
    return len(p) == len(g) and all(same(a, b, leaf) for a, b in zip(p, g, strict=True))


def matched(p: Sequence[Node], g: Sequence[Node], leaf: Leaf) -> bool:
    """Whether each member of one side has its own equal on the other side."""
    if len(p) != len(g) or len(p) > LONGEST_LIST:
        return False
    rest = list(g)
    for member in p:
        for other in rest:
            if same(member, other, leaf):
                rest.remove(other)
                break
        else:
            return False
    return True


def same_unit(p, g, leaf):
    """A unit may be left out or converted, but not exchanged."""
    (left, left_unit), (right, right_unit) = split_unit(p), split_unit(g)
    if left_unit and right_unit:
        left, right = left * number(left_unit.scale), right * number(right_unit.scale)
        return left_unit.basic == right_unit.basic and same(left, right, leaf)
    units = {left_unit, right_unit}
    # A per cent sign cannot just have been left out of what is so small.
    tiny = PERCENT in units and left.kind == "number" and abs(left[1]) < 1
    if not tiny and same(left, right, leaf):
        return True
    if units <= BARE.keys():
        return same(scaled(left, BARE[left_unit]), scaled(right, BARE[right_unit]), leaf)
    return same(spelled_out(p), spelled_out(g), leaf)


def spelled_out(node: Node) -> Node:
    """`5 m` as 5 times m, for letters may have been meant."""
    if node.kind != "unit":
        return node
    try:
        return node[1] * read(node[2], physics=True)
    except Unreadable:
        return node[1]


def same_text(p, g, _):
    """Words are equal in any case of letters; a single letter is a name, and its case counts."""
    left, right = word(p), word(g)
    if not left or not right:
        return False
    return left == right or (len(left) > 1 and left.casefold() == right.casefold())


def word(node: Node) -> str | None:
    """The word that a text is, or that letters side by side would be."""
    if node.kind == "multiply":
        parts = [word(factor) for factor in node.args]
        return None if None in parts else "".join(parts)
    if node.kind in ("symbol", "constant", "text"):
        return "".join(node[1].split())
    return None


def same_digits(p, g, _):
    """The base of a gold may be left out; that of an answer counts."""
    if g.kind == "base":
        return p == number(g[1])
    value, base = 0, int(p[2])
    for digit in map(int, p[1]):
        if digit >= base:
            return False
        value = value * base + digit
    return g == number(value)


def same_ratio(p, g, leaf):
    """`3:4` is `6:8` and the fraction 3/4; what may be a time of day, `3:30`, is only itself."""
    if p.kind == g.kind and each_same(p.args, g.args, leaf):
        return True
    quotients = []
    for node in (p, g):
        parts = node.args if node.kind == "ratio" else (node, ONE)
        last = parts[-1]
        if len(parts) == 2 and last.kind == "number" and 10 <= last[1] < 60:
            return False
        quotients.append([part / last for part in parts])
    return each_same(*quotients, leaf)


def same_relation(p, g, leaf):
    r"""`x = 5` is `5`, `x > 2` an interval, and `x \in A` what A says."""
    if p.kind == g.kind and p[1] == g[1] == "in":
        return each_same(p[2:], g[2:], leaf)
    p, g = without_in(p), without_in(g)
    kinds = {p.kind, g.kind}
    if "relation" not in kinds:
        return same(p, g, leaf)
    (left, p_value), (right, g_value) = named(p), named(g)
    if len(kinds) == 1 and (left is None or left != right):
        return same_relations(p, g, leaf)
    if left or right:
        return same(p_value, g_value, leaf)
    if g.kind == "number" and p[1] == "=" and len(found(p[2], "symbol")) > 1:  # x^2 + y^2 = 7
        return same(p[3], g, leaf)
    if kinds & {"list", "set"}:
        return same_items(p, g, leaf)
    return same_places(p, g, leaf)


def same_relations(p, g, leaf):
    """Two equations in the same two or more unknowns are one if their sides differ by a factor."""
    names = found(p, "symbol")
    if p[1] == g[1] == "=" and len(names) > 1 and names == found(g, "symbol"):
        point = {symbol(name): number(f"{17 + 10 * n}/7") for n, name in enumerate(sorted(names))}
        first, second = Node("add", p[2], -p[3]), Node("add", g[2], -g[3])
        first_there = changed(first, lambda part: point.get(part, part))
        second_there = changed(second, lambda part: point.get(part, part))
        zero = number(0)  # which x + y = x + y leaves at any point
        always = same(first_there, zero, leaf) or same(second_there, zero, leaf)
        return not always and leaf(first * second_there, second * first_there)
    mirrored = [MIRROR.get(sign) for sign in reversed(p[1].split())]
    if g[1].split() == mirrored and each_same(p[2:], g[:1:-1], leaf):
        return True
    return p[1] == g[1] and each_same(p[2:], g[2:], leaf)


def same_items(p, g, leaf):
    """Members in any order, but of a pair or triple in brackets in their own."""
    for one, other in ((p, g), (g, p)):
        if one.kind == "group" and other.kind == "list" and not found(one, "plusminus"):
            values = labelled(other)
            if not values and len(other.args) > 2:  # of two it may be an interval
                values = other.args
            return one[1:3] == ("(", ")") and each_same(one[3:], values, leaf)
    return matched(items(p), items(g), leaf)


def labelled(node: Node) -> list[Node]:
    """The values of `x = 1, y = 2` in the order of their letters; none for other lists."""
    values = {}
    for member in node.args:
        name, value = named(member)
        if name is None or name.kind != "symbol" or name[1] in values:
            return []
        values[name[1]] = value
    return [values[name] for name in sorted(values)]


def items(node: Node) -> list[Node]:
    """The members of a list, set or union: `x = 1 ± √5` is two."""
    if node.kind in ("list", "set", "union"):
        members = []
        for member in node.args:
            within = member.kind == "set" and node.kind != "union"  # {1} in {{1}, 2}
            members += [member] if within else items(member)
        return members
    if not found(node, "plusminus"):
        return [node]
    value = named(node)[1]
    return [changed(value, partial(signed, sign=sign)) for sign in (ONE, -ONE)]


def signed(node: Node, sign: Node) -> Node:
    """One of the two values of a ±."""
    if node.kind != "plusminus":
        return node
    return Node("add", node[1], sign * node[2])


def same_places(p, g, leaf):
    """Pairs, intervals and matrices: brackets and each place count."""
    p, g = interval(vector(p, g)), interval(vector(g, p))
    frames = [[part for part in node if not isinstance(part, Node)] for node in (p, g)]
    return frames[0] == frames[1] and each_same(p.children, g.children, leaf)


def vector(node: Node, other: Node) -> Node:
    """Beside a tuple a column is one, too, and so is a point with its name, `A(1,2)`."""
    parts = []
    if node.kind == "apply":
        parts = node[2:]
    elif node.kind == "matrix" and all(len(row.args) == 1 for row in node.args):
        parts = [row[1] for row in node.args]
    return Node("group", "(", ")", *parts) if parts and other.kind == "group" else node


BY_KIND: dict[str, Callable[[Node, Node, Leaf], bool]] = {
    "relation": same_relation,
    "unit": same_unit,
    "text": same_text,
    "base": same_digits,
    "ratio": same_ratio,
    "list": same_items,
    "set": same_items,
    "plusminus": same_items,
    "group": same_places,
    "matrix": same_places,
    "row": same_places,
    "union": same_items,
}
