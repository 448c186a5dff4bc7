"""The formats with boxes and with `####`: what is written is read back, and nothing else is taken for an answer."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.answers import boxes, xml
from helpers.answers.formats import BOXED, HASH, THINK_BOXED, XML
from helpers.training.rewards import trace_reward

FORMATS = (XML, HASH, BOXED, THINK_BOXED)
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="<>#\\{}"), min_size=1).filter(
    lambda s: any(c.isalnum() for c in s)
)
NUMBERS = st.from_regex(r"-?[0-9]{1,7}(\.[0-9]{1,3})?", fullmatch=True)
ANSWERS = st.sampled_from(
    [
        r"\frac{1}{2}",
        r"\left(3,\frac{\pi}{2}\right)",
        r"\{1,2\}",
        "x^{2}+1",
        r"\text{Evelyn}",
        r"\sqrt{1+\frac{1}{\sqrt{2}}}",
    ]
)
NOISE = st.lists(
    st.sampled_from(
        [
            *xml.TAGS,
            "<think>",
            "</think>",
            "\\boxed",
            "\\boxed{",
            "{",
            "}",
            "\\",
            "####",
            "#### ",
            "\n",
            "7",
            "or",
            " ",
            "\x00",
        ]
    )
)


@given(PLAIN, NUMBERS)
def test_every_format_reads_back_what_it_writes(solution, answer):
    for format in (HASH, BOXED, THINK_BOXED):
        text = format.write("so " + solution, answer)
        assert format.extract(text) == answer and format.follows(text) and format.holds(text)


@given(ANSWERS)
def test_boxes_read_back_tex(answer):
    for format in (BOXED, THINK_BOXED):
        assert format.extract(format.write("By symmetry.", answer)) == answer


@given(st.one_of(st.text(), NOISE.map("".join)))
def test_reading_never_raises(text):
    for format in FORMATS:
        assert format.extract(text) is None or isinstance(format.extract(text), str)
        assert {format.follows(text), format.holds(text)} <= {True, False}
        assert not format.follows(text) or format.extract(text) is not None
        assert format.extract_flexible(text) is None or isinstance(
            format.extract_flexible(text), str
        )


@given(PLAIN, ANSWERS, st.integers(3, 12))
def test_a_cut_off_box_has_no_answer(solution, answer, cut):
    for format in (BOXED, THINK_BOXED):
        text = format.write("so " + solution, answer)[:-cut]
        assert format.extract(text) is None and not format.holds(text)


@pytest.mark.parametrize(
    ("text", "boxed", "follows"),
    [
        (r"9 \cdot 2 = 18, so \boxed{18}", "18", True),
        (r"9 \cdot 2 = 18, so **\boxed{18}**.", "18", True),
        (r"9 \cdot 2 = 18. Hence \[\boxed{18}.\]", "18", True),
        (r"9 \cdot 2 = 18, so \boxed{ 18 }", "18", True),
        (r"9 \cdot 2 = 18, so \boxed 8", "8", True),
        (r"9 \cdot 2 = 18, so \boxed\pi", r"\pi", True),
        (r"9 \cdot 2 = 18, so \boxed{\boxed{18}}", r"\boxed{18}", True),
        (r"<think>9 \cdot 2 = 18</think> \boxed{18}", "18", True),
        (r"It is \boxed{18} dollars.", "18", False),
        (r"\boxed{18}", "18", False),
        (r"The final answer is $\boxed{18}$.", "18", False),
        (r"First \boxed{13} remain, then $9\cdot 2=\boxed{18}$.", "18", False),
        (r"So \boxed{18}. To repeat: \boxed{18}", "18", False),
        (r"It is \boxed{18} or \boxed{19}.", None, False),
        (r"It is \boxed{18}. Or \boxed{19}.", None, False),
        (r"\boxed{18} \boxed{19}", None, False),
        (r"The answer is \boxed{18}. The answer is \boxed{19}.", None, False),
        (r"Either \boxed{18}, since $9+9=18$, or else $9+10$, \boxed{19}.", None, False),
        (r"It is \boxed{}.", None, False),
        (r"It is \boxed{18", None, False),
        (r"It is \boxed{17}. No: \boxed{18", None, False),
        (r"It is \boxed{\frac{1}{2}.", None, False),
        (r"It is \boxed", None, False),
        (r"It is \boxedanswer{18}.", None, False),
        (r"<think>It is \boxed{18}.</think> Done.", None, False),
        (r"<think>It is \boxed{18}.", None, False),
        (r"</think>\boxed{18}<think>", None, False),
        ("18", None, False),
        ("", None, False),
    ],
)
def test_labelled_boxes(text, boxed, follows):
    assert (BOXED.extract(text), BOXED.follows(text)) == (boxed, follows)


@pytest.mark.parametrize(
    ("text", "holds", "follows"),
    [
        (r"<think>3 + 4 = 7</think> \boxed{7}", True, True),
        (r"<think>3 + 4 = 7</think> It is $\boxed{7}$.", True, True),
        (r"<think>3 + 4 = 7</think> \boxed{7} apples", True, False),
        (r"<think>\boxed{7}</think> \boxed{7}", True, True),
        (r"<think> </think> \boxed{7}", False, False),
        (r"<think>so</think> \boxed{}", False, False),
        (r"<think>so</think> \boxed{7} or \boxed{8}", False, False),
        (r"<think>so</think><think>so</think> \boxed{7}", False, False),
        (r"so</think> \boxed{7}", False, False),
        (r"<think>so \boxed{7}", False, False),
        (r"\boxed{7} <think>so</think>", False, False),
        (r"Well, <think>so</think> \boxed{7}", False, False),
    ],
)
def test_labelled_thinking(text, holds, follows):
    assert (THINK_BOXED.holds(text), THINK_BOXED.follows(text)) == (holds, follows)


@pytest.mark.parametrize(
    ("text", "value", "follows"),
    [
        ("9 * 2 = 18\n#### 18", "18", True),
        ("9*2 = <<9*2=18>>18\n#### $18", "$18", True),
        ("so\n#### 1,234\n", "1,234", True),
        ("so\n#### Answer: 18 dollars", "18 dollars", True),
        ("so\n  ####18", "18", True),
        ("#### 18", "18", False),
        ("so\n#### 18\nThat is all.", "18", False),
        ("so\n#### 18\nOr 19.", None, False),
        ("so\n#### 18\n#### 18", "18", False),
        ("so\n#### 18\n#### 19", None, False),
        ("so\n#### 18 or 19", None, False),
        ("so\n#### 18=18", None, False),
        ("so\n#### 100####", None, False),
        ("so\n####", None, False),
        ("so #### 18", None, False),
        ("<think>so\n#### 18", None, False),
        ("<think>so\n#### 18</think>", None, False),
        ("18", None, False),
        ("", None, False),
    ],
)
def test_labelled_marks(text, value, follows):
    assert (HASH.extract(text), HASH.follows(text)) == (value, follows)


@pytest.mark.parametrize(
    ("format", "solution", "answer"),
    [
        (HASH, "", "7"),
        (HASH, "so", ""),
        (HASH, "so #### 8", "7"),
        (HASH, "so\n#### 8", "7"),
        (HASH, "so", "7 or 8"),
        (HASH, "so", "7\n8"),
        (BOXED, "", "7"),
        (BOXED, "so", ""),
        (BOXED, "so", "{7"),
        (BOXED, "so", "7}"),
        (BOXED, "<think>so", "7"),
        (THINK_BOXED, "", "7"),
        (THINK_BOXED, "so</think>", "7"),
        (THINK_BOXED, "so", "}{"),
    ],
)
def test_what_cannot_be_read_back_is_not_written(format, solution, answer):
    with pytest.raises(ValueError, match="read back"):
        format.write(solution, answer)


def test_a_solution_s_own_boxes_are_opened():
    assert BOXED.write(r"So \boxed{\frac{1}{2}}.", r"\frac{1}{2}").startswith(r"So \frac{1}{2}.")


def test_a_box_within_a_box_is_one():
    assert [box.value for box in boxes.boxes(r"\boxed{a\boxed{b}c} {x \boxed{d}} }")] == [
        r"a\boxed{b}c",
        "d",
    ]


def seconds(read, text):
    runs = []
    for _ in range(5):
        begun = time.process_time()
        read(text)
        runs.append(time.process_time() - begun)
    return min(runs)


def read_all(text):
    for format in FORMATS:
        (
            format.extract(text),
            format.follows(text),
            format.holds(text),
            format.extract_flexible(text),
        )
    trace_reward([text])


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
        "\\boxed{",
        "\\boxed{7}",
        "\\boxed 7 or ",
        "{",
        "}",
        "\\",
        "\n#### ",
        "#### 7\n",
        "####",
        " ",
        "\n",
        "1,111",
        "-",
        "\\frac{1}{",
        "$",
        "a" * 40 + " ",
        "so\n",
    ],
)
def test_reading_takes_linear_time(piece):
    half = 80_000 // len(piece)
    ratios = []  # a busy machine may spoil one measurement, not three; quadratic time would give 4
    while len(ratios) < 3 and (not ratios or ratios[-1] > 2.5):
        ratios.append(
            seconds(read_all, piece * 2 * half) / (seconds(read_all, piece * half) + 0.002)
        )
    assert min(ratios) <= 2.5


def test_two_replies_in_one_do_not_follow():
    one, two = (
        BOXED.write(f"<think>\n3 + {n} = {n + 3}\n</think>\n\nIt is so.", str(n + 3))
        for n in (4, 5)
    )
    assert BOXED.follows(one) and BOXED.follows(two) and not BOXED.follows(one + "\n" + two)
