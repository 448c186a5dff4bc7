"""What is written in a format is read back, and nothing else is taken for an answer."""

import gc
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.answers import BOXED, HASH, THINK_BOXED, XML, XML_TAGS, strict_xml
from tests.answers.labelled import labelled

FORMATS = (XML, HASH, BOXED, THINK_BOXED)
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="<>#\\{}"), min_size=1)
SOLUTIONS = PLAIN.filter(lambda text: any(c.isalnum() for c in text)).map("because {}".format)
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


# the answer that is read ✓ from these texts, whether they follow the format or not
NAMED_BOXES = r"""
5 ✓ \boxed{5}. \fbox{Done} ✓ \fbox{Step 1} so \boxed{5} ✓ \boxed{5} (not \fbox{7})
7 ✓ I put it in \boxed{}. There are seven pens. \boxed{7} ✓ Using \boxed{...}: seven. \boxed{7}
    ✓ It is \boxed{7}. (In \boxed{} as requested.) ✓ In `\boxed{}`: \boxed{7} ✓ \boxed{?} \boxed{7}
    ✓ In \boxed{\text{your answer}}: \boxed{7} ✓ As \boxed{answer}: \boxed{7}, in \boxed{\ldots}
    ✓ In a \boxed as asked: \boxed{7} ✓ Inside $\boxed$: \boxed{7} ✓ Inside `\boxed`: \boxed{7}
    ✓ Like \boxed{<answer>}: \boxed{7} ✓ \boxed{\;} \boxed{\textbf{The Final Answer}} \boxed{7}
    ✓ \boxed{\boxed{}} \boxed{7} ✓ \boxed{____} \boxed 7 ✓ \fbox{7}
    ✓ \boxed{\ } \boxed{7} ✓ \boxed{\text{letter}}, so \boxed{7}
nothing ✓ \boxed{answer} ✓ \boxed{\text{your answer}} ✓ \boxed{ } ✓ \boxed{\ldots} ✓ \boxed{…}
    ✓ \boxed{} \boxed{...} ✓ \boxed{7}, in \boxed{ ✓ In \boxed{}: \boxed{7} or \boxed{8}
\{\} ✓ \boxed{\{\}}
< ✓ \boxed{<}
- ✓ \boxed{-}
\text{no solution} ✓ In \boxed{}: \boxed{\text{no solution}}
"""
DRESSES = r"""
9.0 ✓ It is \boxed{9}, so \boxed{9.0}. ✓ \boxed{9} \boxed{9.00} \boxed{\text{9}} \boxed{9.0}
9\text{ pens} ✓ \boxed{9} pens: \boxed{9\text{ pens}} ✓ \boxed{9\text{ pen}} \boxed{9\text{ pens}}
0.5 ✓ \boxed{\frac{1}{2}}, \boxed{0.5} ✓ \boxed{1/2} \boxed{0.5}
1,000 ✓ \boxed{1000} \boxed{1,000} ✓ \boxed{1{,}000} \boxed{1,000} ✓ \boxed{\$1000} \boxed{1,000}
9 ✓ \boxed{x=9}, \boxed{9} ✓ \boxed{ 9 } \boxed{9}
\frac{\sqrt{3}}{2} ✓ \boxed{\dfrac{\sqrt3}2} \boxed{\frac{\sqrt{3}}{2}}
nothing ✓ \boxed{9\text{ m}}, \boxed{9\text{ cm}} ✓ \boxed{9}, \boxed{9.1} ✓ \boxed{x^2} \boxed{x^3}
    ✓ \boxed{9}, \boxed{-9} ✓ \boxed{(1,2)} \boxed{(2,1)} ✓ \boxed{1/3} \boxed{0.33}
"""
CORRECTIONS = r"""
7 ✓ \boxed{6}. But that is wrong; the right value is \boxed{7} ✓ \boxed{6}. No: \boxed{7}
    ✓ \boxed{6}. Wait, I made a mistake. Let me see. \boxed{7}
    ✓ \boxed{6}; no, it should be \boxed{7}
    ✓ \boxed{6}. Oops, \boxed{7}. ✓ \boxed{6} was incorrect. \boxed{7}
    ✓ \boxed{6}. Actually, \boxed{7}
    ✓ \boxed{5} or \boxed{6}? I was mistaken: \boxed{7}
    ✓ \boxed{5}. That's wrong: it is \boxed{7} ✓ \boxed{5}. This isn't correct. \boxed{7}
    ✓ \boxed{5}. That cannot be right. \boxed{7} ✓ \boxed{5} (wrong). \boxed{7}
    ✓ \boxed{5}. Scratch that: \boxed{7} ✓ \boxed{5}. On second thought, \boxed{7}
    ✓ \boxed{5}. Let me correct that: \boxed{7} ✓ \boxed{5}. The corrected answer: \boxed{7}
    ✓ \boxed{5}. Revised answer: \boxed{7} ✓ \boxed{5}. Hmm, I misread it: \boxed{7}
    ✓ \boxed{5}. Let me redo this. \boxed{7} ✓ \boxed{5}. Mistake! \boxed{7}
nothing ✓ \boxed{6}. Wait, or maybe \boxed{7} ✓ \boxed{6}. Wait, it could also be \boxed{7}
    ✓ \boxed{6}, not \boxed{7} ✓ No, it is \boxed{6} rather than \boxed{7}
    ✓ \boxed{6}. Also \boxed{7}
    ✓ \boxed{6}. It would be wrong to say \boxed{7} ✓ \boxed{6}, possibly \boxed{7}; no doubt.
    ✓ \boxed{5}. That's right. \boxed{7} ✓ \boxed{5}. The answer: \boxed{7}
    ✓ \boxed{1} and, since the root 3 isn't correct, \boxed{2}
    ✓ \boxed{1} and, redo for the other, \boxed{2} ✓ \boxed{5}⏎ A common mistake: \boxed{-5}
    ✓ \boxed{6}. There is no other one: \boxed{7} ✓ \boxed{6}. Either that is wrong, so \boxed{7}
"""
IN_PARTS = r"""
3, 4 ✓ (a) 1+2=\boxed{3}. (b) 3+1=\boxed{4}. ✓ **(a)** \boxed{3} **(b)** \boxed{4}
    ✓ Part (a): \boxed{3}. Part (b): \boxed{4} ✓ a) \boxed{3}⏎b) \boxed{4}
    ✓ (i) \boxed{3} (ii) \boxed{4}
    ✓ x = \boxed{3} and y = \boxed{4} ✓ $x = \boxed{3}$, $y = \boxed{4}$
    ✓ f(a)=\boxed{3}, f(b)=\boxed{4}
    ✓ The width is \boxed{3} cm and the height is \boxed{4} cm.
    ✓ Ann has \boxed{3} and Tom has \boxed{4}
    ✓ (a) \boxed{3} (b) \boxed{4} In short, (a) \boxed{3} (b) \boxed{4}
3, 4, 5 ✓ (a) \boxed{3} (b) \boxed{4} (c) \boxed{5}
18 ✓ n = \boxed{9}. Then the cost = \boxed{18} ✓ (a) There are \boxed{9}. Then 9*2=\boxed{18}
nothing ✓ x = \boxed{3} and x = \boxed{4} ✓ x = \boxed{3}, x = \boxed{4}
    ✓ (a) \boxed{3} or (b) \boxed{4}
    ✓ (a) \boxed{3} (a) \boxed{4} ✓ \boxed{3} and \boxed{4} ✓ \boxed{3} and y = \boxed{4}
    ✓ The answer is \boxed{3} and it is \boxed{4} ✓ (a) \boxed{3} (b) \boxed{4} (b) \boxed{5}
"""
ONE_VALUE = """
18.0 ✓ so⏎#### 18⏎#### 18.0
18 oz ✓ so⏎#### 18 oz
18 hrs ✓ so⏎#### 18 hrs
18 sq ft ✓ so⏎#### 18 sq ft
nothing ✓ so⏎#### 18⏎#### 18.1 ✓ so⏎#### 18 m⏎#### 18 cm ✓ so⏎#### 18⏎####
"""
ONE_BLOCK = """
7.0 ✓ <answer>7</answer><answer>7.0</answer>
$7 ✓ <answer>The final answer is 7.</answer> <answer>$7</answer>
nothing ✓ <answer>7</answer><answer>7.1</answer> ✓ <answer></answer><answer>7</answer>
    ✓ <answer>7</answer><answer>7 ✓ <answer>7</answer><answer></answer>
"""
KINDS = labelled(NAMED_BOXES + DRESSES + CORRECTIONS + IN_PARTS)


@pytest.mark.parametrize(
    ("format", "value", "text"),
    [
        *[(BOXED, *case[:2]) for case in KINDS],
        *[(HASH, *case[:2]) for case in labelled(ONE_VALUE)],
        *[(XML, *case[:2]) for case in labelled(ONE_BLOCK)],
    ],
)
def test_which_value_is_read(format, value, text):
    assert format.extract(text) == (None if value == "nothing" else value)


def test_a_box_that_is_only_named_is_no_second_one():
    assert BOXED.follows(r"I put it in \boxed{}. 3 + 4 = 7. \boxed{7}")
    assert not BOXED.follows(r"3 + 4 = 7, so \boxed{7}, in \boxed{}.")
    assert BOXED.extract_flexible(r"It is \boxed{7}, in \boxed{...} as 1 asked") == "7"


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
    ✓ 3 + 4 = 7⏎</think>⏎⏎It is \boxed{7}. ✓ so</think> \boxed{7} ✗ so</think> \boxed{7} apples
nothing ✗ <think> </think> \boxed{7} ✗ <think>so</think> \boxed{} ✗ ⏎</think> \boxed{7}
    ✗ so</think></think> \boxed{7} ✗ so</think> \boxed{} ✗ so</think><think> \boxed{7}
    ✗ so \boxed{7}
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
    gc.collect()
    gc.disable()  # it takes the longer, the more the other tests have left
    runs = []
    for _ in range(3):
        begun = time.process_time()
        for format in FORMATS:
            for read in (format.extract, format.follows, format.holds, format.extract_flexible):
                read(text)
        runs.append(time.process_time() - begun)
    gc.enable()
    return min(runs)


REPEATED = ["<answer>", "<reasoning>x</reasoning>", "</think>", "The final answer is ", "so\n"]
REPEATED += ["\\boxed{", "\\boxed{7}", "\\boxed 7 or ", "{", "}", "\\", "\\frac{1}{", "((((", "$"]
REPEATED += [
    "\\boxed{} ",
    "\\boxed{9 pens} ",
    "x = \\boxed{7}, y",
    "(a) \\boxed{7} ",
    "no ",
    "1 + ",
]
REPEATED += ["\n#### ", "#### 7\n", "####", "\n", " ", "7 ", "9,", "1/", "1,111", "-"]


@pytest.mark.parametrize("piece", [*REPEATED, "a" * 40 + " "])
def test_reading_takes_linear_time(piece):
    half = 80_000 // len(piece)
    ratios = []  # a busy machine may spoil one measurement, not four; quadratic time would give 4
    while len(ratios) < 4 and (not ratios or ratios[-1] > 2.5):
        ratios.append(seconds(piece * 2 * half) / (seconds(piece * half) + 0.002))
    assert min(ratios) <= 2.5
