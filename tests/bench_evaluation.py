"""What an evaluation costs on the embedded model: `python -m tests.bench_evaluation` (two minutes).

Beside the published way, one prompt at a time with `generate`, on 128 problems of mixed length; and
three adapters beside one. Both sides in one run.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from helpers import data, evaluation
from helpers.machine.computer import detect
from helpers.recipes import for_model, get_recipe
from helpers.training import models, private
from helpers.training import trainers as training
from tests.bench import Row, show
from tests.learning import BASE

import torch  # isort: skip  (after Unsloth)

PROBLEMS = 128


def mixed(recipe) -> list:
    """Word problems and physics problems, whose questions and replies differ in length."""
    physics = for_model(get_recipe("phybench_eed"), True, "cpu")
    halves = [data.load(r, None, "cpu")["test"].take(PROBLEMS // 2) for r in (recipe, physics)]
    return [example for pair in zip(*halves, strict=True) for example in pair]


def one_at_a_time(model, tokenizer, prompts: list[str], limit: int) -> list[str]:
    """As the published notebooks do it."""
    texts = []
    with torch.no_grad():
        for prompt in prompts:
            ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
            output = model.generate(
                **ids, max_new_tokens=limit, do_sample=False, pad_token_id=tokenizer.pad_token_id
            )
            texts.append(
                tokenizer.decode(output[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
            )
    return texts


def speed() -> tuple[float, int]:
    """How many times as fast ours is, and how many of the texts are the same."""
    machine = detect()
    recipe = for_model(get_recipe("gsm8k_xml"), machine.device == "cpu", machine.device)
    model, tokenizer = models.load(BASE, recipe, machine)
    model = models.add_lora(model, recipe, machine, 0)
    private.train_in_float(model)
    prompts, limit = (
        [data.prompt_text(recipe, tokenizer, e.question) for e in mixed(recipe)],
        recipe.grpo.max_completion,
    )
    models.generate(model, tokenizer, prompts[:2], 4)  # warm
    begun = time.perf_counter()
    ours = models.generate(model, tokenizer, prompts, limit, batch=recipe.evaluation.batch)
    between = time.perf_counter()
    theirs = one_at_a_time(model, tokenizer, prompts, limit)
    return (time.perf_counter() - between) / (between - begun), sum(
        a.text == b for a, b in zip(ours, theirs, strict=True)
    )


def adapters(folder: Path) -> list[str]:
    """Three adapters that work alike, so that they cost alike."""
    machine = detect()
    recipe = for_model(get_recipe("gsm8k_xml"), machine.device == "cpu", machine.device)
    model, tokenizer = models.load(BASE, recipe, machine)
    model = models.add_lora(model, recipe, machine, 0)
    for name in "abc":
        training.save_adapter(model, tokenizer, folder / name / "adapter")
    return [str(folder / name / "adapter") for name in "abc"]


def three_beside_one(folder: Path) -> float:
    """The time of one call that evaluates three adapters, over three times that of a call for one.

    Both include loading.
    """
    names, machine = adapters(folder), detect()
    recipe = for_model(get_recipe("gsm8k_xml"), machine.device == "cpu", machine.device)
    splits, spent = data.load(recipe, None, "cpu"), []
    for count in (1, 1, 3):  # the first warms up
        begun = time.perf_counter()
        evaluation.evaluate_all(
            evaluation.find_candidates(names[:count], recipe),
            recipe,
            machine,
            splits,
            folder / f"{count}-{len(spent)}",
        )
        spent.append(time.perf_counter() - begun)
    return spent[2] / (3 * spent[1])


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        ratio, same = speed()
        three = three_beside_one(Path(folder))
    return [
        (
            f"evaluation of {PROBLEMS} problems: times as fast as one prompt at a time",
            f"{ratio:.1f}; {same} of {PROBLEMS} texts the same",
            "at least 10",
        ),
        (
            "evaluation of three adapters over three times one, with one load",
            f"{three:.2f}",
            "at most 1.1",
        ),
    ]


if __name__ == "__main__":
    show(rows)
