r"""Random expressions, written in many ways, in equal forms and in changed ones.

A tree is a number or letter, as text, or a tuple of an operation and trees. Its value comes from
here, not from the code under test: `value` computes with fractions, and of a root takes 60 digits,
so that what differs by more than 40 surely differs. Letters stand for positive numbers.

A seeded generator rather than hypothesis, which stops at the first failure: all that is wrong shall
be counted, by rule; most trees are small, so that the shortest example of a rule is nearly minimal.
"""

import ast
import math
import operator
import random
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

LETTERS = "xyab"
DIGITS = 60  # of a root
NEAR = Fraction(1, 10**40)
LARGEST, LONGEST = 10**12, 120  # value, and characters, of an answer
SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "^"}
SUM, QUOTIENT, PRODUCT, POWER, ATOM = range(5)  # how tightly a text holds together

# A, B, C are any trees, the other capitals numbers, as `numbers` makes them. Both ways.
EQUAL = """
A = A
A+B = B+A
A*B = B*A
A+B+C = C+B+A
A*(B+C) = A*B+A*C
(A+B)*(A-B) = A**2-B**2
(A+B)**2 = A**2+2*A*B+B**2
A+B = K*(A/K+B/K)
A/B+C = (A+C*B)/B
A/N+C/K = (A*K+C*N)/P
(A+B)/C = A/C+B/C
A-B = -(B-A)
-(A+B) = -A-B
A-(B-C) = A-B+C
-A/B = A/(-B)
-(A/B) = -A/B
A*B = (-A)*(-B)
A/N = 1/N*A
N*A/K = N/K*A
A/B/C = A/(B*C)
A/(B/C) = A*C/B
A/B*C = A*C/B
A*K/K = A
sqrt(Q) = K*sqrt(N)
sqrt(N*A) = sqrt(N)*sqrt(A)
A/sqrt(N) = A*sqrt(N)/N
A/(B+sqrt(N)) = A*(B-sqrt(N))/(B**2-N)
sqrt(N)**2 = N
sqrt(N/K) = sqrt(P)/K
A**2 = A*A
A**3 = A*A**2
A**4 = (A**2)**2
A**5 = A**3*A**2
A**(-1) = 1/A
A**(-2) = 1/A**2
(A*B)**3 = A**3*B**3
(A/B)**2 = A**2/B**2
(-A)**2 = A**2
N = P/K
N = S-K
N = Z
E = O/2
factorial(K) = F
"""
# What stands right is wrong, unless the values happen to be equal.
CHANGED = """
A+B = A-B
A = -A
A-(B+C) = A-B+C
A-(B-C) = A-B-C
-(A+B) = -A+B
A*(B+C) = A*B+C
A+B = A
A*B = A
A/B = B/A
A/B = A*B
A/B/C = A/(B/C)
A/(B*C) = A/B*C
A/(B+C) = A/B+C
(A+B)/C = A+B/C
A = A**2
A**2 = A**3
A**2 = A*2
A**(-1) = A
(-A)**2 = -A**2
(A*B)**2 = A*B**2
(A/B)**2 = A**2/B
(A+B)**2 = A**2+B**2
sqrt(N) = N
sqrt(A) = A
sqrt(N)*A = sqrt(N*A)
sqrt(N+A) = sqrt(N)+A
sqrt(N+A) = sqrt(N)+sqrt(A)
sqrt(N)/K = sqrt(N/K)
sqrt(N) = R
N/K = T
N/K = D
N = S
N = P
E = N
N+1/K = N/K
factorial(K) = K
K*factorial(N) = factorial(P)
x = y
a+x = a+b
a*x = a+x
"""
# Where a rule is applied: H
PLACES = "H H H H+A A-H A*H H*A H/A A/H H**2 -H A*(B+H) (A-H)/B sqrt(N)*H A-(B-H) N-H/K"
# What the tree, 0, stands in, beside another one, 1: in the answer and in the gold
WHOLES = r"""
{0} | {0}
f = {0} | f = {0}
f = {0} | {0}
({0},{1}) | ({0}, {1})
[{0}, {1}) | \left[{0},{1}\right)
\{{{0}, {1}\}} | \{{ {1},{0} \}}
{0}, {1} | {1}, {0}
{0} \text{{ and }} {1} | {0}, {1}
f \in ({1},{0}] | ({1}, {0}]
f > {0} | ({0}, \infty)
{1} \le f < {0} | [{1}, {0})
\begin{{pmatrix}} {0} \\ {1} \end{{pmatrix}} | \begin{{bmatrix}} {0}\\{1} \end{{bmatrix}}
"""
DRESSES = ("{}", "{}", "{}", " {} ", "${}$", "$${}$$", r"\({}\)", r"\boxed{{{}}}", "{}.", "${}$.")


class Case(NamedTuple):
    rule: str
    predicted: str
    gold: str
    score: float


def root(value: Fraction) -> Fraction:
    above, below = value.as_integer_ratio()
    exact = math.isqrt(above * below)
    if exact**2 == above * below:
        return Fraction(exact, below)
    return Fraction(math.isqrt(above * below * 100**DIGITS), below * 10**DIGITS)


OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
OPERATIONS |= {"^": pow, "negative": operator.neg, "sqrt": root}
OPERATIONS |= {"factorial": lambda value: Fraction(math.factorial(int(value)))}


def value(tree, point: dict[str, Fraction]) -> Fraction:
    """Raises ArithmeticError for a division by 0, ValueError for the root of a negative number."""
    if isinstance(tree, str):
        return point[tree] if tree in point else Fraction(tree)
    return OPERATIONS[tree[0]](*(value(part, point) for part in tree[1:]))


def equal(a, b) -> bool | None:
    """Whether both have the same value at four points; None if at none both have one, or if one is
    larger than an answer is."""
    dice, verdicts = random.Random(0), []
    for _ in range(4):
        point = {name: Fraction(dice.randint(2, 40), dice.randint(2, 9)) for name in LETTERS}
        try:
            left, right = value(a, point), value(b, point)
        except (ArithmeticError, ValueError):
            continue
        if max(abs(left), abs(right)) > LARGEST:
            return None
        verdicts.append(abs(left - right) <= NEAR * max(abs(left), 1))
    return all(verdicts) if verdicts else None


def grown(pattern: str | ast.expr, parts: dict):
    """The tree of a pattern in Python's notation, with `parts` in place of its capitals."""
    match pattern:
        case str():
            return grown(ast.parse(pattern, mode="eval").body, parts)
        case ast.BinOp(a, sign, b):
            return (SIGNS[type(sign)], grown(a, parts), grown(b, parts))
        case ast.UnaryOp(_, a):
            return ("negative", grown(a, parts))
        case ast.Call(name, [a]):
            return (name.id, grown(a, parts))
        case ast.Name(name):
            return parts.get(name, name)
    return str(pattern.value)


def numbers(dice: random.Random) -> dict[str, str]:
    n = dice.choice((1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 24, 100, 1024))
    k = dice.randint(2, 6)
    found = {"N": n, "K": k, "P": n * k, "S": n + k, "Q": n * k**2, "O": 2 * n + 1}
    found |= {"F": math.factorial(k), "E": f"{n}.5", "Z": f"{n}.0", "R": f"{math.sqrt(n):.12f}"}
    found |= {"T": f"{n / k:.4f}", "D": f"{n / k:.12f}"}
    return {name: str(number) for name, number in found.items()}


FORMS = "A+B A-B A*B A*B A/B A/B A**2 A**3 A**(-1) -A"
LEAVES = "N N N K N/K E .5 0.04 factorial(K)"
ROOTS = " sqrt(N) sqrt(N) K*sqrt(N) sqrt(N/K)"


def drawn(dice: random.Random, letters: str, roots: bool, depth: int):
    parts = numbers(dice)
    if depth and dice.random() < 0.7:
        parts |= {name: drawn(dice, letters, roots, depth - 1) for name in "AB"}
        return grown(dice.choice(FORMS.split()), parts)
    if letters and dice.random() < 0.6:
        return dice.choice(letters)
    leaves = LEAVES + ROOTS if roots else LEAVES
    return grown(dice.choice(leaves.split()), parts)


class Printer:
    """Writes a tree in TeX or as typed, each part in one of the ways that people write it."""

    def __init__(self, dice: random.Random):
        self.pick = dice.choice
        self.tex = self.pick((True, True, False))
        self.space = self.pick(("", "", " ", r"\,") if self.tex else ("", " "))
        crosses = (r" \cdot ", r" \times ", r"\cdot ") if self.tex else ("*", " * ", "·", "×")
        self.cross = self.pick(crosses)
        self.minus = "-" if self.tex else self.pick("--−")
        self.big = self.pick((r"\left( \right)", r"\bigl( \bigr)", r"\left[ \right]", "( )"))

    def held(self, tree, level: int) -> str:
        """The text, in brackets where it holds together less tightly than `level`."""
        text, found = self.text(tree)
        if found >= level:
            return text
        ways = ["( )", "( )", "[ ]", self.big] if self.tex else ["( )"]
        return text.join(self.pick(ways).split())

    def text(self, tree) -> tuple[str, int]:
        match tree:
            case str():
                if self.tex and tree.isdigit() and len(tree) == 4:
                    tree = self.pick(("", "", "{,}", r"\,", r",\!")).join((tree[0], tree[1:]))
                return tree, ATOM
            case ("negative", a):
                return self.minus + self.held(a, QUOTIENT), SUM
            case ("+" | "-" as sign, a, b):
                sign = self.minus if sign == "-" else sign
                gap = self.pick((self.space, " "))
                return f"{self.text(a)[0]}{gap}{sign}{gap}{self.held(b, QUOTIENT)}", SUM
            case ("*", a, b):
                return self.product(a, b)
            case ("/", a, b):
                return self.quotient(a, b)
            case ("factorial", a):
                return f"{self.held(a, ATOM)}!", POWER
            case ("sqrt", a):
                return self.root(a)
            case (_, a, b):
                return self.held(a, ATOM) + self.exponent(self.text(b)[0]), POWER

    def rarely(self) -> bool:
        return self.pick((True, False, False, False))

    def mixed(self, whole: int, rest: int, below: str) -> str | None:
        if whole and rest:
            part = rf"\frac{{{rest}}}{{{below}}}" if self.tex else f" {rest}/{below}"
            return f"{whole}{part}"
        return None

    def exponent(self, text: str) -> str:
        if self.tex:
            return self.pick(("^" + text, f"^{{{text}}}")) if len(text) == 1 else f"^{{{text}}}"
        ways = ["^" + text, "**" + text, f"^({text})"]
        return self.pick(ways + [{"2": "²", "3": "³"}.get(text, "^" + text)])

    def product(self, a, b) -> tuple[str, int]:
        """Side by side where nobody can misread it, else with a sign between."""
        left, right = self.held(a, PRODUCT), self.held(b, POWER)
        number = right[0] in "0123456789.√"
        mixed = left[-1].isdigit() and right.startswith((r"\frac", r"\dfrac", r"\tfrac"))
        typed = not self.tex and ("√" in left or "**" in left or "^" in left or "²" in left)
        if number or mixed or typed or self.pick((True, False, False)):
            return self.held(a, QUOTIENT) + self.cross + self.held(b, QUOTIENT), QUOTIENT
        word = left[-1].isalpha() and right[0] == "s"
        return left + (" " if word else self.space) + right, PRODUCT

    def quotient(self, a, b) -> tuple[str, int]:
        if isinstance(a, str) and isinstance(b, str) and (a + b).isdigit() and self.rarely():
            mixed = self.mixed(*divmod(int(a), int(b)), b)
            if mixed:
                return mixed, SUM
        if self.tex and not self.rarely():
            above, below = self.text(a)[0], self.text(b)[0]
            frac = self.pick((r"\frac", r"\frac", r"\dfrac", r"\tfrac"))
            if len(above + below) == 2 and self.pick((True, False)):
                return frac + (" " if above.isalpha() else "") + above + below, POWER
            return f"{frac}{{{above}}}{{{below}}}", POWER
        sign = self.pick(("/", "/", " / ", r" \div " if self.tex else " ÷ "))
        return self.held(a, QUOTIENT) + sign + self.held(b, POWER), QUOTIENT

    def root(self, inside) -> tuple[str, int]:
        if self.rarely():
            halves = (r"^{1/2}", r"^{\frac12}", "^{0.5}") if self.tex else ("^(1/2)", "^0.5")
            return self.held(inside, ATOM) + self.pick(halves), POWER
        text, level = self.text(inside)
        if self.tex:
            short = len(text) == 1 and self.pick((True, False))
            return (rf"\sqrt {text}" if short else rf"\sqrt{{{text}}}"), POWER
        bare = level == ATOM and self.pick((True, False))
        return f"√{text}" if bare else self.pick((f"sqrt({text})", f"√({text})")), POWER


def cases(count: int, rules: str, score: float, seed: int = 0) -> Iterator[Case]:
    """`count` pairs of texts, the rules by turn."""
    dice, table = random.Random(seed), rules.strip().split("\n")
    made = 0
    while made < count:
        rule = table[made % len(table)]
        letters = dice.choice(("", "x", "y", "xy", "ab", "xa"))
        depth, roots = dice.choice((0, 0, 1, 1, 2)), dice.random() < 0.4
        parts = numbers(dice) | {name: drawn(dice, letters, roots, depth) for name in "ABC"}
        place, around = dice.choice(PLACES.split()), drawn(dice, letters, roots, 1)
        sides = [grown(side, parts) for side in dice.sample(rule.split(" = "), 2)]
        answer, gold = (grown(place, parts | {"H": side, "B": around}) for side in sides)
        wholes, texts = WHOLES.strip().split("\n"), []
        whole = dice.choice([wholes[0], dice.choice(wholes)])
        for side, form in zip((answer, gold), whole.split(" | "), strict=True):
            printer = Printer(dice)
            inner = form.format(printer.text(side)[0], printer.text(around)[0])
            texts.append(dice.choice(DRESSES).format(inner))
        if equal(answer, gold) is bool(score) and max(map(len, texts)) < LONGEST:
            made += 1
            yield Case(rule, *texts, score)
