"""What is an equation, which are true, and how often people's own solutions would be blamed."""

import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.answers import arithmetic_value, equations, hallucinates, stated_number
from helpers.rows import CALCULATOR, read_gsm8k
from tests.answers.labelled import labelled
from tests.conftest import SHARED, needs_shared

# ✓ true ✗ false equations
EQUATIONS = r"""
sums ✓ 3 + 4 = 7 ✓ 2 + 3 * 4 = 14 ✓ 7 - 10 = -3 ✓ -3 + 5 = 2 ✓ so -3 + 5 = 2 ✓ 5 - (-3) = 8
    ✓ 1,000 + 1 = 1,001. ✓ 1,\!000 + 1 = 1,\! 001 ✗ 1,\!000 + 1 = 1,\!002
    ✓ so -11 + 50 = 39 and -11 + 100 = 89 ✓ a = 9 - 2 = 7 and b = 3
    ✓ 1\,000 + 1 = 1{,}001. ✓ 1 000 + 1 = 1 001 ✓ 3 + 4 equals 7 ✓ 3 + 4⏎= 7
    ✗ 3+4=8 ✗ -3 + 5 = 8 ✗ 1 / 0 = 0 ✗ 3 + 4 equals 8 ✗ It is 3 + 4 = 6
signs ✓ 3 × 4 = 12 ✓ 3 · 4 = 12 ✓ 3x4 = 12 ✓ 3 \cdot 4 = 12 ✓ 12 ÷ 4 = 3 ✓ 12 \div 4 = 3
    ✗ 3 · 4 = 13 ✗ 3 x 4 = 13
brackets ✓ (3 + 4) * 2 = 14 ✓ [3 + 4] * 2 = 14 ✓ 3(4 + 5) = 27 ✓ \left(3 + 4\right) \times 2 = 14
    ✗ (3 + 4) * 2 = 11 ✗ 3 + (4 * 2) = 14
powers ✓ 3² + 1 = 10 ✓ 2^3 = 8 ✓ 2**3 = 8 ✓ 2^{10} = 1024 ✓ 2^-1 = 0.5 ✗ 2^3 = 6 ✗ 3² + 1 = 7
    ✗ 2^2000 = 5 ✗ 0^-1 = 5
shares ✓ 20% of 50 = 10 ✓ 50 * .2 = 10 ✓ 100% - 40% = 60% ✓ 25/100 = 25% ✓ 5\% \times 100 = 5
    ✓ 1/3 * 100% = 33.3% ✗ 20% of 50 = 11 ✗ 100% - 40% = 61% ✗ 25 / 80 = 31.9%
fractions ✓ \frac{1}{2} \times 10 = 5 ✓ 1/2 * 10 = 5 ✓ ½ * 10 = 5 ✓ 2 1/2 * 4 = 10 ✓ 10 / 4 = 2 1/2
    ✓ \frac{10}{3} = 3\frac13 ✗ \frac{10}{3} = 2\frac13
    ✓ 2\frac{1}{2} + 1 = 3.5 ✓ 6 / 1/2 = 12 ✓ 1/3 + 1/3 = 2/3
    ✗ \frac{1}{2} \times 10 = 6 ✗ 2 1/2 * 4 = 9
units ✓ 2 hours * 3 km/h = 6 km ✓ $3 x 4 = $12 ✓ 5 cm * 4 cm = 20 cm^2 ✓ $5/hour * 3 hours = $15
    ✓ 5 \text{ km} + 3 \text{ km} = 8 \text{ km} ✓ 5 reds + 3 blues = 8 in all (so far)
    ✗ 2 hours * 3 km/h = 7 km ✗ 3 apples + 4 pears = 8 fruits ✗ $3 x 4 = $13 a day
rounded ✓ 0.333 = 1/3 ✓ 0.67 = 2/3 ✗ 0.34 = 1/3 ✗ 1 = 2/3
    ✓ 10 / 4 = 2.5 ✓ 10/3 = 3.33 ✓ 20/3 = 6.67 ✓ 20/3 = 6.66 ✓ 10/3 ≈ 3 ✓ 10/3 \approx 3.3
    ✓ 399 * 3 ≈ 1,200 ✓ -10/3 = -3.33 ✓ -10/3 ≈ -3
    ✗ 10/3 = 3.34 ✗ 10/3 ≈ 4 ✗ 10/3 = 3 cups ✗ 10/3 = 3.4
remainders ✓ 17 / 5 = 3 remainder 2 ✓ 17/5 = 3 R 2 ✓ 17 / 5 = 3 with a remainder of 2
    ✓ 17/5 = 3 with 2 left ✓ 17/5 = 3 with 2 left over ✗ 17/5 = 3 with 1 left
    ✗ 17 / 5 = 3 remainder 1 ✗ 17 / 5 = 4 remainder 2 ✗ 17 / 0 = 3 remainder 2
marks ✓ **3 + 4 = 7** ✓ 3 + 4 = **7** ✓ \(3 + 4 = 7\) ✓ * 3 + 4 = 7 ✓ - 3 + 4 = 7 ✓ 1. 3 + 4 = 7
    ✓ Step 1: 3 + 4 = 7 ✓ (3 + 4 = 7) ✗ **3 + 4 = 8** ✗ * 3 + 4 = 8
chains ✓ 3 + 4 = 7 = 10 - 3 ✓ 3 + 4 = 7 - 2 = 5 ✓ 3 + 4 = 12 - 5 ✗ 3 + 4 = 7 = 10 - 2 ✗ 7 = 3 + 5
"""
NONE = r"""
thousands ✓ a,1 000 * 3 = 3 000 ✓ 1 000 000 000 000 000 = 1 000 000 000 000 000
letters ✓ 2x + 3 = 7 ✓ x = 5 ✓ x + 3 = 7 ✓ x - 3 = 7 ✓ 4x - 13 + 4x - 8 = 339
    ✓ 2(x + 3) = 10 ✓ 5 + x = 8
    ✓ 3 + 4 = x ✓ y = 2 * 3 ✓ f(3) = 4 + 1 ✓ 3π + 1 = 10 ✓ 3 + 4 = 2y ✓ 6 boys = 96/6 ✓ 10/x = 5
words ✓ 2 + 2 = four ✓ 2 + 2 = about 5 ✓ 3 + ___ = 7 ✓ 17 mod 5 = 2
    ✓ 1 foot = 12 inches ✓ 5 + 5 = 1 dozen
functions ✓ 3! = 6 ✓ sqrt(16) + 1 = 5 ✓ √16 + 1 = 5 ✓ \sqrt{16} + 1 = 5
    ✓ log 100 + 1 = 3 ✓ |3 - 5| = 2
others ✓ 5:30 + 2:00 = 7:30 ✓ 5:30 ✓ 3-5 ✓ #### 7 ✓ 3/4/2020 ✓ 2/5 = 12 ✓ 2,5 + 1 = 3,5
    ✓ 9^9^9^9 = 1
    ✓ 3 + 4 != 8 ✓ 3 + 4 <= 8 ✓ 3 + 4 -> 8 ✓ 7 = 8
cut off ✓ 12 + 30 = ✓ 12 + 30 = 4 ✓ 12 + 30 = 50 -
"""
# A question ✓ replies with an answer of their own ✗ that are false or from nowhere
ANSWERS = """
2 000 three times? ✓ 2 000 * 3 = 6 000. So 6 000. ✗ 2 000 * 3 = 6 000. So 7 000.
3 and 4? ✓ 3 - 4 = -1, so \\boxed{-1} ✓ 4 - 3 = 1 is lost: -1 ✗ 3 - 4 = -1, so \\boxed{-2}
    ✓ 3 + 4 = 7. It is 7. ✓ It is 4. ✓ The sum is 3 + 4. That is 7 ✓ 3 plus 4 makes 7.
    ✗ 3 + 4 = 8. ✗ 3 + 4 = 7. It is 9. ✗ It is 9. ✗ 3 and 4, so 9.⏎#### 9
Half a dozen of ten? ✓ It is 12. ✓ 0.5 ✓ 50% ✓ 10 ✗ 13
Solve it. ✓ 2x = 10⏎x = 5⏎#### 5 ✓ 10 / 3 = 3.33, so 4 ✓ 1/4 = 0.25, so 25% ✓ Half of 10 is 5.
    ✗ 2x = 10⏎#### 6
"""


@pytest.mark.parametrize(("kind", "text", "true"), labelled(EQUATIONS))
def test_equations(kind, text, true):
    for reply in (text, f"We see: {text}.", f"So\n{text}\nand then"):
        found = equations(reply)
        assert found and all(equation.true for equation in found) == true


@pytest.mark.parametrize(("kind", "text", "_"), labelled(NONE))
def test_what_is_no_equation_of_plain_numbers(kind, text, _):
    assert equations(text) == []


@pytest.mark.parametrize(("question", "reply", "own"), labelled(ANSWERS))
def test_hallucinations(question, reply, own):
    assert hallucinates(question, reply) != own


def test_what_an_equation_says():
    units, chained = equations("2 hours * 3 km/h = 6 = 10 - 4")
    assert (units.left, units.value) == ("2 hours * 3", 6)
    assert (chained.left, chained.value) == ("10 - 4", 6)
    assert arithmetic_value("1 / 0") is arithmetic_value("x") is arithmetic_value("") is None


@given(st.text() | st.text("0123456789+-*/^=().,%$x ²½\\{}\n"))
def test_reading_never_raises(text):
    equations(text), hallucinates(text, text), arithmetic_value(text)


HOSTILE = "( 1+ 1= = - 9 1, 2^ 9^9 \\frac{ \\text{ x ½ ² 1% (1) 1+1=2 1/0= 1 000 a' 0.1 1_2/3_ 3_a_"
HOSTILE += " 1+2^999* R1 1/0=1R2 -1≈-"


@pytest.mark.parametrize("part", [*HOSTILE.split(), "\n", " "])
def test_hostile_texts(part):
    long = part.replace("_", " ") * (100_000 // len(part))
    for text in (long, f"1 + 1 = {long}", f"{long} = 3"):
        hallucinates(text, text)


def other_than(written, rng, known):
    """A number near one, that is not among those known."""
    while True:
        changed = stated_number(written) + rng.choice([-10, -3, -2, -1, 1, 2, 3, 10, 100])
        text = f"{float(changed):.10g}"
        if changed >= 0 and stated_number(text) not in known:
            return text


@pytest.fixture(scope="module", params=["train", "test"])
def rows(request):
    lines = (SHARED / "data/gsm8k/main" / f"{request.param}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines[::5]]


@needs_shared
def test_solutions_that_people_wrote_are_hardly_ever_blamed(rows):
    blamed = 0
    for row in rows:
        problem = read_gsm8k(row)
        blamed += hallucinates(problem.question, f"{problem.solution}\n#### {problem.answer}")
    assert blamed <= len(rows) / 100


@needs_shared
def test_solutions_with_a_wrong_number_are_found(rows):
    """On a right side that the dataset's calculator gave; and in place of the final answer."""
    rng = random.Random(0)
    steps, answers = [], []
    for row in rows:
        text, problem = row["answer"], read_gsm8k(row)
        result = r"[-+*/x×] ?\$?[0-9.]+[^0-9=\n]*= ?\$?<<[^<>]*>>([0-9]+(?:\.[0-9]+)?)(?![0-9,])"
        found = list(re.finditer(result, text))
        if found:
            right = rng.choice(found)
            wrong = other_than(right[1], rng, {stated_number(right[1])})
            spoiled = text[: right.start(1)] + wrong + text[right.end(1) :]
            steps.append(hallucinates(row["question"], CALCULATOR.sub("", spoiled)))
        known = set(map(stated_number, re.findall(r"[0-9]+(?:\.[0-9]+)?", row["question"] + text)))
        wrong = other_than(problem.answer, rng, known)
        answers.append(hallucinates(row["question"], f"{problem.solution}\n#### {wrong}"))
    assert len(steps) > len(rows) * 0.8
    assert sum(steps) >= 0.97 * len(steps) and sum(answers) >= 0.97 * len(answers)
