"""A card that the library accepts, a plan that uploads nothing, and no token anywhere."""

import pytest

from helpers import evaluation, hub
from helpers.recipes import Example

MANIFEST = {"model": "Qwen/Qwen3-4B", "seed": 0, "commit": None, "versions": {"trl": "1.15.0"}}


@pytest.fixture
def summaries(recipe):
    records = [evaluation.grade(recipe, Example(f"p{i}", "3 + 4?", "", "7"), recipe.format.write("3 + 4 = 7", str(7 + i % 2)), 9, True)
               for i in range(10)]
    return {"base": evaluation.summarise(records), "grpo": evaluation.summarise(records)}


def test_the_card_states_what_was_measured(recipe, summaries):
    card = hub.model_card(recipe, MANIFEST, summaries, "openai/gsm8k", "me/model")
    assert card.data.base_model == "Qwen/Qwen3-4B" and card.data.datasets == ["openai/gsm8k"]
    assert "50.0% [23.7%, 76.3%]" in card.content and "10 held-out problems" in card.content and recipe.system in card.content
    assert card.data.eval_results[0].metric_value == 0.5
    hub.ModelCard(card.content)  # parses again


def test_no_path_of_this_machine_is_in_a_card(recipe, summaries, tmp_path):
    card = hub.model_card(recipe, MANIFEST | {"model": str(tmp_path)}, summaries, "embedded", "me/model")
    assert str(tmp_path) not in card.content and card.data.base_model is None


def test_the_plan_lists_every_file(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"0" * 2_000_000)
    assert [(f.path, f.megabytes) for f in hub.plan_push(tmp_path, None)] == [("model.safetensors", 2.0), ("sub/a.json", 2e-06)]
    with pytest.raises(ValueError, match="your-name/model-name"):
        hub.plan_push(tmp_path, "model")
    with pytest.raises(FileNotFoundError, match="Run the cells above"):
        hub.plan_push(tmp_path / "none", None)


def test_without_a_token_nothing_is_tried(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(hub, "get_token", lambda: None)
    (tmp_path / "a").write_text("x")
    with pytest.raises(PermissionError, match="no Hub token.\nSet HF_TOKEN"):
        hub.push(tmp_path, "me/model")


def test_a_token_is_in_no_message(tmp_path, monkeypatch):
    """The server at this address is absent: whatever is raised must not show the token."""
    secret = "not-a-real-" + "token-123"
    monkeypatch.setenv("HF_TOKEN", secret)
    (tmp_path / "a").write_text("x")
    with pytest.raises(RuntimeError) as caught:
        hub.push(tmp_path, "me/model", endpoint="http://127.0.0.1:9")
    assert secret not in str(caught.value) and "run the cell again" in str(caught.value)
