"""Mathematical answers as models write them: which say the same as the gold, and which do not."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.answers import BOXED, HASH, same_math, same_number
from tests.conftest import SHARED, needs_shared

CASES = SHARED / "grading/cases.json"

# gold ✓ answers that say the same ✗ answers that do not
ANSWERS = r"""
12 ✓ 12.0 ✗ 1,2
\frac{1}{2} ✓ \frac12 ✓ 1/2 ✓ 0.50 ✗ -\frac12
\sqrt{2} ✓ \sqrt2 ✗ 1.41421356237309504880
2\sqrt{3} ✓ 2√3 ✓ 2*sqrt(3) ✓ √12
\pi ✓ π ✗ 3.14159265358979
2\pi r ✓ 2πr
x^2+1 ✓ x**2+1 ✓ x^{2}+1 ✓ x^2 + 1.
(1,2) ✓ (1, 2) ✓ \left(1,2\right) ✓ \langle 1,2 \rangle ✗ (2,1) ✗ [1,2] ✗ 1,2 ✗ \{1,2\}
\{1,2\} ✓ 1,2 ✗ \{1,2,2\}
\{1,2,3\} ✓ \{3,1,2\}
[0,1] ✓ 0 \le x \le 1 ✗ 0 < x < 1
(0,1) ✓ 0<x<1
(2,\infty) ✓ x>2
[2,\infty) ✓ x\ge 2 ✗ x>2
(-\infty,3) ✓ x<3 ✓ 3>x
x>2 ✓ 2<x ✗ x>3
x \geq 2 ✓ x \ge 2
x \ge 2 ✗ x \le 2
(-\infty,1)\cup(2,\infty) ✓ x<1 \text{ or } x>2
x=5 ✓ x=5 ✗ y=5 ✗ 5=x
5 ✓ x=5 ✓ 2+3 ✓ x = 2+3 = 5 ✗ 2x=5 ✗ 2+3=5
y=2x+1 ✓ 2x+1 ✓ 2x - y + 1 = 0 ✓ y-1=2x ✗ y=2x+2
x^2+y^2=1 ✓ 2x^2+2y^2=2 ✗ x^2+y^2=4
10\text{ cm} ✓ 10 ✓ 10\text{ cm} ✓ 10 cm ✓ 10\,\mathrm{cm} ✓ 100\text{ mm} ✗ 10\text{ m}
10 ✓ 10 \text{ apples} ✓ 10 apples ✓ 10\ \text{m/s}
10\text{ m/s} ✓ 10\text{ meters per second} ✗ 10\text{ km/h}
4mgl ✓ 4 m g l ✗ 4 ✗ 4MGL
m ✗ M
\frac{U}{R} ✗ \frac{u}{R}
B ✓ \text{(B)} ✓ (B) ✓ \textbf{(B)} ✓ \mathrm{B} ✗ C
\text{Yes} ✓ yes ✗ No
Yes ✓ \text{yes} ✓ Yes
\text{east} ✓ \text{East} ✓ east ✗ \text{west}
\text{Navin} ✓ Navin
\$32,\!348 ✓ 32348 ✓ \$32{,}348 ✓ 32,348 ✗ 32,349
\$18.90 ✓ 18.9 ✓ 18.90\text{ dollars}
5.4\text{ cents} ✓ 5.4\text{ cents} ✓ 0.054 \text{ dollars} ✗ \$5.4
50\% ✓ \frac12 ✓ 0.5 ✓ 50\text{ percent} ✓ 50 percent ✗ 5
90^\circ ✓ 90 ✓ 90° ✓ 90\text{ degrees} ✓ \frac{\pi}{2} ✗ \frac{\pi}{3}
\frac{\pi}{2} ✓ 90^\circ ✗ 90
137\frac12 ✓ 137.5 ✓ \frac{275}{2}
1\frac45 ✓ \frac{9}{5} ✗ \frac45
2516_8 ✓ 2516_{8} ✗ 2516_{7} ✗ 1358
3:4 ✓ 6:8 ✓ 0.75 ✗ 4:3
\begin{pmatrix}1\\2\end{pmatrix} ✓ \begin{bmatrix}1\\2\end{bmatrix}
    ✗ \begin{pmatrix}2\\1\end{pmatrix}
\begin{pmatrix}1&2\\3&4\end{pmatrix} ✗ \begin{pmatrix}1&2\\3&5\end{pmatrix}
1\pm\sqrt{19} ✓ 1+\sqrt{19}, 1-\sqrt{19} ✓ 1-\sqrt{19},1+\sqrt{19} ✓ x = 1 \pm \sqrt{19}
    ✗ 1+\sqrt{19}
\frac{-1\pm\sqrt5}{2} ✓ \frac{-1+\sqrt5}{2},\frac{-1-\sqrt5}{2}
1,-2 ✓ x=1, x=-2 ✓ x = 1 \text{ or } x=-2 ✓ x=1 \text{ and } x=-2 ✓ -2,1 ✗ 1 ✗ 1,2
3+4i ✓ 3+4i ✓ 4i+3 ✗ 3-4i
i ✗ j
e^{i\pi} ✓ -1
\ln 2 ✓ \log_e 2 ✗ \log 2
\log_{10} 5 ✓ \log 5
\log_2 8 ✓ 3
\cot x ✓ \frac{\cos x}{\sin x} ✓ \frac{1}{\tan x} ✓ \cot(x)
\sin^2 x ✓ (\sin x)^2 ✓ \sin(x)^2
\sin 2x ✓ 2\sin x\cos x ✗ 2\sin x
p - q ✗ q-p
x^3+3x-6 ✓ x^3 + 3x - 6 ✗ x^3+3x+6
2^{10} ✓ 1024
2^{100} ✓ 1267650600228229401496703205376 ✗ 1267650600228229401496703205377
10! ✓ 3628800
\binom{5}{2} ✓ 10
\frac{1}{3} ✓ 0.\overline{3} ✗ 0.333
0.\overline{3} ✓ \frac13 ✗ 0.3
|a| ✗ a
|x-1| ✗ 1-x
\infty ✓ \infty ✓ +\infty
-\infty ✗ \infty
\emptyset ✓ \{\} ✗ 0
\varnothing ✓ \emptyset
\text{no solution} ✓ \text{No solution}
\mathbb{R} ✓ (-\infty,\infty) ✓ \mathbb{R}
(x+1)(x-2) ✓ x^2-x-2
\frac{x^2-1}{x-1} ✓ x+1
\frac{\sqrt3}{3} ✓ \frac{1}{\sqrt3} ✗ \frac{\sqrt3}{2}
\sqrt[3]{2} ✓ 2^{1/3} ✗ \sqrt{2}
a_n = 2n+1 ✓ 2n+1
f(x)=x^2 ✓ x^2 ✓ f(x)=x^2 ✗ f(x) = x^3
11,\! 111,\! 111,\! 100 ✓ 11111111100
10,\!080 ✓ 10080 ✓ 10,080
1,000 ✓ 1 000
1000 ✗ 1,00
(100,200) ✓ (100,200)
3,5,7 ✓ 3, 5, 7 ✓ (3,5,7) ✓ 5,3,7
0.5 ✓ .5
3\times 10^8 ✓ 300000000 ✓ 3 \cdot 10^{8} ✓ 3e8
18 ✓ 18. ✓ $18$ ✓ \$18 ✓ \text{18} ✓ \mathbf{18} ✓ \boldsymbol{18} ✓ {18} ✓ (18) ✓ 18^\circ ✓ 18/1
    ✓ \frac{36}{2} ✓ 36 \div 2 ✓ \text{eighteen} ✓ 18 \text{ m} ✓ 18\% ✓ \{18\} ✓ [18] ✗ 18,
    ✗ **18** ✗ 18! ✗ -18 ✗ 180 ✗ 18 \text{ or } 19 ✗ 18, 19 ✗ eighteen ✗ approximately 18
    ✗ \approx 18 ✗ x ✗ 18x ✗ 18 x ✗ 18m ✗ 0.18 ✗ 18; ✗ None ✗ nan ✗ \ldots ✗ 18 = x ✗ 18 \neq 19
    ✗ \le 18 ✗ 18 \pm 1 ✗ 18... ✗ 1 8
x ✓ x
2x ✗ x2
ab ✓ ba ✓ a b ✗ a+b
\frac{a}{b} ✓ a/b
\frac{a}{bc} ✓ a/(bc)
\frac{a}{b}c ✗ a/bc
v_0 ✓ v_{0} ✗ v_1
v_{\text{max}} ✓ v_{max}
v_{\max} ✓ v_{max}
m_1 g ✓ m_1g
\vec{v} ✓ \vec v
t' ✓ t^{\prime} ✗ t
\theta ✓ \vartheta
3 \sqrt{5}\text{ units} ✓ 3\sqrt5
\frac{3}{2}\text{ hours} ✓ 90\text{ minutes}
2:30 ✓ 2:30
6:00 ✗ 6
A, B, C ✓ C, B, A
A, C ✗ A, B
ABC ✓ ACB
-\frac{3}{4} ✓ \frac{3}{-4} ✓ -.75 ✓ -0.75
\frac{270}{7}\text{ degrees} ✓ \frac{270}{7} ✓ 38\frac{4}{7}^\circ
1.5 \text{ million} ✓ 1500000
1500000 ✓ 1.5 \text{ million} ✗ 1.5
2 ✓ \text{two}
x \in [2,5) ✓ 2\le x<5
(-\infty,2)\cup(5,\infty) ✗ (-\infty,2]\cup(5,\infty)
\frac{1245}{15} ✗ \frac{1245}{15} =
83 ✓ \frac{1245}{15} ✗ \frac{1245}{15} =
n(n+1)/2 ✓ \frac{n(n+1)}{2}
C ✗ c
e ✗ 2.718281828
e^2 ✓ e^{2}
e^x ✓ \exp(x)
3-x ✓ -x+3 ✗ \sqrt{(x-3)^2} ✗ |x-3|
\sqrt{x^2} ✓ x
x\sqrt{x} ✓ x^{3/2}
\arctan 2 ✓ \tan^{-1}(2)
\arcsin\frac12 ✓ \frac\pi6
\cos 60^\circ ✓ \frac12
\max(1,2) ✓ 2
\lfloor 2.5 \rfloor ✓ 2
k\pi, k\in\mathbb{Z} ✗ k\pi
\frac{\pi}{4}+k\pi ✗ \frac{\pi}{4}+n\pi
"""
PAIRS, gold = [], None
for line in ANSWERS.strip().split("\n"):
    first, *marked = re.split(r" (?=[✓✗] )", line)
    gold = first.strip() or gold  # a line that goes on has none
    PAIRS += [(gold, answer[2:], float(answer[0] == "✓")) for answer in marked]
GOLDS = list(dict.fromkeys(gold for gold, _, _ in PAIRS))


@pytest.mark.parametrize(("gold", "predicted", "score"), PAIRS)
def test_labelled_pairs(gold, predicted, score):
    assert same_math(predicted, gold) == score


@pytest.mark.parametrize("gold", GOLDS)
def test_every_gold_says_what_it_says(gold):
    assert same_math(gold, gold) == 1.0 == same_math(f" ${gold}$. ", gold)


@pytest.mark.parametrize(
    "gold",
    ["", " ", r"\frac{1}{", r"\int_0^1 x\,dx", "1 = ", r"\text{", "18 19", "^", "}{", "x" * 5000],
)
def test_a_gold_that_cannot_be_read_is_no_gold(gold):
    assert same_math("18", gold) is None
    assert same_math(gold, "18") == 0.0 == same_math(None, "18")


@given(st.text())
def test_no_text_raises(text):
    assert same_math(text, "18") in (0.0, 1.0)
    assert same_number(text, "18") in (0.0, 1.0)


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**4))
def test_fractions_are_exact(above, below):
    gold = f"\\frac{{{above}}}{{{below}}}"
    assert same_math(f"{3 * above}/{3 * below}", gold) == 1.0
    assert same_math(f"{above * 10**12 + below}/{below * 10**12}", gold) == 0.0


def test_a_pair_of_numbers_is_never_joined():
    for text in ("1,2", "1, 2", "1\\,2", "1 2", "1;2", "1{,}2", "12,34", "1,2345"):
        joined = "".join(c for c in text if c.isdigit())
        assert same_math(text, joined) == 0.0 and same_number(text, joined) == 0.0, text


# `policy` cases in which ours differs from the label on purpose
OTHERWISE = {
    "T091": "without a box there is no answer in its place; the label wants what is in bold type",
    "T185": "an equation like 18=18 is a cheat that must earn nothing",
}


@needs_shared
@pytest.mark.parametrize(
    "case", json.loads(CASES.read_text()) if CASES.exists() else [], ids=lambda case: case["id"]
)
def test_shared_cases(case):
    format = HASH if case["category"] == "gsm-marker" else BOXED
    right = same_math(format.extract(case["completion"]), case["gold"]) == 1.0
    if case["id"] in OTHERWISE:
        assert case["kind"] == "policy" and right is False
    else:
        assert right is case["expected"], case["reason"]


@needs_shared
def test_golds_of_gsm8k():
    rows = [
        json.loads(line)
        for name in ("train", "test")
        for line in (SHARED / f"data/gsm8k/main/{name}.jsonl").open()
    ]
    golds = [row["answer"].rpartition("####")[2].strip() for row in rows]
    assert len(golds) == 8792
    assert all(
        same_number(HASH.extract(HASH.write("so", g)), g) == 1.0 == same_math(g, g) for g in golds
    )


SAME_IN_MATH500 = {
    ("-2,1", "1,-2"),
    (r"10,\!080", "10080"),
    ("120", r"120^\circ"),
    ("15", r"15\mbox{ cm}^2"),
    (r"180^\circ", r"\pi"),
    (r"2 \sqrt{5}", r"2\sqrt{5}"),
    ("30", r"30^\circ"),
    ("36", r"36^\circ"),
    ("36", r"\$36"),
    ("40", "40_9"),
    ("5", "x=5"),
    ("90", r"90^\circ"),
    (r"\frac14", r"\frac{1}{4}"),
}


@needs_shared
def test_golds_of_math500():
    golds = [json.loads(line)["answer"] for line in (SHARED / "data/math500/test.jsonl").open()]
    assert len(golds) == 500
    assert [
        g for g in golds if same_math(BOXED.extract(BOXED.write("By symmetry.", g)), g) != 1.0
    ] == []
    pairs = {(a, b) for a in set(golds) for b in set(golds) if a < b and same_math(a, b) == 1.0}
    assert (
        pairs == SAME_IN_MATH500
    )  # no other two of the 301 different golds are taken for the same answer
