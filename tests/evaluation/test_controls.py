"""Twins with other numbers, and fresh problems: the gold of each is recomputed here from its story."""

import random
import re

import pytest

from helpers import data
from helpers.evaluation import controls
from helpers.recipes import get_recipe
from helpers.rows import Example
from tests.conftest import SHARED, needs_shared

STORIES = [  # what each generated story asks for, from its numbers in order
    (r"buys \d+ boxes", lambda a, k, b: a + k * b),
    (r"boxes with .* gives", lambda k, b, a: k * b - a),
    (r"finds \d+ more", lambda a, b, c: a + b - c),
    (r"sells \d+ of them", lambda a, b, c: a - b + c),
    (r"times as many", lambda a, b, c: (a + b) * c),
]


def truth(question):
    numbers = [int(n) for n in re.findall(r"\d+", question)]
    return next(f for pattern, f in STORIES if re.search(pattern, question))(*numbers)


@pytest.fixture(scope="module")
def splits():
    return data.load(get_recipe("gsm8k_xml"), None, "tiny")


def test_the_gold_of_every_twin_is_right(splits):
    asked = splits["test"].examples
    twins = controls.twins(asked, splits["train"].examples)
    by_id = {e.id: e for e in asked}
    assert len(twins) > 400 and all(int(t.answer) == truth(t.question) for t in twins)
    for t in twins:
        own = by_id[t.id]
        assert (
            re.sub(r"\d+", "#", t.question) == re.sub(r"\d+", "#", own.question)
            and t.question != own.question
            and t.answer != own.answer
        )
    known = {data.normalised(e.question) for e in (*asked, *splits["train"].examples)}
    assert not known & {data.normalised(t.question) for t in twins}
    assert (
        twins
        == controls.twins(asked, splits["train"].examples)
        != controls.twins(asked, splits["train"].examples, seed=1)
    )


@pytest.mark.parametrize(
    ("question", "solution", "answer"),
    [
        ("Mia has 3 pens and 3 cups. All?", "3 + 3 = 6", "6"),  # which 3 is which?
        ("Mia has 8 pens and buys 4. All?", "8 + 4 = 13", "13"),  # a false equation
        ("Mia has 8 pens and buys 4. All?", "It is 12.", "12"),  # no equation
        ("Mia has 8 pens and buys 4. All?", "8 + 5 = 13", "13"),  # a number from nowhere
        (
            "Mia has 8 pens, buys 4 and 2 cups. Pens?",
            "8 + 4 = 12",
            "12",
        ),  # a number that is not used may be used silently
        (
            "Mia has 8 pens and buys 4. Half?",
            "8 + 4 = 12",
            "6",
        ),  # the equations do not lead to the answer
        (
            "Tom, 3 boxes of 9, shares with two friends. Each?",
            "3 * 9 = 27\n27 / 3 = 9",
            "9",
        ),  # boxes and people are both 3
        (
            "Mia has 8 pens, then 12, then 4 go. All?",
            "8 + 4 = 12\n12 - 4 = 8",
            "8",
        ),  # 12 is given and a result
        (
            "In 7 days Mia lays 14 eggs, how many in seven days? (14 a day)",
            "7 * 14 = 98",
            "98",
        ),  # said in words, too
        (
            "Mia makes 60 balls, 20 an hour. Minutes?",
            "60 / 20 = 3\n3 * 60 = 180",
            "180",
        ),  # 60 balls, and 60 minutes an hour
        ("In 1999 it was 1/2 of 50%.", "1/2 = 0.5", "0.5"),  # nothing in it is free
        ("", "", ""),
    ],
)
def test_where_there_is_a_doubt_there_is_no_twin(question, solution, answer):
    assert all(
        controls.twin(Example("p", question, solution, answer), random.Random(seed)) is None
        for seed in range(5)
    )


def test_years_fractions_and_percentages_stay(splits):
    example = Example(
        "p",
        "In 1998 a shop sold 40 of its 80 lamps, then 25% of 60 more. How many?",
        "25/100 * 60 = 15\n40 + 15 = 55",
        "55",
    )
    assert controls.twin(example, random.Random(0)) is None  # 80 is not used
    example = Example(
        "p",
        "In 1998 a shop sold 40 lamps, then 25% of 60 more. How many?",
        "25/100 * 60 = 15\n40 + 15 = 55",
        "55",
    )
    for seed in range(20):
        found = controls.twin(example, random.Random(seed))
        first, share, second = (
            int(n)
            for n in re.fullmatch(
                r"In 1998 a shop sold (\d+) lamps, then (25)% of (\d+) more. How many\?",
                found.question,
            ).groups()
        )
        assert int(found.answer) * 100 == first * 100 + share * second


@needs_shared
def test_one_in_five_problems_of_gsm8k_has_a_twin():
    recipe = get_recipe("gsm8k_xml")
    asked = data.load(recipe, str(SHARED / "data" / "gsm8k"), "tiny")["test"].examples
    twins = controls.twins(asked, [])
    assert len(twins) > 260 and all(recipe.score(t.answer, t.answer) == 1.0 for t in twins)


@pytest.mark.parametrize("name", ["gsm8k_xml", "openr1_boxed", "dapo_think", "phybench_eed"])
def test_fresh_problems_are_new_and_can_be_graded(name):
    recipe = get_recipe(name)
    found = data.load(recipe, None, "tiny")
    known = [*found["train"].examples, *found["test"].examples]
    fresh = controls.fresh(recipe, 50, known)
    assert len(fresh) == len({e.id for e in fresh}) == len({e.question for e in fresh}) == 50
    assert not {data.normalised(e.question) for e in known} & {
        data.normalised(e.question) for e in fresh
    }
    assert all(recipe.score(e.answer, e.answer) == 1.0 for e in fresh)
    assert name == "phybench_eed" or all(int(e.answer) == truth(e.question) for e in fresh)


def test_a_drop_is_in_pairs_for_twins_and_apart_for_others():
    def lines(prefix, right, n):
        return [{"id": f"{prefix}{i}", "flexible_right": i < right} for i in range(n)]

    own = lines("p", 90, 100)
    twins = controls.drop(own, lines("p", 20, 40))
    assert (
        twins["difference"] == pytest.approx(-0.5)
        and twins["n"] == 40
        and twins["p"] < 1e-5
        and twins["high"] < -0.3
    )
    fresh = controls.drop(own, lines("fresh", 30, 50))
    assert (
        fresh["difference"] == pytest.approx(-0.3)
        and fresh["n"] == 50
        and "p" not in fresh
        and fresh["low"] < -0.3 < fresh["high"] < 0
    )
