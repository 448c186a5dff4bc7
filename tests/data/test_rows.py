"""A row of every published schema becomes an example, and so does a row of one's own."""

import json

import pytest

from helpers import rows
from helpers.recipes import RECIPES
from helpers.rows import WRAPPER, Example, Unusable, read_dapo, read_phybench
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
    assert read_row(OWN) == Example("", "s\n\n3 + 4?", "3 + 4 = 7", "7")
    bare = OWN | {"id": 5, "answer": "x", "answer_text": None}
    assert read_row(bare) == Example("5", "s\n\n3 + 4?", "", "x")
    assert read_row(OWN | {"answer": None}) is None


def turns(*texts, roles=("user", "assistant")):
    """A conversation in which the roles take turns."""
    return [{"role": roles[n % len(roles)], "content": text} for n, text in enumerate(texts)]


def sharegpt(*texts):
    spoken = turns(*texts, roles=("human", "gpt"))
    return [{"from": turn["role"], "value": turn["content"]} for turn in spoken]


SYSTEM = {"role": "system", "content": "Anna has 3 pens."}
LONG_TALK = "Anna has 3 pens.\n\nUser: She buys 4.\n\nAssistant: Yes?\n\nUser: How many?"
REPLIED = turns("She buys 4.", "Yes?", "How many?", "3 + 4 = 7")
SHAPES = (  # what a row has, and the question and the solution that are read
    *[({name: "3 + 4?"}, "3 + 4?", "") for name in ("question", "problem", "prompt", "content")],
    ({"question": "q", "answer_text": "so", "solution": "other"}, "q", "so"),
    ({"problem": "q", "answer_text": None, "solution": "so"}, "q", "so"),
    ({"question": "", "problem": "q", "answer_text": "", "solution": "so"}, "q", "so"),
    ({"question": None, "problem": "q"}, "q", ""),
    ({"prompt": "q", "solution": "so"}, "q", "so"),
    ({"question": "q", "answer": "so <<3+4=7>>7\n#### 7"}, "q", "so 7"),
    ({"messages": turns("3 + 4?")}, "3 + 4?", ""),
    ({"messages": turns("3 + 4?", "It is 7.")}, "3 + 4?", "It is 7."),
    ({"messages": turns("3 + 4?", "It is 7."), "answer_text": "so"}, "3 + 4?", "so"),
    ({"messages": [SYSTEM, *turns("And 4?")]}, "Anna has 3 pens.\n\nAnd 4?", ""),
    ({"messages": [SYSTEM, *REPLIED]}, LONG_TALK, "3 + 4 = 7"),
    ({"prompt": [SYSTEM, *REPLIED[:-1]], "solution": "so"}, LONG_TALK, "so"),
    ({"messages": json.dumps([SYSTEM, *REPLIED])}, LONG_TALK, "3 + 4 = 7"),
    ({"messages": repr([SYSTEM, *REPLIED])}, LONG_TALK, "3 + 4 = 7"),
    ({"messages": "[3 points] 3 + 4?"}, "[3 points] 3 + 4?", ""),
    ({"conversations": sharegpt("3 + 4?", "so")}, "3 + 4?", "so"),
    ({"instruction": "Add.", "input": "3 + 4", "output": "so"}, "Add.\n\n3 + 4", "so"),
    ({"instruction": "3 + 4?", "input": "", "output": "so"}, "3 + 4?", "so"),
)


@pytest.mark.parametrize("read_row", READERS)
@pytest.mark.parametrize(("row", "question", "solution"), SHAPES)
def test_every_recipe_reads_what_people_have(read_row, row, question, solution):
    assert read_row({"answer": 7, **row}) == Example("", question, solution, "7")


@pytest.mark.parametrize("read_row", READERS)
def test_what_other_shapes_lack_is_named(read_row):
    for row, reason in (
        ({"conversations": sharegpt("3 + 4?", "7")}, "in ShareGPT's form without 'answer'"),
        ({"instruction": "q", "input": "", "output": "7"}, "in alpaca's form without 'answer'"),
        ({"question": "q"}, "without 'answer'"),
    ):
        with pytest.raises(Unusable) as caught:
            read_row(row)
        assert str(caught.value) == reason


BACKSLASHES = (
    *(r"\frac{2}{3}", r"\beta", r"\boxed{5}", r"5 \times 3", r"5\text{ cm}", r"\theta", r"\tan(x)"),
    *(r"\to 0", r"\triangle", r"\right)", r"\rho", r"\neq 2", r"\nabla f"),
)
ORDINARY = (
    "1.\tadd",
    "x\ty",
    "a\r\nright",
    "so\nequal",
    "one\neq. 3",
    "see\neq 3",
    "\fPage 2",
    "a\tan apple",
)


@pytest.mark.parametrize("tex", BACKSLASHES)
def test_a_lost_backslash_is_named(tex):
    garbled = json.loads(f'"{tex}"')
    row = {"question": "q", "answer": "7", "solution": "so"}
    for name in row:
        with pytest.raises(Unusable, match="backslash"):
            rows.read_own(row | {name: garbled + " 1"})
        rows.read_own(row | {name: tex})


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_control_characters_stay(text):
    assert rows.read_own({"question": text, "answer": "7"}).question == text.strip()


BOXED = (r"\boxed{5}", r"$\boxed{5}$", r"\[ \boxed{ 5 } \]", r"$$\boxed{5}.$$", r"\(\boxed{5}\)")
COMMAS = ("3,5", "-0,75", "$12,5$", "3,5 cm", "1.234,5", "0,125", "1000,50 €")
NO_COMMAS = ("1,234", "3, 5", "(3,5)", "3,5,7", "1,234,567", "1,234.5")


@pytest.mark.parametrize("read_row", READERS)
def test_a_gold_has_no_box_and_no_decimal_comma(read_row):
    for gold in BOXED:
        assert read_row({"question": "q", "answer": gold}).answer == "5"
    for gold in (r"\boxed{1} or \boxed{2}", r"\boxed{5} cm", *NO_COMMAS):
        assert read_row({"question": "q", "answer": gold}).answer == gold
    for gold in COMMAS:
        with pytest.raises(Unusable, match="such as 3,5"):
            read_row({"question": "q", "answer": gold})


@pytest.mark.parametrize(
    ("read_row", "row", "expected"),
    [
        (rows.read_gsm8k, GSM8K, Example("", "q", "a 2", "1,234")),
        (rows.read_gsm8k, {"question": "q", "answer": "7"}, Example("", "q", "", "7")),
        (read_dapo, DAPO, Example("i", "s\n\nQ?", "", "7")),
        (read_dapo, PROCESSED, Example("i", "Q?", "", "7")),
        (read_dapo, PROCESSED | {"prompt": "[1, 2]?"}, Example("i", "[1, 2]?", "", "7")),
        (read_dapo, PROCESSED | {"solution": None}, None),
        (read_dapo, BARE, Example("", "Q?", "", "7")),
        (read_phybench, BOXES, Example("9", "Q?", SOLVED, "b")),
        (read_phybench, BOXES | {"answer": " c "}, Example("9", "Q?", SOLVED, "c")),
        (read_phybench, BOXES | {"solution": None, "answer": 0}, Example("9", "Q?", "", "0")),
        (read_phybench, BOXES | {"solution": ""}, None),
        (rows.read_math500, MATH500, Example("test/1", "q", "so", "5")),
        (rows.read_math500, MATH500 | {"answer": "-2,1"}, Example("test/1", "q", "so", "-2,1")),
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
