"""`python -m helpers evaluate`: adapters, whole models, several bases; one load each; by vLLM."""

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers import data, evaluation, training
from helpers.evaluation.generating import stored_state
from helpers.machine import file_hash
from helpers.recipes import RECIPES
from helpers.runs import write_json, write_lines
from helpers.tiny.schemas import rows_for
from helpers.training import Adapter
from tests.conftest import fails, works
from tests.learning import BASE
from tests.sharing.test_export import change_json, make_adapter, variant

from safetensors.torch import load_file, save_file  # isort: skip  (after Unsloth)


@pytest.fixture(scope="module")
def small(recipe):
    settings = replace(recipe.evaluation, problems=4, samples=2, batch=16)
    return replace(recipe, evaluation=settings)


@pytest.fixture(scope="module")
def adapter(recipe, machine, tmp_path_factory):
    """An adapter that says something else than the base, in a run's folder `grpo/adapter`."""
    folder = tmp_path_factory.mktemp("trained") / "grpo" / "adapter"
    return make_adapter(BASE, folder, recipe, machine, 0.02).folder


@pytest.fixture(scope="module")
def measured(small, machine):
    """Evaluates what names mean; the records of each, greedy and sampled."""
    splits = data.load(small, None, "cpu")

    def measure(names, folder, vllm=False, **options):
        chosen = evaluation.find_candidates([str(name) for name in names], small, **options)
        here = replace(machine, vllm=vllm)
        return evaluation.evaluate_all(chosen, small, here, splits, folder, vllm=vllm)[0]

    return measure


def test_names_are_understood(recipe, adapter, tmp_path):
    other = shutil.copytree(adapter, tmp_path / "my adapter.v2")
    base = shutil.copytree(BASE, tmp_path / "base")
    names = [str(adapter), str(other), "Qwen/Qwen3-4B", str(adapter), str(base)]
    found = evaluation.find_candidates(names, recipe, with_base=True)
    labels = ["base", "grpo", "my-adapter-v2", "Qwen3-4B", "grpo-2", "base-2"]
    assert [candidate.label for candidate in found] == labels
    folders = [candidate.adapter and candidate.adapter.folder for candidate in found]
    assert folders == [None, adapter, other, None, adapter, None]
    trained_on = found[1].adapter.base
    assert [c.base for c in found] == [trained_on] * 3 + ["Qwen/Qwen3-4B", trained_on, str(base)]
    # A whole model is measured as it is stored.
    assert [c.four_bit for c in found] == [True, True, True, False, True, False]
    found = evaluation.find_candidates(names, recipe, use_4bit=False)
    assert not any(candidate.four_bit for candidate in found)
    run = {
        "status": "finished",
        "recipe": recipe.name,
        "settings": {"lora": {"load_in_4bit": False}},
    }
    of_run = shutil.copytree(adapter, tmp_path / "run" / "adapter")
    write_json(of_run.with_name("run.json"), run)
    found = evaluation.find_candidates([str(of_run)], recipe, with_base=True)
    assert [c.four_bit for c in found] == [False, False]  # as it was trained
    with pytest.raises(ValueError, match="no base to add.\nLeave --base out"):
        evaluation.find_candidates([str(base)], recipe, with_base=True)


def test_one_load_for_a_base_and_its_adapters(adapter, measured, tmp_path, monkeypatch):
    """Each answers as it does alone, also after the others and under the name `default`."""
    default = variant(Adapter.read(adapter), tmp_path / "default", lora_alpha=1000).folder
    scaled = shutil.copytree(default, tmp_path / "scaled")
    loads, load = [], training.load
    monkeypatch.setattr(training, "load", lambda *args: loads.append(args[0]) or load(*args))
    names = [adapter, default, scaled, adapter]
    found = measured(names, tmp_path / "together", with_base=True)
    assert len(loads) == 1
    assert list(found) == ["base", "grpo", "default", "scaled", "grpo-2"]
    assert [len(records) for records in found["base"]] == [4, 8]
    assert found["grpo"] == found["grpo-2"] != found["base"]
    assert found["default"] == found["scaled"] != found["grpo"]
    whole = measured([BASE], tmp_path / "whole", use_4bit=True)
    assert list(whole.values()) == [found["base"]]
    shutil.copy(adapter / "adapter_config.json", scaled)  # its records are of another scale
    assert measured([scaled], tmp_path / "together")["scaled"] == found["grpo"]
    mixed = measured([adapter, BASE, adapter], tmp_path / "mixed")
    assert list(mixed) == ["grpo", "model", "grpo-2"]  # in the order that was asked for
    assert mixed["grpo"] == found["grpo"]  # as after others


def test_the_command_measures_and_reports(adapter, tmp_path):
    out = tmp_path / "out"
    asked = ["--base", adapter, "--max_samples", 5, "--samples", 2, "--output_dir", out]
    shown = works("evaluate", *asked, "--control")
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["greedy"]) == ["base", "grpo"]
    assert summary["greedy"]["grpo"]["n"] == summary["control"]["grpo"]["fresh"]["n"] == 5
    assert summary["sampled"]["grpo"]["completions"] == 10
    assert (out / "report.html").is_file() and "report.html" in shown
    assert "base → grpo" in shown and "\nbase " in shown
    written = {path.name: path.stat().st_mtime_ns for path in out.glob("*.jsonl")}
    works("evaluate", *asked, "--control")
    again = {path.name: path.stat().st_mtime_ns for path in out.glob("*.jsonl")}
    assert written == again  # read, not made again


def test_an_adapter_is_judged_by_the_recipe_that_it_learned(adapter, tmp_path):
    """By the first one's where they differ, with a warning; by another only if asked for."""
    runs = []
    for name in ("gsm8k_hash", "gsm8k_xml"):
        runs.append(shutil.copytree(adapter, tmp_path / name / "grpo" / "adapter"))
        held = {"settings": training.settings_of(RECIPES[name]), "recipe": name}
        write_json(tmp_path / name / "grpo" / "run.json", held | {"status": "finished"})
    for names, judge, warned in (
        (runs[:1], "gsm8k_hash", False),
        (runs, "gsm8k_hash", True),
        (runs[1:], "gsm8k_xml", False),
        ([adapter], "gsm8k_xml", False),
        ([*runs[:1], "--recipe", "gsm8k_xml"], "gsm8k_xml", False),
    ):
        unread = ("--dataset", "./none.csv", "--out", tmp_path / "out")
        shown = fails("no folder at ./none.csv", "evaluate", *names, *unread)
        assert f"judged by {judge}\n" in shown
        warning = "warning: the adapters are of different recipes (gsm8k_hash, gsm8k_xml)"
        assert (warning in shown) is warned


def test_an_export_says_which_recipe_it_learned(tmp_path):
    for name, recipe in (("foreign", None), ("merged", "gsm8k_hash"), ("other", "dapo_think")):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "export.json", {"recipe": recipe})
    foreign, merged, other = (str(tmp_path / name) for name in ("foreign", "merged", "other"))
    names = [foreign, merged, BASE, "nobody/nothing", other]
    assert evaluation.recipes_of(names) == ["gsm8k_hash", "dapo_think"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody/no..thing", "--recipe", "gsm8k_xml"], "a Hub id (and check the network)"),
        (["outputs/gsm8k_xml/none/adapter"], "There is no model and no adapter at outputs/gsm8k_x"),
        (["./nothing"], "no adapter at ./nothing"),
        (["nothing"], "no adapter and no model in 'nothing'.\nName an adapter, such as outputs/"),
        (["RUNS"], "no adapter and no model in 'RUNS'.\nName an adapter, such as RUNS/sft/adapter"),
        (["CUT"], "is damaged (SafetensorError"),
        (["MOVED"], "was trained on /not/here, which is not here.\nSet --model"),
        ([BASE, "--problems", "2", "--vllm", "colocate"], "vLLM is not installed"),
    ],
)
def test_what_cannot_be_measured_is_said_in_two_lines(words, said, adapter, tmp_path, monkeypatch):
    """CUT: an adapter whose file is cut off. MOVED: one whose base is not there any more."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(adapter, "RUNS/sft/adapter")
    cut = shutil.copytree(adapter, "CUT") + "/adapter_model.safetensors"
    os.truncate(cut, 1000)
    settings = Path(shutil.copytree(adapter, "MOVED"), "adapter_config.json")
    change_json(settings, base_model_name_or_path="/not/here")
    fails(said, "evaluate", *words, "--out", "out")


def test_the_summary_says_which_adapters_answered(recipe, adapter, measured, tmp_path):
    """Also after one was trained anew; and only for those that lie beside: only they get a card."""
    sft, own = (shutil.copytree(adapter, tmp_path / name / "adapter") for name in ("sft", "grpo"))
    weights = own / "adapter_model.safetensors"
    trained, tensors = file_hash(weights), load_file(weights)
    folder = tmp_path / "eval"
    found = measured([sft, own], folder, with_base=True)
    results = evaluation.results(found, recipe)
    evaluation.draw(found, results, folder)
    summary = evaluation.conclude(found, results, recipe, folder, "embedded", {})
    assert summary["weights"] == {"sft": trained, "grpo": trained}
    name = next(name for name in tensors if "lora_B" in name)
    save_file(tensors | {name: tensors[name] + 0.01}, weights)
    summary = evaluation.conclude(found, results, recipe, folder, "embedded", {})
    assert summary["weights"] == {"sft": trained, "grpo": None}  # what lies there did not answer


def vllm_package(engines, calls, recipe, machine):
    """A stand-in for vLLM that answers by the tiny model and takes what vLLM's manual says."""

    class LLM:
        def __init__(
            self, model, dtype, enable_lora, max_lora_rank, seed, max_model_len, quantization
        ):
            engines.append((max_lora_rank, quantization))
            self.base = model

        def generate(self, prompts, settings, lora_request):
            calls.append((lora_request, settings))
            name = Adapter.read(lora_request[2]) if lora_request else self.base
            model, tokenizer = training.load(name, recipe, machine)
            limit, temperature = settings[0]["max_tokens"], settings[0]["temperature"]
            prompts = [tokenizer.decode(prompt["prompt_token_ids"]) for prompt in prompts]
            outputs = []
            for r in training.generate(model, tokenizer, prompts, limit, temperature):
                end = "stop" if r.finished else "length"
                reply = SimpleNamespace(text=r.text, token_ids=[0] * r.tokens, finish_reason=end)
                outputs.append(SimpleNamespace(outputs=[reply]))
            return outputs

    request = SimpleNamespace(LoRARequest=lambda *args: args)
    lora = SimpleNamespace(request=request)
    package = SimpleNamespace(LLM=LLM, SamplingParams=dict, lora=lora)
    return {"vllm": package, "vllm.lora": lora, "vllm.lora.request": request}


def test_vllm_is_used_if_asked_for(small, machine, adapter, measured, tmp_path, monkeypatch):
    engines, calls = [], []
    for name, part in vllm_package(engines, calls, small, machine).items():
        monkeypatch.setitem(sys.modules, name, part)
    found = measured([adapter], tmp_path / "vllm", vllm=True, with_base=True)
    ours = measured([adapter], tmp_path / "ours", with_base=True)
    assert [greedy for greedy, _ in found.values()] == [greedy for greedy, _ in ours.values()]
    state = stored_state(tmp_path / "vllm" / "grpo_greedy.jsonl")
    assert state["adapter"] == stored_state(tmp_path / "ours" / "grpo_greedy.jsonl")["adapter"]
    assert engines == [(small.lora.r, "bitsandbytes")]
    requests = [request for request, _ in calls]
    assert requests[:2] == [None, None] and requests[2] == requests[3]
    assert requests[2][1] > 0 and requests[2][2] == str(adapter)
    greedy, drawn = calls[0][1], calls[1][1]
    assert greedy[0]["temperature"] == 0.0
    assert len({settings["seed"] for settings in drawn}) == len(drawn) == 8
    assert drawn[0]["temperature"] == small.grpo.temperature
    assert drawn[0]["max_tokens"] == small.grpo.max_completion and drawn[0]["stop_token_ids"]


def test_problems_that_were_trained_on_are_counted(recipe, tmp_path):
    own = str(tmp_path / "own.jsonl")
    write_lines(Path(own), rows_for("openai/gsm8k", "train", 40))
    adapter = SimpleNamespace(run=SimpleNamespace(manifest={"dataset": own}))
    learned = data.load(recipe, own, "cpu")["train"].examples[:3]
    asked = [*learned, *data.load(recipe, "embedded", "cpu")["test"].take(4)]
    for place, count in (("others.jsonl", 3), (own, 0)):
        assert evaluation.learned_from([adapter], recipe, asked, place) == count
    Path(own).write_text('{"question": "Expand.", "answer": "2x + 2"}\n' * 9)  # of another recipe
    assert evaluation.learned_from([adapter], recipe, asked, "others.jsonl") == 0
    Path(own).unlink()
    with pytest.raises(
        FileNotFoundError, match="learned from .*own.jsonl, which is not here.\nSet"
    ):
        evaluation.rows_of([adapter])
    adapter.run.manifest["dataset"] = "../rows/own.csv"
    with pytest.raises(FileNotFoundError, match="learned from ../rows/own.csv, which is not here"):
        evaluation.rows_of([adapter])
