"""A card is valid, says what was measured, and names no folder of this machine."""

import ast
import json
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from helpers import evaluation, sharing
from helpers.recipes import RECIPES, Example
from helpers.runs import Run
from helpers.sharing.export import public_name
from helpers.training import settings_of
from tests.conftest import FIVE

KINDS = {"adapter": "adapter", "merged": "finetune", "gguf": "quantized"}


def results(recipe, data="embedded"):
    """Those of base and GRPO, each right at every second of ten problems."""
    greedy = []
    for i in range(10):
        example = Example(f"p{i}", "3 + 4?", "", "7")
        text = recipe.format.write("3 + 4 = 7", str(7 + i % 2))
        greedy.append(evaluation.grade(recipe, example, text, 9, True))
    sampled = [replace(record, sample=sample) for sample in range(4) for record in greedy]
    found = dict.fromkeys(("base", "grpo"), (greedy, sampled))
    return evaluation.results(found, recipe) | {"data": data, "recipe": recipe.name}


def snippets(card, form):
    """The Python that a card tells to run."""
    found = [part.split("```\n")[0] for part in card.split("```python\n")[1:]]
    assert len(found) == (1 if form == "adapter" else 2)
    return found


@pytest.fixture
def write(tmp_path):
    """Writes a card as `write_card`; the manifest can be changed."""

    def card(
        recipe,
        form="merged",
        found=None,
        repo="me/model",
        own=None,
        precision=None,
        folder="grpo",
        **more,
    ):
        manifest = {"model": "Qwen/Qwen3-4B", "stage": "grpo", "seed": 0, "commit": None}
        manifest |= {"settings": settings_of(recipe), "versions": {"trl": "1.15.0"}}
        manifest |= {"fingerprint": {"lr": 1}, "steps": 5} | more
        run = Run(tmp_path / recipe.name / folder, manifest)
        origin = {"base": public_name(manifest["model"])}
        export = sharing.Export(tmp_path / "export", form, precision, origin)
        export.folder.mkdir(exist_ok=True)
        found = found or results(recipe)
        return sharing.write_card(export, recipe, run, found, repo, own)

    return card


@pytest.mark.parametrize("name", FIVE)
@pytest.mark.parametrize("form", KINDS)
def test_the_card_is_valid_and_states_what_was_measured(name, form, write):
    recipe = RECIPES[name]
    made = write(recipe, form, results(recipe, recipe.source.path), precision="bf16")
    text, data = made.content, ModelCard(made.content).data
    assert data.to_dict() == made.data.to_dict() and data.model_name == "model"
    assert (data.base_model, data.base_model_relation) == ("Qwen/Qwen3-4B", KINDS[form])
    assert data.datasets == [recipe.source.path] and data.license == "apache-2.0"
    strict = data.eval_results[0]
    assert strict.metric_name.startswith("strict accuracy, greedy") and strict.metric_value == 0.5
    assert "[0.237, 0.763], n=10" in strict.metric_name
    assert {"accuracy", "reward", "score"} == {r.metric_type for r in data.eval_results}
    shown = ("50.0% [23.7%, 76.3%]", "10 held-out\nproblems", recipe.system, "(bf16)")
    for words in (*shown, recipe.source.licence, f"enable_thinking={recipe.thinking}"):
        assert words in text, words
    last = "box, else the last number," if "boxed" in recipe.format.name else "number"
    assert f"Flexible: the last {last} anywhere is right." in text
    assert f"at most {recipe.maximum:g}." in text
    assert "| grpo | 5 steps trained; " in text  # which may be fewer than are set
    assert "{{" not in text and "{%" not in text
    assert len(data.run_hash) == 12 and f"Run `{data.run_hash}`" in text


ODD = ['say "hello"', 'three """ marks', "ends in \\", "a ``` fence", "{braces} {{ and }} {% %s"]


@pytest.mark.parametrize("system", ODD)
@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_what_the_card_tells_to_run_is_python_with_the_prompt_as_it_is(system, form, recipe, write):
    text = write(replace(recipe, system=system), form).content
    assert system in text.split("````text\n")[1].split("\n````")[0]
    for snippet in snippets(text, form):
        tree = ast.parse(snippet)
        said = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        assert system in said and "me/model" in said


def test_what_this_export_scored_itself_stands_beside(recipe, write):
    found = results(recipe)
    made = write(recipe, found=found, own=found["sampled"]["base"])
    assert "| these weights |" in made.content
    last = made.data.eval_results[-1].metric_name
    assert last.startswith("total reward, sampled, these weights [")


def test_no_folder_of_this_machine_is_in_a_card(recipe, write, tmp_path):
    """One that is there, and one that is gone, which is no id of the Hub either."""
    for place in (str(tmp_path), "/home/alice/secret/base"):
        made = write(recipe, found=results(recipe, f"{place}/rows.jsonl"), model=place)
        assert "alice" not in made.content and str(tmp_path.parent) not in made.content
        assert made.data.base_model is None and made.data.datasets is None
        assert made.data.license is None
        name = place.rpartition("/")[2]
        assert f"says `{name}`, put its Hub id." in made.content
    assert "put its Hub id" not in write(recipe).content


def test_a_card_shows_no_other_models_numbers(recipe, write):
    found = results(recipe)
    assert write(recipe, found=found | {"weights": {"grpo": "0a"}}, adapter_hash="0a")
    assert write(recipe, found=found | {"weights": {"sft": "0b"}}, adapter_hash="0a")
    for weights in ({"grpo": "0b"}, {"grpo": None}):
        with pytest.raises(ValueError, match="of another grpo adapter than this run's.\nRun 03_"):
            write(recipe, found=found | {"weights": weights}, adapter_hash="0a")
    with pytest.raises(ValueError, match="no results of sft.\nRun 03_eval"):
        write(recipe, folder="sft")
    for part in ("greedy", "sampled"):  # a run that was put aside and evaluated there
        found[part]["grpo-before"] = found[part].pop("grpo")
    assert write(
        recipe,
        found=found | {"weights": {"grpo-before": "0a"}},
        folder="grpo-before",
        adapter_hash="0a",
    )


def test_the_pictures_come_along_and_old_ones_go(recipe, write, tmp_path):
    images = tmp_path / "export" / "images"
    for path in ("gsm8k_xml/grpo/plots/rewards.png", "gsm8k_xml/eval/accuracy.png"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"a")
    images.mkdir(parents=True)
    (images / "losses.png").write_bytes(b"old")
    write(recipe)
    assert {path.name for path in images.iterdir()} == {"rewards.png", "accuracy.png"}
    text = (tmp_path / "export" / "README.md").read_text()
    assert "![Accuracy by stage](images/accuracy.png)" in text and "losses" not in text


def test_a_push_puts_its_repository_where_the_card_names_nobodys(recipe, write, tmp_path):
    write(recipe, repo=f"{sharing.OWNER}{recipe.name}")
    card = tmp_path / "export" / "README.md"
    before = card.read_text()
    sharing.name_card(card.parent, "me/model")
    assert sharing.OWNER in before
    assert card.read_text() == before.replace(f"{sharing.OWNER}{recipe.name}", "me/model")


def test_only_steps_of_the_adapter_that_it_went_on_from_are_told(write, tmp_path):
    """A run that is kept names the folder of an SFT that has been trained anew since."""
    recipe = RECIPES["gsm8k_xml"]
    folder = tmp_path / "other" / "sft"
    made = {"stage": "sft", "steps": 9, "adapter_hash": "a", "status": "finished"}
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(made))
    for learned, told in (("a", True), ("b", False)):
        text = write(recipe, parent=str(folder / "adapter"), parent_hash=learned).content
        assert ("| sft | 9 steps trained; " in text) is told
    (folder / "run.json").write_text(json.dumps(made | {"stage": "grpo"}))
    text = write(recipe, parent=str(folder / "adapter"), parent_hash="a").content
    assert "| grpo | 14 steps trained; " in text  # 9 and, going on from there, 5
