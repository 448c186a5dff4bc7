"""`python -m helpers evaluate`: adapters, whole models, several bases; one load each; refused, resumed, by vLLM."""

import json
import shutil
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
from typer.testing import CliRunner

from helpers import data, evaluation
from helpers.__main__ import app
from helpers.evaluation import candidates, grading
from helpers.machine.computer import file_hash, random_state
from helpers.runs.run import append_lines, read_lines, write_json
from helpers.training import models
from helpers.training import trainers as training
from tests.conftest import held_by_another
from tests.learning import BASE

from safetensors.torch import load_file, save_file  # isort: skip  (after Unsloth)


@pytest.fixture(scope="module")
def adapter(recipe, machine, tmp_path_factory):
    """An adapter that says something else than the base, in a run's folder `grpo/adapter`."""
    import torch

    folder = tmp_path_factory.mktemp("trained") / "grpo" / "adapter"
    model, tokenizer = models.load(BASE, recipe, machine)
    model = models.add_lora(model, recipe, machine, 0)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.02 * torch.randn_like(parameter)
    training.save_adapter(model, tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def splits(recipe):
    return data.load(recipe, None, "tiny")


def test_names_are_understood(recipe, adapter, tmp_path):
    other = shutil.copytree(adapter, tmp_path / "my adapter.v2")
    found = candidates.find_candidates(
        [str(adapter), str(other), "Qwen/Qwen3-4B", str(adapter)], recipe, with_base=True
    )
    assert [c.label for c in found] == ["base", "grpo", "my-adapter-v2", "Qwen3-4B", "grpo-2"]
    assert (
        [c.adapter for c in found] == [None, adapter, other, None, adapter]
        and found[0].base == found[1].base
        and found[3].base == "Qwen/Qwen3-4B"
    )
    assert [c.four_bit for c in found] == [
        True,
        True,
        True,
        False,
        True,
    ]  # a whole model is measured as it is stored
    assert not any(
        c.four_bit for c in candidates.find_candidates([str(adapter)], recipe, use_4bit=False)
    )


def test_the_base_is_the_base_whatever_else_is_called_so(
    recipe, machine, adapter, splits, tmp_path
):
    """A model's folder called base, before and after: --base adds the adapter's own, and tables keep the order that was asked for."""
    other = shutil.copytree(BASE, tmp_path / "base")
    found = candidates.find_candidates([str(other), str(adapter)], recipe, with_base=True)
    assert (
        [c.label for c in found] == ["base-2", "base", "grpo"]
        and found[0].base == found[2].base
        and found[1].base == str(other)
    )
    chosen = candidates.find_candidates([str(adapter), str(other), str(adapter)], recipe)
    results, _ = candidates.evaluate_all(
        chosen, recipe, machine, splits, tmp_path / "out", problems=1, samples=2
    )
    assert list(results) == ["grpo", "base", "grpo-2"]
    assert list(evaluation.results(results, recipe.score)["compare"]) == [
        "grpo → base",
        "base → grpo-2",
    ]  # with a single problem, too
    with pytest.raises(ValueError, match="no base to add.\nLeave --base out"):
        candidates.find_candidates([str(other)], recipe, with_base=True)
    config = shutil.copytree(adapter, tmp_path / "moved") / "adapter_config.json"
    config.write_text(config.read_text().replace(found[0].base, "/not/here"))
    with pytest.raises(FileNotFoundError, match="was trained on /not/here, which is not there"):
        candidates.find_candidates([str(tmp_path / "moved")], recipe)


def test_a_folder_called_default_answers_with_its_own_adapter(
    recipe, machine, adapter, splits, tmp_path
):
    """What was loaded with the model is its adapter "default": another rank did not fit there, and another scale was not taken."""
    for name in ("default", "other"):
        config = shutil.copytree(adapter, tmp_path / name) / "adapter_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_alpha": 1000}))
    chosen = candidates.find_candidates(
        [str(adapter), str(tmp_path / "default"), str(tmp_path / "other")], recipe
    )
    found, _ = candidates.evaluate_all(
        chosen, recipe, machine, splits, tmp_path / "out", problems=2, samples=2
    )
    assert found["default"] == found["other"] != found["grpo"]
    shutil.copy(adapter / "adapter_config.json", tmp_path / "other")
    chosen = candidates.find_candidates([str(tmp_path / "other")], recipe)
    found_now, _ = candidates.evaluate_all(
        chosen, recipe, machine, splits, tmp_path / "out", problems=2, samples=2
    )
    assert found_now["other"] == found["grpo"]  # not the records of the other scale


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no adapter's configuration"),
        ("{}", "is no adapter's configuration"),
        ("[]", "is no adapter's configuration"),
        ('{"base_model_name_or_path": null}', "is no adapter's configuration"),
    ],
)
def test_a_broken_adapter_is_named(recipe, content, words, tmp_path):
    (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(ValueError, match=words + r".*\n\w"):
        candidates.find_candidates([str(tmp_path)], recipe)


@pytest.mark.parametrize("words", [["evaluate"], ["grpo", "--adapter"]])
def test_a_damaged_adapter_stops_a_command_at_once(words, adapter, tmp_path):
    """Cut off, of another rank than its configuration says, and of no numbers."""
    import torch
    from safetensors.torch import load_file, save_file

    cut, ranked, nan = (
        shutil.copytree(adapter, tmp_path / name) for name in ("cut", "ranked", "nan")
    )
    (cut / "adapter_model.safetensors").write_bytes(
        (adapter / "adapter_model.safetensors").read_bytes()[:1000]
    )
    (ranked / "adapter_config.json").write_text(
        json.dumps(json.loads((adapter / "adapter_config.json").read_text()) | {"r": 7})
    )
    save_file(
        {
            name: torch.full_like(w, float("nan"))
            for name, w in load_file(adapter / "adapter_model.safetensors").items()
        },
        nan / "adapter_model.safetensors",
    )
    for folder, said in (
        (cut, "SafetensorError"),
        (ranked, "says r = 7"),
        (nan, "NaN or infinite numbers"),
    ):
        done = CliRunner().invoke(app, [*words, str(folder), "--output_dir", str(tmp_path / "out")])
        assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.exception
        assert (
            f"error: The adapter in {folder} is damaged (" in done.output
            and said in done.output
            and done.output.endswith("\nTrain it again, or name another one.\n")
        )


def test_one_load_for_a_base_and_its_adapters(
    recipe, machine, adapter, splits, tmp_path, monkeypatch
):
    """Base, adapter, and the same adapter: loaded once, and each answers as it does alone, also after the others."""
    loads, load = [], models.load
    monkeypatch.setattr("helpers.training.load", lambda *args: loads.append(args[0]) or load(*args))
    small = replace(recipe, evaluation=replace(recipe.evaluation, batch=16))
    chosen = candidates.find_candidates([str(adapter), str(adapter)], small, with_base=True)
    found, _ = candidates.evaluate_all(
        chosen, small, machine, splits, tmp_path / "together", problems=6, samples=2
    )
    assert len(loads) == 1 and list(found) == ["base", "grpo", "grpo-2"]
    assert found["grpo"] == found["grpo-2"] != found["base"] and [
        len(part) for part in found["base"]
    ] == [6, 12]
    alone, _ = candidates.evaluate_all(
        candidates.find_candidates([str(adapter)], small),
        small,
        machine,
        splits,
        tmp_path / "alone",
        problems=6,
        samples=2,
    )
    base, _ = candidates.evaluate_all(
        candidates.find_candidates([BASE], small, use_4bit=True),
        small,
        machine,
        splits,
        tmp_path / "base",
        problems=6,
        samples=2,
    )
    assert alone["grpo"] == found["grpo"] and next(iter(base.values())) == found["base"]


def test_the_command_measures_and_reports(adapter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = [
        "evaluate",
        "--base",
        str(adapter),
        "--max_samples",
        "5",
        "--samples",
        "2",
        "--output_dir",
        str(tmp_path / "out"),
        "--control",
    ]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, (done.output, done.exception)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (
        list(summary["greedy"]) == ["base", "grpo"]
        and summary["greedy"]["grpo"]["n"] == 5
        and summary["control"]["grpo"]["fresh"]["n"] == 5
    )
    assert (tmp_path / "out" / "report.html").is_file() and "base → grpo" in done.output
    assert (
        "\nbase " in done.output and "report.html" in done.output and "Traceback" not in done.output
    )
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.jsonl")}
    assert CliRunner().invoke(app, asked).exit_code == 0
    assert before == {
        path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.jsonl")
    }  # read, not made again


def test_an_adapter_is_judged_by_the_recipe_that_it_learned(adapter, tmp_path):
    """By the first one's where they differ, with a warning; by another one only if that is asked for."""
    runs = []
    for name in ("gsm8k_hash", "gsm8k_xml"):
        runs.append(str(shutil.copytree(adapter, tmp_path / name / "grpo" / "adapter")))
        write_json(tmp_path / name / "grpo" / "run.json", {"status": "finished", "recipe": name})
    for names, judge, warned in (
        (runs[:1], "gsm8k_hash", False),
        (runs, "gsm8k_hash", True),
        (runs[1:], "gsm8k_xml", False),
        ([str(adapter)], "gsm8k_xml", False),
        ([*runs[:1], "--recipe", "gsm8k_xml"], "gsm8k_xml", False),
    ):
        done = CliRunner().invoke(
            app, ["evaluate", *names, "--dataset", "./none.csv", "--out", str(tmp_path / "out")]
        )
        assert (
            f"judged by {judge}\n" in done.output
            and (
                "warning: the adapters are of different recipes (gsm8k_hash, gsm8k_xml)"
                in done.output
            )
            is warned
        )
    done = CliRunner().invoke(
        app,
        ["evaluate", runs[0], "--problems", "1", "--samples", "1", "--out", str(tmp_path / "out")],
    )
    assert (
        done.exit_code == 0
        and json.loads((tmp_path / "out" / "summary.json").read_text())["recipe"] == "gsm8k_hash"
    ), done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["nobody/no..thing", "--recipe", "gsm8k_xml"],
            "Check the network and the id, or set MODEL",
        ),
        (
            ["outputs/gsm8k_xml/none/adapter"],
            "There is no model and no adapter at outputs/gsm8k_xml/none/adapter",
        ),
        (["./nothing"], "no adapter at ./nothing"),
        ([BASE, "--recipe", "gsm9k"], "Unknown recipe 'gsm9k'"),
        ([BASE, "--dataset", "./none.csv"], "There is nothing at ./none.csv"),
        ([BASE, "--problems", "2", "--vllm"], "vLLM is not installed"),
    ],
)
def test_what_cannot_be_measured_is_said_in_two_lines(words, said, tmp_path):
    done = CliRunner().invoke(app, ["evaluate", *words, "--out", str(tmp_path / "out")])
    assert (
        done.exit_code == 1
        and said in done.stderr
        and "Traceback" not in done.output
        and len(done.stderr.strip().splitlines()) <= 3
    )


def test_an_export_says_which_recipe_it_learned(tmp_path):
    for name, recipe in (("merged", "gsm8k_hash"), ("other", "dapo_think")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "export.json").write_text(json.dumps({"recipe": recipe}))
    assert candidates.recipes_of(
        [str(tmp_path / "merged"), BASE, "nobody/nothing", str(tmp_path / "other")]
    ) == ["gsm8k_hash", "dapo_think"]


def test_records_of_another_model_are_refused_and_kept(
    recipe, machine, splits, adapter, tmp_path, capsys
):
    path, problems = tmp_path / "mine.jsonl", splits["test"].take(4)
    model, tokenizer = models.load(BASE, recipe, machine)
    first = evaluation.evaluate(model, tokenizer, recipe, problems, path)
    other, _ = models.load(str(adapter), recipe, machine)
    second = evaluation.evaluate(other, tokenizer, recipe, problems, path)
    assert (
        second != first
        and read_lines(path) == second
        and read_lines(tmp_path / "mine-before.jsonl") == first
    )
    assert (
        "mine.jsonl held records of something else, kept as mine-before.jsonl: weights: "
        in capsys.readouterr().out
    )
    (tmp_path / "mine.json").write_text("[]")  # nothing says any more whose records these are
    assert (
        evaluation.evaluate(other, tokenizer, recipe, problems, path) == second
        and read_lines(tmp_path / "mine-before-2.jsonl") == second
    )
    assert (
        "kept as mine-before-2.jsonl: no fingerprint beside them" in capsys.readouterr().out
        and read_lines(tmp_path / "mine-before.jsonl") == first
    )


def test_two_processes_do_not_mix_their_records(recipe, machine, splits, tmp_path):
    """The second one is told; records in which an answer stands twice, finished or not, are made again."""
    path, problems = tmp_path / "mine.jsonl", splits["test"].take(4)
    model, tokenizer = models.load(BASE, recipe, machine)
    with (
        held_by_another(path),
        pytest.raises(
            RuntimeError,
            match="Another process is evaluating into .*mine.jsonl.\nStop it .* or set OUTPUT",
        ),
    ):
        evaluation.evaluate(model, tokenizer, recipe, problems, path)
    first = evaluation.evaluate(model, tokenizer, recipe, problems, path)
    state = grading.stored_state(path)
    grading.write_records(path, first[:2] * 2)
    write_json(tmp_path / "mine.json", state | {"records": file_hash(path)})
    assert evaluation.evaluate(model, tokenizer, recipe, problems, path) == first
    path.rename(tmp_path / "away")
    append_lines(
        tmp_path / "mine.jsonl.part", [r | {"place": n} for n, r in enumerate(first[:2])] * 2
    )
    write_json(
        tmp_path / "mine.json",
        {key: value for key, value in state.items() if key != "records"}
        | {"random": random_state()},
    )
    assert evaluation.evaluate(model, tokenizer, recipe, problems, path) == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["away", "mine.json", "mine.jsonl"]


def test_the_summary_says_which_adapters_answered(
    recipe, machine, adapter, splits, tmp_path, capsys
):
    """Also after one was trained anew, and only for those that lie beside: the rest are somebody's, and have no card here."""
    own, eval_ = shutil.copytree(adapter, tmp_path / "grpo" / "adapter"), tmp_path / "eval"
    shutil.copytree(adapter, tmp_path / "sft" / "adapter")
    weights, trained = (
        own / "adapter_model.safetensors",
        file_hash(own / "adapter_model.safetensors"),
    )
    (tmp_path / "grpo" / "run.json").write_text(
        json.dumps({"status": "finished", "parent_hash": trained})
    )
    chosen = candidates.find_candidates(
        [str(tmp_path / "sft" / "adapter"), str(own)], recipe, with_base=True
    )
    found, _ = candidates.evaluate_all(
        chosen, recipe, machine, splits, eval_, problems=2, samples=2
    )
    assert (
        candidates.conclude(found, recipe, eval_, "embedded", {})["weights"]
        == {"sft": trained, "grpo": trained}
        and "another sft" not in capsys.readouterr().out
    )
    tensors = load_file(weights)
    assert candidates.is_in(
        weights,
        models.adapter_identity((name, tensor.bfloat16()) for name, tensor in tensors.items()),
    )  # loaded in 16 bits
    (tmp_path / "grpo" / "run.json").write_text(
        json.dumps({"status": "finished", "parent_hash": "another"})
    )
    candidates.conclude(found, recipe, eval_, "embedded", {})
    assert (
        "grpo was trained from another sft: their comparison says nothing; run 02 again, without ADAPTER"
        in capsys.readouterr().out
    )
    name = next(name for name in tensors if "lora_B" in name)
    save_file(tensors | {name: tensors[name] + 0.01}, weights)
    assert candidates.conclude(found, recipe, eval_, "embedded", {})["weights"] == {
        "sft": trained,
        "grpo": None,
    }
    assert (
        "another sft" not in capsys.readouterr().out
    )  # run.json there is not of the grpo that answered


@pytest.fixture
def vllm(monkeypatch, recipe, machine):
    """A stand-in for the package, which needs a GPU: it checks what it is asked, and answers by the tiny model.

    What it cannot show: that vLLM itself takes these arguments. They are those of its documentation.
    """
    asked = SimpleNamespace(engines=[], calls=[])
    module, lora = ModuleType("vllm"), ModuleType("vllm.lora.request")

    class LLM:
        def __init__(
            self, model, dtype, enable_lora, max_lora_rank, seed, max_model_len, quantization
        ):
            asked.engines.append(
                {
                    "model": model,
                    "max_lora_rank": max_lora_rank,
                    "quantization": quantization,
                    "max_model_len": max_model_len,
                }
            )

        def generate(self, prompts, settings, lora_request, use_tqdm):
            asked.calls.append((len(prompts), lora_request, settings))
            model, tokenizer = models.load(
                lora_request[2] if lora_request else asked.engines[-1]["model"], recipe, machine
            )
            replies = models.generate(
                model, tokenizer, prompts, settings[0]["max_tokens"], settings[0]["temperature"]
            )
            return [
                SimpleNamespace(
                    outputs=[
                        SimpleNamespace(
                            text=r.text,
                            token_ids=[0] * r.tokens,
                            finish_reason="stop" if r.finished else "length",
                        )
                    ]
                )
                for r in replies
            ]

    module.LLM, module.SamplingParams, lora.LoRARequest = (
        LLM,
        lambda **settings: settings,
        lambda *args: args,
    )
    for name, part in (
        ("vllm", module),
        ("vllm.lora", ModuleType("vllm.lora")),
        ("vllm.lora.request", lora),
    ):
        monkeypatch.setitem(sys.modules, name, part)
    return asked


def test_vllm_is_used_where_it_is_asked_for(vllm, recipe, machine, adapter, splits, tmp_path):
    chosen = candidates.find_candidates([str(adapter)], recipe, with_base=True)
    found, _ = candidates.evaluate_all(
        chosen, recipe, machine, splits, tmp_path / "vllm", problems=4, samples=2, vllm=True
    )
    ours, _ = candidates.evaluate_all(
        chosen, recipe, machine, splits, tmp_path / "ours", problems=4, samples=2
    )
    assert [greedy for greedy, _ in found.values()] == [greedy for greedy, _ in ours.values()]
    assert grading.stored_state(tmp_path / "vllm" / "grpo_greedy.jsonl")["adapter"] == file_hash(
        adapter / "adapter_model.safetensors"
    )
    assert (
        len(vllm.engines) == 1
        and vllm.engines[0]["quantization"] == "bitsandbytes"
        and vllm.engines[0]["max_lora_rank"] == recipe.lora.r
    )
    assert [request and (request[0], request[1], request[2]) for _, request, _ in vllm.calls] == [
        None,
        None,
        *[("grpo", 1, str(adapter))] * 2,
    ]
    greedy, drawn = vllm.calls[0][2], vllm.calls[1][2]
    assert (
        greedy[0]["temperature"] == 0.0
        and len({settings["seed"] for settings in drawn}) == len(drawn) == 8
    )
    assert (
        drawn[0]["temperature"] == recipe.grpo.temperature
        and drawn[0]["max_tokens"] == recipe.grpo.max_completion
        and drawn[0]["stop_token_ids"]
    )
