"""Rows become examples; what cannot be used is counted by reason, and bad datasets stop at once."""

import json

import pandas as pd
import pytest

from helpers import data
from helpers.data.loading import to_examples
from helpers.recipes import RECIPES, for_model
from helpers.rows import WRAPPER
from helpers.tiny.schemas import rows_for
from helpers.training import check_golds
from tests.conftest import FIVE, SHARED, needs_shared
from tests.data.test_rows import OWN


def write(path, content):
    """Writes bytes, or rows as JSON lines."""
    if not isinstance(content, bytes):
        content = "".join(json.dumps(row) + "\n" for row in content).encode()
    path.write_bytes(content)
    return str(path)


def asked(split):
    return {data.question_key(example.question) for example in split.examples}


@pytest.mark.parametrize("name", FIVE)
def test_generated_rows_are_disjoint_and_earn_the_full_reward(name):
    recipe = for_model(RECIPES[name], True, "cpu")
    splits = data.load(recipe, None, "cpu")
    tests = splits["test"].examples
    assert len(check_golds(recipe, splits["test"]).examples) == len(tests) > 1500
    counts = [len(split.examples) + sum(split.dropped.values()) for split in splits.values()]
    assert counts == ([8000, 4000] if name == "dapo_think" else [4000, 2000])
    assert not asked(splits["train"]) & asked(splits["test"])


def test_a_draw_is_the_same_for_a_seed_and_all_where_too_many_are_asked_for(recipe):
    split = data.load(recipe, None, "cpu")["test"]
    assert split.take(5, seed=1) == split.take(5, seed=1) != split.take(5, seed=2)
    assert split.take(None) == split.take(10**6) == split.examples


MISSING = "without 'question'"
NO_ANSWER, TYPE = "without an answer or a verified solution", "with a field of the wrong type"
UNVERIFIED, NO_QUESTION = "with an answer that the recipe's score cannot read", "without a question"
REPEATED, CONTROL = (
    "repeating a question that is read once",
    "with a control token of the chat template",
)
CONTROLS = ("<|im_end|>", "7<|eot_id|>", "<｜end▁of▁sentence｜>", "so 7<end_of_turn>")
ROW = {"question": "q", "answer": "x\n#### 7"}
USER = {"role": "user"}
NOT_ASKED = ([], [USER | {"content": "  "}], [{"role": "system", "content": "Be short."}])
BAD_ROWS = (
    (ROW | {"answer": "7\n####"}, NO_ANSWER),
    (ROW | {"answer": "7,5"}, "with an answer such as 3,5 (write 3.5, or 3, 5 for two numbers)"),
    (
        {"question": "q", "answer": "\frac{2}{3}"},
        "with a backslash lost in JSON, where it is written twice",
    ),
    *[(OWN | {"answer": value}, NO_ANSWER) for value in (None, "", float("nan"), "N/A")],
    *[(OWN | {"answer": value}, TYPE) for value in ([], True, 1e25)],
    *[
        (OWN | {"messages": value}, TYPE)
        for value in (5, "[{", "[{oops}]", [USER | {"content": [1]}])
    ],
    *[(OWN | {"answer_text": [1]}, TYPE), (ROW | {"question": None}, MISSING)],
    *[(OWN | {"answer": "no number"}, UNVERIFIED), (ROW | {"answer": "x\n#### seven"}, UNVERIFIED)],
    *[(OWN | {"messages": value}, NO_QUESTION) for value in NOT_ASKED],
    *[(ROW | {"question": text}, reason) for text, reason in (("", MISSING), (" ", NO_QUESTION))],
    ({"frage": "q", "answer": "x\n#### 7"}, MISSING),
    (OWN | {"messages": [{"content": "3 + 4?"}]}, "without 'role'"),
    *[(OWN | {"answer_text": text}, CONTROL) for text in CONTROLS],
    (ROW | {"answer": "<answer>\n#### 7"}, "that cannot be written in the format"),
)


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
def test_unusable_rows_are_counted_by_reason(recipe, row, reason):
    good = rows_for("openai/gsm8k", "train", 30)
    split = to_examples(recipe, [*good, row], "train")
    assert (len(split.examples), split.dropped) == (30, {reason: 1})
    assert split.left_out == f"1 {reason}"


def test_a_repeated_question_with_another_answer_is_counted_as_that(recipe):
    rows = [OWN | {"messages": "3 + 4?", "answer": value} for value in ("7", "7", "8")]
    split = to_examples(recipe, rows, "train")
    assert [example.answer for example in split.examples] == ["7"]
    assert split.dropped == {REPEATED: 1, "repeating a question with another answer": 1}


def test_ids_are_never_given_twice(recipe):
    ids = [None, "train-0", float("nan"), float("nan")]
    rows = [OWN | {"messages": f"1 + {n}?", "id": value} for n, value in enumerate(ids)]
    found = to_examples(recipe, rows, "train")
    assert [e.id for e in found.examples] == ["train-0", "train-1", "train-2", "train-3"]
    ids = ["train-2", "train-2", None, "train-1", 7, 7.0]
    rows = [OWN | {"messages": f"1 + {n}?", "id": value} for n, value in enumerate(ids)]
    found = [example.id for example in to_examples(recipe, rows, "train").examples]
    assert found == ["train-2", "train-1", "train-2+", "train-3", "7", "train-5"]


def test_rows_that_share_an_index_are_all_read():
    row = {"prompt": "?", "solution": "7", "extra_info": {"index": "same"}}
    rows = [row | {"prompt": f"{n}?"} for n in range(5)]
    found = to_examples(RECIPES["dapo_think"], rows, "train")
    assert len({e.id for e in found.examples}) == 5 and not found.dropped


def test_copies_that_look_alike_are_the_same_question():
    composed = data.question_key("Caf\u00e9 1\u200b + 2?")
    assert (
        composed == data.question_key("cafe\u0301\u00a0 1+2?\n") != data.question_key("Cafe 1 + 2?")
    )
    assert data.question_key("3\u00b2?") != data.question_key("32?")


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet", "jsonl.gz", "CSV"])
def test_files_of_every_kind_with_a_part_held_out(recipe, tmp_path, kind):
    table, path = pd.DataFrame(rows_for("openai/gsm8k", "train", 50)), tmp_path / f"rows.{kind}"
    if "json" in kind:
        table.to_json(path, orient="records", lines="jsonl" in kind)
    elif kind == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)
    splits = data.load(recipe, str(path), "cpu")
    assert len(splits["train"].examples) == 45 and len(splits["test"].examples) == 5


@pytest.mark.parametrize("messages", ["3 + 4?", '[{"role": "user", "content": "3 + 4?"}]'])
def test_own_rows_in_a_csv(recipe, messages, tmp_path):
    rows = []
    for n in range(20):
        question = messages.replace("4", str(n))
        rows.append({"messages": question, "answer_text": "so", "answer": n + 3})
    rows.append({"messages": "?", "answer_text": None, "answer": None})  # makes floats of a column
    pd.DataFrame(rows).to_csv(tmp_path / "own.csv", index=False)
    splits = data.load(recipe, str(tmp_path / "own.csv"), "cpu")
    assert splits["train"].dropped == {NO_ANSWER: 1}
    found = splits["train"].examples + splits["test"].examples
    expected = {(f"3 + {n}?", str(n + 3)) for n in range(20)}
    assert {(e.question, e.answer) for e in found} == expected


@pytest.mark.parametrize("name", FIVE)
def test_a_held_out_share_is_disjoint_and_always_the_same(name, tmp_path):
    """Rows come twice, in another case and spacing: neither copy may end in the other split."""
    recipe = for_model(RECIPES[name], True, "cpu")
    rows = []
    for n in range(100):
        rows.append(OWN | {"messages": f"What is {n} + 0?", "answer": n})
        rows.append(OWN | {"messages": f"  what IS {n}  + 0 ?", "answer": n})
    path = write(tmp_path / "own.jsonl", rows)
    splits = data.load(recipe, path, "cpu")
    train, test = asked(splits["train"]), asked(splits["test"])
    assert not train & test and len(train | test) == 100
    assert len(test) == round(100 * recipe.source.held_out)
    assert splits["train"].dropped == {REPEATED: 100}
    assert splits == data.load(recipe, path, "cpu")


@pytest.mark.parametrize("inside", ["", "main"])  # a configuration's folder needs no card
def test_a_folder_with_a_test_split(recipe, tmp_path, inside):
    (tmp_path / inside).mkdir(exist_ok=True)
    for split, numbers in (("train", range(10)), ("test", range(7, 12))):
        rows = [OWN | {"messages": f"{n} + 1?", "answer": n + 1} for n in numbers]
        write(tmp_path / inside / f"{split}.jsonl", rows)
    splits = data.load(recipe, str(tmp_path), "cpu")
    assert splits["train"].dropped == {"with a question of the test split": 3}
    assert len(splits["train"].examples) == 7 and len(splits["test"].examples) == 5


@pytest.mark.parametrize(("start", "number"), [(0, 1), (2, 2), (3, 1), (99, 1)])
def test_a_usable_row_from_a_number_on(recipe, tmp_path, start, number):
    rows = [OWN | {"messages": f"{n} + 1?", "answer": n or None} for n in range(3)]
    path = write(tmp_path / "own.jsonl", rows)
    assert data.usable_row(recipe, path, "cpu", start)["messages"] == f"{number} + 1?"
    with pytest.raises(ValueError, match="no usable row .1 without an answer"):
        data.usable_row(recipe, write(tmp_path / "own.jsonl", rows[:1]), "cpu", start)


NOT_THERE = "nobody/x nobody/x:main"
NO_ANSWERS = [{"frage": "q", "answer": "7"}, {"frage": "q", "answer": "#### 7"}]
COUNTED = "(2 without 'question'; its columns: frage, answer)"


@pytest.mark.parametrize(
    ("where", "content", "cause"),
    [
        ("a.jsonl", [], "a.jsonl could not be loaded as a dataset"),
        ("a.jsonl", NO_ANSWERS, COUNTED),
        ("a.jsonl", b"\x00\xff{{{", "line 1, character 1: Expecting value"),
        ("a.jsonl", b'{"question": "q"}\n{oops\n', "line 2, character 2: Expecting property name"),
        ("a.csv", b"question,answer\n\xc4pfel?,7\n", "can't decode"),
        ("./a.txt", b"x", "a.txt is a file of a kind that is not read"),
        ("a.xlsx", b"PK\x03\x04", "a.xlsx is a file of a kind that is not read"),
        (".", None, "doesn't contain any data files"),
        *[(where, None, f"{where} could not be loaded") for where in NOT_THERE.split()],
    ],
)
def test_bad_datasets_stop_with_cure(recipe, tmp_path, monkeypatch, where, content, cause):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    if content is not None:
        write(tmp_path / where, content)
    with pytest.raises(ValueError) as caught:
        data.load(recipe, where, "cpu")
    first, second = str(caught.value).split("\n")
    assert cause in first and second.startswith("Set DATASET to")


def test_splits_under_other_names_are_named(recipe, tmp_path):
    for split in ("validation", "test"):
        write(tmp_path / f"{split}.jsonl", [OWN])
    with pytest.raises(ValueError, match="the splits test, validation, but no 'train'"):
        data.load(recipe, str(tmp_path), "cpu")


@needs_shared
@pytest.mark.parametrize(
    ("name", "where", "kept", "dropped"),
    [  # kept: in train, in test; dropped: from train
        ("gsm8k_xml", "gsm8k", (7473, 1319), {}),
        ("gsm8k_hash", "gsm8k", (7473, 1319), {}),
        ("dapo_think", "dapo_math_17k/original_schema_14.jsonl", (13, 1), {}),
        ("dapo_think", "dapo_math_17k/processed_schema_14.jsonl", (13, 1), {}),
        ("dapo_think", "aime24/aime-2024_dapo.parquet", (27, 3), {REPEATED: 930}),
        ("phybench_eed", "phybench", (70, 30), {}),  # the one file of the two
        ("phybench_eed", "phybench/PHYBench-fullques_v1.json", (70, 30), {}),
    ],
)
def test_real_files(name, where, kept, dropped):
    recipe = RECIPES[name]
    splits = data.load(recipe, str(SHARED / "data" / where), "cuda")
    assert (len(splits["train"].examples), len(splits["test"].examples)) == kept
    assert (splits["train"].dropped, splits["test"].dropped) == (dropped, {})
    everything = splits["train"].examples + splits["test"].examples
    assert check_golds(recipe, data.Split(everything, {})).left_out == "none"
    assert len(asked(splits["train"]) | asked(splits["test"])) == sum(kept)
    assert len({e.id for e in splits["train"].examples}) == kept[0]
    assert not any(part.strip() in e.question for e in everything for part in WRAPPER)


@needs_shared
def test_phybench_items_without_a_public_answer_stop_with_the_count():
    where = SHARED / "data/phybench/PHYBench-onlyques_v1.json"
    with pytest.raises(ValueError, match="399 without an answer.*, 1 without a question"):
        data.load(RECIPES["phybench_eed"], str(where), "cuda")


@needs_shared
@pytest.mark.parametrize("name", ["openr1_boxed", "dapo_think"])
def test_math_500_is_a_further_held_out_set(name):
    found = data.load_further(RECIPES[name], str(SHARED / "data/math500"), "cuda")
    assert (len(found.examples), found.dropped) == (500, {})
