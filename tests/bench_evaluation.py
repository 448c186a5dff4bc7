"""What an evaluation costs on the embedded model: `python -m tests.bench_evaluation` (two minutes).

Beside the published way, one prompt at a time with `generate`, on 128 problems of mixed length; and
three adapters beside one. Both sides in one run.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from helpers import data, evaluation
from helpers.machine import detect
from helpers.recipes import RECIPES, for_model
from helpers.training import private, replies, save_adapter
from tests.bench import Row, in_turn, seconds, show
from tests.learning import untrained

import torch  # isort: skip  (after Unsloth)

PROBLEMS = 128
MACHINE = detect()
RECIPE = for_model(RECIPES["gsm8k_xml"], True, "cpu")


def problems(name: str) -> list:
    recipe = for_model(RECIPES[name], True, "cpu")
    return data.load(recipe, None, "cpu")["test"].take(PROBLEMS // 2)


def one_at_a_time(model, tokenizer, prompts: list[str], limit: int) -> list[str]:
    """As the published notebooks do it."""
    texts = []
    options = {"max_new_tokens": limit, "do_sample": False, "pad_token_id": tokenizer.pad_token_id}
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
        with torch.no_grad():
            output = model.generate(**ids, **options)
        reply = output[0, ids["input_ids"].shape[1] :]
        texts.append(tokenizer.decode(reply, skip_special_tokens=True))
    return texts


def embedded() -> tuple[float, int]:
    """`speed` of the embedded model."""
    model, tokenizer = untrained(RECIPE, MACHINE)
    private.train_in_float(model)
    asked = in_turn(problems("gsm8k_xml"), problems("phybench_eed"))
    return speed(model, tokenizer, RECIPE, asked)


def speed(model, tokenizer, recipe, asked) -> tuple[float, int]:
    """How many times as fast ours is, and how many of the texts are the same."""
    prompts = [data.prompt_text(recipe, tokenizer, example.question) for example in asked]
    limit = recipe.grpo.max_completion
    replies.generate(model, tokenizer, prompts[:2], 4)  # warm
    begun = time.perf_counter()
    ours = replies.generate(model, tokenizer, prompts, limit, batch=recipe.evaluation.batch)
    between = time.perf_counter()
    theirs = one_at_a_time(model, tokenizer, prompts, limit)
    ratio = (time.perf_counter() - between) / (between - begun)
    return ratio, sum(a.text == b for a, b in zip(ours, theirs, strict=True))


def three_beside_one(folder: Path) -> float:
    """A call for three adapters that cost alike, over three times a call for one; with loading."""
    model, tokenizer = untrained(RECIPE, MACHINE)
    names = [str(folder / name / "adapter") for name in "abc"]
    for name in names:
        save_adapter(model, tokenizer, Path(name))
    splits = data.load(RECIPE, None, "cpu")

    def evaluate(count: int, place: str) -> None:
        candidates = evaluation.find_candidates(names[:count], RECIPE)
        evaluation.evaluate_all(candidates, RECIPE, MACHINE, splits, folder / place)

    evaluate(1, "warm")
    one = seconds(evaluate, 1, "one")
    return seconds(evaluate, 3, "three") / (3 * one)


def rows() -> list[Row]:
    ratio, same = embedded()
    with tempfile.TemporaryDirectory() as folder:
        three = three_beside_one(Path(folder))
    fast = f"evaluation of {PROBLEMS} problems: times as fast as one prompt at a time"
    several = "evaluation of three adapters over three times one, with one load"
    return [
        (fast, f"{ratio:.1f}; {same} of {PROBLEMS} texts the same", "at least 10"),
        (several, f"{three:.2f}", "at most 1.1"),
    ]


if __name__ == "__main__":
    show(rows)
