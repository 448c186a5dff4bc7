"""Outcomes, summaries, pairs, votes and agreement, against hand counts; one grader everywhere."""

import itertools
import json
import random
from dataclasses import replace

import pytest

from helpers import data, evaluation
from helpers.evaluation import records
from helpers.recipes import PENALTIES, RECIPES
from helpers.rows import Example
from helpers.training import reward_table
from tests.answers.hostile import HOSTILE
from tests.conftest import FIVE

TOY = Example("toy", "3 and 4?", "", "7")
GOOD = "<reasoning>\n3 + 4 = 7\n</reasoning>\n<answer>\nThe final answer is 7.\n</answer>"
WRONG = GOOD.replace("7.\n", "8.\n")
KEYS = "id question gold completion tokens finished extracted flexible flexible_right score follows"


@pytest.mark.parametrize(
    ("text", "finished", "outcome"),
    [
        (GOOD, True, "correct"),
        (GOOD, False, "truncated"),
        (WRONG, True, "wrong"),
        ("it is 7", True, "right_wrong_format"),
        (GOOD + " 7", True, "right_wrong_format"),
        ("", True, "no_answer"),
        ("<reasoning>x", True, "no_answer"),
        ("<reasoning>x</reasoning><answer>seven</answer>", True, "wrong"),
    ],
)
def test_each_text_has_one_outcome(recipe, text, finished, outcome):
    record = evaluation.grade(recipe, TOY, text, 3, finished)
    assert record.outcome == outcome
    assert list(record.line) == [*KEYS.split(), "outcome", "reward", "rewards"]
    drawn = replace(record, sample=0)
    assert drawn.line == record.line | {"sample": 0}
    assert evaluation.Record(**json.loads(json.dumps(drawn.line))) == drawn


@pytest.fixture
def graded(recipe):
    """Records of one problem each for given texts; of one problem's samples with `name`."""

    def grade_all(texts, name=None):
        found = []
        for i, text in enumerate(texts):
            example = replace(TOY, id=name or f"p{i}")
            record = evaluation.grade(recipe, example, text, 5, True)
            found.append(replace(record, sample=i) if name else record)
        return found

    return grade_all


def test_a_summary_counts_problems(graded):
    summary = evaluation.summarise(graded([GOOD] * 7 + [WRONG] * 3))
    assert (summary["n"], summary["strict"]["value"], summary["format"]["value"]) == (10, 0.7, 1.0)
    assert [round(summary["strict"][k], 3) for k in ("low", "high")] == [0.397, 0.892]
    assert sum(summary["outcomes"].values()) == summary["completions"] == 10
    assert summary["hallucination"] == 0.3
    half = graded([GOOD] * 4, "p") + graded([GOOD, GOOD, WRONG, WRONG], "q")
    summary = evaluation.summarise(half)  # a problem's samples are averaged first
    assert (summary["n"], summary["completions"], summary["strict"]["value"]) == (2, 8, 0.75)


def test_a_paired_comparison_is_exact_mcnemar(graded):
    before = graded([GOOD] * 50 + [WRONG] * 50)
    after = graded([""] + [GOOD] * 59 + [WRONG] * 40)
    found = evaluation.compare(before, after)
    assert found["table"] == {"both": 49, "only_before": 1, "only_after": 10, "neither": 40}
    assert found["p"] == pytest.approx(2 * (1 + 11) / 2**11)  # of eleven tosses one is against
    assert found["difference"] == pytest.approx(0.09) and found["low"] < 0.09 < found["high"]


def test_pairs_of_means_use_a_permutation_test(graded):
    half = [record for i in range(40) for record in graded([GOOD, WRONG], f"p{i}")]
    full = [record for i in range(40) for record in graded([GOOD, GOOD], f"p{i}")]
    found = evaluation.compare(half, full)
    assert found["difference"] == 0.5 and found["p"] < 0.001 and "table" not in found
    assert evaluation.compare(half, half)["p"] == 1.0
    assert evaluation.compare(half, full, "r_correctness")["difference"] == 0.5


def test_pairs_of_other_problems_are_refused(graded):
    before = graded([GOOD] * 10)
    other_gold = [replace(before[0], gold="8"), *before[1:]]
    for after in (before[:5], graded([GOOD], "x"), other_gold):
        with pytest.raises(ValueError, match="different problems.\nEvaluate both on the same"):
            evaluation.compare(before, after)


@pytest.mark.parametrize("seed", range(3))
def test_outcomes_sum_to_the_completions_whatever_is_said(recipe, seed):
    rng, found = random.Random(seed), []
    texts = [*HOSTILE.values(), GOOD, "", "7", " \u200b"]
    for i in range(60):
        text = rng.choice([*texts, GOOD[: rng.randint(0, len(GOOD))]])
        example = replace(TOY, id=f"p{i}")
        ended = rng.random() < 0.8
        found.append(evaluation.grade(recipe, example, text, rng.randint(0, 9), ended))
    summary = evaluation.summarise(found)
    assert sum(summary["outcomes"].values()) == summary["completions"] == summary["n"] == 60
    assert set(summary["tokens_by_outcome"]) == {record.outcome for record in found}


def test_tries_by_hand(recipe, graded):
    """One problem with answers 7, 7.0, 8 and a bare 7 out of its place; another never right."""
    first = graded([GOOD, GOOD.replace("7.\n", "7.0.\n"), WRONG, "7"], "p")
    found = records.tries(records.votes(first + graded([WRONG] * 4, "q"), recipe.score))
    passed, agreed = found["pass"], found["majority"]
    assert passed["1"]["value"] == agreed["1"]["value"] == 0.25  # two of four, and none
    assert passed["4"]["value"] == passed["3"]["value"] == 0.5
    assert agreed["4"]["value"] == 0.5  # 7 and 7.0 are one answer, twice
    assert agreed["2"]["value"] == pytest.approx((1 + 2 * 0.5 + 2 * 1.0 + 0) / 6 / 2)


def test_right_answers_vote_together_and_for_themselves(graded):
    """50 % is 50 and 0.5, which are not each other: two wrong 0.5 outvote one right 50 %."""
    recipe = RECIPES["openr1_boxed"]
    toy = replace(graded([GOOD], "p")[0], gold="50\\%")
    for order in itertools.permutations([("0.5", 0.0), ("0.5", 0.0), ("50\\%", 1.0)]):
        found = [replace(toy, extracted=answer, score=score) for answer, score in order]
        assert sorted(records.votes(found, recipe.score)["p"]) == [0, 1, 1]


def test_agreement_by_hand(recipe, graded):
    answers = graded([GOOD] * 4, "a") + graded([WRONG] * 4, "b") + graded([""] * 4, "c")
    answers += graded([GOOD, GOOD, WRONG, ""], "d") + graded([GOOD, WRONG, "", ""], "e")
    found = records.agreement(records.votes(answers, recipe.score))
    levels = [(level["agreement"], level["n"], level["right"]) for level in found["levels"]]
    assert levels == [(0.0, 1, 0.0), (0.25, 1, 0.5), (0.5, 1, 1.0), (1.0, 2, 0.5)]


def test_results_hold_all_that_is_read_later(recipe, graded):
    found = {}
    for name, right in (("base", 3), ("grpo", 4)):
        greedy = graded([GOOD] * right + [WRONG] * (4 - right))
        found[name] = (greedy, [replace(record, sample=0) for record in greedy])
    results = evaluation.results(found, recipe)
    assert set(results) == {"greedy", "sampled", "tries", "agreement", "compare"}
    assert list(results["compare"]) == ["base → grpo"]
    assert json.loads(json.dumps(results)) == results
    table = evaluation.show(results["greedy"])
    assert table.loc["base", "strict"] == "75.0% [30.1%, 95.4%]" and table.loc["grpo", "n"] == 4
    rewards = evaluation.show_rewards(results["sampled"])
    assert list(rewards.columns) == [*recipe.rewards, "total"]
    assert rewards.loc["grpo", "total"].startswith(f"{recipe.maximum:.2f} [")
    assert list(evaluation.show_tries(results["tries"]).columns) == ["pass@1", "majority@1"]
    change = {"difference": -0.1, "low": -0.2, "high": 0.0, "n": 4}
    table = evaluation.show_control({"grpo": {"fresh": change}})
    assert list(table.loc["grpo, fresh"]) == ["-10.0 points [-20.0, +0.0]", 4]


def test_grading_is_by_the_recipe_alone(recipe):
    """Its score judges what is read in the answer's place and anywhere, for pay as for outcome."""
    calls = []

    def counted(predicted, gold):
        calls.append(predicted)
        return recipe.score(predicted, gold)

    paid = {"accuracy_reward": 1.0}
    record = evaluation.grade(replace(recipe, score=counted, rewards=paid), TOY, GOOD, 5, True)
    assert set(calls) == {"7"} and record.score == record.rewards["accuracy_reward"] == 1.0
    never = replace(recipe, score=lambda predicted, gold: 0.0, rewards=paid)
    record = evaluation.grade(never, TOY, GOOD, 5, True)
    assert (record.outcome, record.flexible_right, record.reward) == ("wrong", False, 0.0)


@pytest.mark.parametrize("name", FIVE)
def test_evaluation_pays_what_training_pays(name):
    """On right, wrong and broken replies; the rewards get the whole conversation, as from TRL."""
    recipe = RECIPES[name]
    weights = {name: w for name, w in recipe.rewards.items() if name not in PENALTIES}
    judged = replace(recipe, rewards={"accuracy_reward": 0.0} | weights)
    copied = "\n".join(f"Step {n}" for n in range(1, 6)) + f"\n{recipe.system}"
    for example in data.load(recipe, None, "cpu")["test"].take(6):
        right, gold = recipe.format.write(example.solution or "…", example.answer), example.answer
        broken = (right[:-3], right + right, "", gold, copied, copied + "\nStep 6")
        prompt = data.messages(recipe, example.question)
        for text in (right, right.replace(gold, "999"), *broken):
            record = evaluation.grade(recipe, example, text, 5, True)
            paid = reward_table(judged, [text], [gold], prompts=[prompt])
            found = record.rewards | {"accuracy_reward": record.score, "total": record.reward}
            assert found == {name: values[0] for name, values in paid.items()}
            if text == copied and "trace_reward" in weights:
                assert record.rewards["trace_reward"] == 0.0  # the prompt's lines are no steps
