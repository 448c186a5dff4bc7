"""The generated problems: right, in GSM8K's schema, and disjoint by construction."""

import re

import pytest

from helpers.answers.equations import equations
from helpers.answers.grading import same_number
from helpers.recipes import read_gsm8k
from helpers.tiny.corpus import documents
from helpers.tiny.problems import SPLITS, generate, gsm8k_rows, split_of

COUNT = {"pretrain": 20_000, "train": 4000, "test": 2000}


@pytest.fixture(scope="module")
def problems():
    return {split: generate(split, COUNT[split]) for split in SPLITS}


def test_no_numbers_occur_in_two_splits(problems):
    numbers = {split: {tuple(sorted(p.numbers)) for p in found} for split, found in problems.items()}
    for one in SPLITS:
        assert all(split_of(n) == one for n in numbers[one])
        for other in set(SPLITS) - {one}:
            assert not numbers[one] & numbers[other]


def test_questions_hold_their_numbers(problems):
    for problem in problems["test"]:
        assert tuple(map(int, re.findall(r"\d+", problem.question))) == problem.numbers


def test_what_pretraining_reads_holds_no_held_out_question(problems):
    read = "".join(documents(5000, seed=0))
    assert not [p.question for split in ("train", "test") for p in problems[split] if p.question in read]


def test_every_step_and_every_result_is_right(problems):
    for problem in problems["train"]:
        stated = [e for step in problem.steps for e in equations(re.sub(r"<<.*?>>", "", step))]
        assert len(stated) == 2 and all(e.true for e in stated)
        assert stated[-1].value == problem.result
        assert same_number(re.findall(r"\d+", problem.short)[-1], str(problem.result)) == 1.0


def test_rows_are_gsm8k_rows_and_repeatable():
    rows = gsm8k_rows("train", 300)
    assert rows == gsm8k_rows("train", 300) != gsm8k_rows("train", 300, seed=1)
    examples = [read_gsm8k(row) for row in rows]
    assert all(e.question and e.solution and "<<" not in e.solution and e.answer.isdigit() for e in examples)
    terse = sum("=" not in e.solution for e in examples) / len(examples)
    assert 0.5 < terse < 0.7


def test_no_document_is_in_the_recipe_s_format():
    assert not [d for d in documents(5000, seed=0) if "<reasoning>" in d.split("assistant")[-1] and "<answer>" in d.split("assistant")[-1]]


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="pretrain, train, test"):
        generate("valid", 3)
