"""One template for training and evaluation, and rows that fit into it."""

from dataclasses import replace

import pytest

from helpers import data
from helpers.data import prompts
from helpers.recipes import RECIPES
from helpers.rows import Example
from helpers.runs import write_lines
from helpers.tiny import TINY_MODEL
from helpers.tiny.schemas import rows_for
from tests.conftest import SHARED, needs_shared


@pytest.fixture(scope="module")
def tokenizer():
    return data.load_tokenizer(str(TINY_MODEL))


@pytest.mark.parametrize("folder", [TINY_MODEL, pytest.param(SHARED / "qwen3", marks=needs_shared)])
@pytest.mark.parametrize("name", RECIPES)
def test_one_template_for_sft_grpo_and_evaluation(name, folder):
    recipe, tokenizer = RECIPES[name], data.load_tokenizer(str(folder))
    seam = data.fit(recipe, tokenizer)
    assert (seam.recipe, seam.mended) == (recipe, ())
    thought = "<think>\n3 + 4 = 7\n</think>\n\nIt is 7." if name == "openr1_boxed" else "3 + 4 = 7"
    example = Example("a", "3 + 4?", thought, "7")
    prompt = data.prompt_text(recipe, tokenizer, example.question)
    beginning = "" if recipe.thinking else "<think>\n\n</think>\n\n"
    assert prompt.endswith("<|im_start|>assistant\n" + beginning)
    [sft] = data.sft_dataset(recipe, tokenizer, [example])
    [grpo] = data.grpo_dataset(recipe, [example])
    assert grpo["prompt"] == data.messages(recipe, example.question)
    assert (grpo["answer"], grpo["id"]) == ("7", "a")
    reply = {"role": "assistant", "content": recipe.write(example.solution, example.answer)}
    whole = tokenizer.apply_chat_template(
        [*grpo["prompt"], reply], return_dict=True, enable_thinking=recipe.thinking
    )
    assert sft["input_ids"] == whole["input_ids"]
    learned = [token for token in sft["labels"] if token != -100]
    assert tokenizer.decode(learned) == reply["content"] + "<|im_end|>\n"
    assert recipe.format.extract(tokenizer.decode(learned, skip_special_tokens=True)) == "7"


@pytest.mark.parametrize(("stage", "limit"), [("sft", 512), ("grpo", 256)])
def test_rows_that_are_too_long_are_left_out_and_counted(recipe, tokenizer, stage, limit):
    questions = ["What is 3 + 4?", "7 " * 400, "\U0001d160" * 150, "x" * 150]
    examples = [Example(str(n), question, "", "7") for n, question in enumerate(questions)]
    kept = []
    for example in examples:
        text = data.prompt_text(recipe, tokenizer, example.question)
        if stage == "sft":
            text += recipe.format.write("…", "7") + "<|im_end|>\n"
        if len(tokenizer(text, add_special_tokens=False)["input_ids"]) <= limit:
            kept.append(example)
    found = data.short_enough(recipe, tokenizer, examples, stage)
    assert found.examples == kept and 1 < len(kept) < 4
    assert found.dropped == {f"longer than {limit} tokens": 4 - len(kept)}
    with pytest.raises(ValueError, match="None of the 1 rows"):
        data.short_enough(recipe, tokenizer, examples[1:2], stage)


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_one_usable_row_is_too_few_to_learn_from(recipe, tokenizer, tmp_path, stage):
    path = tmp_path / "own.jsonl"
    write_lines(path, rows_for("openai/gsm8k", "train", 1))
    splits = data.load(recipe, str(path), "cpu")
    with pytest.raises(ValueError, match="only usable row is held out .*\nAdd rows"):
        data.chosen(recipe, tokenizer, splits["train"], stage)


def test_a_run_whose_held_out_problems_are_too_long_is_not_watched(recipe, tokenizer):
    long = [Example("1", "7 " * 400, "so", "7")]
    assert data.held_out(recipe, tokenizer, data.Split(long, {})) == []


def test_rows_that_are_tokenized_in_parts_stay_in_order(recipe, tokenizer, monkeypatch):
    questions = ["1 + 1?", "7 " * 400, "2 + 2?", "3 + 3?", "4 + 4?", "7 " * 400, "5 + 5?"]
    examples = [Example(str(n), question, "so", "7") for n, question in enumerate(questions)]
    found = []
    for size in (100, 3):
        monkeypatch.setattr(prompts, "BATCH", size)
        short = data.short_enough(recipe, tokenizer, examples, "sft")
        found.append((short, data.sft_dataset(recipe, tokenizer, short.examples)[:]))
    assert found[0] == found[1]
    assert [example.id for example in found[1][0].examples] == ["0", "2", "3", "4", "6"]


def test_limits_count_every_token(recipe, tokenizer):
    """A row of exactly as many tokens as are allowed stays; with one fewer allowed it goes."""
    example = Example("a", "1 + 1? " * 20, "", "2")
    tokens = len(tokenizer(data.prompt_text(recipe, tokenizer, example.question))["input_ids"])
    for limit, kept in ((tokens, True), (tokens - 1, False)):
        other = replace(recipe, grpo=replace(recipe.grpo, max_prompt=limit))
        short = Example("b", "?", "", "2")
        found = data.short_enough(other, tokenizer, [example, short], "grpo")
        assert (example in found.examples) == kept


def test_priming_takes_the_shortest_and_sft_a_draw(tokenizer):
    recipe = RECIPES["openr1_boxed"]
    three = {name: replace(getattr(recipe, name), rows=3) for name in ("priming", "sft")}
    recipe = replace(recipe, **three)
    solution = "<think>\nso\n</think>\n\nIt is 1."
    examples = [Example(str(n), "q" * (20 - n), solution, "1") for n in range(20)]
    split = data.Split([*examples, Example("unsolved", "q?", "", "1")], {})
    primed = data.chosen(recipe, tokenizer, split, "priming", seed=1)
    assert [e.id for e in primed.examples] == ["19", "18", "17"]
    assert primed.left_out == "1 without a solution, 17 beyond the 3 that priming takes"
    draws = [data.chosen(recipe, tokenizer, split, "sft", seed).examples for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2] and len(draws[0]) == 3
    assert len(data.chosen(recipe, tokenizer, split, "grpo").examples) == 21


def test_rows_without_solutions_are_for_recipes_without_sft(recipe, tokenizer):
    split = data.Split([Example(str(n), f"{n} + 1?", "", "7") for n in range(18)], {})
    with pytest.raises(ValueError, match="None of the 18 rows has a worked solution that SFT"):
        data.chosen(recipe, tokenizer, split, "sft")
    assert len(data.chosen(recipe, tokenizer, split, "grpo").examples) == 18


def test_worked_examples_stand_in_the_prompt(tokenizer):
    """Those with the most lines; the system turn once, before them; none without solutions."""
    recipe = RECIPES["gsm8k_hash"]
    short, long = (
        Example("a", "1 + 1?", "It is 2.", "2"),
        Example("b", "2 + 2?", "Two\nand two", "4"),
    )
    shown = data.with_shots(recipe, data.Split([short, long, short], {}), count=1)
    prompt = data.prompt_text(shown, tokenizer, "3 + 3?")
    reply = "<|im_start|>assistant\nTwo\nand two\n#### 4<|im_end|>"
    assert prompt.count(recipe.system) == 1 and prompt.count(reply) == 1
    assert prompt.index("2 + 2?") < prompt.index("#### 4<") < prompt.index("3 + 3?")
    turns = data.messages(replace(shown, system_turn=False), "3 + 3?")
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[0]["content"] == f"{recipe.system}\n\n2 + 2?"
    assert data.with_shots(recipe, data.Split([Example("c", "?", "", "1")] * 3, {})) is None


def test_watched_problems_are_not_those_that_are_evaluated():
    recipe, tokenizer = RECIPES["gsm8k_hash"], data.load_tokenizer(str(TINY_MODEL))
    test = data.Split([Example(str(n), f"{n} + 1?", "", str(n + 1)) for n in range(300)], {})
    recipe = replace(recipe, evaluation=replace(recipe.evaluation, problems=200))
    watched = data.held_out(recipe, tokenizer, test)
    assert len(watched) == 64
    assert not {e.id for e in watched} & {e.id for e in test.take(200)}
    every = replace(recipe, evaluation=replace(recipe.evaluation, problems=300))
    assert data.held_out(every, tokenizer, test) == test.examples[:64]
