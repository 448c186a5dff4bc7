"""lm-evaluation-harness measures an export as we do: the README's command, on local rows."""

import json
from dataclasses import replace

import pytest

from helpers import data, evaluation, sharing, training
from helpers.recipes import RECIPES, for_model
from helpers.tiny import embedded_rows
from tests.conftest import ROOT
from tests.learning import BASE, supervise

TASK = ROOT / "tests" / "lm_eval" / "gsm8k_hash.yaml"
LOCAL = """include: {task}
task: local_rows
dataset_path: json
dataset_name: null
training_split: null
dataset_kwargs:
  data_files: {{test: {rows}}}
"""


@pytest.mark.soak
def test_lm_eval_says_of_an_export_what_our_column_says(machine, tmp_path):
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    recipe = for_model(RECIPES["gsm8k_hash"], True, "cpu")
    adapter = supervise(recipe, machine, 0, tmp_path, data.load(recipe, None, "cpu"))
    export = sharing.merge(BASE, adapter, tmp_path / "merged-fp32", "fp32")
    rows = embedded_rows("openai/gsm8k")["test"][:60]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    place = tmp_path / "tasks"
    place.mkdir()
    text = LOCAL.format(task=TASK, rows=tmp_path / "rows.jsonl")
    (place / "local.yaml").write_text(text)
    found = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(export.folder), "dtype": "float32", "enable_thinking": False},
        tasks=["local_rows"],
        task_manager=TaskManager(include_path=str(place)),
        apply_chat_template=True,
        batch_size=20,
        device="cpu",
    )
    theirs = found["results"]["local_rows"]["exact_match,strict-match"]
    plain = replace(recipe, lora=replace(recipe.lora, load_in_4bit=False))
    model, tokenizer = training.load(str(export.folder), plain, machine)
    examples = data.loading.to_examples(recipe, rows, "test").examples
    records = evaluation.evaluate(model, tokenizer, plain, examples, tmp_path / "ours.jsonl")
    ours = sum(record.lm_eval for record in records) / len(records)
    print(f"lm-eval {theirs:.3f}, ours {ours:.3f}")
    assert theirs == ours > 0
