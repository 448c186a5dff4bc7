"""A row of every published schema becomes an example, and so does a row of one's own."""

import pytest

from helpers import rows
from helpers.recipes import RECIPES
from helpers.rows import WRAPPER, Example, read_dapo, read_phybench
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
BARE = {"prompt": "Q?", "solution": 7.0, "extra_info": None}
SOLVED = r"first \boxed{a}, then $2 a = \boxed{b}$"
BOXES = {"id": "9", "content": "Q?", "solution": SOLVED, "answer": "  "}
GSM8K = {"question": "q", "answer": "a <<1+1=2>>2\n#### 1,234"}
MATH500 = {"problem": "q", "solution": "so", "answer": "5", "unique_id": "test/1"}


READERS = [RECIPES[name].read_row for name in FIVE] + [rows.read_math500]


@pytest.mark.parametrize("read_row", READERS)
def test_everybody_s_own_rows_are_read_by_every_recipe(read_row):
    assert read_row(OWN) == Example("", "3 + 4?", "3 + 4 = 7", "7")
    bare = OWN | {"id": 5, "answer": "x", "answer_text": None}
    assert read_row(bare) == Example("5", "3 + 4?", "", "x")
    assert read_row(OWN | {"answer": None}) is None


@pytest.mark.parametrize(
    ("read_row", "row", "expected"),
    [
        (rows.read_gsm8k, GSM8K, Example("", "q", "a 2", "1,234")),
        (rows.read_gsm8k, {"question": "q", "answer": "no mark"}, None),
        (read_dapo, DAPO, Example("i", "Q?", "", "7")),
        (read_dapo, PROCESSED, Example("i", "Q?", "", "7")),
        (read_dapo, PROCESSED | {"prompt": "[1, 2]?"}, Example("i", "[1, 2]?", "", "7")),
        (read_dapo, PROCESSED | {"solution": None}, None),
        (read_dapo, BARE, Example("", "Q?", "", "7")),
        (read_phybench, BOXES, Example("9", "Q?", SOLVED, "b")),
        (read_phybench, BOXES | {"answer": " c "}, Example("9", "Q?", SOLVED, "c")),
        (read_phybench, BOXES | {"solution": None, "answer": 0}, Example("9", "Q?", "", "0")),
        (read_phybench, BOXES | {"solution": ""}, None),
        (rows.read_math500, MATH500, Example("test/1", "q", "so", "5")),
    ],
)
def test_published_schemas(read_row, row, expected):
    assert read_row(row) == expected


UNVERIFIED = (
    {"correctness_math_verify": None, "is_reasoning_complete": None},
    *[{"correctness_math_verify": [value] * 3} for value in (False, "True")],
    *[{"generations": None}, {"generations": []}, {"answer": ""}, {"answer": None}],
)


def test_openr1_takes_the_shortest_verified_generation():
    incomplete = {"is_reasoning_complete": [True, False, True]}
    for change, solution in (({}, SHORT), (incomplete, LONG), (BY_THE_JUDGE, LONG)):
        assert rows.read_openr1(OPENR1 | change) == Example("u", "3 + 4?", solution, "7")
    for change in UNVERIFIED:
        assert rows.read_openr1(OPENR1 | change) is None, change
