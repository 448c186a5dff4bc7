"""Numbers are compared exactly; the gold decides whether there is anything to compare."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.answers import last_number, same_number
from tests.answers.labelled import labelled

# gold ✓ numbers that are the same ✗ what is not
PAIRS = r"""
72 ✓ 72 ✓ 72.0 ✓ 72. ✓ $72 ✓ 72 dollars ✗ 72 or 73 ✗ 7.2 ✗ 72.0001 ✗ seventy-two ✗ 1/0 ✗ 70 + 2
    ✗ --72 ✗ 72 73
1234 ✓ 1,234 ✗ 12,34
1,234 ✓ 1{,}234
12 ✗ 1,2 ✗ 1, 2 ✗ 1\,2 ✗ 1 2 ✗ 1;2 ✗ 1{,}2
12345 ✗ 1,2345
-5 ✓ −5 ✓ -$5 ✓ $-5
1800 ✓ 1 800 ✗ 800
2.5 ✓ 2 and 1/2 cups
1/2 ✓ 0.5
0.5 ✓ \frac{1}{2}
50 ✓ 50%
18 ✓ $18$
"""
LAST = r"""
2 ✓ so 5 - 3 = 2 ✓ a1,2
1/2 ✓ half is 1/2.
$1,200.50 ✓ it cost $1,200.50!
5 ✓ 12-5
-5 ✓ at -5 degrees
100 ✓ #### 100####
18 ✓ The final answer is 18.⏎</answer>
-5 ✓ so \boxed{-5} ✓ \mathbf{-5} ✓ \text{-5}
-\$5 ✓ \boxed{-\$5}
5 ✓ 10^{-5} ✓ x_{-5}
1/2 ✓ They are 4 and 1/2.
1 800 ✓ It is 1 800 cups.
2 and 1/2 ✓ 2 and 1/2 cups
"""


@pytest.mark.parametrize(("gold", "predicted", "same"), labelled(PAIRS))
def test_labelled_pairs(gold, predicted, same):
    assert same_number(predicted, gold) == float(same)


def test_without_an_answer_or_a_gold():
    for predicted in ("", None, "9" * 1000):
        assert same_number(predicted, "9") == 0.0
    assert same_number("72", "") is None


@given(st.integers(-(10**9), 10**9))
def test_every_way_to_write_a_whole_number(n):
    for text in (str(n), f"{n:,}", f"{n}.", f"{n}.00", f" {n} apples"):
        assert same_number(text, str(n)) == 1.0
    assert same_number(str(n + 1), str(n)) == 0.0


@pytest.mark.parametrize(("number", "text", "_"), labelled(LAST))
def test_last_number(number, text, _):
    assert last_number(text) == number
