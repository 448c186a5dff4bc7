"""Expression Edit Distance (EED), the score of PHYBench: partial credit for a formula.

Both formulas are simplified, all symbols taken as positive, and become trees whose leaves are
numbers and symbols. D is the least cost of turning the answer's tree into the gold's, S the gold's
number of nodes, and the score is 1 if they are equal, else max(0, 0.6 − D/S). The scale is 0 to 1
where the paper has 0 to 100. Source: Qiu et al., 2025, arXiv 2504.16074.

Here is what needs no SymPy; the distance is in `symbolic`.
"""

from helpers.answers import isolation
from helpers.answers.applying import applied
from helpers.answers.comparing import no_answer
from helpers.answers.exact import NeedsSymbols, exactly
from helpers.answers.forms import exact, is_name
from helpers.answers.parser import read
from helpers.answers.tree import Node, Unreadable, found, walk
from helpers.answers.vocabulary import words

LIMIT = 30.0  # seconds of computing for one pair: two simplifications take up to twelve
FORMULAS = words("formulas")
ANGLES = ("degree", "percent")
NO_FORMULAS = ("infinity", "cap", "setminus")


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
        answer, truth = formulas(predicted or "", gold)
        if answer == truth or exactly(answer, truth):
            return 1.0
    except Unreadable:
        return no_answer(gold, formula)
    except NeedsSymbols:
        pass
    if answer.kind == truth.kind == "number":
        return 0.0  # any edit of a tree with one node costs all of it
    return isolation.ask("edit_distance", predicted, gold, LIMIT) or 0.0


def formulas(predicted: str, gold: str) -> tuple[Node, Node]:
    """The trees of both. Raises Unreadable for what is no formula."""
    return applied(formula(predicted), formula(gold), physics=True)


def formula(text: str) -> Node:
    """The tree of the formula in a text, without its unit; of an equation, its last exact side.

    Raises Unreadable for what is no formula: several values, relations, text, infinity.
    """
    node = exact(read(text, physics=True))
    if node.kind == "ratio" and is_name(node[1]):  # E_k: mv²/2
        node = node[-1]
    if node.kind == "relation" and set(node[1].split()) == {"="}:
        first, *_, last = node[2:]
        if last != first and (found(first, "symbol") or is_name(first)):
            node = last
    if node.kind == "unit" and node[2] not in ANGLES:
        node = node[1]
    for part in walk(node):
        if part.kind not in FORMULAS or part[1] in NO_FORMULAS:
            raise Unreadable
    return node
