"""Unsloth's GPU trainers on the CPU: the log, going on, every setting as written, KL's reference; and that Unsloth is imported first.

One process does all that needs Unsloth patched as on a GPU (see `tests/unsloth_gpu.py`); the tests read what it left.
"""

import ast
import gc
import importlib.util
import json
import subprocess
import sys
from dataclasses import fields, replace
from statistics import mean
from unittest import mock

import pytest

from helpers import runs as runlog
from helpers.machine import computer as machines
from helpers.recipes import RECIPES, GRPOSettings, SFTSettings, for_profile
from helpers.training import models
from helpers.training import trainers as training
from helpers.training.training_run import TrainingRun
from tests.conftest import ROOT
from tests.training import unsloth_gpu
from tests.training.test_training import GRPO_KEYS, SFT_KEYS

# The names of a recipe's settings in the trainers' configurations, and those that arrive in another form or are used before.
GRPO_NAMES = {
    "generations": "num_generations",
    "learning_rate": "learning_rate",
    "max_completion": "max_completion_length",
    "schedule": "lr_scheduler_type",
    "temperature": "temperature",
    "beta": "beta",
    "epsilon": "epsilon",
    "loss_type": "loss_type",
    "scale_rewards": "scale_rewards",
    "weight_decay": "weight_decay",
}
SFT_NAMES = {
    "learning_rate": "learning_rate",
    "max_length": "max_length",
    "schedule": "lr_scheduler_type",
    "weight_decay": "weight_decay",
}
OTHERWISE = {"batch", "warmup", "steps", "epochs", "rows", "max_prompt"}
ALWAYS = {
    "optim": "adamw_torch_fused",
    "max_steps": 100,
    "seed": 3,
    "data_seed": 3,
    "report_to": [],
    "save_strategy": "no",
    "use_cpu": False,
    "gradient_checkpointing": True,
    "max_grad_norm": 1.0,
    "logging_steps": 1,
    "logging_nan_inf_filter": False,
    "tf32": None,
}
ALWAYS_SFT = {
    "packing": False,
    "padding_free": False,
    "completion_only_loss": True,
    "dataset_num_proc": 1,
    "loss_type": "nll",
}
ALWAYS_GRPO = {
    "top_p": 1.0,
    "top_k": 0,
    "num_iterations": 1,
    "mask_truncated_completions": False,
    "use_vllm": False,
    "remove_unused_columns": False,
}
# What Unsloth sets otherwise than TRL and nobody writes: it concerns evaluation, vLLM, experts, or only how memory is kept.
UNWRITTEN = {
    "eval_accumulation_steps",
    "torch_empty_cache_steps",
    "generation_kwargs",
    "vllm_importance_sampling_correction",
    "router_aux_loss_coef",
    "gradient_checkpointing_kwargs",
}
ON_A_CARD = {
    "fp16",
    "bf16",
    "use_cpu",
    "dataloader_pin_memory",
}  # Unsloth on the CPU turns these off
FULL_EVAL = {
    "fp16_full_eval",
    "bf16_full_eval",
}  # set by the trainers: evaluation in half precision, which no run here makes
UNSLOTH_LATE = {  # they make the embedded model, and neither load nor train one by Unsloth
    "helpers.tiny.__main__": "transformers",
    "helpers.tiny.make": "transformers",
}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("gpu")


@pytest.fixture(scope="module")
def found(out):
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.unsloth_gpu", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((out / "results.json").read_text())


@pytest.fixture(scope="module")
def by_trl(found, out):
    """The same run as in `given`, by TRL's own trainer in this process."""
    assert importlib.import_module("trl").GRPOTrainer.__module__ == "trl.trainer.grpo_trainer"
    return unsloth_gpu.given(out / "trl", out / "whole/gsm8k_hash/sft/adapter")


def test_the_log_of_unsloths_gpu_trainer_has_the_published_keys(found, out):
    """Its real trainers, patched as on a GPU; the figures are those of its samples."""
    assert (
        found["resume"]["sft"]["class"] == "UnslothSFTTrainer"
        and found["resume"]["grpo"]["class"] == "UnslothGRPOTrainer"
    )
    folder = out / "whole/gsm8k_hash"
    log, samples = (
        runlog.read_lines(folder / "grpo/log.jsonl"),
        runlog.read_lines(folder / "grpo/samples.jsonl"),
    )
    assert [list(line) for line in runlog.read_lines(folder / "grpo/grpo_training_logs.jsonl")] == [
        list(runlog.PUBLISHED)
    ] * unsloth_gpu.STEPS
    for line in log:
        mine = [s for s in samples if s["step"] == line["step"]]
        assert GRPO_KEYS - {"entropy"} <= set(line) and line["reward_mean"] == pytest.approx(
            mean(s["reward"] for s in mine), abs=1e-5
        )
        assert line["policy_loss"] == pytest.approx(policy_loss(mine), abs=1e-5)
        assert line["kl_loss"] == pytest.approx(0.01 * line["kl"]) and line["policy_loss"] + line[
            "kl_loss"
        ] == pytest.approx(line["grpo_loss"])
    assert SFT_KEYS - {"tokens_per_second"} <= set(
        runlog.read_lines(folder / "sft/log.jsonl")[0]
    )  # it does not count what it trains on


def policy_loss(samples) -> float:
    """Of a step's samples whose policy has not moved since: the mean advantage of a token, with the sign of a loss."""
    return -sum(s["advantage"] * s["tokens"] for s in samples) / sum(s["tokens"] for s in samples)


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_run_that_was_cut_off_ends_as_one_that_was_not(found, out, stage):
    told = found["resume"][stage]
    assert (
        told["cut"] == "interrupted"
        and f"checkpoint-{unsloth_gpu.STOP}" in told["checkpoints"]
        and told["resumed"] == unsloth_gpu.STOP - 1
    )
    whole, cut = (out / name / "gsm8k_hash" / stage for name in ("whole", "cut"))
    logs = [
        [
            {k: v for k, v in line.items() if k not in runlog.TIMES}
            for line in runlog.read_lines(run / "log.jsonl")
        ]
        for run in (whole, cut)
    ]
    assert logs[0] == logs[1] and [line["step"] for line in logs[0]] == list(
        range(1, unsloth_gpu.STEPS + 1)
    )
    assert (
        len({machines.file_hash(run / "adapter/adapter_model.safetensors") for run in (whole, cut)})
        == 1
    )
    if stage == "grpo":
        assert runlog.read_lines(whole / "samples.jsonl") == runlog.read_lines(
            cut / "samples.jsonl"
        )


def test_a_run_that_goes_on_has_its_reference_and_saves_it_with_nothing(found, out):
    from safetensors.torch import load_file

    assert found["resume"]["grpo"]["adapters"] == ["default", "ref"] and found["resume"]["sft"][
        "adapters"
    ] == ["default"]
    assert found["resume"]["reference"] == found["resume"]["grpo"]["start"]
    folder = out / "cut/gsm8k_hash/grpo/adapter"
    weights, start = (
        load_file(folder / "adapter_model.safetensors"),
        load_file(out / "whole/gsm8k_hash/sft/adapter/adapter_model.safetensors"),
    )
    assert weights.keys() == start.keys() and not [
        path for path in folder.iterdir() if path.is_dir()
    ]
    assert any(not weights[name].equal(start[name]) for name in weights)


def test_kl_is_held_to_the_starting_adapter(found, out, by_trl):
    """From an adapter whose B is not zero: no KL at the first step, by Unsloth's trainer and by TRL's; without `set_reference` there is some."""
    runs = {
        "ours": out / "given/gsm8k_hash/grpo",
        "without": out / "without/gsm8k_hash/grpo",
        "trl": by_trl,
    }
    kl = {
        name: [line["kl"] for line in runlog.read_lines(run / "log.jsonl")]
        for name, run in runs.items()
    }
    assert max(abs(kl["ours"][0]), abs(kl["trl"][0])) < 1e-6 and kl["without"][0] > 1e-3
    assert min(*kl["ours"][1:], *kl["trl"][1:]) > 0.01


def test_unsloths_gpu_trainer_learns_what_trls_does(found, out, by_trl):
    """With the same replies. The logged kl differs, 12 % here: Unsloth's weighs completions alike, the loss and TRL's (of a device batch) tokens."""
    from safetensors.torch import load_file

    ours, theirs, without = (
        runlog.read_lines(run / "log.jsonl")
        for run in (out / "given/gsm8k_hash/grpo", by_trl, out / "without/gsm8k_hash/grpo")
    )
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["grpo_loss"] == pytest.approx(other["grpo_loss"], abs=1e-6) and mine[
            "grad_norm"
        ] == pytest.approx(other["grad_norm"], rel=1e-4)
        assert (
            mine["kl"] == pytest.approx(other["kl"], rel=0.2)
            and mine["learning_rate"] == other["learning_rate"]
        )
        assert {k: v for k, v in mine.items() if k.startswith(("reward", "completion", "adv"))} == {
            k: v for k, v in other.items() if k.startswith(("reward", "completion", "adv"))
        }
    assert (
        abs(without[1]["grpo_loss"] - theirs[1]["grpo_loss"]) > 1e-4
    )  # the comparison sees another reference
    start, one, other = (
        load_file(path / "adapter_model.safetensors")
        for path in (
            out / "whole/gsm8k_hash/sft/adapter",
            out / "given/gsm8k_hash/grpo/adapter",
            by_trl / "adapter",
        )
    )
    assert distance(one, other) < 2e-3 * distance(start, other)


def distance(one, other) -> float:
    return sum(((one[name] - other[name]) ** 2).sum().item() for name in one) ** 0.5


def test_every_setting_arrives_in_unsloths_configuration_as_it_is_written(found):
    assert len(found["settings"]) == 2 * sum(len(recipe.stages) for recipe in RECIPES.values())
    for case in found["settings"]:
        recipe, stage, built, where = (
            RECIPES[case["recipe"]],
            case["stage"],
            case["built"],
            (case["recipe"], case["stage"], case["card"]),
        )
        part, always = (
            getattr(recipe, stage),
            ALWAYS | (ALWAYS_GRPO if stage == "grpo" else ALWAYS_SFT),
        )
        assert "unsloth_num_chunks" in case["fields"] and set(case["asked"]) <= set(
            case["fields"]
        ), where
        arrived = {name: built[name] for name in case["asked"]}
        assert arrived == case["asked"] | {"report_to": []}, (
            where
        )  # transformers' way to say "none"
        names = GRPO_NAMES if stage == "grpo" else SFT_NAMES
        assert {theirs: built[theirs] for theirs in names.values()} == {
            theirs: getattr(part, ours) for ours, theirs in names.items()
        }, where
        assert {name: built[name] for name in always} == always and built["warmup_steps"] == round(
            100 * part.warmup
        ), where
        assert (
            built["per_device_train_batch_size"] * built["gradient_accumulation_steps"]
            == part.batch
        ), where
        assert (built["fp16"], built["bf16"]) == {"T4": (True, False), "A100": (False, True)}[
            case["card"]
        ], where
        if stage == "grpo":
            assert (
                built["steps_per_generation"] == built["gradient_accumulation_steps"]
                and built["epsilon_high"] == part.epsilon
            ), where
            assert built["generation_batch_size"] == part.batch and built["reward_weights"] == list(
                recipe.rewards.values()
            ), where
            assert built["chat_template_kwargs"] == {"enable_thinking": recipe.thinking}, where


def test_no_setting_of_a_recipe_is_forgotten_here():
    assert {field.name for field in fields(GRPOSettings)} <= {*GRPO_NAMES, *OTHERWISE}
    assert {field.name for field in fields(SFTSettings)} <= {*SFT_NAMES, *OTHERWISE}


def test_unsloths_trainers_change_no_setting_and_complain_of_none(found):
    """What it says about KL is advice that the recipes with a beta do not follow."""
    used = [case for case in found["settings"] if case["used"]]
    assert {(case["recipe"], case["stage"]) for case in used} == {
        (recipe.name, stage) for recipe in RECIPES.values() for stage in recipe.stages
    }
    for case in used:
        changed = {name for name, value in case["used"].items() if value != case["built"].get(name)}
        assert changed <= FULL_EVAL, (case["recipe"], case["stage"], changed)
    for case in found["settings"]:
        beta = getattr(RECIPES[case["recipe"]].grpo, "beta") if case["stage"] == "grpo" else 0.0
        assert case["said"].count("\n") == bool(beta) and (
            not beta or f"You have set it to {beta}" in case["said"]
        ), case["said"]


def test_what_nobody_writes_is_the_same_in_unsloth_and_trl_or_does_not_matter(
    found, machine, tmp_path
):
    for case in found["settings"]:
        recipe, card = RECIPES[case["recipe"]], unsloth_gpu.card(case["card"])
        run = TrainingRun(tmp_path, recipe, case["stage"], card, 3, recipe.model)
        with mock.patch(
            "transformers.training_args.is_torch_bf16_gpu_available", return_value=True
        ):
            plain = (training.grpo_config if case["stage"] == "grpo" else training.sft_config)(
                recipe, run, card, 100
            ).to_dict()
        different = {
            name
            for name in {*plain} & {*case["built"]}
            if json.loads(json.dumps(plain[name], default=str)) != case["built"][name]
        }
        assert different - {"output_dir"} <= UNWRITTEN | ON_A_CARD, (
            case["recipe"],
            case["stage"],
            different,
        )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_model_and_trainer_get_one_dtype(dtype, machine, found, tmp_path):
    """Unsloth refuses a model of the other half precision; of float16 its loader for the CPU makes what this CPU has instructions for."""
    import torch
    from unsloth_zoo.cpu.runtime import cpu_bf16_supported

    recipe, here = for_profile(RECIPES["gsm8k_hash"], "tiny"), replace(machine, dtype=dtype)
    run = TrainingRun(tmp_path, recipe, "sft", here, 0, recipe.model)
    asked = training.common(recipe.sft, run, here, 2, "none")
    assert (asked["fp16"], asked["bf16"]) == (dtype == "float16", dtype == "bfloat16")
    with mock.patch.object(
        models.FastLanguageModel, "from_pretrained", wraps=models.FastLanguageModel.from_pretrained
    ) as loaded:
        model, _ = models.load(str(models.TINY_MODEL), recipe, here)
    assert loaded.call_args.kwargs["dtype"] is getattr(torch, dtype)
    instead = torch.bfloat16 if cpu_bf16_supported() else torch.float32
    assert model.dtype is (instead if dtype == "float16" else getattr(torch, dtype))
    assert found["mismatch"].startswith(
        "Unsloth: Model is in bfloat16 precision but you want to use float16"
    )


def test_nothing_asks_for_vllm_unless_it_is_told_to(found):
    """Only `vllm_engine.Engine`, when it is made; `evaluate --vllm` without vLLM is tested in test_candidates."""
    assert importlib.util.find_spec("vllm") or found["vllm"] == []
    asking = {
        path.name: depth
        for path in (ROOT / "helpers").rglob("*.py")
        for name, depth in imports(path)
        if name == "vllm"
    }
    assert asking == {"vllm_engine.py": 1}


def imports(path) -> list[tuple[str, int]]:
    """(top-level package or, of ours, the module; 0 at module level, else 1) of each import in a file, in order."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
    }
    nodes = sorted(
        (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)),
        key=lambda node: node.lineno,
    )
    named = [
        (name, node)
        for node in nodes
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
        )
    ]
    return [
        (name if name.startswith("helpers") else name.partition(".")[0], int(id(node) in inside))
        for name, node in named
    ]


def test_unsloth_is_the_first_heavy_library_that_any_module_asks_for():
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.first_imports"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first = json.loads(done.stdout)
    assert {
        name: library for name, library in first.items() if library not in ("", "unsloth")
    } == UNSLOTH_LATE
    rooms = ("training", "evaluation", "sharing")
    assert all(first[f"helpers.{room}"] == "unsloth" for room in rooms)


def test_importing_leaves_the_compiler_and_the_garbage_collector_as_they_were():
    import torch

    from helpers.training import unsloth_first

    assert torch.compile.__module__ == "torch" and torch.compile is not unsloth_first.not_compiled
    assert gc.isenabled() and gc.get_freeze_count() > 100_000
