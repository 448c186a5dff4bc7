"""What is written is read back, and nothing else is taken for an answer."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.answers import xml
from helpers.answers.formats import XML

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="<>"), min_size=1).filter(
    lambda s: s.strip()
)
NUMBERS = st.from_regex(r"-?[0-9]{1,7}(\.[0-9]{1,3})?", fullmatch=True)
NOISE = st.lists(
    st.sampled_from(
        [
            *xml.TAGS,
            "<think>",
            "</think>",
            "The final answer is ",
            "7",
            ".",
            "\n",
            "or",
            " ",
            "�",
            "\x00",
            "\ud800",
        ]
    )
)


@given(WORDS, NUMBERS)
def test_what_is_written_is_read_back(solution, answer):
    text = XML.write(solution, answer)
    assert XML.extract(text) == answer
    assert XML.follows(text) and xml.strict(text)


@given(st.one_of(st.text(), NOISE.map("".join)))
def test_reading_never_raises(text):
    assert XML.extract(text) is None or isinstance(XML.extract(text), str)
    assert XML.follows(text) in (True, False)
    assert XML.extract_flexible(text) is None or isinstance(XML.extract_flexible(text), str)


@given(WORDS, NUMBERS, st.integers(min_value=1, max_value=8))
def test_a_cut_off_text_has_no_answer(solution, answer, cut):
    text = XML.write(solution, answer)[:-cut]
    assert XML.extract(text) is None and not XML.follows(text)


GOOD = "<reasoning>\n3 + 4 = 7\n</reasoning>\n<answer>\nThe final answer is 7.\n</answer>"


@pytest.mark.parametrize(
    ("text", "extracted", "follows"),
    [
        (GOOD, "7", True),
        (GOOD.replace("\n", ""), "7", True),
        (GOOD + "\n", "7", True),
        ("<reasoning>x</reasoning> <answer>$1,234.50</answer>", "$1,234.50", True),
        ("<answer>The final answer is 7.</answer>", "7", False),
        ("<think>so</think>" + GOOD, "7", False),
        (GOOD + " Good luck!", "7", False),
        (GOOD + GOOD, "7", False),
        (GOOD + "<answer>8</answer>", None, False),
        ("<think>" + GOOD, None, False),
        ("<reasoning>x <answer>7</answer>", None, False),
        ("<reasoning>x <answer>7</answer></reasoning>", None, False),
        ("<reasoning>x</reasoning><answer>7", None, False),
        ("<reasoning>x</reasoning><answer></answer>", None, False),
        ("<reasoning>x</reasoning><answer>7 or 8</answer>", None, False),
        ("<reasoning> </reasoning><answer>7</answer>", "7", False),
        ("<answer>7</answer><reasoning>x</reasoning>", None, False),
        ("7", None, False),
        ("", None, False),
    ],
)
def test_labelled_texts(text, extracted, follows):
    assert (XML.extract(text), XML.follows(text)) == (extracted, follows)


def test_strict_is_the_exact_shape():
    assert xml.strict(GOOD)
    assert not any(
        xml.strict(GOOD.replace(*change))
        for change in (
            ("The final answer is", "It is"),
            ("7.\n", "7\n"),
            ("</reasoning>\n", "</reasoning>"),
            ("<reasoning>\n", "\n<reasoning>\n"),
        )
    )


@pytest.mark.parametrize(
    ("solution", "answer"),
    [("", "7"), ("x", ""), ("x", "7 or 8"), ("a <answer> b", "7"), ("x", "7\n8")],
)
def test_what_cannot_be_read_back_is_not_written(solution, answer):
    with pytest.raises(ValueError, match="read back"):
        XML.write(solution, answer)


@pytest.mark.parametrize(
    "piece",
    [
        "<answer>",
        "<reasoning>x</reasoning>",
        "7 ",
        "9,",
        "</think>",
        "1/",
        "((((",
        "The final answer is ",
    ],
)
def test_reading_takes_linear_time(piece):
    def seconds(text):
        runs = []
        for _ in range(5):
            begun = time.process_time()
            XML.extract(text), XML.follows(text), XML.extract_flexible(text)
            runs.append(time.process_time() - begun)
        return min(runs)

    assert (
        seconds(piece * 80_000) < 8 * seconds(piece * 20_000) + 0.01
    )  # linear: 4 times; quadratic: 16 times
