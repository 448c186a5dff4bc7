"""Plans keep the effective batch on every card, and the estimate is what a real run takes on this CPU."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from helpers.machine import memory
from helpers.machine.computer import Machine
from helpers.recipes import RECIPES, for_profile
from tests.conftest import ROOT
from tests.machine.measured_memory import recipe_of

T4 = memory.CARDS["T4 16 GB"]
LAPTOP = Machine("tiny", "cpu", "x86_64", 8.0, 2, "local", "float32")
QWEN = memory.shape_of("Qwen/Qwen3-4B")
TINY = memory.shape_of(str(memory.TINY_MODEL))
CASES = ("gsm8k_xml/sft/tiny", "gsm8k_xml/grpo/tiny", "gsm8k_xml/grpo/large")
MORE = ("gsm8k_hash/grpo/tiny", "gsm8k_xml/sft/large")
EVERY = [(name, stage) for name, recipe in RECIPES.items() for stage in recipe.stages]


@pytest.mark.parametrize(
    ("model", "billions"),
    [
        ("Qwen/Qwen3-4B", 4.022),
        ("Qwen/Qwen3-4B-Base", 4.022),
        ("unsloth/Qwen3-4B-unsloth-bnb-4bit", 4.022),
        ("Qwen/Qwen3-1.7B", 1.721),
        ("unsloth/qwen3-1.7b-bnb-4bit", 1.721),
        ("Qwen/Qwen3-0.6B", 0.596),
        ("Qwen/Qwen2.5-Math-1.5B", 1.544),
    ],
)
def test_shapes_have_the_published_parameters(model, billions):
    assert memory.shape_of(model).parameters / 1e9 == pytest.approx(billions, abs=5e-4)


def test_a_local_folder_is_read_and_counted(tmp_path):
    from helpers.training import models

    from transformers import Qwen2Config, Qwen2ForCausalLM  # isort: skip  (after Unsloth)

    assert memory.TINY_MODEL == models.TINY_MODEL
    model = Qwen2ForCausalLM(
        Qwen2Config(
            hidden_size=48,
            num_hidden_layers=3,
            num_attention_heads=6,
            num_key_value_heads=2,
            intermediate_size=80,
            vocab_size=300,
        )
    )
    model.save_pretrained(tmp_path)
    assert (
        memory.shape_of(str(tmp_path)).parameters == model.num_parameters()
    )  # biases, and an output layer of its own
    tiny, _ = models.load(str(models.TINY_MODEL), RECIPES["gsm8k_hash"], LAPTOP)
    assert TINY.parameters == tiny.num_parameters()
    adapted = models.add_lora(tiny, RECIPES["phybench_eed"], LAPTOP, 0)
    assert (
        memory.lora_parameters(RECIPES["phybench_eed"], TINY)
        == models.count_parameters(adapted)["trainable"]
    )
    (tmp_path / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="no config.json.*\nSet MODEL"):
        memory.shape_of(str(tmp_path))
    for text in (
        "{",
        "[]",
        '{"hidden_size": 8}',
        '{"num_attention_heads": 0, "hidden_size": 8, "num_hidden_layers": 1}',
    ):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match="config.json could not be read .*\nSet MODEL"):
            memory.shape_of(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no model at ./nothing"):
        memory.shape_of("./nothing")


def test_an_unknown_model_without_the_hub_is_explained(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ConnectionError, match="'no/such-model' could not be had.*\nCheck the network"
    ):
        memory.shape_of("no/such-model")


@pytest.mark.parametrize(("name", "stage"), EVERY)
@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("card", [*memory.CARDS.values(), LAPTOP], ids=lambda machine: machine.name)
def test_the_effective_batch_is_kept_and_fits(name, stage, processes, card):
    machine, recipe = replace(card, processes=processes), for_profile(RECIPES[name], card.profile)
    plan = memory.split(
        recipe, stage, TINY if card is LAPTOP else memory.shape_of(recipe.model), machine
    )
    assert plan.device_batch * plan.accumulation * plan.processes == getattr(recipe, stage).batch
    assert (
        plan.fits
        and plan.total == memory.total(plan.parts) <= 0.9 * card.memory_gb
        and plan.processes == processes
    )


def test_processes_that_do_not_divide_name_those_that_do():
    with pytest.raises(
        ValueError,
        match=r"batch of 20 does not divide among 3 processes.\n.*\[1, 2, 4, 5, 10, 20\]",
    ):
        memory.split(RECIPES["gsm8k_xml"], "sft", QWEN, replace(T4, processes=3))


def test_a_card_takes_the_largest_batch_that_fits_and_keeps_it_busy():
    """One batch larger would be too much for the memory, or for nothing; a larger card takes more."""
    hashed, openr1 = RECIPES["gsm8k_hash"], RECIPES["openr1_boxed"]
    small = replace(T4, memory_gb=11.0)
    plan = memory.split(hashed, "sft", QWEN, small)
    assert (plan.device_batch, plan.accumulation, plan.fits) == (2, 2, True) and memory.total(
        memory.estimate(hashed, "sft", QWEN, small, 4)
    ) > 0.9 * 11
    batches = [
        memory.split(openr1, "grpo", QWEN, memory.CARDS[name]).device_batch
        for name in ("T4 16 GB", "L4 24 GB", "A100 40 GB", "A100 80 GB")
    ]
    assert batches == [1, 2, 4, 8] and 8 * 3072 <= 350 * 79.1 < 16 * 3072
    assert (
        memory.split(for_profile(RECIPES["gsm8k_xml"], "tiny"), "grpo", TINY, LAPTOP).device_batch
        == 64
    )


def test_what_does_not_fit_says_what_to_do():
    plan = memory.split(RECIPES["openr1_boxed"], "grpo", QWEN, replace(T4, memory_gb=8.0))
    assert not plan.fits and (plan.device_batch, plan.accumulation) == (1, 16)
    assert "of which KV cache" in plan.advice and plan.advice in memory.describe(plan)


def test_the_targets_on_a_card_of_16_gb():
    recipe = RECIPES["gsm8k_xml"]
    assert memory.split(recipe, "sft", QWEN, T4).total * 1.0737 <= 8  # GB, where the plan has GiB
    assert all(
        memory.split(RECIPES[name], "grpo", QWEN, T4).total * 1.0737 <= 14.5
        for name in ("gsm8k_xml", "gsm8k_hash", "openr1_boxed")
    )
    four_bit, whole = (
        memory.estimate(RECIPES[name], "grpo", QWEN, T4, 1)["weights"]
        for name in ("gsm8k_xml", "gsm8k_hash")
    )
    assert whole == pytest.approx(4.022 * 2 / 1.0737, abs=0.01) and 2.3 < four_bit < 2.6


def test_generating_and_training_take_turns():
    parts = memory.estimate(RECIPES["gsm8k_hash"], "grpo", QWEN, T4, 2)
    always = sum(
        parts[name]
        for name in ("weights", "LoRA", "optimiser", "reference adapter", "CUDA and libraries")
    )
    generating, training = (
        parts["KV cache"] + parts["prompts"],
        parts["gradients"] + parts["activations"] + parts["logits"],
    )
    assert generating > training and memory.total(parts) == pytest.approx(always + generating)
    assert parts["KV cache"] == pytest.approx(16 * 1024 * 37 * 2 * 1024 * 2 / 2**30)
    assert memory.total(parts | {"activations": 9.0}) == pytest.approx(
        always + training - parts["activations"] + 9
    )


def test_a_table_has_every_card_and_stage_and_this_computer():
    table = memory.plan_table(RECIPES["openr1_boxed"], LAPTOP)
    assert (
        len(table) == 3 * (len(memory.CARDS) + 1)
        and max(map(len, table.to_string(index=False).split("\n"))) <= 130
    )
    assert set(table["fits"]) == {"yes"} and list(table["card"])[-1] == "this computer"
    line = memory.describe(
        memory.split(RECIPES["gsm8k_xml"], "sft", QWEN, replace(T4, processes=2))
    )
    assert (
        "of 14.7 GiB" in line and "5 × 2 × 2 = 20 (device batch" in line and "weights 2.47" in line
    )


def test_it_is_cheap_to_import():
    code = "import sys, helpers.machine; print([name for name in ('torch', 'transformers', 'pandas') if name in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def measured(cases, out):
    """What each case took, in one process for all."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.machine.measured_memory", str(out), *cases],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [
        line.partition("MEASURED")[2] for line in done.stdout.split("\n") if "MEASURED" in line
    ]
    assert len(lines) == len(cases), done.stderr[-3000:]
    return map(json.loads, lines)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and speaks to glibc")
@pytest.mark.parametrize("cases", [CASES, pytest.param(MORE, marks=pytest.mark.soak)])
def test_the_estimate_is_what_a_run_takes(cases, tmp_path):
    """At the lengths that came up: the recipe's limits, which plans are made for, are longer."""
    for found in measured(cases, tmp_path):
        estimated = at_its_lengths(found)
        print(
            f"\n{found['case']}: estimated {1024 * estimated:.0f} MB, measured {1024 * found['added']:.0f} MB, ratio {estimated / found['added']:.2f}"
        )
        assert estimated / found["added"] == pytest.approx(1, abs=0.2)


def at_its_lengths(found):
    """The estimate for the lengths that a measured run saw, GiB."""
    stage = found["case"].split("/")[1]
    lengths = (
        {"max_length": found["row"]}
        if stage == "sft"
        else {"max_prompt": found["prompt"], "max_completion": found["completion"]}
    )
    recipe, shape = recipe_of(found["case"]), memory.shape_of(found["base"])
    recipe = replace(recipe, **{stage: replace(getattr(recipe, stage), **lengths)})
    parts = memory.estimate(recipe, stage, shape, LAPTOP, found["device_batch"])
    if stage == "sft":  # a plan takes every token for a scored one
        parts["logits"] = memory.logits(shape, LAPTOP, found["scored"], stage) / memory.GIB
    return memory.total(parts)
