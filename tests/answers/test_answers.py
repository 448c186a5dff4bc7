"""Mathematical answers as models write them: which say the same as the gold, and which do not."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.answers import (
    BOXED,
    HASH,
    hallucinates,
    last_number,
    same_math,
    same_number,
    stated_number,
)
from tests.answers.labelled import labelled
from tests.conftest import SHARED, needs_shared

FILE = SHARED / "grading/cases.json"
CASES = json.loads(FILE.read_text()) if FILE.exists() else []

# gold ✓ answers that say the same ✗ answers that do not
PAIRS = labelled(Path(__file__).with_name("answers.txt").read_text(encoding="utf-8"))
GOLDS = list(dict.fromkeys(gold for gold, _, _ in PAIRS))


@pytest.mark.parametrize(("gold", "predicted", "same"), PAIRS)
def test_labelled_pairs(gold, predicted, same):
    assert same_math(predicted, gold) == float(same)


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
    assert hallucinates(text, text) in (True, False)


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**4))
def test_fractions_are_exact(above, below):
    gold = f"\\frac{{{above}}}{{{below}}}"
    assert same_math(f"{3 * above}/{3 * below}", gold) == 1.0
    assert same_math(f"{above * 10**12 + below}/{below * 10**12}", gold) == 0.0


# the last number that is read ✓ from these texts
LAST = r"""
2 1/2 ✓ It is 2 1/2 cups. ✓ 2 1/2
-2 1/2 ✓ It is -2 1/2.
$2 1/2 ✓ It is $2 1/2.
2\frac{1}{2} ✓ It is 2\frac{1}{2} cups.
$2\frac{1}{2} ✓ It is $2\frac{1}{2}$ cups.
2\,\tfrac12 ✓ It is 2\,\tfrac12
7½ ✓ It is 7½ cups. ✓ 7½
7 ½ ✓ 7 ½ cups
½ ✓ of 3 it is ½
\frac12 ✓ It is $\frac12$.
1/2 ✓ half is 1/2 ✓ 3, 1/2
1 / 2 ✓ half is 1 / 2
6 ✓ Then going back at 6 mph would take 30 / 6 ✓ at 6 mph it takes 30/6 ✓ 6 pens: 3 + 4 ✓ 6: 3+4 =
    ✓ 6: 2 \times 3 ✓ 6 of (3 + 4) * 2 ✓ 6, but $30 + ✓ 6 of 4 =⏎ ✓ 6: 8 × 2 ✓ 6: 1,000 - 30 – 4
83 ✓ So 83 is $\frac{1245}{15} =
nothing ✓ $\frac{1245}{15} = ✓ 3 + 4 ✓ 30 / 6 ✓ 30 / ✓ 3 + 4 =
18 ✓ 9 * 2 = 18 ✓ 9 * 2 = **18** ✓ *it is 18* ✓ 20 - 2 = 18⏎ ✓ 9⏎- 18 ✓ 20-18
4 ✓ It is 3 + 4. ✓ 3 + 4 pens ✓ <answer>3 + 4</answer>
"""


@pytest.mark.parametrize(("number", "text", "_"), labelled(LAST))
def test_last_number_by_kind(number, text, _):
    assert last_number(text) == (None if number == "nothing" else number)


def test_mixed_numbers_are_numbers():
    for text in ("It is 2 1/2 cups.", r"$2\frac{1}{2}$", r"It is 2\tfrac12"):
        assert stated_number(last_number(text)) == 2.5
    assert same_number(last_number("It is 7½ cups."), "7") == 0.0


# `policy` cases in which ours differs from the label on purpose
OTHERWISE = {
    "T091": "without a box there is no answer in its place; the label wants what is in bold type",
    "T185": "an equation like 18=18 is a cheat that must earn nothing",
}


@needs_shared
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_shared_cases(case):
    format = HASH if case["category"] == "gsm-marker" else BOXED
    right = same_math(format.extract(case["completion"]), case["gold"]) == 1.0
    if case["id"] in OTHERWISE:
        assert case["kind"] == "policy" and right is False
    else:
        assert right is case["expected"], case["reason"]


RARELY_WRITTEN = r"""
f(-x) ✓ f(-x) ✗ -f(x)
\sqrt{12} ✗ \sqrt12
\angle ✓ \angle
x \in A ✓ x \in A ✗ y \in A
x \ne y ✓ y \ne x
x \ne b ✗ x \ne a
\binom{5}{2} ✓ {5 \choose 2} ✓ 10
\mathbb{R} \setminus \{0\} ✓ \mathbb{R} - \{0\}
105 ✓ 7!!
T_1' ✓ T'_1
v_0^2 ✓ v^{2}_{0} ✓ v^2_0 ✗ v^{20}
\frac{m x_i^2}{2} ✓ \frac12 m x^2_i ✗ m x_i
5 m s ✓ 5 m*s
5 m/s ✓ 5 \frac{\text{m}}{\text{s}}
18/hour ✓ 18 per hour ✓ 18
15 \text{ cm} ✓ 3 \cdot 5 \text{ cm}
2 \sec x ✓ 2 sec x
y \sin x ✓ \sin(x) y ✗ \sin(xy)
7 ✗ \log_2 (x,y) ✗ \ln_2 7 ✗ 1000!! ✗ \sqrt
"""


@pytest.mark.parametrize(("gold", "predicted", "same"), labelled(RARELY_WRITTEN))
def test_what_is_rarely_written(gold, predicted, same):
    assert same_math(predicted, gold) == float(same)


# no other two of the 301 different golds are taken for the same answer
SAME_IN_MATH500 = r"""
-2,1 ✓ 1,-2
10,\!080 ✓ 10080
120 ✓ 120^\circ
15 ✓ 15\mbox{ cm}^2
180^\circ ✓ \pi
2 \sqrt{5} ✓ 2\sqrt{5}
30 ✓ 30^\circ
36 ✓ 36^\circ ✓ \$36
204_5 ✓ 54
40 ✓ 40_9
40_9 ✓ \$36
5 ✓ x=5
90 ✓ 90^\circ
\frac14 ✓ \frac{1}{4}
"""


@needs_shared
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.soak)])
def test_golds_of_math500(step):
    """All pairs, or those of every fifth gold with a later one."""
    lines = (SHARED / "data/math500/test.jsonl").open()
    golds = sorted({json.loads(line)["answer"] for line in lines})
    some = golds[::step]
    same = {(a, b) for a in some for b in golds if a < b and same_math(a, b) == 1.0}
    assert same == {(a, b) for a, b, _ in labelled(SAME_IN_MATH500) if a in some}
