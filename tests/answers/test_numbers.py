"""Numbers are compared exactly; the gold decides whether there is anything to compare."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.answers import equations, hallucinates, last_number, same_number, stated_number


@pytest.mark.parametrize(
    ("predicted", "gold", "score"),
    [
        ("72", "72", 1.0),
        ("72.0", "72", 1.0),
        ("72.", "72", 1.0),
        ("$72", "72", 1.0),
        ("72 dollars", "72", 1.0),
        ("1,234", "1234", 1.0),
        ("1{,}234", "1,234", 1.0),
        ("−5", "-5", 1.0),
        ("-$5", "-5", 1.0),
        ("$-5", "-5", 1.0),
        ("0.5", "1/2", 1.0),
        ("\\frac{1}{2}", "0.5", 1.0),
        ("50%", "50", 1.0),
        ("$18$", "18", 1.0),
        ("72 or 73", "72", 0.0),
        ("1,2", "12", 0.0),
        ("12,34", "1234", 0.0),
        ("7.2", "72", 0.0),
        ("72.0001", "72", 0.0),
        ("", "72", 0.0),
        (None, "72", 0.0),
        ("seventy-two", "72", 0.0),
        ("1/0", "72", 0.0),
        ("70 + 2", "72", 0.0),
        ("--72", "72", 0.0),
        ("72 73", "72", 0.0),
        ("9" * 1000, "9", 0.0),
        ("72", "many", None),
        ("72", "", None),
    ],
)
def test_labelled_pairs(predicted, gold, score):
    assert same_number(predicted, gold) == score


@given(st.integers(-(10**9), 10**9))
def test_every_way_to_write_a_whole_number(n):
    for text in (str(n), f"{n:,}", f"{n}.", f"{n}.00", f" {n} apples"):
        assert same_number(text, str(n)) == 1.0
    assert same_number(str(n + 1), str(n)) == 0.0


@given(st.text())
def test_reading_never_raises(text):
    stated_number(text), last_number(text), equations(text), hallucinates(text, text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so 5 - 3 = 2", "2"),
        ("half is 1/2.", "1/2"),
        ("it cost $1,200.50!", "$1,200.50"),
        ("12-5", "5"),
        ("at -5 degrees", "-5"),
        ("#### 100####", "100"),
        ("The final answer is 18.\n</answer>", "18"),
        ("none", None),
        ("a1,2", "2"),
    ],
)
def test_last_number(text, number):
    assert last_number(text) == number


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("3 + 4 = 7", [True]),
        ("3+4=8", [False]),
        ("2 + 3 * 4 = 14", [True]),
        ("10 / 4 = 2.5", [True]),
        ("$3 x 4 = $12", [True]),
        ("3 + 4 = 7 - 2 = 5", [True]),
        ("3 + 4 = 12 - 5", []),
        ("1 / 0 = 0", [False]),
        ("x = 7", []),
        ("1,000 + 1 = 1,001.", [True]),
        (r"1\,000 + 1 = 1{,}001.", [True]),
    ],
)
def test_equations(text, truth):
    assert [equation.true for equation in equations(text)] == truth
