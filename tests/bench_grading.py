"""What grading costs beside math-verify and beside a straight SymPy EED, both sides in one run.

`python -m tests.bench_grading` takes two minutes. The batches are as GRPO makes them: 8 completions
a prompt, with the repeats that come when a model has a favourite answer.
"""

from __future__ import annotations

import random
import statistics
from fractions import Fraction

import sympy
from latex2sympy2_extended import latex2sympy
from math_verify import LatexExtractionConfig, parse, verify

from helpers.answers import eed_score, isolation, parser, same_math
from helpers.answers.symbolic import distance, size
from tests.bench import Row, seconds, show

GROUP = 8
SYMBOLIC = [  # gold, and answers that a group might hold: right in another form, and wrong
    (r"2\sqrt{3}", [r"\sqrt{12}", r"3\sqrt{2}", r"\frac{6}{\sqrt{3}}"]),
    (r"x^2+2x+1", ["(x+1)^2", "x^2+x+1", "x(x+2)+1"]),
    (r"\frac{\pi}{6}", [r"\frac{\pi}{3}", r"\frac{2\pi}{12}", r"30\pi"]),
    (r"\frac{a+b}{2}", [r"\frac{a}{2}+\frac{b}{2}", r"\frac{a-b}{2}", "0.5(a+b)"]),
    (r"1+2\sqrt{5}", [r"2\sqrt{5}+1", r"1-2\sqrt{5}", r"\sqrt{20}+1"]),
    (r"\sin 2x", [r"2\sin x\cos x", r"\cos 2x", r"2\sin x"]),
    (
        r"\frac{\sqrt{21}}{5}",
        [r"\sqrt{\frac{21}{25}}", r"\frac{\sqrt{20}}{5}", r"\frac{21}{5\sqrt{21}}"],
    ),
    (r"6r^2-4r-24", ["2(3r^2-2r-12)", "6r^2-4r+24", "6r^2-4(r+6)"]),
]
FORMULAS = [  # gold, and a slip: what stands there, and what an answer has in its place
    (r"2\pi\sqrt{\frac{l}{g}}", "2", ""),
    (r"\frac{m v^2}{r}+m g\cos\theta", "+", "-"),
    (r"\sqrt{\frac{2 m g h}{m+M}}", "2 ", ""),
    (r"\frac{q B R^2}{2 m c}\sin(\omega t)", "sin", "cos"),
    (r"\frac{\mu_0 I}{4\pi}\left(\frac{1}{a}+\frac{1}{b}\right)", "+", "-"),
    (
        r"m g\frac{\sin\alpha-\mu\cos\alpha}{\cos\alpha+\mu\sin\alpha}",
        r"-\mu\cos\alpha}{\cos\alpha+",
        r"+\mu\cos\alpha}{\cos\alpha-",
    ),
    (r"\frac{3 G M^2}{5 R}\left(1-\frac{r^2}{R^2}\right)^2", "{r^2}{R^2}", "{r}{R}"),
    (r"v_0 e^{-\frac{k t}{m}}+\frac{m g}{k}", "+", "-"),
    (r"\sqrt{v_0^2\sin^2\theta-2 g h}", "-", "+"),
    (r"\frac{1}{2\pi}\sqrt{\frac{k(M+m)}{M m}}", "k(M+m)}{M m", "k M}{m(M+m)"),
]


def math_verify(pairs) -> None:
    latex = [LatexExtractionConfig()]
    for gold, answer in pairs:
        read = [parse(f"${text}$", latex, parsing_timeout=None) for text in (gold, answer)]
        verify(*read, timeout_seconds=None)


def ours(pairs) -> None:
    for gold, answer in pairs:
        same_math(answer, gold)


def forget() -> None:
    for cache in (isolation.ask, parser.read):
        cache.cache_clear()


def numeric() -> float:
    dice = random.Random(0)
    pairs = []
    for _ in range(4000):
        gold = dice.randint(1, 10**5)
        pairs.append((str(gold), str(dice.choice((gold, gold + 1, gold * 10)))))
    for _ in range(1000):
        a, b = dice.randint(1, 99), dice.randint(2, 99)
        answer = dice.choice((Fraction(a, b), Fraction(a + 1, b)))
        pairs.append((rf"\frac{{{a}}}{{{b}}}", str(answer)))
    math_verify(pairs[:20])
    forget()
    return seconds(math_verify, pairs[::10]) * 10 / seconds(ours, pairs)


def symbolic() -> float:
    dice = random.Random(0)
    pairs = []
    for gold, others in SYMBOLIC:
        group = dice.choices([gold, *others], weights=[3, 3, 1, 1], k=GROUP)
        pairs += [(gold, answer) for answer in group]
    math_verify(pairs)
    # starts the children, as the first step of a training does
    same_math(r"\sqrt{8}", r"2\sqrt{2}")
    forget()
    return seconds(math_verify, pairs) / seconds(ours, pairs)


def straight_eed(gold: str, answer: str) -> float:
    """The definition, with no care for time: parse, simplify, compare, measure the trees."""

    def read(text: str) -> sympy.Expr:
        text = text.replace(r"\left", "").replace(r"\right", "")
        formula = latex2sympy(text, normalization_config=None)
        return formula.subs({s: sympy.Symbol(s.name, positive=True) for s in formula.free_symbols})

    a, b = sympy.simplify(read(answer)), sympy.simplify(read(gold))
    if a == b or sympy.simplify(sympy.expand(a - b)) == 0 or a.equals(b):
        return 1.0
    return max(0.0, 0.6 - distance(a, b) / size(b))


def edit_distances() -> tuple[float, float]:
    """The median ratio of times over groups of 8, and the slowest pair's seconds.

    A group has four times the slip, twice the gold in another order and twice a term too many.
    """
    theirs, mine, slowest = [], [], 0.0
    eed_score("a+b", "b+2a")
    for gold, right, wrong in FORMULAS:
        slip = gold.replace(right, wrong)
        group = [slip] * 4 + [f"{gold}+0"] * 2 + [f"2({slip})"] * 2
        forget()
        sympy.core.cache.clear_cache()
        spent = [seconds(eed_score, answer, gold) for answer in group]
        mine.append(sum(spent))
        slowest = max(slowest, *spent)
        sympy.core.cache.clear_cache()
        theirs.append(sum(seconds(straight_eed, gold, answer) for answer in group))
    return statistics.median(t / m for t, m in zip(theirs, mine, strict=True)), slowest


def rows() -> list[Row]:
    numbers, symbols = numeric(), symbolic()
    ratio, slowest = edit_distances()
    isolation.close()
    groups = "grading symbolic groups of 8: times as fast as math-verify"
    return [
        ("grading numbers: times as fast as math-verify", f"{numbers:.0f}", "at least 300"),
        (groups, f"{symbols:.1f}", "at least 6"),
        ("EED of groups of 8: times as fast as straight SymPy", f"{ratio:.1f}", "at least 5"),
        ("EED, slowest pair", f"{slowest:.2f} s", "at most 3 s"),
    ]


if __name__ == "__main__":
    show(rows)
