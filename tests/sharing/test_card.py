"""A card that the library accepts and that says what was measured; a plan that uploads nothing; no token and no folder of this machine anywhere."""

import ast
import json

import pytest
from huggingface_hub import ModelCard

from helpers import evaluation
from helpers.evaluation import records
from helpers.recipes import RECIPES, Example
from helpers.sharing import card, hub
from tests.conftest import FIVE

MANIFEST = {
    "model": "Qwen/Qwen3-4B",
    "stage": "grpo",
    "seed": 0,
    "commit": None,
    "versions": {"trl": "1.15.0"},
    "fingerprint": {"lr": 1},
    "status": "finished",
}


def weights(folder):
    """A sound file of 2 MB."""
    import torch
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(500_000)}, folder / "model.safetensors", {"format": "pt"})


def results(recipe, data="embedded"):
    def graded(k):
        return [
            evaluation.grade(
                recipe,
                Example(f"p{i}", "3 + 4?", "", "7"),
                recipe.format.write("3 + 4 = 7", str(7 + i % 2)),
                9,
                True,
            )
            | k
            for i in range(10)
        ]

    found = {
        name: (graded({}), [line for k in range(4) for line in graded({"sample": k})])
        for name in ("base", "grpo")
    }
    return records.results(found, recipe.score) | {"data": data, "recipe": recipe.name}


@pytest.mark.parametrize("name", FIVE)
@pytest.mark.parametrize("form", ["adapter", "merged", "gguf"])
def test_the_card_is_valid_and_states_what_was_measured(name, form):
    recipe = RECIPES[name]
    made = card.model_card(
        recipe,
        MANIFEST,
        results(recipe, recipe.source.path),
        "me/model",
        {"form": form, "precision": "bf16"},
        ("rewards.png",),
    )
    again = ModelCard(made.content)
    assert again.data.to_dict() == made.data.to_dict() and again.data.model_name == "model"
    assert (
        again.data.base_model == "Qwen/Qwen3-4B"
        and again.data.datasets == [recipe.source.path]
        and again.data.license == "apache-2.0"
    )
    assert (
        again.data.base_model_relation
        == {"adapter": "adapter", "merged": "finetune", "gguf": "quantized"}[form]
    )
    strict = next(
        r for r in again.data.eval_results if r.metric_name.startswith("strict accuracy, greedy")
    )
    assert strict.metric_value == 0.5 and "[0.237, 0.763], n=10" in strict.metric_name
    assert {"accuracy", "reward", "score"} == {r.metric_type for r in again.data.eval_results}
    assert (
        "50.0% [23.7%, 76.3%]" in made.content
        and "10 held-out\nproblems" in made.content
        and recipe.system in made.content
    )
    assert (
        recipe.source.licence in made.content
        and f"enable_thinking={recipe.thinking}" in made.content
        and "images/rewards.png" in made.content
    )
    assert (
        "{{" not in made.content
        and len(made.data.run_hash) == 12
        and f"Run `{made.data.run_hash}`" in made.content
    )


@pytest.mark.parametrize(
    "system",
    ['say "hello"', 'three """ marks', "ends in \\", "a ``` fence", "{braces} {{ and }} %s"],
)
def test_odd_prompts_stay_what_they_are(system, recipe):
    from dataclasses import replace

    made = card.model_card(
        replace(recipe, system=system), MANIFEST, results(recipe), "me/model", {"form": "merged"}
    )
    assert system in made.content.split("````text\n")[1].split("\n````")[0]
    for snippet in (part.split("```\n")[0] for part in made.content.split("```python\n")[1:]):
        said = [
            node.value
            for node in ast.walk(ast.parse(snippet.removesuffix("```")))
            if isinstance(node, ast.Constant)
        ]
        assert system in said


@pytest.mark.parametrize("repo", ["", "model", "a;touch x/b", "../x"])
def test_a_card_needs_a_repository(repo, recipe):
    with pytest.raises(ValueError, match="your-name/model-name"):
        card.model_card(recipe, MANIFEST, results(recipe), repo, {})


def test_what_this_export_scored_itself_stands_beside(recipe):
    found = results(recipe)
    made = card.model_card(
        recipe, MANIFEST, found, "me/model", {"form": "merged"}, (), found["sampled"]["base"]
    )
    assert (
        "| these weights |" in made.content
        and [r.metric_name.split(" [")[0] for r in made.data.eval_results][-1]
        == "total reward, sampled, these weights"
    )


def test_folders_that_are_gone_are_no_ids(recipe):
    made = card.model_card(
        recipe,
        MANIFEST | {"model": "/home/alice/secret/base"},
        results(recipe, "/home/alice/data/rows.jsonl"),
        "me/model",
        {"form": "adapter"},
    )
    assert (
        "alice" not in made.content
        and made.data.base_model is None
        and made.data.datasets is None
        and made.data.license is None
    )


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_what_the_card_tells_to_run_is_python(form, recipe):
    made = card.model_card(recipe, MANIFEST, results(recipe), "me/model", {"form": form})
    snippets = [part.split("```")[0] for part in made.content.split("```python\n")[1:]]
    assert len(snippets) == (1 if form == "adapter" else 2)
    for snippet in snippets:
        compile(snippet, "card", "exec")
        assert "me/model" in snippet


def test_no_path_of_this_machine_is_in_a_card(recipe, tmp_path):
    made = card.model_card(
        recipe,
        MANIFEST | {"model": str(tmp_path)},
        results(recipe, str(tmp_path)),
        "me/model",
        {"form": "merged"},
    )
    assert str(tmp_path.parent) not in made.content and made.data.base_model is None


def test_a_stage_that_was_not_measured_has_no_card(recipe):
    with pytest.raises(ValueError, match="no results of sft.*\n.*03_eval"):
        card.model_card(recipe, MANIFEST | {"stage": "sft"}, results(recipe), "me/model", {})


@pytest.mark.parametrize("weights", [{"grpo": "0b"}, {"grpo": None}, {"sft": "0b"}, {"grpo": "0a"}])
def test_a_card_shows_no_other_models_numbers(weights, recipe):
    found, manifest = results(recipe) | {"weights": weights}, MANIFEST | {"adapter_hash": "0a"}
    if weights.get("grpo", "0a") == "0a":
        assert card.model_card(recipe, manifest, found, "me/model", {})
    else:
        with pytest.raises(
            ValueError, match="of another grpo adapter than this run's.\nRun 03_eval.ipynb again"
        ):
            card.model_card(recipe, manifest, found, "me/model", {})


def test_the_pictures_come_along(recipe, tmp_path):
    run, folder = tmp_path / "gsm8k_xml" / "grpo", tmp_path / "export"
    (run / "plots").mkdir(parents=True)
    (run.parent / "eval").mkdir()
    folder.mkdir()
    (run / "run.json").write_text(json.dumps(MANIFEST))
    (run / "plots" / "rewards.png").write_bytes(b"a")
    (run.parent / "eval" / "accuracy.png").write_bytes(b"b")
    card.write_card(folder, recipe, run, results(recipe), "me/model")
    assert {path.name for path in (folder / "images").iterdir()} == {
        "rewards.png",
        "accuracy.png",
    } and "images/accuracy.png" in (folder / "README.md").read_text()


def test_the_plan_lists_every_file(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.json").write_text("{}")
    (tmp_path / "half.part").write_text("x")
    weights(tmp_path)
    plan = hub.plan_push(tmp_path, None)
    assert [(f.path, f.megabytes) for f in plan.files] == [
        ("model.safetensors", 2.000104),
        ("sub/a.json", 2e-06),
    ]
    assert (
        "private" in str(plan)
        and "2.000 MB  in 2 files" in str(plan)
        and "PUBLIC" in str(hub.plan_push(tmp_path, "me/model", private=False))
    )


@pytest.mark.parametrize(
    "repo", ["model", "a/b/c", "me/mo del", "me/../x", "", "https://huggingface.co/me/model"]
)
def test_a_name_that_is_none_is_refused(repo, tmp_path):
    weights(tmp_path)
    with pytest.raises(ValueError, match="your-name/model-name"):
        hub.plan_push(tmp_path, repo)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no weights"):
        hub.plan_push(tmp_path, "me/model")
    with pytest.raises(FileNotFoundError, match="Export first"):
        hub.plan_push(tmp_path / "none", None)


@pytest.mark.parametrize(
    ("base", "refused"),
    [
        ("/home/me/base", True),
        ("C:\\\\models\\\\base", True),
        ("Qwen/Qwen3-4B", False),
        ("helpers/tiny/model", False),
    ],
)
def test_an_adapter_that_nobody_else_can_load_is_not_pushed(base, refused, tmp_path):
    weights(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "%s"}' % base)
    if refused:
        with pytest.raises(
            ValueError,
            match="adapter_config.json names a folder of this machine as its base .*\nPush the copy that notebook 04 makes",
        ):
            hub.plan_push(tmp_path, None)
    else:
        assert len(hub.plan_push(tmp_path, None).files) == 2
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(
        ValueError, match="is no adapter's configuration .JSONDecodeError.*\nExport it again"
    ):
        hub.plan_push(tmp_path, None)


def test_without_a_token_nothing_is_tried(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(hub, "get_token", lambda: None)
    weights(tmp_path)
    with pytest.raises(PermissionError, match="no Hub token.\nSet HF_TOKEN"):
        hub.push(tmp_path, "me/model")


def test_a_token_is_in_no_message(tmp_path, monkeypatch):
    """The server at this address is absent: whatever is raised must not show the token."""
    monkeypatch.setenv("HF_TOKEN", secret := "not-a-real-" + "token-123")
    weights(tmp_path)
    with pytest.raises(RuntimeError) as caught:
        hub.push(tmp_path, "me/model", endpoint="http://127.0.0.1:9", tries=1)
    assert secret not in str(caught.value) and "run it again" in str(caught.value)


@pytest.mark.parametrize("error", ["BackendError", "CredentialError", "ConnectionError"])
def test_kaggle_s_secrets(error, monkeypatch):
    """A stand-in for Kaggle's module: it raises what Kaggle's does, or gives the secret."""
    import sys
    import types

    module = types.ModuleType("kaggle_secrets")
    module.BackendError, module.CredentialError = (
        type("BackendError", (Exception,), {}),
        type("CredentialError", (Exception,), {}),
    )

    class Client:
        def get_secret(self, label):
            if wanted:
                raise {"ConnectionError": ConnectionError}.get(wanted) or getattr(module, wanted)
            return "kept " + label

    module.UserSecretsClient, wanted = Client, error
    monkeypatch.setitem(sys.modules, "kaggle_secrets", module)
    monkeypatch.setattr(hub, "place", lambda: "kaggle")
    monkeypatch.setattr(hub, "get_token", lambda: None)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(PermissionError, match="no Hub token"):
        hub.token()
    wanted = None
    assert hub.token() == "kept HF_TOKEN"
    wanted = error
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub.kaggle_token() is None
