"""Rows of every published schema become examples: by hand, from the real files, and from people's own, bad ones among them."""

import dataclasses
import json

import pytest

from helpers.data import examples as data
from helpers.recipes import RECIPES, for_profile
from helpers.rows import (
    WRAPPER,
    Example,
    read_dapo,
    read_gsm8k,
    read_math500,
    read_openr1,
    read_phybench,
)
from helpers.training.rewards import check_golds
from tests.conftest import FIVE, SHARED, needs_shared

OWN = {
    "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": " 3 + 4? "}],
    "answer_text": " 3 + 4 = 7 ",
    "answer": 7,
}
OPENR1 = {
    "uuid": "u",
    "problem": "3 + 4?",
    "solution": "s",
    "answer": "7",
    "generations": ["<think>x</think> 7, long", "<think>y</think> 7", "8"],
    "correctness_math_verify": [True, True, False],
    "correctness_llama": None,
    "is_reasoning_complete": [True, True, True],
}


@pytest.mark.parametrize("read_row", [RECIPES[name].read_row for name in FIVE] + [read_math500])
def test_everybody_s_own_rows_are_read_by_every_recipe(read_row):
    assert read_row(OWN) == Example("", "3 + 4?", "3 + 4 = 7", "7")
    assert read_row(OWN | {"id": 5, "answer": "x", "answer_text": None}) == Example(
        "5", "3 + 4?", "", "x"
    )
    assert read_row(OWN | {"answer": None}) is None


def test_gsm8k():
    assert read_gsm8k({"question": "q", "answer": "a <<1+1=2>>2\n#### 1,234"}) == Example(
        "", "q", "a 2", "1,234"
    )
    assert read_gsm8k({"question": "q", "answer": "no mark"}) is None


@pytest.mark.parametrize(
    ("change", "solution"),
    [
        ({}, "<think>y</think> 7"),
        ({"is_reasoning_complete": [True, False, True]}, "<think>x</think> 7, long"),
        (
            {
                "correctness_math_verify": [False, False, False],
                "correctness_llama": [True, False, False],
            },
            "<think>x</think> 7, long",
        ),
        ({"correctness_math_verify": None, "is_reasoning_complete": None}, None),
        ({"correctness_math_verify": [False] * 3}, None),
        ({"correctness_math_verify": ["True"] * 3}, None),
        ({"generations": None}, None),
        ({"generations": []}, None),
        ({"answer": ""}, None),
        ({"answer": None}, None),
    ],
)
def test_openr1_takes_the_shortest_verified_generation(change, solution):
    found = read_openr1(OPENR1 | change)
    assert found == (solution and Example("u", "3 + 4?", solution, "7"))


def test_dapo_in_both_schemas_loses_its_wrapper():
    original = {
        "prompt": [{"role": "user", "content": "3 + 4?".join(WRAPPER)}],
        "reward_model": {"ground_truth": "7"},
        "extra_info": {"index": "i"},
    }
    assert read_dapo(original) == Example("i", "3 + 4?", "", "7")
    assert read_dapo(
        {"prompt": "3 + 4?", "solution": "7", "extra_info": {"index": "i"}}
    ) == Example("i", "3 + 4?", "", "7")
    assert (
        read_dapo(
            original | {"prompt": [{"role": "system", "content": "s"}, *original["prompt"]]}
        ).question
        == "3 + 4?"
    )
    assert read_dapo({"prompt": "3 + 4?", "solution": None}) is None
    assert read_dapo(
        {"prompt": "3 + 4?", "solution": 7.0, "extra_info": "{'index': 5}"}
    ) == Example("", "3 + 4?", "", "7")


def test_phybench_falls_back_to_the_last_box():
    row = {
        "id": "9",
        "content": "q",
        "solution": r"first \boxed{a}, then $2 a = \boxed{b}$",
        "answer": "  ",
    }
    assert read_phybench(row).answer == "b" and read_phybench(row | {"answer": " c "}).answer == "c"
    assert read_phybench(row | {"solution": ""}) is None
    assert read_phybench(row | {"solution": None, "answer": 0}).answer == "0"


REAL = [  # recipe, file or folder, kept in (train, test), dropped from train
    ("gsm8k_xml", "gsm8k", (7473, 1319), {}),
    ("gsm8k_hash", "gsm8k", (7473, 1319), {}),
    ("dapo_think", "dapo_math_17k/original_schema_14.jsonl", (13, 1), {}),
    ("dapo_think", "dapo_math_17k/processed_schema_14.jsonl", (13, 1), {}),
    ("dapo_think", "aime24/aime-2024_dapo.parquet", (27, 3), {"with a question seen before": 930}),
    (
        "phybench_eed",
        "phybench",
        (70, 30),
        {},
    ),  # the one file; all three together would hold each question twice
    ("phybench_eed", "phybench/PHYBench-fullques_v1.json", (70, 30), {}),
]


@needs_shared
@pytest.mark.parametrize(("name", "where", "kept", "dropped"), REAL)
def test_real_files(name, where, kept, dropped):
    recipe = RECIPES[name]
    splits = data.load(recipe, str(SHARED / "data" / where), "gpu")
    assert (len(splits["train"].examples), len(splits["test"].examples)) == kept
    assert (splits["train"].dropped, splits["test"].dropped) == (dropped, {})
    everything = splits["train"].examples + splits["test"].examples
    assert check_golds(recipe, everything) == sum(kept) and len(
        {data.normalised(e.question) for e in everything}
    ) == sum(kept)
    assert len({e.id for e in splits["train"].examples}) == kept[0]
    assert not any(part.strip() in e.question for e in everything for part in WRAPPER)


@needs_shared
def test_phybench_items_without_a_public_answer_stop_with_the_count():
    with pytest.raises(ValueError, match="400 without an answer"):
        data.load(
            RECIPES["phybench_eed"], str(SHARED / "data/phybench/PHYBench-onlyques_v1.json"), "gpu"
        )


@needs_shared
@pytest.mark.parametrize("name", ["openr1_boxed", "dapo_think"])
def test_math_500_is_a_further_held_out_set(name):
    found = data.load_further(RECIPES[name], str(SHARED / "data/math500"), "gpu")
    assert (len(found.examples), found.dropped) == (500, {})


BAD = [
    ({"answer": None}, "without an answer or a verified solution"),
    ({"answer": ""}, "without an answer or a verified solution"),
    ({"answer": float("nan")}, "without an answer or a verified solution"),
    ({"answer": "N/A"}, "without an answer or a verified solution"),
    ({"answer": []}, "with a field of the wrong type"),
    ({"answer": True}, "with a field of the wrong type"),
    ({"answer": 1e25}, "with a field of the wrong type"),
    ({"answer": "no number"}, "with an answer that does not verify"),
    ({"messages": 5}, "with a field of the wrong type"),
    ({"messages": [{"role": "user", "content": None}]}, "with a field of the wrong type"),
    ({"answer_text": []}, "with a field of the wrong type"),
    ({"answer_text": "<|im_end|>"}, "with a control token of the chat template"),
    ({"messages": "[{"}, "with a field of the wrong type"),
    ({"messages": []}, "without a question"),
    ({"messages": [{"role": "user", "content": "  "}]}, "without a question"),
    ({"messages": [{"content": "3 + 4?"}]}, "without 'role'"),
    (
        {"messages": [{"role": "user", "content": "3 + 4? " * 15_000}]},
        "with a question of over 2560 characters",
    ),
    ({"id": "good"}, "with an id seen before"),
]


@pytest.mark.parametrize(("change", "reason"), BAD)
def test_bad_rows_are_counted_by_reason(recipe, change, reason):
    good = OWN | {"id": "good", "messages": [{"role": "user", "content": "1 + 6?"}]}
    split = data.to_examples(recipe, [good, OWN | {"id": "other"} | change], "train", "here")
    assert ([e.id for e in split.examples], split.dropped) == (["good"], {reason: 1})


@pytest.mark.parametrize("messages", ["3 + 4?", '[{"role": "user", "content": "3 + 4?"}]'])
def test_own_rows_in_a_csv(recipe, messages, tmp_path):
    import pandas as pd

    rows = [
        {"messages": messages.replace("4", str(n)), "answer_text": "so", "answer": n + 3}
        for n in range(20)
    ] + [{"messages": "?", "answer_text": None, "answer": None}]
    pd.DataFrame(rows).to_csv(
        tmp_path / "own.csv", index=False
    )  # a column with a gap becomes floats
    splits = data.load(recipe, str(tmp_path / "own.csv"), "tiny")
    assert splits["train"].dropped == {"without an answer or a verified solution": 1}
    assert {(e.question, e.answer) for s in splits.values() for e in s.examples} == {
        (f"3 + {n}?", str(n + 3)) for n in range(20)
    }


def test_ids_are_never_given_twice(recipe):
    rows = [
        OWN | {"messages": "1 + 1?"},
        OWN | {"messages": "1 + 2?", "id": "train-0"},
        OWN | {"messages": "1 + 3?", "id": float("nan")},
        OWN | {"messages": "1 + 4?", "id": float("nan")},
    ]
    assert [e.id for e in data.to_examples(recipe, rows, "train", "here").examples] == [
        "train-0",
        "train-2",
        "train-3",
    ]


def test_rows_without_solutions_are_for_recipes_without_sft(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(
        "".join(
            json.dumps(OWN | {"messages": f"{n} + 1?", "answer_text": None}) + "\n"
            for n in range(20)
        )
    )
    recipe = for_profile(RECIPES["gsm8k_xml"], "tiny")
    with pytest.raises(ValueError, match="None of the 18 rows has a solution that sft could teach"):
        data.chosen(recipe, None, data.load(recipe, str(path), "tiny")["train"], "sft")


def test_broken_bytes_are_named(recipe, tmp_path):
    lines = [json.dumps(OWN | {"messages": f"{n} + 1?"}).encode() for n in range(20)]
    (tmp_path / "own.jsonl").write_bytes(b"\n".join([*lines, lines[0].replace(b"1?", b"caf\xe9?")]))
    with pytest.raises(ValueError, match="own.jsonl .*\n.*"):
        data.load(recipe, str(tmp_path / "own.jsonl"), "tiny")


def test_a_configuration_s_folder_needs_no_card(recipe, tmp_path):
    (tmp_path / "main").mkdir()
    for split, count in (("train", 20), ("test", 5)):
        rows = [{"question": f"{split} {n}?", "answer": f"so\n#### {n}"} for n in range(count)]
        (tmp_path / "main" / f"{split}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows)
        )
    splits = data.load(recipe, str(tmp_path), "tiny")
    assert {name: len(split.examples) for name, split in splits.items()} == {"train": 20, "test": 5}


@pytest.mark.parametrize(
    "where", ["~nobody/x", "x" * 5000 + ".jsonl", "C:/rows.jsonl", "rows/mistyped.csv", "./a:b"]
)
def test_places_where_nothing_is(recipe, where):
    with pytest.raises(ValueError, match="There is nothing at.*\nSet DATASET"):
        data.load(recipe, where, "tiny")


def test_copies_that_look_alike_are_the_same_question():
    assert (
        data.normalised("Caf\u00e9 1\u200b + 2?")
        == data.normalised("cafe\u0301  1+2?")
        != data.normalised("Cafe 1 + 2?")
    )
    assert data.normalised("3\u00b2?") != data.normalised("32?")
    plain = "".join(
        map(chr, range(128))
    )  # the short way for plain text is the long one, which the accent asks for
    assert data.normalised(plain) + "\u00e9" == data.normalised(plain + "\u00e9")


def test_a_dataset_with_nothing_left_stops_with_the_counts(recipe):
    with pytest.raises(
        ValueError,
        match=r"no usable row \(2 without an answer or a verified solution, 1 without a question; its columns: messages, answer_text, answer\)",
    ):
        data.to_examples(
            recipe,
            [OWN | {"answer": None}, OWN | {"answer": ""}, OWN | {"messages": []}],
            "train",
            "here",
        )


@pytest.mark.parametrize("name", FIVE)
def test_a_held_out_share_is_disjoint_and_always_the_same(name, tmp_path):
    """Rows come twice, the second time in another case and spacing: neither copy may end in the other split."""
    recipe, path = for_profile(RECIPES[name], "tiny"), tmp_path / "own.jsonl"
    rows = [
        OWN | {"messages": [{"role": "user", "content": question}], "answer": n}
        for n in range(100)
        for question in (f"What is {n} + 0?", f"  what IS {n}  + 0 ?")
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    splits, again = data.load(recipe, str(path), "tiny"), data.load(recipe, str(path), "tiny")
    asked = {
        split: {data.normalised(e.question) for e in part.examples}
        for split, part in splits.items()
    }
    assert not asked["train"] & asked["test"] and len(asked["train"] | asked["test"]) == 100
    assert len(asked["test"]) == round(100 * recipe.source.held_out) and splits == again
    assert splits["train"].dropped == {"with a question seen before": 100}


def test_training_questions_that_the_test_split_holds_are_left_out(recipe, tmp_path):
    for split, numbers in (("train", range(10)), ("test", range(7, 12))):
        rows = [
            OWN | {"messages": [{"role": "user", "content": f"{n} + 1?"}], "answer": n + 1}
            for n in numbers
        ]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    splits = data.load(dataclasses.replace(recipe), str(tmp_path), "tiny")
    assert (
        splits["train"].dropped == {"with a question of the test split": 3}
        and len(splits["test"].examples) == 5
    )


@pytest.mark.parametrize("name", FIVE)
def test_generated_rows_earn_the_full_reward(name):
    recipe = for_profile(RECIPES[name], "tiny")
    splits = data.load(recipe, None, "tiny")
    assert (
        check_golds(recipe, splits["test"].examples) == len(splits["test"].examples) > 1500
        and recipe.maximum > 0
    )
    assert not {data.normalised(e.question) for e in splits["train"].examples} & {
        data.normalised(e.question) for e in splits["test"].examples
    }
