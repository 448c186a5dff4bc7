"""Files as people have them: each read whole, or with every left-out row counted and named."""

import gzip
import json

import pandas as pd
import pytest

from helpers import data
from tests.data.test_rows import LONG_TALK, REPLIED, SYSTEM, sharegpt, turns

LOST = "with a backslash lost in JSON, where it is written twice"
COMMA = "with an answer such as 3,5 (write 3.5, or 3, 5 for two numbers)"
NO_ANSWER = "without an answer or a verified solution"
SUMS = [{"question": f"{n} + 4?", "answer": n + 4} for n in range(3)]
READ = {"0 + 4?": "4", "1 + 4?": "5", "2 + 4?": "6"}


def jsonl(*rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def csv(*rows, **options) -> bytes:
    return pd.DataFrame(rows).to_csv(index=False, **options).encode()


def spoiled(*texts) -> bytes:
    """JSON in which each answer has one backslash where two belong."""
    lines = [f'{{"question": "{n}?", "answer": "{text}"}}\n' for n, text in enumerate(texts)]
    return "".join(lines).encode()


WORKED = {"question": "3 + 4?", "answer": "3 + 4 = <<3+4=7>>7\n#### 7"}
TALKS = [{"messages": [SYSTEM, *REPLIED], "answer": "7"}, {"messages": turns("3?"), "answer": 3}]
HALVES = [{"question": f"{n}?", "answer": n} for n in range(1, 11_000)]
HALVES.append({"question": "half?", "answer": "1/2"})
EXCEL = 'question;answer;id\r\n"3, or\r\n4?";3,5;1\r\n3 + 4?;7;1\r\n1 + 1?;2;\r\n'
INDEXED = ",question,answer\n0,3 + 4?,7.0\n1,1 + 1?,2.0\n2,and?,\n"
POINTS = "messages,answer\n[3 points] 3 + 4?,7\n[a] or (b)?,2\n"
RAGGED = 'question,answer\nWell, 3?,3\n3 + 4?,7,,\n"one\n?"\n1 + 1?,2\n4?,4,5,6\n'
UNNAMED = "question,answer,,,answer\n3 + 4?,7,,\n1 + 1?,2\n4?,4,,,,,5\n"
MORE_FIELDS = "with more fields than the header has (quote a text that holds the separator)"
READ_SUMS = {"3 + 4?": "7", "1 + 1?": "2"}
MATH = [{"problem": f"{n}?", "solution": f"It is $\\boxed{{{n}}}$."} for n in range(2)]
FILES = [  # the name, the content, what is read, what is left out
    ("excel.csv", b"\xef\xbb\xbf" + EXCEL.encode(), {"3 + 4?": "7", "1 + 1?": "2"}, {COMMA: 1}),
    ("sheet [1] (2).tsv", csv(*SUMS, sep="\t"), READ, {}),
    ("tabs.csv", csv(*SUMS, sep="\t", lineterminator="\r\n"), READ, {}),
    ("by_pandas.csv", INDEXED.encode(), {"3 + 4?": "7", "1 + 1?": "2"}, {NO_ANSWER: 1}),
    (
        "trailing.csv",
        b"question,answer\n3 + 4?,7,\n1 + 1?,2,\n",
        {"3 + 4?": "7", "1 + 1?": "2"},
        {},
    ),
    ("ragged.csv", RAGGED.encode(), READ_SUMS, {MORE_FIELDS: 2, NO_ANSWER: 1}),
    ("unnamed.csv", UNNAMED.encode(), READ_SUMS, {MORE_FIELDS: 1}),
    ("late.csv", csv(*HALVES), {row["question"]: str(row["answer"]) for row in HALVES}, {}),
    ("points.csv", POINTS.encode(), {"[3 points] 3 + 4?": "7", "[a] or (b)?": "2"}, {}),
    ("python.csv", csv(*TALKS), {LONG_TALK: "7", "3?": "3"}, {}),
    ("packed.csv.gz", gzip.compress(csv(*SUMS, sep=";"), mtime=0), READ, {}),
    ("chat.jsonl", jsonl(*TALKS), {LONG_TALK: "7", "3?": "3"}, {}),
    ("chat.json", json.dumps(TALKS).encode(), {LONG_TALK: "7", "3?": "3"}, {}),
    ("gsm8k.jsonl", jsonl(WORKED, *SUMS), {"3 + 4?": "7"} | READ, {}),
    ("mixed.jsonl", jsonl(*SUMS, {"problem": "9?", "answer": "9 cm"}), READ | {"9?": "9 cm"}, {}),
    (
        "sharegpt.jsonl",
        jsonl(*[{"conversations": sharegpt(f"{n}?", "so"), "answer": n} for n in range(1, 3)]),
        {"1?": "1", "2?": "2"},
        {},
    ),
    (
        "alpaca.json",
        json.dumps([{"instruction": "3?", "input": "", "output": "so", "answer": "3"}] * 2).encode()
        + b"\n",
        {"3?": "3"},
        {"repeating a question that is read once": 1},
    ),
    (
        "spoiled.jsonl",
        spoiled("5", r"\frac{2}{3}", r"3 \times 4", "7"),
        {"0?": "5", "3?": "7"},
        {LOST: 2},
    ),
    ("capitals.csv", b"Question,Answer \n3 + 4?,7\n1 + 1?,2\n", READ_SUMS, {}),
    ("math.jsonl", jsonl(*MATH), {"0?": "0", "1?": "1"}, {}),
    ("boxed.jsonl", spoiled(r"$\\boxed{5}$", r"\\boxed{7}"), {"0?": "5", "1?": "7"}, {}),
    ("nulls.jsonl", jsonl(*SUMS, {"question": "q", "answer": None}), READ, {NO_ANSWER: 1}),
    ("windows.jsonl", b"\xef\xbb\xbf" + jsonl(*SUMS).replace(b"\n", b"\r\n") + b"\r\n", READ, {}),
]


def read(splits) -> dict[str, str]:
    examples = splits["train"].examples + splits["test"].examples
    assert len({example.id for example in examples}) == len(examples)
    return {example.question: example.answer for example in examples}


@pytest.mark.parametrize(("name", "content", "kept", "dropped"), FILES)
def test_all_rows_are_read_or_counted(recipe, tmp_path, name, content, kept, dropped):
    (tmp_path / name).write_bytes(content)
    for where in (tmp_path / name, tmp_path):
        splits = data.load(recipe, str(where), "cpu")
        assert read(splits) == kept
        assert splits["train"].dropped == dropped


ALPACA = {"instruction": "3?", "input": "", "output": "3"}
UNREADABLE = [
    ("latin.csv", "question,answer\nHöhe?,3\n".encode("latin-1"), "'utf-8' codec can't decode"),
    ("slash.jsonl", spoiled(r"\alpha"), "line 1, character 31: Invalid \\escape"),
    ("alpaca.jsonl", jsonl(ALPACA), "1 in alpaca's form without 'answer'"),
    (
        "talk.jsonl",
        jsonl({"conversations": sharegpt("3?", "3")}),
        "in ShareGPT's form without 'ans",
    ),
]


@pytest.mark.parametrize(("name", "content", "said"), UNREADABLE)
def test_what_cannot_be_read_is_named(recipe, tmp_path, name, content, said):
    (tmp_path / "good.jsonl").write_bytes(jsonl(*SUMS))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as caught:
        data.load(recipe, str(tmp_path / name), "cpu")
    first, second = str(caught.value).split("\n")
    assert said in first and second.startswith("Set DATASET to")


def test_a_row_to_look_at_is_read_as_the_others_are(recipe, tmp_path):
    (tmp_path / "a.csv").write_bytes(b"Question,Answer\n3 + 4?,7\n1 + 1?,2\n")
    row = data.usable_row(recipe, str(tmp_path / "a.csv"), "cpu")
    assert recipe.read_row(row).answer == "7"


def test_a_folder_is_read_whole(recipe, tmp_path):
    """All kinds, splits by words in the path; what is no data, hidden or a list of files is not."""
    for name, content in {
        "a.jsonl": jsonl(SUMS[0]),
        "b.csv": csv(SUMS[1], sep=";"),
        "more/c.tsv": csv(SUMS[2], sep="\t"),
        "train_1.json": json.dumps([WORKED]).encode(),
        "my-test.csv": csv({"question": "8?", "answer": 8}),
        "notes.txt": b"9?",
        "test.png": b"9?",
        "dataset_info.json": b"{}",
        ".ipynb_checkpoints/a.jsonl": jsonl({"question": "9?", "answer": 9}),
        "README.md": b"My rows\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    splits = data.load(recipe, str(tmp_path), "cpu")
    assert [example.question for example in splits["test"].examples] == ["8?"]
    assert read(splits) == READ | {"3 + 4?": "7", "8?": "8"} and not splits["train"].dropped
    (tmp_path / "b.csv").write_bytes("question,answer\nHöhe?,3\n".encode("latin-1"))
    with pytest.raises(ValueError, match="b.csv could not be loaded.*UnicodeDecodeError"):
        data.load(recipe, str(tmp_path), "cpu")


@pytest.mark.parametrize(("other", "kept", "dropped"), [("d", 2, {}), ("test", 1, {"val": 1})])
def test_rows_for_validation_are_the_test_or_counted(recipe, tmp_path, other, kept, dropped):
    for row, name in zip(SUMS, ("train", "val", other), strict=True):
        (tmp_path / f"{name}.jsonl").write_bytes(jsonl(row))
    splits = data.load(recipe, str(tmp_path), "cpu")
    assert [len(splits[name].examples) for name in ("train", "test")] == [kept, 1]
    assert list(splits["train"].dropped.values()) == list(dropped.values())


def test_a_card_says_what_is_in_a_folder(recipe, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(jsonl(*SUMS))
    (tmp_path / "b.jsonl").write_bytes(jsonl(WORKED))
    card = "---\nconfigs:\n- config_name: default\n  data_files: a.jsonl\n---\n"
    (tmp_path / "README.md").write_text(card)
    assert read(data.load(recipe, str(tmp_path), "cpu")) == READ
