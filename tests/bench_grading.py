"""What grading costs beside math-verify and beside a straight SymPy EED, both sides in one run.

`python -m tests.bench_grading` takes two minutes. The batches are as GRPO makes them: 8 completions
a prompt, with the repeats that come when a model has a favourite answer.
"""

from __future__ import annotations

import random
import statistics
import time
from fractions import Fraction

import sympy
from latex2sympy2_extended import latex2sympy
from math_verify import LatexExtractionConfig, parse, verify

from helpers.answers import eed_score, isolation, parser, same_math
from helpers.answers.symbolic import distance, size
from tests.bench import Row, show

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
FORMULAS = [  # gold, and an answer with one slip
    (r"2\pi\sqrt{\frac{l}{g}}", r"\pi\sqrt{\frac{l}{g}}"),
    (r"\frac{m v^2}{r}+m g\cos\theta", r"\frac{m v^2}{r}-m g\cos\theta"),
    (r"\sqrt{\frac{2 m g h}{m+M}}", r"\sqrt{\frac{m g h}{m+M}}"),
    (r"\frac{q B R^2}{2 m c}\sin(\omega t)", r"\frac{q B R^2}{2 m c}\cos(\omega t)"),
    (
        r"\frac{\mu_0 I}{4\pi}\left(\frac{1}{a}+\frac{1}{b}\right)",
        r"\frac{\mu_0 I}{4\pi}\left(\frac{1}{a}-\frac{1}{b}\right)",
    ),
    (
        r"m g\frac{\sin\alpha-\mu\cos\alpha}{\cos\alpha+\mu\sin\alpha}",
        r"m g\frac{\sin\alpha+\mu\cos\alpha}{\cos\alpha-\mu\sin\alpha}",
    ),
    (
        r"\frac{3 G M^2}{5 R}\left(1-\frac{r^2}{R^2}\right)^2",
        r"\frac{3 G M^2}{5 R}\left(1-\frac{r}{R}\right)^2",
    ),
    (r"v_0 e^{-\frac{k t}{m}}+\frac{m g}{k}", r"v_0 e^{-\frac{k t}{m}}-\frac{m g}{k}"),
    (r"\sqrt{v_0^2\sin^2\theta-2 g h}", r"\sqrt{v_0^2\sin^2\theta+2 g h}"),
    (r"\frac{1}{2\pi}\sqrt{\frac{k(M+m)}{M m}}", r"\frac{1}{2\pi}\sqrt{\frac{k M}{m(M+m)}}"),
]


def seconds(work) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def math_verify(pairs) -> None:
    for gold, answer in pairs:
        verify(
            parse(f"${gold}$", [LatexExtractionConfig()], parsing_timeout=None),
            parse(f"${answer}$", [LatexExtractionConfig()], parsing_timeout=None),
            timeout_seconds=None,
        )


def ours(pairs) -> None:
    for gold, answer in pairs:
        same_math(answer, gold)


def forget() -> None:
    for cache in (isolation.ask, parser.read):
        cache.cache_clear()


def numeric() -> float:
    dice = random.Random(0)
    pairs = [
        (str(g), str(dice.choice((g, g + 1, g * 10))))
        for g in (dice.randint(1, 10**5) for _ in range(4000))
    ]
    pairs += [
        (rf"\frac{{{a}}}{{{b}}}", str(dice.choice((Fraction(a, b), Fraction(a + 1, b)))))
        for a, b in ((dice.randint(1, 99), dice.randint(2, 99)) for _ in range(1000))
    ]
    math_verify(pairs[:20])
    forget()
    return seconds(lambda: math_verify(pairs[::10])) * 10 / seconds(lambda: ours(pairs))


def symbolic() -> float:
    dice = random.Random(0)
    pairs = [
        (gold, answer)
        for gold, others in SYMBOLIC
        for answer in dice.choices([gold, *others], weights=[3, 3, 1, 1], k=GROUP)
    ]
    math_verify(pairs)
    same_math(
        r"\sqrt{8}", r"2\sqrt{2}"
    )  # starts the children, as the first step of a training does
    forget()
    return seconds(lambda: math_verify(pairs)) / seconds(lambda: ours(pairs))


def straight_eed(gold: str, answer: str) -> float:
    """The definition, with no care for time: parse, simplify, compare, measure the trees."""

    def read(text: str) -> sympy.Expr:
        formula = latex2sympy(
            text.replace(r"\left", "").replace(r"\right", ""), normalization_config=None
        )
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
    for gold, slip in FORMULAS:
        group = [slip] * 4 + [f"{gold}+0"] * 2 + [f"2({slip})"] * 2
        forget()
        sympy.core.cache.clear_cache()
        spent = [
            seconds(lambda answer=answer, gold=gold: eed_score(answer, gold)) for answer in group
        ]
        mine.append(sum(spent))
        slowest = max(slowest, *spent)
        sympy.core.cache.clear_cache()
        theirs.append(
            sum(
                seconds(lambda answer=answer, gold=gold: straight_eed(gold, answer))
                for answer in group
            )
        )
    return statistics.median(t / m for t, m in zip(theirs, mine, strict=True)), slowest


def rows() -> list[Row]:
    numbers, symbols = numeric(), symbolic()
    ratio, slowest = edit_distances()
    isolation.close()
    return [
        ("grading numbers: times as fast as math-verify", f"{numbers:.0f}", "at least 50"),
        (
            "grading symbolic groups of 8: times as fast as math-verify",
            f"{symbols:.1f}",
            "at least 5",
        ),
        ("EED of groups of 8: times as fast as straight SymPy", f"{ratio:.1f}", "at least 5"),
        ("EED, slowest pair", f"{slowest:.2f} s", "at most 3 s"),
    ]


if __name__ == "__main__":
    show(rows)
