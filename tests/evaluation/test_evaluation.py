"""Outcomes, intervals and paired comparisons, against hand counts and simulation."""

from dataclasses import replace

import pytest

from helpers import evaluation
from helpers.evaluation import grading
from helpers.recipes import Example
from helpers.runs.run import read_lines

TOY = Example("toy", "3 and 4?", "", "7")
GOOD = "<reasoning>\n3 + 4 = 7\n</reasoning>\n<answer>\nThe final answer is 7.\n</answer>"


@pytest.mark.parametrize(
    ("text", "finished", "outcome"),
    [
        (GOOD, True, "correct"),
        (GOOD, False, "truncated"),
        (GOOD.replace("7.\n", "8.\n"), True, "wrong"),
        ("it is 7", True, "right_wrong_format"),
        (GOOD + " 7", True, "right_wrong_format"),
        ("", True, "no_answer"),
        ("<reasoning>x", True, "no_answer"),
        ("<reasoning>x</reasoning><answer>seven</answer>", True, "wrong"),
    ],
)
def test_each_text_has_one_outcome(recipe, text, finished, outcome):
    record = evaluation.grade(recipe, TOY, text, 3, finished)
    assert record["outcome"] == outcome
    assert {
        "id",
        "question",
        "gold",
        "completion",
        "tokens",
        "finished",
        "extracted",
        "flexible",
        "score",
        "follows",
        "outcome",
    } <= set(record)


def records(recipe, right, wrong, start=0):
    texts = [GOOD] * right + [GOOD.replace("7.\n", "8.\n")] * wrong
    return [
        evaluation.grade(recipe, Example(f"p{start + i}", "3 and 4?", "", "7"), t, 5, True)
        for i, t in enumerate(texts)
    ]


def test_summary_counts(recipe):
    summary = evaluation.summarise(records(recipe, 7, 3))
    assert (summary["n"], summary["strict"]["value"], summary["format"]["value"]) == (10, 0.7, 1.0)
    assert [round(summary["strict"][k], 3) for k in ("low", "high")] == [0.397, 0.892]
    assert sum(summary["outcomes"].values()) == summary["completions"] == 10
    assert summary["hallucination"] == 0.3
    with pytest.raises(ValueError, match="no records"):
        evaluation.summarise([])


def test_samples_of_a_problem_are_averaged_first(recipe):
    four = [r | {"id": f"p{i // 4}", "sample": i % 4} for i, r in enumerate(records(recipe, 6, 2))]
    summary = evaluation.summarise(four)
    assert (summary["n"], summary["completions"], summary["strict"]["value"]) == (2, 8, 0.75)


def test_paired_comparison_is_exact_mcnemar(recipe):
    before, after = records(recipe, 50, 50), records(recipe, 60, 40)
    after[0] = evaluation.grade(recipe, Example("p0", "3 and 4?", "", "7"), "", 0, True)
    found = evaluation.compare(before, after)
    assert found["table"] == {"both": 49, "only_before": 1, "only_after": 10, "neither": 40}
    assert found["p"] == pytest.approx(
        2 * (1 + 11) / 2**11
    )  # eleven tosses, at most one of them against
    assert found["difference"] == pytest.approx(0.09) and found["low"] < 0.09 < found["high"]
    with pytest.raises(ValueError, match="different problems"):
        evaluation.compare(before, records(recipe, 5, 5, start=200))


def test_pairs_of_means_use_a_permutation_test(recipe):
    half = [
        r | {"id": f"p{i // 2}", "sample": i % 2}
        for i, r in enumerate(
            [x for pair in zip(records(recipe, 40, 0), records(recipe, 0, 40)) for x in pair]
        )
    ]
    full = [r | {"id": f"p{i // 2}", "sample": i % 2} for i, r in enumerate(records(recipe, 80, 0))]
    found = evaluation.compare(half, full)
    assert found["difference"] == 0.5 and found["p"] < 0.001 and "table" not in found
    assert evaluation.compare(half, half)["p"] == 1.0


def test_records_are_written_whole(recipe, tmp_path):
    path = tmp_path / "eval" / "base.jsonl"
    path.parent.mkdir()
    path.with_name("base.jsonl.new").write_text('{"half": ')
    grading.write_records(path, records(recipe, 2, 1))
    assert read_lines(path) == records(recipe, 2, 1) and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("examples", "words"),
    [
        ([], "no problems to evaluate"),
        ([TOY, TOY], "1 ids are used twice, 'toy' among them"),
        ([Example("a", "q", "", "")], "'a' has the gold answer '', which same_number cannot read"),
        ([TOY, Example("b", "q", "", "about seven")], "'b' has the gold answer 'about seven'"),
    ],
)
def test_problems_that_cannot_be_measured_are_refused(recipe, examples, words, tmp_path):
    with pytest.raises(ValueError, match=words + r"[^\n]*\n\w"):
        evaluation.evaluate(None, None, recipe, examples, tmp_path / "x.jsonl")


def sampled(recipe, texts, name="p"):
    return [
        evaluation.grade(recipe, Example(name, "3 and 4?", "", "7"), text, 5, True) | {"sample": k}
        for k, text in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r + [r[0]], "'p0' is in these records twice"),
        (lambda r: r + [r[0] | {"sample": 5}], "Some problems have 2 answers and others 1"),
        (lambda r: [{"id": "x"}], "These are not records of an evaluation: question is missing"),
        (lambda r: [], "There are no records"),
        (lambda r: [r[0] | {"outcome": "splendid"}], "These are not records"),
    ],
)
def test_records_that_are_not_whole_are_refused(recipe, change, words):
    for use in (
        evaluation.summarise,
        lambda r: evaluation.compare(r, r),
        lambda r: evaluation.tries(r, recipe.score),
    ):
        with pytest.raises(ValueError, match=words):
            use(change(records(recipe, 2, 1)))


def test_pairs_of_changed_problems_are_refused(recipe):
    before, after = records(recipe, 2, 0), records(recipe, 2, 0)
    after[1]["gold"] = "8"
    with pytest.raises(ValueError, match="'p1' is not the same in both evaluations"):
        evaluation.compare(before, after)


@pytest.mark.parametrize("seed", range(5))
def test_outcomes_sum_to_the_completions_whatever_is_said(recipe, seed):
    import random

    from tests.answers.hostile import HOSTILE

    rng, found = random.Random(seed), []
    for i in range(60):
        text = rng.choice(
            [*HOSTILE.values(), GOOD, GOOD[: rng.randint(0, len(GOOD))], "", "7", " \u200b"]
        )
        found.append(
            evaluation.grade(
                recipe,
                Example(f"p{i}", "3 and 4?", "", "7"),
                text,
                rng.randint(0, 9),
                rng.random() < 0.8,
            )
        )
    summary = evaluation.summarise(found)
    assert sum(summary["outcomes"].values()) == summary["completions"] == summary["n"] == 60
    assert set(summary["tokens_by_outcome"]) == {
        name for name, count in summary["outcomes"].items() if count
    }


def test_tries_by_hand(recipe):
    """One problem with answers 7, 7.0, 8 and a bare 7 that is not in its place; another never right."""
    wrong = GOOD.replace("7.\n", "8.\n")
    found = evaluation.tries(
        sampled(recipe, [GOOD, GOOD.replace("7.\n", "7.0.\n"), wrong, "7"])
        + sampled(recipe, [wrong] * 4, "q"),
        recipe.score,
    )
    assert (
        found["pass"]["1"]["value"] == found["majority"]["1"]["value"] == 0.25
    )  # two of four, and none
    assert found["pass"]["4"]["value"] == 0.5 and found["pass"]["3"]["value"] == 0.5
    assert found["majority"]["4"]["value"] == 0.5  # 7 and 7.0 are one answer, twice
    assert found["majority"]["2"]["value"] == pytest.approx((1 + 2 * 0.5 + 2 * 1.0 + 0) / 6 / 2)


def test_right_answers_vote_together_and_for_themselves():
    """50 % is 50 and is 0.5, which are not each other: two wrong 0.5 outvote one right 50 %, in any order."""
    import itertools

    from helpers.evaluation.records import votes
    from helpers.recipes import RECIPES

    recipe = RECIPES["openr1_boxed"]
    for order in itertools.permutations(["0.5", "0.5", "50\\%"]):
        lines = [
            {
                "id": "p",
                "extracted": text,
                "follows": True,
                "outcome": "correct" if "5" == text[0] else "wrong",
                "score": float(text[0] == "5"),
            }
            for text in order
        ]
        assert sorted(map(str, votes(lines, recipe.score)["p"])) == ["0", "1", "1"]


def test_agreement_by_hand(recipe):
    wrong = GOOD.replace("7.\n", "8.\n")
    found = evaluation.agreement(
        sampled(recipe, [GOOD] * 4, "a")
        + sampled(recipe, [wrong] * 4, "b")
        + sampled(recipe, [GOOD, GOOD, wrong, ""], "c")
        + sampled(recipe, [GOOD, wrong, "", ""], "d")
        + sampled(recipe, [""] * 4, "e"),
        recipe.score,
    )
    assert [(level["agreement"], level["n"], level["right"]) for level in found["levels"]] == [
        (0.0, 1, 0.0),
        (0.25, 1, 0.5),
        (0.5, 1, 1.0),
        (1.0, 2, 0.5),
    ]


def test_results_hold_all_that_is_read_later(recipe):
    import json

    found = evaluation.results(
        {
            "base": (records(recipe, 3, 1), sampled_of(records(recipe, 3, 1))),
            "grpo": (records(recipe, 4, 0), sampled_of(records(recipe, 4, 0))),
        },
        recipe.score,
    )
    assert set(found) == {"greedy", "sampled", "tries", "agreement", "compare"} and list(
        found["compare"]
    ) == ["base → grpo"]
    assert json.loads(json.dumps(found)) == found
    assert list(evaluation.show_tries(found["tries"]).columns) == ["pass@1", "majority@1"]


def sampled_of(found):
    return [r | {"sample": 0} for r in found]


def test_there_is_one_grader(recipe):
    """Whatever reads or judges a reply lives in `answers`, and evaluation and rewards call the recipe's own: a second reader, or a second
    judge, anywhere else in the package or in a notebook, fails here."""
    import ast
    import json

    from tests.conftest import ROOT

    reads = {
        "last_number",
        "read_number",
        "same_number",
        "same_math",
        "eed_score",
        "latex2sympy",
        "sympify",
        "parse_expr",
    }
    allowed = {
        "recipes.py": {"same_number", "same_math", "eed_score"},
        "rewards.py": {"last_number", "same_number"},
        "controls.py": {"read_number"},
        "card.py": {"last_number"},
    }
    sources = {path.name: path.read_text() for path in (ROOT / "helpers").glob("*.py")}
    for path in ROOT.glob("*.ipynb"):
        cells = [
            cell
            for cell in json.loads(path.read_text())["cells"]
            if cell["cell_type"] == "code" and "completion" in "".join(cell["source"])
        ]
        sources[path.name] = "\n".join("".join(cell["source"]) for cell in cells)
    for name, source in sources.items():
        tree = ast.parse(
            "\n".join(
                line for line in source.split("\n") if not line.lstrip().startswith(("%", "!"))
            )
        )
        used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | {
            n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)
        }
        assert not used & reads - allowed.get(name, set()), (name, used & reads)
        defined = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        assert not {
            d
            for d in defined
            if d.startswith(
                (
                    "extract",
                    "is_correct",
                    "same_answer",
                    "check_answer",
                    "grade_",
                    "normalize_answer",
                    "score_",
                )
            )
        }, (name, defined)
    calls = []
    counted = replace(
        recipe,
        score=lambda predicted, gold: calls.append(predicted) or recipe.score(predicted, gold),
        rewards={"accuracy_reward": 1.0},
    )
    record = evaluation.grade(counted, TOY, GOOD, 5, True)
    assert (
        calls
        and set(calls) == {"7"}
        and record["score"] == record["rewards"]["accuracy_reward"] == 1.0
    )
    never = replace(counted, score=lambda predicted, gold: 0.0)
    record = evaluation.grade(never, TOY, GOOD, 5, True)
    assert record["outcome"] == "wrong" and not record["flexible_right"] and record["reward"] == 0.0


@pytest.mark.parametrize(
    "name", ["gsm8k_xml", "gsm8k_hash", "openr1_boxed", "dapo_think", "phybench_eed"]
)
def test_the_score_is_what_training_pays(name):
    """On right, wrong and broken replies of every recipe: the record's score is the accuracy reward's, for the same text."""
    from helpers import data
    from helpers.recipes import RECIPES
    from helpers.training.rewards import reward_table

    recipe = RECIPES[name]
    for example in data.load(recipe, None, "tiny")["test"].take(6):
        right = recipe.format.write(example.solution or "…", example.answer)
        for text in (
            right,
            right.replace(example.answer, "999"),
            right[:-3],
            right + right,
            "",
            example.answer,
        ):
            record = evaluation.grade(recipe, example, text, 5, True)
            paid = reward_table(
                replace(recipe, rewards={"accuracy_reward": 1.0}),
                [text],
                [example.answer],
                prompts=[data.messages(recipe, example.question)],
            )
            assert record["score"] == paid["accuracy_reward"][0], (text, record)


def test_what_evaluation_pays_is_what_training_pays():
    """TRL gives the rewards the whole conversation: lines copied from the system prompt are no steps, neither there nor here."""
    from helpers.data import messages
    from helpers.recipes import get_recipe
    from helpers.training.rewards import reward_table

    recipe, example = get_recipe("phybench_eed"), Example("p", "What is the energy?", "", "mgh")
    copied = "\n".join(f"Step {n}" for n in range(1, 6)) + f"\n{recipe.system}"
    for text in (copied, copied + "\nStep 6"):
        record = evaluation.grade(recipe, example, text, 9, True)
        paid = reward_table(recipe, [text], ["mgh"], prompts=[messages(recipe, example.question)])
        assert (
            record["reward"] == paid["total"][0]
            and record["rewards"]["trace_reward"] == paid["trace_reward"][0]
        )
    assert evaluation.grade(recipe, example, copied, 9, True)["rewards"]["trace_reward"] == 0.0
