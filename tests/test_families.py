"""Models with other families' templates and tokenizers, by command from the base to the export."""

import json

import pytest
from transformers import AutoTokenizer

from helpers import data, sharing
from helpers.recipes import get_recipe
from helpers.runs import read_lines
from tests.conftest import works
from tests.data import chat_models
from tests.data.test_seam import GOES_THROUGH


@pytest.mark.soak
@pytest.mark.parametrize("recipe", ["gsm8k_xml", "dapo_think"])
@pytest.mark.parametrize("name", GOES_THROUGH)
def test_from_the_base_to_the_export(name, recipe, tmp_path, monkeypatch):
    """A turn's end, which is learned, is also what ends a reply of the exported model."""
    monkeypatch.chdir(tmp_path)
    model = chat_models.build(name, tmp_path / "model")
    shown = works("both", "--recipe", recipe, "--model", model, "--max_steps", 2, "--force")
    assert GOES_THROUGH[name] in shown
    stages = ["sft", "grpo"] if "sft: the adapter" in shown else ["grpo"]
    for stage in stages:
        assert len(read_lines(tmp_path / "outputs" / recipe / stage / "log.jsonl")) == 2
    adapter = tmp_path / "outputs" / recipe / "grpo" / "adapter"
    works(
        "evaluate", adapter.parent, "--problems", 4, "--samples", 1, "--out", tmp_path / "measured"
    )
    records = read_lines(tmp_path / "measured" / "grpo_greedy.jsonl")
    assert len(records) == 4
    merged = tmp_path / "export"
    assert "proved" in works("export", adapter, "--out", merged)
    tokenizer = AutoTokenizer.from_pretrained(merged)
    ends = json.loads((merged / "generation_config.json").read_text())["eos_token_id"]
    assert tokenizer.eos_token_id in ends and tokenizer.eos_token != tokenizer.pad_token
    fitted = data.fit(get_recipe(recipe), tokenizer).recipe
    modelfile = sharing.modelfile(sharing.Export.read(merged), fitted, "q8_0.gguf")
    assert f'PARAMETER stop "{tokenizer.eos_token}"' in modelfile
