"""Rows become examples; what cannot be used is counted by its reason, and bad datasets stop at once."""

import json
from pathlib import Path

import pytest

from helpers.data import examples as data
from helpers.recipes import RECIPES
from helpers.rows import Example
from helpers.tiny.schemas import gsm8k_rows
from tests.conftest import ROOT, SHARED, needs_shared

MODEL = ROOT / "helpers" / "tiny" / "model"


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(MODEL))


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_embedded_rows_are_all_usable_and_disjoint(recipe):
    splits = data.load(recipe, None, "tiny")
    assert {name: (len(s.examples), dict(s.dropped)) for name, s in splits.items()} == {
        "train": (4000, {}),
        "test": (2000, {}),
    }
    assert not {e.question for e in splits["train"].examples} & {
        e.question for e in splits["test"].examples
    }
    assert (
        splits["train"].take(5, seed=1)
        == splits["train"].take(5, seed=1)
        != splits["train"].take(5, seed=2)
    )
    assert splits["test"].take(None) == splits["test"].take(10**6) == splits["test"].examples


def test_rows_are_dropped_by_reason(recipe, tmp_path):
    rows = [
        *gsm8k_rows("train", 30),
        {"question": "no mark", "answer": "7"},
        {"question": "", "answer": "x\n#### 7"},
        {"question": "bad gold", "answer": "x\n#### seven"},
        {"question": None, "answer": "x\n#### 7"},
        {"question": "tags", "answer": "a <answer> b\n#### 7"},
        gsm8k_rows("train", 1)[0] | {"answer": "again\n#### 3"},
    ]
    split = data.to_examples(recipe, rows, "train", "here")
    assert len(split.examples) == 30 and sum(split.dropped.values()) == 6
    assert split.dropped == {
        "without an answer or a verified solution": 1,
        "without a question": 1,
        "with an answer that does not verify": 1,
        "with a field of the wrong type": 1,
        "that cannot be written in the format": 1,
        "with a question seen before": 1,
    }


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_files_of_every_kind_with_a_part_held_out(recipe, tmp_path, kind):
    import pandas as pd

    table, path = pd.DataFrame(gsm8k_rows("train", 50)), tmp_path / f"rows.{kind}"
    if kind in ("jsonl", "json"):
        table.to_json(path, orient="records", lines=kind == "jsonl")
    else:
        table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path)
    splits = data.load(recipe, str(path), "tiny")
    assert len(splits["train"].examples) == 45 and len(splits["test"].examples) == 5
    assert not {e.question for e in splits["train"].examples} & {
        e.question for e in splits["test"].examples
    }


def test_own_rows_with_messages(recipe, tmp_path):
    rows = [
        {
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": f"What is {n} + 1?"},
            ],
            "answer_text": f"{n} + 1 = {n + 1}",
            "answer": str(n + 1),
        }
        for n in range(20)
    ]
    splits = data.load(recipe, write(tmp_path / "own.jsonl", rows), "tiny")
    assert len(splits["train"].examples) == 18


@pytest.mark.parametrize(
    ("make", "cause", "cure"),
    [
        (
            lambda p: write(p / "a.jsonl", [{"frage": "q", "answer": "x #### 7"}] * 3),
            "3 without 'question'; its columns: frage, answer)",
            "messages, answer_text and answer",
        ),
        (
            lambda p: write(p / "a.jsonl", []),
            "no dataset that can be read (it is empty)",
            "non-empty",
        ),
        (
            lambda p: write(
                p / "a.jsonl", [{"question": f"q{n}", "answer": "7"} for n in range(5)]
            ),
            "no usable row",
            "Set DATASET",
        ),
        (lambda p: str(p), "no dataset that can be read", "non-empty"),
        (lambda p: str(p / "missing"), "nothing at", "Set DATASET"),
        (
            lambda p: str(p / "a.jsonl") if (p / "a.jsonl").write_bytes(b"\x00\xff{{{") else "",
            "no dataset that can be read",
            "non-empty",
        ),
        (
            lambda p: (
                str(p / "a.jsonl")
                if (p / "a.jsonl").write_text('{"question": "q"}\n{oops\n')
                else ""
            ),
            "in row 1",
            "non-empty",
        ),
        (
            lambda p: (
                str(p / "a.csv")
                if (p / "a.csv").write_bytes("question,answer\nÄpfel?,7\n".encode("latin-1"))
                else ""
            ),
            "codec can't decode",
            "UTF-8",
        ),
        (
            lambda p: str(p / "a.txt") if (p / "a.txt").write_text("x") else "",
            "is not one of",
            "Convert it",
        ),
    ],
)
def test_bad_datasets_stop_with_cause_and_cure(recipe, tmp_path, make, cause, cure):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        data.load(recipe, make(tmp_path), "tiny")
    assert cause in str(caught.value) and cure in str(caught.value)
    assert len(str(caught.value).split("\n")) <= 2


def test_no_network_for_a_hub_id(recipe, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    import datasets
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="could not be loaded from the Hub.*\n.*DATASET"):
        data.load(recipe, "nobody/nothing", "tiny")


@pytest.mark.parametrize(
    "folder", [MODEL, pytest.param(SHARED / "qwen3", marks=needs_shared)], ids=["tiny", "qwen3"]
)
@pytest.mark.parametrize("name", RECIPES)
def test_one_template_for_sft_grpo_and_evaluation(name, folder):
    from transformers import AutoTokenizer

    recipe, tokenizer = RECIPES[name], AutoTokenizer.from_pretrained(str(folder))
    thought = "<think>\n3 + 4 = 7\n</think>\n\nIt is 7." if name == "openr1_boxed" else "3 + 4 = 7"
    example = Example("a", "3 + 4?", thought, "7")
    prompt = data.prompt_text(recipe, tokenizer, example.question)
    assert prompt.endswith(
        "<|im_start|>assistant\n" + ("" if recipe.thinking else "<think>\n\n</think>\n\n")
    )
    sft, grpo = data.sft_dataset(recipe, [example])[0], data.grpo_dataset(recipe, [example])[0]
    assert sft["prompt"] == grpo["prompt"] and grpo["answer"] == "7"
    whole = tokenizer.apply_chat_template(
        sft["prompt"] + sft["completion"], tokenize=False, **sft["chat_template_kwargs"]
    )
    assert whole == prompt + recipe.format.write(example.solution, example.answer) + "<|im_end|>\n"
    assert (
        recipe.format.extract(
            tokenizer.decode(
                tokenizer(whole.removeprefix(prompt))["input_ids"], skip_special_tokens=True
            )
        )
        == "7"
    )


def test_long_rows_are_left_out_and_counted(recipe, tokenizer):
    examples = [Example("a", "short?", "x", "7"), Example("b", "long? " * 400, "x", "7")]
    for stage, limit in (("sft", recipe.sft.max_length), ("grpo", recipe.grpo.max_prompt)):
        kept = data.short_enough(recipe, tokenizer, examples, stage)
        assert [e.id for e in kept.examples] == ["a"] and kept.dropped == {
            f"longer than {limit} tokens": 1
        }
    with pytest.raises(ValueError, match="None of the 1 rows"):
        data.short_enough(recipe, tokenizer, examples[1:], "grpo")


def test_the_short_way_to_count_tokens_keeps_nothing_too_long():
    """Rows of plain ASCII far below the limit are not tokenised; others are, since a normaliser may make more of a text than it had."""
    from tokenizers import normalizers
    from transformers import AutoTokenizer

    from helpers.data import examples as data
    from helpers.recipes import RECIPES, for_profile
    from helpers.rows import Example
    from helpers.tiny.make import __file__ as maker

    recipe = for_profile(RECIPES["gsm8k_xml"], "tiny")
    tokenizer = AutoTokenizer.from_pretrained(str(Path(maker).parent / "model"))
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    questions = ["What is 3 + 4?", "7 " * 200, "\U0001d160" * 50, "x" * 150]
    examples = [Example(str(i), question, "", "7") for i, question in enumerate(questions)]
    lengths = [
        len(
            tokenizer(data.prompt_text(recipe, tokenizer, question), add_special_tokens=False)[
                "input_ids"
            ]
        )
        for question in questions
    ]
    kept = data.short_enough(recipe, tokenizer, examples, "grpo")
    assert [e.id for e in kept.examples] == [
        str(i) for i, length in enumerate(lengths) if length <= recipe.grpo.max_prompt
    ]
    assert 0 < len(kept.examples) < 4 and kept.dropped == {
        "longer than 256 tokens": 4 - len(kept.examples)
    }
