"""A merged model is the trained one, and a merge that did nothing is caught."""

import pytest
import torch

from helpers import data, export, models

BASE = str(models.TINY_MODEL)


@pytest.fixture(scope="module")
def adapters(recipe, machine, tmp_path_factory):
    """An adapter that changes the model, and one that was never trained."""
    from helpers.training import save_adapter

    model, tokenizer = models.load(BASE, recipe, machine)
    model = models.add_lora(model, recipe, machine, 0)
    folder = tmp_path_factory.mktemp("adapters")
    save_adapter(model, tokenizer, folder / "untrained")
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn_like(parameter) * 0.01
    save_adapter(model, tokenizer, folder / "trained")
    prompts = [data.prompt_text(recipe, tokenizer, e.question) for e in data.load(recipe, None, "tiny")["test"].examples[:6]]
    return folder, prompts


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-4), ("bf16", 0.5)])
def test_a_merge_is_base_plus_adapter(adapters, tmp_path, precision, bound):
    folder, prompts = adapters
    merged = export.merge(BASE, folder / "trained", tmp_path / "merged", precision)
    proof = export.prove(merged, BASE, folder / "trained", prompts, 24)
    assert proof.logit_difference < bound < proof.logit_difference_from_base
    assert proof.same_text == 6 or precision == "bf16"
    assert (merged / "chat_template.jinja").read_text() == (models.TINY_MODEL / "chat_template.jinja").read_text()
    assert list(merged.glob("*.safetensors")) and not list(merged.glob("*.bin")) and not (tmp_path / "merged.part").exists()


def test_a_merge_that_did_nothing_is_caught(adapters, tmp_path):
    folder, prompts = adapters
    merged = export.merge(BASE, folder / "untrained", tmp_path / "merged")
    with pytest.raises(ValueError, match="logits of the base model.*\nThe merge did nothing"):
        export.prove(merged, BASE, folder / "untrained", prompts, 8)


def test_an_unknown_precision_is_named(tmp_path):
    with pytest.raises(ValueError, match="int3.*\n.*fp32, bf16, fp16"):
        export.merge(BASE, tmp_path, tmp_path / "x", "int3")
