"""Outcomes, intervals and paired comparisons, against hand counts and simulation."""

import itertools

import numpy as np
import pytest

from helpers import evaluation
from helpers.recipes import Example
from helpers.runlog import read_lines

TOY = Example("toy", "3 and 4?", "", "7")
GOOD = "<reasoning>\n3 + 4 = 7\n</reasoning>\n<answer>\nThe final answer is 7.\n</answer>"


@pytest.mark.parametrize(("text", "finished", "outcome"), [
    (GOOD, True, "correct"), (GOOD, False, "truncated"), (GOOD.replace("7.\n", "8.\n"), True, "wrong"), ("it is 7", True, "right_wrong_format"),
    (GOOD + " 7", True, "right_wrong_format"), ("", True, "no_answer"), ("<reasoning>x", True, "no_answer"),
    ("<reasoning>x</reasoning><answer>seven</answer>", True, "wrong"),
])
def test_each_text_has_one_outcome(recipe, text, finished, outcome):
    record = evaluation.grade(recipe, TOY, text, 3, finished)
    assert record["outcome"] == outcome
    assert {"id", "question", "gold", "completion", "tokens", "finished", "extracted", "flexible", "score", "follows", "outcome"} <= set(record)


def records(recipe, right, wrong, start=0):
    texts = [GOOD] * right + [GOOD.replace("7.\n", "8.\n")] * wrong
    return [evaluation.grade(recipe, Example(f"p{start + i}", "3 and 4?", "", "7"), t, 5, True) for i, t in enumerate(texts)]


def test_summary_counts(recipe):
    summary = evaluation.summarise(records(recipe, 7, 3))
    assert (summary["n"], summary["strict"]["value"], summary["format"]["value"]) == (10, 0.7, 1.0)
    assert [round(summary["strict"][k], 3) for k in ("low", "high")] == [0.397, 0.892]
    assert sum(summary["outcomes"].values()) == summary["completions"] == 10
    assert summary["hallucination"] == 0.3
    with pytest.raises(ValueError, match="no records"):
        evaluation.summarise([])


def test_samples_of_a_problem_are_averaged_first(recipe):
    four = [r | {"id": f"p{i // 4}"} for i, r in enumerate(records(recipe, 6, 2))]
    summary = evaluation.summarise(four)
    assert (summary["n"], summary["completions"], summary["strict"]["value"]) == (2, 8, 0.75)


def test_paired_comparison_is_exact_mcnemar(recipe):
    before, after = records(recipe, 50, 50), records(recipe, 60, 40)
    after[0] = evaluation.grade(recipe, Example("p0", "", "", "7"), "", 0, True)
    found = evaluation.compare(before, after)
    assert found["table"] == {"both": 49, "only_before": 1, "only_after": 10, "neither": 40}
    assert found["p"] == pytest.approx(2 * (1 + 11) / 2**11)  # eleven tosses, at most one of them against
    assert found["difference"] == pytest.approx(0.09) and found["low"] < 0.09 < found["high"]
    with pytest.raises(ValueError, match="different problems"):
        evaluation.compare(before, records(recipe, 5, 5, start=200))


def test_pairs_of_means_use_a_permutation_test(recipe):
    half = [r | {"id": f"p{i // 2}"} for i, r in enumerate([x for pair in zip(records(recipe, 40, 0), records(recipe, 0, 40)) for x in pair])]
    full = [r | {"id": f"p{i // 2}"} for i, r in enumerate(records(recipe, 80, 0))]
    found = evaluation.compare(half, full)
    assert found["difference"] == 0.5 and found["p"] < 0.001 and "table" not in found
    assert evaluation.compare(half, half)["p"] == 1.0


def test_wilson_covers_the_truth():
    """The chance, computed exactly, that the interval of 100 draws holds the true rate: 95 % on average over true rates."""
    from scipy.stats import binom

    intervals = [evaluation.wilson(k, 100) for k in range(101)]
    coverage = [sum(binom.pmf(k, 100, truth) for k, (low, high) in enumerate(intervals) if low <= truth <= high)
                for truth in np.linspace(0.05, 0.95, 91)]
    assert 0.945 < np.mean(coverage) < 0.96 and min(coverage) > 0.9


@pytest.mark.parametrize(("n", "correct", "k"), [(4, 1, 2), (5, 3, 2), (6, 0, 3), (6, 6, 3), (7, 2, 7)])
def test_pass_at_k_equals_brute_force(n, correct, k):
    draws = list(itertools.combinations([1] * correct + [0] * (n - correct), k))
    assert evaluation.pass_at_k(n, correct, k) == pytest.approx(np.mean([any(d) for d in draws]), abs=1e-12)


def test_records_are_written_whole(recipe, tmp_path):
    path = tmp_path / "eval" / "base.jsonl"
    path.parent.mkdir()
    path.with_name("base.jsonl.new").write_text('{"half": ')
    evaluation.write_records(path, records(recipe, 2, 1))
    assert read_lines(path) == records(recipe, 2, 1) and list(path.parent.iterdir()) == [path]


def test_nothing_to_evaluate_is_said(recipe, tmp_path):
    with pytest.raises(ValueError, match="no problems"):
        evaluation.evaluate(None, None, recipe, [], tmp_path / "x.jsonl")


def test_what_evaluation_pays_is_what_training_pays():
    """TRL gives the rewards the whole conversation: lines copied from the system prompt are no steps, neither there nor here."""
    from helpers.data import messages
    from helpers.recipes import get_recipe
    from helpers.rewards import reward_table

    recipe, example = get_recipe("phybench_eed"), Example("p", "What is the energy?", "", "mgh")
    copied = "\n".join(f"Step {n}" for n in range(1, 6)) + f"\n{recipe.system}"
    for text in (copied, copied + "\nStep 6"):
        record = evaluation.grade(recipe, example, text, 9, True)
        paid = reward_table(recipe, [text], ["mgh"], prompts=[messages(recipe, example.question)])
        assert record["reward"] == paid["total"][0] and record["rewards"]["trace_reward"] == paid["trace_reward"][0]
    assert evaluation.grade(recipe, example, copied, 9, True)["rewards"]["trace_reward"] == 0.0
