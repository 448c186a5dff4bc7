"""Random expressions, printed in many ways, rewritten in equal ways, or changed.

A tree is a tuple: ("n", whole number), ("d", decimal's text), ("s", letter), ("!", whole number),
("-", a), ("+", a, b, …), ("*", a, b, …), ("/", a, b), ("^", a, whole number), ("r", a) for √a.
Its value comes from here, not from the code under test: `value` computes with fractions, and of
roots with 60 digits, so what differs by more than that surely differs. Letters are positive.

A seeded generator rather than hypothesis: all that is wrong shall be counted, by kind, and
hypothesis stops at the first; small trees come often, so the shortest example is nearly minimal.
"""

import math
import random
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

LETTERS = "xyab"
DIGITS = 60  # of a root
NEAR = Fraction(1, 10**40)
SUM, QUOTIENT, PRODUCT, POWER, ATOM = range(5)  # how tightly a text holds together
ONE = ("n", 1)


class Case(NamedTuple):
    kind: str
    predicted: str
    gold: str
    score: float


def value(tree: tuple, point: dict[str, Fraction]) -> Fraction:
    """Raises ArithmeticError for a division by zero, ValueError for the root of less than 0."""
    kind, first = tree[:2]
    if kind in "nd":
        return Fraction(first)
    if kind == "s":
        return point[first]
    if kind == "!":
        return Fraction(math.factorial(first))
    if kind == "^":
        return value(first, point) ** tree[2]
    parts = [value(part, point) for part in tree[1:]]
    if kind == "-":
        return -parts[0]
    if kind == "+":
        return sum(parts)
    if kind == "*":
        return math.prod(parts)
    if kind == "/":
        return parts[0] / parts[1]
    above, below = parts[0].as_integer_ratio()
    root = math.isqrt(above * below)
    if root**2 == above * below:
        return Fraction(root, below)
    return Fraction(math.isqrt(above * below * 10 ** (2 * DIGITS)), below * 10**DIGITS)


def equal(a: tuple, b: tuple) -> bool | None:
    """Whether both have the same value at each of four points; None if at none of them both have
    one, or if one is too large to be met in an answer."""
    dice, verdicts = random.Random(0), []
    for _ in range(4):
        point = {name: Fraction(dice.randint(2, 40), dice.randint(2, 9)) for name in LETTERS}
        try:
            left, right = value(a, point), value(b, point)
        except (ArithmeticError, ValueError):
            continue
        if max(abs(left), abs(right)) > 10**12:
            return None
        verdicts.append(abs(left - right) <= NEAR * max(abs(left), 1))
    return all(verdicts) if verdicts else None


# Drawing


def number(dice: random.Random) -> tuple:
    roll = dice.random()
    if roll < 0.2:
        return ("/", ("n", dice.randint(1, 9)), ("n", dice.randint(2, 12)))
    if roll < 0.3:
        return ("d", dice.choice((".5", "0.5", "2.5", "0.25", "1.2", "0.04", "3.75", "10.0")))
    if roll < 0.35:
        return ("!", dice.randint(2, 6))
    return ("n", dice.choice((1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 24, 100, 1024)))


def tree(dice: random.Random, depth: int, letters: str, roots: bool) -> tuple:
    if depth == 0 or dice.random() < 0.1:
        return ("s", dice.choice(letters)) if letters and dice.random() < 0.6 else number(dice)
    kind = dice.choice("++**//^-" + "rr" * roots)
    if kind == "^":
        exponent = dice.choice((2, 2, 3, 4, 5, -1, -2))
        return ("^", tree(dice, depth - 1, letters, False), exponent)
    if kind == "r":
        inside = ("n", dice.choice((2, 3, 5, 6, 8, 12, 18, 20, 27, 45, 50, 72, 98)))
        if letters and dice.random() < 0.4:
            inside = dice.choice((("*", inside, ("s", letters[0])), ("+", ("s", letters[0]), ONE)))
        return ("r", inside)
    parts = [tree(dice, depth - 1, letters, roots) for _ in range({"-": 1, "/": 2}.get(kind, 3))]
    if kind == "+":
        parts = [("-", part) if dice.random() < 0.4 else part for part in parts]
    if kind in "+*" and dice.random() < 0.7:
        del parts[2]
    return (kind, *parts)


# Printing


class Printer:
    """Writes a tree in TeX or as typed, each part in one of the ways that people write it."""

    def __init__(self, dice: random.Random):
        self.dice = dice
        self.tex = dice.random() < 0.6
        self.space = dice.choice(("", " "))
        self.cross = dice.choice((r" \cdot ", r" \times ", r"\cdot ") if self.tex else "**·×")

    def whole(self, node: tuple) -> str:
        text = self.text(node)[0]
        return self.dice.choice(("{}", "{}", "{}", " {} ", "${}$", "{}.")).format(text)

    def held(self, node: tuple, level: int) -> str:
        """The text, in brackets where it holds together less tightly than `level`."""
        text, found = self.text(node)
        if found >= level:
            return text
        ways = [("(", ")")] * 3 + [("[", "]"), ("{(", ")}"), (r"\left(", r"\right)")] * self.tex
        return text.join(self.dice.choice(ways))

    def text(self, node: tuple) -> tuple[str, int]:
        match node:
            case ("n" | "d" | "s", name):
                return str(name), ATOM
            case ("!", n):
                return f"{n}!", POWER
            case ("-", a):
                return f"-{self.held(a, QUOTIENT)}", SUM
            case ("+", first, *rest):
                text = self.text(first)[0]
                for part in rest:
                    sign, part = ("-", part[1]) if part[0] == "-" else ("+", part)
                    text += self.space + sign + self.space + self.held(part, QUOTIENT)
                return text, SUM
            case ("*", *factors):
                return self.product(factors)
            case ("/", above, below):
                return self.quotient(above, below)
            case ("^", a, n):
                marks = [f"^{n}"] if not self.tex or 0 <= n <= 9 else []
                marks += [f"^{{{n}}}"] if self.tex else [f"**{n}", f"^({n})"]
                return self.held(a, ATOM) + self.dice.choice(marks), POWER
            case ("r", a):
                return self.root(a)

    def product(self, factors: list[tuple]) -> tuple[str, int]:
        """Factors side by side where nobody can misread them, else with a sign between."""
        parts = [self.held(factor, POWER) for factor in factors]
        beside = self.dice.random() < 0.7
        for before, after in zip(parts, parts[1:], strict=False):
            digit = before[-1].isdigit() and after[0] == "\\"  # 2\frac12 is a mixed number
            digit = digit and (after.startswith(r"\frac") or r"\sqrt" in before)
            unclear = before[0] == "√" or "^" in before and not before.endswith(("}", ")"))
            if after[0].isdigit() or after[0] in ".√" or digit or unclear or "**" in before:
                beside = False
        if not beside:
            loose = [self.held(factor, QUOTIENT) for factor in factors]
            return self.cross.join(loose), QUOTIENT
        text = parts[0]
        for part in parts[1:]:
            gap = " " if text[-1].isalpha() and part[0] == "s" else self.space
            text += gap + part
        return text, PRODUCT

    def quotient(self, above: tuple, below: tuple) -> tuple[str, int]:
        if self.tex and self.dice.random() < 0.8:
            parts = self.text(above)[0], self.text(below)[0]
            if all(len(part) == 1 and part.isdigit() for part in parts) and self.space:
                return rf"\frac{parts[0]}{parts[1]}", POWER
            return r"\frac{{{}}}{{{}}}".format(*parts), POWER
        sign = self.dice.choice(("/", " / ", r"\div " if self.tex else " ÷ "))
        return self.held(above, QUOTIENT) + sign + self.held(below, POWER), QUOTIENT

    def root(self, inside: tuple) -> tuple[str, int]:
        text, level = self.text(inside)
        if self.tex:
            short = len(text) == 1 and self.space
            return rf"\sqrt{text}" if short else rf"\sqrt{{{text}}}", POWER
        if self.dice.random() < 0.5:
            return f"sqrt({text})", POWER
        return f"√{text}" if level == ATOM else f"√({text})", POWER


# Rewriting: each gives another tree of the same value, or None where it does not apply


def commuted(node, dice):
    if node[0] in "+*":
        return (node[0], *dice.sample(node[1:], len(node) - 1))


def expanded(node, dice):
    match node:
        case ("^", ("+", *terms), 2):
            return ("+", *(("*", a, b) for a in terms for b in terms))
        case ("*", first, *rest):
            for at, part in enumerate(rest):
                if part[0] == "+":
                    others = [first, *rest[:at], *rest[at + 1 :]]
                    return ("+", *(("*", *others, term) for term in part[1:]))


def common_denominator(node, dice):
    match node:
        case ("+", ("/", a, b), ("/", c, d)):
            return ("/", ("+", ("*", a, d), ("*", c, b)), ("*", b, d))
        case ("+", a, ("/", b, c)) | ("+", ("/", b, c), a):
            return ("/", ("+", ("*", a, c), b), c)


def factored_out(node, dice):
    if node[0] == "+":
        factor = dice.choice((("n", 2), ("n", 3), ("s", "x")))
        return ("*", factor, ("+", *(("/", part, factor) for part in node[1:])))


def difference_turned(node, dice):
    match node:
        case ("+", a, ("-", b)):
            return ("-", ("+", b, ("-", a)))


def quotient_as_product(node, dice):
    match node:
        case ("/", a, b) if a != ONE:
            return ("*", ("/", ONE, b), a)


def root_simplified(node, dice):
    match node:
        case ("*", ("n", k), ("r", ("n", n))):
            return ("r", ("n", k * k * n))
        case ("r", ("*", a, b)):
            return ("*", ("r", a), ("r", b))
        case ("r", ("n", n)):
            for k in range(6, 1, -1):
                if n % k**2 == 0:
                    return ("*", ("n", k), ("r", ("n", n // k**2)))
            return ("/", ("r", ("n", 9 * n)), ("n", 3))


def rationalised(node, dice):
    match node:
        case ("/", a, ("r", b)):
            return ("/", ("*", a, ("r", b)), b)
        case ("/", a, ("+", b, ("r", c))) | ("/", a, ("+", ("r", c), b)):
            below = ("+", ("^", b, 2), ("-", c))
            return ("/", ("*", a, ("+", b, ("-", ("r", c)))), below)


def power_split(node, dice):
    match node:
        case ("^", a, n) if n < 0:
            return ("/", ONE, ("^", a, -n))
        case ("^", ("*", *factors), n):
            return ("*", *(("^", factor, n) for factor in factors))
        case ("^", ("/", a, b), n):
            return ("/", ("^", a, n), ("^", b, n))
        case ("^", a, 4):
            return ("^", ("^", a, 2), 2)
        case ("^", a, n) if n > 1:
            return ("*", a, ("^", a, n - 1))


def powers_joined(node, dice):
    match node:
        case ("*", a, ("^", b, n)) if a == b:
            return ("^", a, n + 1)
        case ("*", a, b) if a == b:
            return ("^", a, 2)
        case ("/", a, b) if b[0] == "s":
            return ("*", a, ("^", b, -1))
        case ("^", ("^", a, n), m):
            return ("^", a, n * m)


def number_otherwise(node, dice):
    match node:
        case ("n", n):
            k = dice.randint(2, 5)
            ways = [
                ("/", ("n", k * n), ("n", k)),
                ("d", f"{n}.0"),
                ("+", ("n", n + k), ("-", ("n", k))),
            ]
            return dice.choice(ways)
        case ("d", text):
            return ("/", *(("n", part) for part in Fraction(text).as_integer_ratio()))
        case ("!", n):
            return ("n", math.factorial(n))


def sign_moved(node, dice):
    match node:
        case ("-", ("/", a, b)):
            return dice.choice((("/", ("-", a), b), ("/", a, ("-", b))))
        case ("-", ("+", *terms)):
            return ("+", *(("-", term) for term in terms))
        case ("*", a, b):
            return ("*", ("-", a), ("-", b))


# Changing: each gives a tree of most likely another value


def number_changed(node, dice):
    match node:
        case ("n", n):
            return ("n", n + 1)
        case ("d", text):
            return ("d", text[:-1] + str((int(text[-1]) + 1) % 10))
        case ("!", n):
            return dice.choice((("n", n), ("!", n + 1)))


def sign_changed(node, dice):
    match node:
        case ("-", a):
            return a
        case ("+", a, *rest):
            return ("+", a, *(("-", part) for part in rest))
        case _:
            return ("-", node)


def exponent_changed(node, dice):
    match node:
        case ("^", a, n):
            return dice.choice((("^", a, n + 1), ("^", a, -n), a))
        case ("s", _):
            return ("^", node, 2)


def letter_changed(node, dice):
    if node[0] == "s":
        return ("s", dice.choice(LETTERS))


def root_lost(node, dice):
    if node[0] == "r":
        return node[1]


def inverted(node, dice):
    match node:
        case ("/", a, b):
            return ("/", b, a)


def rounded(node, dice):
    if node[0] == "r" and node[1][0] == "n":
        return ("d", f"{math.sqrt(node[1][1]):.12f}")
    match node:
        case ("/", ("n", a), ("n", b)):
            return ("d", f"{a / b:.{dice.choice((2, 4, 12))}f}")


def part_lost(node, dice):
    if node[0] in "+*":
        return node[1] if len(node) == 3 else node[:-1]


def as_it_is(node, dice):
    return node


REWRITES = [commuted, expanded, common_denominator, factored_out, difference_turned]
REWRITES += [quotient_as_product, root_simplified, rationalised, power_split, powers_joined]
REWRITES += [number_otherwise, sign_moved, as_it_is]
CHANGES = [number_changed, sign_changed, exponent_changed, letter_changed, root_lost, inverted]
CHANGES += [rounded, part_lost]


def versions(node: tuple, change, dice: random.Random) -> Iterator[tuple]:
    """The tree with one node changed, for each node to which the change applies."""
    other = change(node, dice)
    if other:
        yield other
    for at, part in enumerate(node):
        if isinstance(part, tuple):
            for other in versions(part, change, dice):
                yield (*node[:at], other, *node[at + 1 :])


def cases(count: int, changes: list, score: float, seed: int = 0) -> Iterator[Case]:
    """`count` pairs of texts, each kind of change in turn, and at times rewritten besides."""
    dice, made = random.Random(seed), 0
    while made < count:
        change = changes[made % len(changes)]
        letters = "".join(dice.sample(LETTERS, dice.choice((0, 1, 1, 2))))
        gold = tree(dice, dice.choice((1, 1, 2, 2, 3)), letters, dice.random() < 0.5)
        found = list(versions(gold, change, dice))
        if not found:
            continue
        answer = dice.choice(found)
        if dice.random() < 0.3:
            again = list(versions(answer, dice.choice(REWRITES), dice))
            answer = dice.choice(again or [answer])
        if equal(gold, answer) != bool(score):
            continue
        texts = Printer(dice).whole(answer), Printer(dice).whole(gold)
        if max(map(len, texts)) < 120:
            made += 1
            yield Case(change.__name__, *texts, score)
