"""The generated problems: right, in GSM8K's schema, and disjoint by construction."""

import re

import pytest

from helpers.answers import eed_score, equations, same_number
from helpers.recipes import RECIPES
from helpers.rows import read_gsm8k
from helpers.tiny.corpus import documents
from helpers.tiny.problems import generate, split_of
from helpers.tiny.schemas import SCHEMAS, rows_for
from tests.conftest import FIVE

COUNT = {"pretrain": 5000, "train": 3000, "test": 1500}


@pytest.fixture(scope="module", params=["words", "physics"])
def both(request):
    return {split: generate(split, count, kind=request.param) for split, count in COUNT.items()}


def test_a_problem_s_three_numbers_occur_in_its_split_only(both):
    for split, found in both.items():
        assert len({problem.question for problem in found}) == COUNT[split]
        assert all(len(problem.numbers) == 3 for problem in found)
        assert {split_of(problem.numbers[::-1]) for problem in found} == {split}


def test_what_pretraining_reads_holds_no_held_out_question(both):
    read = "".join(documents(5000, seed=0))
    assert any(problem.question in read for problem in both["pretrain"][:10])
    assert not [p for split in ("train", "test") for p in both[split] if p.question in read]


def test_every_step_and_every_result_is_right():
    for problem in generate("train", 4000):
        stated = [e for step in problem.steps for e in equations(re.sub(r"<<.*?>>", "", step))]
        assert len(stated) == 2 and all(e.true for e in stated)
        assert str(stated[-1].value) == problem.result
        assert same_number(re.findall(r"\d+", problem.short)[-1], problem.result) == 1.0


def test_gsm8k_rows_are_terse_or_written_out():
    examples = [read_gsm8k(row) for row in rows_for("openai/gsm8k", "train", 300)]
    assert all(example.solution for example in examples)
    assert 150 < sum("=" not in example.solution for example in examples) < 210


def test_no_document_is_in_the_recipe_s_format():
    for document in documents(5000, seed=0):
        reply = document.split("assistant")[-1]
        assert "<reasoning>" not in reply or "<answer>" not in reply


def test_physics_answers_follow_from_their_arithmetic():
    for problem in generate("train", 3000, kind="physics"):
        stated = [e for line in problem.steps if "=" in line for e in equations(line)]
        assert stated and all(e.true for e in stated)
        assert str(stated[-1].value) == problem.result.split()[0]
        assert problem.result in problem.short
        assert len(problem.steps) >= 6 and eed_score(problem.result, problem.result) == 1.0


COLUMNS = {
    "openai/gsm8k": "question answer",
    "open-r1/OpenR1-Math-220k": "problem solution answer problem_type question_type source uuid "
    "is_reasoning_complete generations correctness_math_verify correctness_llama finish_reasons "
    "correctness_count messages",
    "BytedTsinghua-SIA/DAPO-Math-17k": "data_source prompt ability reward_model extra_info",
    "Eureka-Lab/PHYBench": "id tag content solution answer",
    "HuggingFaceH4/MATH-500": "problem solution answer subject level unique_id",
    "madrylab/gsm8k-platinum": "question answer cleaning_status",
}


@pytest.mark.parametrize("dataset", SCHEMAS)
def test_rows_have_the_published_columns(dataset):
    rows = rows_for(dataset, "train", 60)
    assert {tuple(row) for row in rows} == {tuple(COLUMNS[dataset].split())}
    assert rows == rows_for(dataset, "train", 60)


def test_every_recipe_has_generated_rows():
    recipes = [RECIPES[name] for name in FIVE]
    further = {recipe.further.path for recipe in recipes if recipe.further}
    assert {recipe.source.path for recipe in recipes} | further == set(SCHEMAS)


def test_generated_rows_have_the_datasets_traps():
    rows = rows_for("open-r1/OpenR1-Math-220k", "train", 60)
    assert any(not any(row["correctness_math_verify"]) for row in rows)
    rows = rows_for("Eureka-Lab/PHYBench", "train", 60)
    assert any(not row["answer"] and "boxed" in row["solution"] for row in rows)
