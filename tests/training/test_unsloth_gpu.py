"""Unsloth's GPU trainers on the CPU: the log, going on, every setting as written, KL's reference.

unsloth_gpu.py does all that needs them, in one process; the tests read what it left.
"""

import gc
import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import replace
from statistics import mean
from unittest import mock

import pytest

from helpers.recipes import RECIPES
from helpers.runs import PUBLISHED, Run, read_lines
from helpers.training import identity, models
from tests.conftest import ROOT
from tests.training import expected, unsloth_gpu
from tests.training.building import BASE, plain, stored, weights

import torch  # isort: skip  (after Unsloth)

# What Unsloth sets otherwise than TRL and nobody writes: it concerns evaluation, vLLM, experts, or
# only how memory is kept. And what it turns off on the CPU.
MAY_DIFFER = {"eval_accumulation_steps", "torch_empty_cache_steps", "generation_kwargs"}
MAY_DIFFER |= {"vllm_importance_sampling_correction", "router_aux_loss_coef", "output_dir"}
MAY_DIFFER |= {"gradient_checkpointing_kwargs", "fp16", "bf16", "use_cpu", "dataloader_pin_memory"}
# Says which heavy library is asked for first; none is loaded.
FIRST = """
import os, sys
class Gate:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("unsloth", "trl", "peft", "transformers", "vllm"):
            os.write(1, name.encode())
            os._exit(0)
sys.meta_path.insert(0, Gate())
import helpers.{}
"""


def said_by(*arguments) -> str:
    return subprocess.check_output([sys.executable, *arguments], cwd=ROOT, text=True)


def run_of(out, name: str, stage: str = "grpo") -> Run:
    return Run.read(out / name / "gsm8k_hash" / stage)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("gpu")


@pytest.fixture(scope="module")
def found(out):
    said_by("-m", "tests.training.unsloth_gpu", out)
    return json.loads((out / "results.json").read_text())


@pytest.fixture(scope="module")
def runs(found, out):
    """GRPO runs by name; "trl": that of `given`, by TRL's own trainer in this process."""
    assert importlib.import_module("trl").GRPOTrainer.__module__ == "trl.trainer.grpo_trainer"
    unsloth_gpu.given(out / "trl", out / "whole/gsm8k_hash/sft/adapter")
    return {name: run_of(out, name) for name in ("whole", "cut", "given", "without", "trl")}


@pytest.mark.soak
def test_the_log_of_unsloths_gpu_trainer_has_the_published_keys(found, out, runs):
    """Its real trainers, patched as on a GPU; the figures are those of its samples."""
    classes = [found["resume"][stage]["class"] for stage in ("sft", "grpo")]
    assert classes == ["UnslothSFTTrainer", "UnslothGRPOTrainer"]
    published = read_lines(runs["whole"].published)
    assert [list(line) for line in published] == [list(PUBLISHED)] * unsloth_gpu.STEPS
    for line in runs["whole"].read_log():
        mine = [s for s in runs["whole"].read_samples() if s["step"] == line["step"]]
        pushed = sum(s["advantage"] * s["tokens"] for s in mine)
        assert (expected.GRPO_KEYS - {"entropy"}).issubset(line)
        assert line["reward_mean"] == pytest.approx(mean(s["reward"] for s in mine), abs=1e-5)
        policy_loss = -pushed / sum(s["tokens"] for s in mine)  # the policy has not moved since
        assert line["policy_loss"] == pytest.approx(policy_loss, abs=1e-5)
        assert line["kl_loss"] == pytest.approx(0.01 * line["kl"])
        assert line["policy_loss"] + line["kl_loss"] == pytest.approx(line["grpo_loss"])
    [line, *_] = run_of(out, "whole", "sft").read_log()
    assert (expected.SFT_KEYS - {"tokens_per_second"}).issubset(line)  # which it does not count


@pytest.mark.soak
def test_a_run_that_was_cut_off_ends_as_one_that_was_not(found, out):
    for stage in ("sft", "grpo"):
        whole, cut = (run_of(out, name, stage) for name in ("whole", "cut"))
        assert [at["from_step"] for at in cut.manifest["resumed"]] == [unsloth_gpu.STOP - 1]
        assert plain(whole) == plain(cut) and weights(whole) == weights(cut)
        assert [line["step"] for line in plain(cut)] == list(range(1, unsloth_gpu.STEPS + 1))
    assert whole.read_samples() == cut.read_samples()


@pytest.mark.soak
def test_a_run_that_goes_on_has_its_reference_and_saves_it_with_nothing(found, out, runs):
    resumed = found["resume"]
    assert resumed["grpo"]["adapters"] == ["default", "ref"]
    assert resumed["sft"]["adapters"] == ["default"]
    ours, start = stored(runs["cut"]), stored(run_of(out, "whole", "sft"))
    assert resumed["reference"] == identity(sorted(start.items()))
    assert ours.keys() == start.keys() and any(not ours[k].equal(start[k]) for k in ours)
    assert not [path for path in runs["cut"].adapter.iterdir() if path.is_dir()]


@pytest.mark.soak
def test_unsloths_gpu_trainer_learns_what_trls_does_held_to_the_starting_adapter(out, runs):
    """With the same replies. The logged kl differs, by 12 %: Unsloth's weighs completions alike."""
    given, trl, without = (runs[name].read_log() for name in ("given", "trl", "without"))
    # At the first step none, though B is not zero; without `set_reference` there is some.
    assert max(abs(given[0]["kl"]), abs(trl[0]["kl"])) < 1e-6 and without[0]["kl"] > 1e-3
    assert min(line["kl"] for line in given[1:] + trl[1:]) > 0.01
    for mine, other in zip(given, trl, strict=True):
        assert mine["grpo_loss"] == pytest.approx(other["grpo_loss"], abs=1e-6)
        assert mine["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)
        assert mine["kl"] == pytest.approx(other["kl"], rel=0.2)
        for key, value in mine.items():
            if key.startswith(("reward", "completion", "adv", "learning_rate")):
                assert value == other[key]
    # The comparison sees another reference.
    assert abs(without[1]["grpo_loss"] - trl[1]["grpo_loss"]) > 1e-4
    matrices = [stored(run) for run in (run_of(out, "whole", "sft"), runs["given"], runs["trl"])]
    start, ours, theirs = (torch.cat([m[name].flatten() for name in sorted(m)]) for m in matrices)
    assert (ours - theirs).norm() < 2e-3 * (start - theirs).norm()


@pytest.mark.soak
def test_every_setting_arrives_in_unsloths_configuration_as_it_is_written(found):
    assert len(found["settings"]) == 2 * sum(len(recipe.stages) for recipe in RECIPES.values())
    for case in found["settings"]:
        where = (case["recipe"], case["stage"], case["card"])
        recipe, built = RECIPES[case["recipe"]], case["built"]
        assert {"unsloth_num_chunks", *case["asked"]} <= set(built), where
        arrived = {name: built[name] for name in case["asked"]}
        assert arrived == case["asked"] | {"report_to": []}, where  # their way to say "none"
        wanted = expected.settings(recipe, case["stage"], "cuda")
        assert {name: built[name] for name in wanted} == wanted, where
        batch = getattr(recipe, case["stage"]).batch
        accumulation = built["gradient_accumulation_steps"]
        assert built["per_device_train_batch_size"] * accumulation == batch, where
        halves = {"T4": (True, False), "A100": (False, True)}
        assert (built["fp16"], built["bf16"]) == halves[case["card"]], where
        if case["stage"] == "grpo":
            assert built["steps_per_generation"] == accumulation, where
            assert built["generation_batch_size"] == batch, where


@pytest.mark.soak
def test_unsloths_trainers_change_no_setting_and_complain_of_none(found):
    """What it says about KL is advice that the recipes with a beta do not follow."""
    for case in found["settings"]:
        used, said = case["used"], case["said"]
        assert used or case["card"] != "A100"
        changed = {name for name, value in used.items() if value != case["built"].get(name)}
        # Evaluation in half precision, which no run here makes.
        changed -= {"fp16_full_eval", "bf16_full_eval"}
        assert changed == set(), (case["recipe"], case["stage"])
        beta = RECIPES[case["recipe"]].grpo.beta if case["stage"] == "grpo" else 0.0
        assert said.count("\n") == bool(beta), said
        assert not beta or f"You have set it to {beta}" in said, said


@pytest.mark.soak
def test_what_nobody_writes_is_the_same_in_unsloth_and_trl_or_does_not_matter(found, tmp_path):
    for case in found["settings"]:
        place = (RECIPES[case["recipe"]], case["stage"], case["card"])
        trls = unsloth_gpu.config_for(*place, tmp_path).to_dict()
        trls = json.loads(json.dumps(trls, default=str))
        both = {*trls} & {*case["built"]}
        different = {name for name in both if trls[name] != case["built"][name]}
        assert different <= MAY_DIFFER, (place, different)


@pytest.mark.soak
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_model_gets_the_dtype_of_the_trainer(dtype, machine, found):
    """Unsloth refuses the other half; of float16 its loader makes what this CPU can compute in."""
    from unsloth_zoo.cpu.runtime import cpu_bf16_supported

    loader = models.FastLanguageModel
    with mock.patch.object(loader, "from_pretrained", wraps=loader.from_pretrained) as loaded:
        model, _ = models.load(BASE, unsloth_gpu.small(), replace(machine, dtype=dtype))
    assert loaded.call_args.kwargs["dtype"] is getattr(torch, dtype)
    instead = torch.bfloat16 if cpu_bf16_supported() else torch.float32
    assert model.dtype is (instead if dtype == "float16" else getattr(torch, dtype))
    said = "Unsloth: Model is in bfloat16 precision but you want to use float16"
    assert found["mismatch"].startswith(said)


@pytest.mark.soak
def test_nothing_asks_for_vllm_unless_it_is_told_to(found):
    """Only the engine, when it is made; test_candidates has `evaluate --vllm` without it."""
    assert importlib.util.find_spec("vllm") or found["vllm"] == []
    importing = re.compile(r"^ *(?:import|from) vllm\b.*", re.MULTILINE)
    asking = []
    for path in (ROOT / "helpers").rglob("*.py"):
        lines = importing.findall(path.read_text(encoding="utf-8"))
        asking += [(path.name, line) for line in lines]
    assert asking == [("generating.py", "        import vllm.lora.request")]


@pytest.mark.parametrize("room", ["training", "evaluation", "sharing"])
def test_unsloth_is_the_first_heavy_library_that_a_room_asks_for(room):
    assert said_by("-c", FIRST.format(room)) == "unsloth"


def test_importing_leaves_the_compiler_and_the_garbage_collector_as_they_were():
    assert torch.compile.__module__ == "torch"
    assert gc.isenabled() and gc.get_freeze_count() > 100_000
