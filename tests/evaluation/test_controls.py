"""Twins and fresh problems: the gold of each is recomputed here from its story."""

import random
import re

import pytest

from helpers import data, evaluation
from helpers.evaluation import controls
from helpers.recipes import RECIPES
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


def questions(examples):
    return {data.question_key(example.question) for example in examples}


@pytest.fixture(scope="module")
def splits():
    return data.load(RECIPES["gsm8k_xml"], None, "cpu")


def test_the_gold_of_every_twin_is_right(splits):
    recipe, asked = RECIPES["gsm8k_xml"], splits["test"].examples
    twins, again, others = (
        evaluation.control_problems(recipe, asked, splits, seed)["twins"] for seed in (0, 0, 1)
    )
    by_id = {example.id: example for example in asked}
    assert len(twins) > 400 and all(int(twin.answer) == truth(twin.question) for twin in twins)
    for twin in twins:
        own = by_id[twin.id]
        assert re.sub(r"\d+", "#", twin.question) == re.sub(r"\d+", "#", own.question)
        assert twin.question != own.question and twin.answer != own.answer
    assert not questions([*asked, *splits["train"].examples]) & questions(twins)
    assert twins == again != others


@pytest.mark.parametrize(
    ("question", "solution", "answer"),
    [
        # Which 3 is which; a false equation; no equation; a number from nowhere.
        ("Mia has 3 pens and 3 cups. All?", "3 + 3 = 6", "6"),
        ("Mia has 8 pens and buys 4. All?", "8 + 4 = 13", "13"),
        ("Mia has 8 pens and buys 4. All?", "It is 12.", "12"),
        ("Mia has 8 pens and buys 4. All?", "8 + 5 = 13", "13"),
        # A number that is not used, may be used silently; the equations do not lead to the answer.
        ("Mia has 8 pens, buys 4 and 2 cups. Pens?", "8 + 4 = 12", "12"),
        ("Mia has 8 pens and buys 4. Half?", "8 + 4 = 12", "6"),
        # Boxes and people are both 3; 12 is given and a result; said in words, too.
        ("Tom, 3 boxes of 9, shares with two friends. Each?", "3 * 9 = 27\n27 / 3 = 9", "9"),
        ("Mia has 8 pens, then 12, then 4 go. All?", "8 + 4 = 12\n12 - 4 = 8", "8"),
        ("In 7 days Mia lays 14 eggs, and in seven days? (14 a day)", "7 * 14 = 98", "98"),
        # 60 balls, and 60 minutes an hour; nothing in it is free.
        ("Mia makes 60 balls, 20 an hour. Minutes?", "60 / 20 = 3\n3 * 60 = 180", "180"),
        ("In 1999 it was 1/2 of 50%.", "1/2 = 0.5", "0.5"),
        ("", "", ""),
    ],
)
def test_where_there_is_a_doubt_there_is_no_twin(question, solution, answer):
    example = Example("p", question, solution, answer)
    assert all(controls.twin(example, random.Random(seed)) is None for seed in range(5))


def test_years_and_percentages_stay():
    text = "In 1998 a shop sold {} lamps, then 25% of {} more. How many?"
    example = Example("p", text.format(40, 60), "25/100 * 60 = 15\n40 + 15 = 55", "55")
    for seed in range(20):
        twin = controls.twin(example, random.Random(seed))
        pattern = re.escape(text).replace(r"\{\}", r"(\d+)")
        first, second = map(int, re.fullmatch(pattern, twin.question).groups())
        assert int(twin.answer) * 100 == first * 100 + 25 * second


@pytest.mark.soak
@needs_shared
def test_one_in_four_problems_of_gsm8k_has_a_twin():
    recipe = RECIPES["gsm8k_xml"]
    splits = data.load(recipe, str(SHARED / "data" / "gsm8k"), "cpu")
    twins = evaluation.control_problems(recipe, splits["test"].examples, splits, 0)["twins"]
    assert len(twins) > 260
    assert all(recipe.score(twin.answer, twin.answer) == 1.0 for twin in twins)


@pytest.mark.parametrize("name", ["gsm8k_xml", "openr1_boxed", "dapo_think", "phybench_eed"])
def test_fresh_problems_are_new_and_can_be_graded(name):
    recipe = RECIPES[name]
    splits = data.load(recipe, None, "cpu")
    asked = splits["test"].take(50)
    fresh = evaluation.control_problems(recipe, asked, splits, seed=0)["fresh"]
    assert len(fresh) == len({e.id for e in fresh}) == len(questions(fresh)) == 50
    assert not questions([*splits["train"].examples, *splits["test"].examples]) & questions(fresh)
    assert all(recipe.score(e.answer, e.answer) == 1.0 for e in fresh)
    assert name == "phybench_eed" or all(int(e.answer) == truth(e.question) for e in fresh)


def test_memory_shows_in_pairs_for_twins_and_apart_for_others(recipe):
    def records(prefix, right, n):
        found = []
        for i in range(n):
            problem = Example(f"{prefix}{i}", "3 + 4?", "", "7")
            text = "It is 7." if i < right else "It is 8."
            found.append(evaluation.grade(recipe, problem, text, 5, True))
        return found

    others = {"twins": records("p", 20, 40), "fresh": records("fresh", 30, 50)}
    found = evaluation.memory(records("p", 90, 100), others)
    twins, fresh = found["twins"], found["fresh"]
    assert twins["difference"] == pytest.approx(-0.5) and twins["n"] == 40
    assert twins["p"] < 1e-5 and twins["high"] < -0.3
    assert fresh["difference"] == pytest.approx(-0.3) and fresh["n"] == 50
    assert "p" not in fresh and fresh["low"] < -0.3 < fresh["high"] < 0
