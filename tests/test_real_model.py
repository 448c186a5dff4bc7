"""A real chat model, SmolLM2-135M, through both trainers, an evaluation and a question."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from helpers import data, evaluation, machine, runs, training
from helpers.recipes import RECIPES, for_model
from helpers.tiny import smollm2
from tests.conftest import ROOT, works
from tests.training import building


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    try:
        folder = smollm2.fetch(ROOT / ".venv" / "smollm2")
    except ConnectionError as error:
        pytest.skip(str(error))
    yield str(folder)
    machine.detect()  # one thread again, for the tiny model of the tests that follow


@pytest.mark.soak
def test_a_few_steps_of_a_real_model(model, tmp_path, monkeypatch):
    here = machine.for_size(machine.detect(), machine.shape_of(model).parameters)
    recipe = for_model(RECIPES["gsm8k_hash"], False, "cpu")
    grpo = replace(recipe.grpo, batch=4, generations=2, max_completion=24)
    sft = replace(recipe.sft, batch=2, warmup=0.0)
    lora = replace(recipe.lora, load_in_4bit=True)
    recipe = replace(recipe, sft=sft, grpo=grpo, lora=lora)
    recipe = data.fit(recipe, data.load_tokenizer(model)).recipe
    rows = building.questions(recipe, 2)
    trainer, run = building.build("sft", recipe, here, tmp_path, rows, 4, base=model)
    adapter = training.train(trainer, run)
    losses = [line["loss"] for line in run.read_log()]
    assert losses[-1] < losses[0] - 0.3 and losses[0] < 5
    trainer, run = building.build("grpo", recipe, here, tmp_path, rows, 1, adapter, base=model)
    adapter = training.train(trainer, run)
    [line] = run.read_log()
    assert line["completion_mean"] <= 24 and len(run.read_samples()) == 4
    [record] = evaluation.evaluate(
        trainer.model, trainer.processing_class, recipe, rows[:1], tmp_path / "greedy.jsonl"
    )
    asked = iter([rows[0].question, ""])
    monkeypatch.setattr("builtins.input", lambda _: next(asked))
    shown = works("ask", adapter.folder)
    assert "asked as in gsm8k_hash" in shown and record.completion[:20] in shown


@pytest.mark.soak
def test_grpo_adds_to_what_sft_taught_a_real_model(model, tmp_path):
    """An hour, by command: at least ten points on problems that neither stage has seen."""
    chosen = ("--recipe", "gsm8k_hash", "--model", model)
    works("both", *chosen, "--output_dir", tmp_path)
    adapters = [tmp_path / "gsm8k_hash" / stage / "adapter" for stage in ("sft", "grpo")]
    size = ("--problems", 200, "--samples", 1, "--out", tmp_path)
    print(works("evaluate", *adapters, *chosen, *size))
    gain = runs.read_summary(tmp_path)["compare"]["sft → grpo"]
    assert gain["difference"] >= 0.1 and gain["p"] < 0.01
