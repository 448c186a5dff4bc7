"""What is written in a format is read back, and nothing else is taken for an answer."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.answers import BOXED, HASH, THINK_BOXED, XML, XML_TAGS, strict_xml

FORMATS = (XML, HASH, BOXED, THINK_BOXED)
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="<>#\\{}"), min_size=1)
SOLUTIONS = PLAIN.filter(lambda text: any(c.isalnum() for c in text)).map("so {}".format)
NUMBERS = st.from_regex(r"-?[0-9]{1,7}(\.[0-9]{1,3})?", fullmatch=True)
TEX = st.sampled_from(
    [
        r"\frac{1}{2}",
        r"\left(3,\frac{\pi}{2}\right)",
        r"\{1,2\}",
        r"\text{Evelyn}",
        r"\sqrt{1+\frac{1}{\sqrt{2}}}",
    ]
)
PIECES = ("<think>", "</think>", "\\boxed", "\\boxed{", "{", "}", "\\", "####", "7", "or", ".")
NOISE = st.lists(
    st.sampled_from([*XML_TAGS, *PIECES, "\n", " ", "The final answer is ", "\x00", "\ud800"])
).map("".join)


@given(SOLUTIONS, NUMBERS, TEX)
def test_every_format_reads_back_what_it_writes(solution, number, tex):
    for format in FORMATS:
        text = format.write(solution, number)
        assert format.extract(text) == number and format.follows(text) and format.holds(text)
        assert format.extract_flexible(format.write("By symmetry.", number)) == number
    assert strict_xml(XML.write(solution, number))
    for format in (BOXED, THINK_BOXED):
        assert format.extract(format.write(solution, tex)) == tex


@given(st.one_of(st.text(), NOISE))
def test_reading_never_raises(text):
    for format in FORMATS:
        for answer in (format.extract(text), format.extract_flexible(text)):
            assert answer is None or isinstance(answer, str)
        assert {format.follows(text), format.holds(text)} <= {True, False}
        assert not format.follows(text) or format.extract(text) is not None


@given(SOLUTIONS, TEX, NUMBERS, st.integers(3, 8))
def test_a_cut_off_text_has_no_answer(solution, tex, number, cut):
    for format, answer in ((BOXED, tex), (THINK_BOXED, tex), (XML, number)):
        text = format.write(solution, answer)[:-cut]
        assert format.extract(text) is None and not format.holds(text)


GOOD = "<reasoning>\n3 + 4 = 7\n</reasoning>\n<answer>\nThe final answer is 7.\n</answer>"


@pytest.mark.parametrize(
    ("text", "value", "follows"),
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
def test_labelled_xml(text, value, follows):
    assert (XML.extract(text), XML.follows(text)) == (value, follows)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("The final answer is", "It is"),
        ("7.\n", "7\n"),
        ("</reasoning>\n", "</reasoning>"),
        ("<reasoning>\n", "\n<reasoning>\n"),
    ],
)
def test_strict_is_the_exact_shape(old, new):
    assert strict_xml(GOOD) and not strict_xml(GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("text", "value", "follows"),
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
        (r"\boxed{a\boxed{b}c}, so 2+1={x \boxed{d}} }", "d", False),
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
def test_labelled_boxes(text, value, follows):
    assert (BOXED.extract(text), BOXED.follows(text)) == (value, follows)
    assert BOXED.holds(text) == (value is not None)


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
        *[(format, "", "7") for format in FORMATS],
        *[(format, "so", "") for format in FORMATS],
        (XML, "so", "7 or 8"),
        (XML, "a <answer> b", "7"),
        (XML, "so", "7\n8"),
        (HASH, "so #### 8", "7"),
        (HASH, "so\n#### 8", "7"),
        (HASH, "so", "7 or 8"),
        (HASH, "so", "7\n8"),
        (BOXED, "so", "{7"),
        (BOXED, "so", "7}"),
        (BOXED, "<think>so", "7"),
        (THINK_BOXED, "so</think>", "7"),
        (THINK_BOXED, "so", "}{"),
    ],
)
def test_what_cannot_be_read_back_is_not_written(format, solution, answer):
    with pytest.raises(ValueError, match="read back"):
        format.write(solution, answer)


def test_two_replies_in_one_do_not_follow():
    one = BOXED.write("<think>\n3 + 4 = 7\n</think>\n\nIt is so.", "7")
    two = BOXED.write("<think>\n3 + 5 = 8\n</think>\n\nIt is so.", "8")
    assert BOXED.follows(one) and BOXED.follows(two) and not BOXED.follows(one + "\n" + two)


def read_all(text):
    for format in FORMATS:
        for read in (format.extract, format.follows, format.holds, format.extract_flexible):
            read(text)


def seconds(text):
    runs = []
    for _ in range(3):
        begun = time.process_time()
        read_all(text)
        runs.append(time.process_time() - begun)
    return min(runs)


@pytest.mark.parametrize(
    "piece",
    [
        *("<answer>", "<reasoning>x</reasoning>", "</think>", "The final answer is ", "so\n", "\n"),
        *("\\boxed{", "\\boxed{7}", "\\boxed 7 or ", "{", "}", "\\", "\\frac{1}{", "((((", "$"),
        *("\n#### ", "#### 7\n", "####", " ", "7 ", "9,", "1/", "1,111", "-", "a" * 40 + " "),
    ],
)
def test_reading_takes_linear_time(piece):
    half = 80_000 // len(piece)
    ratios = []  # a busy machine may spoil one measurement, not four; quadratic time would give 4
    while len(ratios) < 4 and (not ratios or ratios[-1] > 2.5):
        ratios.append(seconds(piece * 2 * half) / (seconds(piece * half) + 0.002))
    assert min(ratios) <= 2.5
