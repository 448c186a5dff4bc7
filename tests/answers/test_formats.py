"""What is written in a format is read back, and nothing else is taken for an answer."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.answers import BOXED, HASH, THINK_BOXED, XML, XML_TAGS, strict_xml
from tests.answers.labelled import labelled

FORMATS = (XML, HASH, BOXED, THINK_BOXED)
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="<>#\\{}"), min_size=1)
SOLUTIONS = PLAIN.filter(lambda text: any(c.isalnum() for c in text)).map("so {}".format)
NUMBERS = st.from_regex(r"-?[0-9]{1,7}(\.[0-9]{1,3})?", fullmatch=True)
FORMULAS = (
    r"\frac{1}{2} \left(3,\frac{\pi}{2}\right) \{1,2\} \text{Evelyn} \sqrt{1+\frac{1}{\sqrt{2}}}"
)
TEX = st.sampled_from(FORMULAS.split())
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


# the answer that is read ✓ from texts that follow the format ✗ from texts that do not
TAGS = """
7 ✓ <reasoning>3 + 4 = 7</reasoning><answer>The final answer is 7.</answer>
    ✓ <reasoning>⏎3 + 4 = 7⏎</reasoning>⏎<answer>⏎The final answer is 7.⏎</answer>
    ✓ <reasoning>⏎3 + 4 = 7⏎</reasoning>⏎<answer>⏎The final answer is 7.⏎</answer>⏎
    ✗ <answer>The final answer is 7.</answer> ✗ <reasoning> </reasoning><answer>7</answer>
    ✗ <think>so</think><reasoning>x</reasoning><answer>7</answer>
    ✗ <reasoning>x</reasoning><answer>7</answer> Good luck!
    ✗ <reasoning>x</reasoning><answer>7</answer><reasoning>x</reasoning><answer>7</answer>
$1,234.50 ✓ <reasoning>x</reasoning> <answer>$1,234.50</answer>
nothing ✗ <reasoning>x</reasoning><answer>7</answer><answer>8</answer>
    ✗ <think><reasoning>x</reasoning><answer>7</answer> ✗ <reasoning>x <answer>7</answer>
    ✗ <reasoning>x <answer>7</answer></reasoning> ✗ <reasoning>x</reasoning><answer>7
    ✗ <reasoning>x</reasoning><answer></answer> ✗ <reasoning>x</reasoning><answer>7 or 8</answer>
    ✗ <answer>7</answer><reasoning>x</reasoning> ✗ 7
"""
BOXES = r"""
18 ✓ 9 \cdot 2 = 18, so \boxed{18} ✓ 9 \cdot 2 = 18, so **\boxed{18}**.
    ✓ 9 \cdot 2 = 18. Hence \[\boxed{18}.\] ✓ 9 \cdot 2 = 18, so \boxed{ 18 }
    ✓ <think>9 \cdot 2 = 18</think> \boxed{18} ✗ It is \boxed{18} dollars. ✗ \boxed{18}
    ✗ The final answer is $\boxed{18}$. ✗ First \boxed{13} remain, then $9\cdot 2=\boxed{18}$.
    ✗ So \boxed{18}. To repeat: \boxed{18}
8 ✓ 9 \cdot 2 = 18, so \boxed 8
    ✗ <think>3 + 4 = 7</think> So \boxed{7}.⏎<think>3 + 5 = 8</think> So \boxed{8}.
\pi ✓ 9 \cdot 2 = 18, so \boxed\pi
\boxed{18} ✓ 9 \cdot 2 = 18, so \boxed{\boxed{18}}
d ✗ \boxed{a\boxed{b}c}, so 2+1={x \boxed{d}} }
nothing ✗ It is \boxed{18} or \boxed{19}. ✗ It is \boxed{18}. Or \boxed{19}. ✗ \boxed{18} \boxed{19}
    ✗ The answer is \boxed{18}. The answer is \boxed{19}.
    ✗ Either \boxed{18}, since $9+9=18$, or else $9+10$, \boxed{19}.
    ✗ It is \boxed{}. ✗ It is \boxed{18 ✗ It is \boxed{17}. No: \boxed{18 ✗ It is \boxed
    ✗ It is \boxed{\frac{1}{2}. ✗ It is \boxedanswer{18}. ✗ <think>It is \boxed{18}.</think> Done.
    ✗ <think>It is \boxed{18}. ✗ </think>\boxed{18}<think> ✗ 18
"""
MARKS = """
18 ✓ 9 * 2 = 18⏎#### 18 ✓ so⏎  ####18 ✗ #### 18 ✗ so⏎#### 18⏎That is all. ✗ so⏎#### 18⏎#### 18
$18 ✓ 9*2 = <<9*2=18>>18⏎#### $18
1,234 ✓ so⏎#### 1,234⏎
18 dollars ✓ so⏎#### Answer: 18 dollars
nothing ✗ so⏎#### 18⏎Or 19. ✗ so⏎#### 18⏎#### 19 ✗ so⏎#### 18 or 19 ✗ so⏎#### 18=18
    ✗ so⏎#### 100#### ✗ so⏎#### ✗ so #### 18 ✗ <think>so⏎#### 18 ✗ <think>so⏎#### 18</think> ✗ 18
"""


@pytest.mark.parametrize(
    ("format", "value", "text", "follows"),
    [
        *[(XML, *case) for case in labelled(TAGS)],
        *[(BOXED, *case) for case in labelled(BOXES)],
        *[(HASH, *case) for case in labelled(MARKS)],
        *[(format, "nothing", "", False) for format in FORMATS],
    ],
)
def test_labelled_texts(format, value, text, follows):
    assert format.extract(text) == (None if value == "nothing" else value)
    assert format.follows(text) == follows
    assert format is not BOXED or format.holds(text) == (value != "nothing")


def test_strict_is_the_exact_shape():
    assert strict_xml(GOOD) and not strict_xml("\n" + GOOD)
    changes = {"The final answer is": "It is", "7.\n": "7\n", "</reasoning>\n": "</reasoning>"}
    for old, new in changes.items():
        assert not strict_xml(GOOD.replace(old, new))


THINKING = r"""
holds ✓ <think>3 + 4 = 7</think> \boxed{7} ✓ <think>3 + 4 = 7</think> It is $\boxed{7}$.
    ✓ <think>\boxed{7}</think> \boxed{7} ✗ <think>3 + 4 = 7</think> \boxed{7} apples
nothing ✗ <think> </think> \boxed{7} ✗ <think>so</think> \boxed{} ✗ so</think> \boxed{7}
    ✗ <think>so</think> \boxed{7} or \boxed{8} ✗ <think>so</think><think>so</think> \boxed{7}
    ✗ <think>so \boxed{7} ✗ \boxed{7} <think>so</think> ✗ Well, <think>so</think> \boxed{7}
"""


@pytest.mark.parametrize(("holds", "text", "follows"), labelled(THINKING))
def test_labelled_thinking(holds, text, follows):
    assert THINK_BOXED.holds(text) == (holds == "holds")
    assert THINK_BOXED.follows(text) == follows


@pytest.mark.parametrize(
    ("format", "solution", "answer"),
    [
        *[(format, "", "7") for format in FORMATS],
        *[(format, "so", "") for format in FORMATS],
        *[(format, "so", answer) for format in (XML, HASH) for answer in ("7 or 8", "7\n8")],
        *[(HASH, solution, "7") for solution in ("so #### 8", "so\n#### 8")],
        *[(BOXED, "so", answer) for answer in ("{7", "7}")],
        *[(XML, "a <answer> b", "7"), (BOXED, "<think>so", "7")],
        *[(THINK_BOXED, "so</think>", "7"), (THINK_BOXED, "so", "}{")],
    ],
)
def test_what_cannot_be_read_back_is_not_written(format, solution, answer):
    with pytest.raises(ValueError, match="read back"):
        format.write(solution, answer)


def seconds(text):
    runs = []
    for _ in range(3):
        begun = time.process_time()
        for format in FORMATS:
            for read in (format.extract, format.follows, format.holds, format.extract_flexible):
                read(text)
        runs.append(time.process_time() - begun)
    return min(runs)


REPEATED = ["<answer>", "<reasoning>x</reasoning>", "</think>", "The final answer is ", "so\n"]
REPEATED += ["\\boxed{", "\\boxed{7}", "\\boxed 7 or ", "{", "}", "\\", "\\frac{1}{", "((((", "$"]
REPEATED += ["\n#### ", "#### 7\n", "####", "\n", " ", "7 ", "9,", "1/", "1,111", "-"]


@pytest.mark.parametrize("piece", [*REPEATED, "a" * 40 + " "])
def test_reading_takes_linear_time(piece):
    half = 80_000 // len(piece)
    ratios = []  # a busy machine may spoil one measurement, not four; quadratic time would give 4
    while len(ratios) < 4 and (not ratios or ratios[-1] > 2.5):
        ratios.append(seconds(piece * 2 * half) / (seconds(piece * half) + 0.002))
    assert min(ratios) <= 2.5
