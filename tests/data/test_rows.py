"""A row of every published schema becomes an example, and so does a row of one's own."""

import pytest

from helpers.recipes import RECIPES
from helpers.rows import (
    WRAPPER,
    Example,
    read_dapo,
    read_gsm8k,
    read_math500,
    read_openr1,
    read_phybench,
)
from tests.conftest import FIVE

OWN = {
    "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": " 3 + 4? "}],
    "answer_text": " 3 + 4 = 7 ",
    "answer": 7,
}
SHORT, LONG = "<think>y</think> 7", "<think>x</think> 7, long"
OPENR1 = {
    "uuid": "u",
    "problem": "3 + 4?",
    "answer": "7",
    "generations": [LONG, SHORT, "8"],
    "correctness_math_verify": [True, True, False],
    "correctness_llama": None,
    "is_reasoning_complete": [True, True, True],
}
BY_THE_JUDGE = {"correctness_math_verify": [False] * 3, "correctness_llama": [True, False, False]}
DAPO = {
    "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "Q?".join(WRAPPER)}],
    "reward_model": {"ground_truth": "7"},
    "extra_info": {"index": "i"},
}
PROCESSED = {"prompt": "Q?", "solution": "7", "extra_info": {"index": "i"}}
BOXES = {
    "id": "9",
    "content": "Q?",
    "solution": r"first \boxed{a}, then $2 a = \boxed{b}$",
    "answer": "  ",
}


@pytest.mark.parametrize("read_row", [RECIPES[name].read_row for name in FIVE] + [read_math500])
def test_everybody_s_own_rows_are_read_by_every_recipe(read_row):
    assert read_row(OWN) == Example("", "3 + 4?", "3 + 4 = 7", "7")
    bare = OWN | {"id": 5, "answer": "x", "answer_text": None}
    assert read_row(bare) == Example("5", "3 + 4?", "", "x")
    assert read_row(OWN | {"answer": None}) is None


@pytest.mark.parametrize(
    ("read_row", "row", "expected"),
    [
        (
            read_gsm8k,
            {"question": "q", "answer": "a <<1+1=2>>2\n#### 1,234"},
            Example("", "q", "a 2", "1,234"),
        ),
        (read_gsm8k, {"question": "q", "answer": "no mark"}, None),
        (read_dapo, DAPO, Example("i", "Q?", "", "7")),
        (read_dapo, PROCESSED, Example("i", "Q?", "", "7")),
        (read_dapo, PROCESSED | {"prompt": "[1, 2]?"}, Example("i", "[1, 2]?", "", "7")),
        (
            read_dapo,
            PROCESSED | {"solution": 7.0, "extra_info": None},
            Example("", "Q?", "", "7"),
        ),
        (read_dapo, PROCESSED | {"solution": None}, None),
        (read_phybench, BOXES, Example("9", "Q?", BOXES["solution"], "b")),
        (read_phybench, BOXES | {"answer": " c "}, Example("9", "Q?", BOXES["solution"], "c")),
        (read_phybench, BOXES | {"solution": None, "answer": 0}, Example("9", "Q?", "", "0")),
        (read_phybench, BOXES | {"solution": ""}, None),
        (
            read_math500,
            {"problem": "q", "solution": "so", "answer": "5", "unique_id": "test/1"},
            Example("test/1", "q", "so", "5"),
        ),
    ],
)
def test_published_schemas(read_row, row, expected):
    assert read_row(row) == expected


@pytest.mark.parametrize(
    ("change", "solution"),
    [
        ({}, SHORT),
        ({"is_reasoning_complete": [True, False, True]}, LONG),
        (BY_THE_JUDGE, LONG),
        ({"correctness_math_verify": None, "is_reasoning_complete": None}, None),
        ({"correctness_math_verify": [False] * 3}, None),
        ({"correctness_math_verify": ["True"] * 3}, None),
        ({"generations": None}, None),
        ({"generations": []}, None),
        ({"answer": ""}, None),
        ({"answer": None}, None),
    ],
)
def test_openr1_takes_the_shortest_verified_generation(change, solution):
    expected = solution and Example("u", "3 + 4?", solution, "7")
    assert read_openr1(OPENR1 | change) == expected
