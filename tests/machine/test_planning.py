"""Plans keep the effective batch on every card; the estimate is what a run takes on this CPU."""

import itertools
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from helpers import training
from helpers.machine import Machine, plan, plan_table
from helpers.machine.computer import GIB
from helpers.machine.planning import CARDS as ALL_CARDS
from helpers.machine.planning import activations, estimate, logits, shape_of, total
from helpers.recipes import RECIPES, for_model
from helpers.tiny import TINY_MODEL
from tests.conftest import ROOT
from tests.machine.measured_memory import recipe_of

from transformers import Qwen2Config, Qwen2ForCausalLM  # isort: skip  (after Unsloth)

CARDS = {card.name: card for card in ALL_CARDS}
T4 = CARDS["T4 16 GB"]
LAPTOP = Machine("cpu", "x86_64", 8.0, 2, "local", "float32")
QWEN, TINY = "Qwen/Qwen3-4B", str(TINY_MODEL)
EVERY = [(recipe, stage) for recipe in RECIPES.values() for stage in recipe.stages]
BILLIONS = {"Qwen/Qwen3-4B-Base": 4.022, "unsloth/Qwen3-4B-unsloth-bnb-4bit": 4.022}
BILLIONS |= {"unsloth/qwen3-1.7b-bnb-4bit": 1.721, "Qwen/Qwen3-0.6B": 0.596}
BILLIONS |= {"Qwen/Qwen2.5-Math-1.5B": 1.544}


@pytest.mark.parametrize("model", BILLIONS)
def test_shapes_have_the_published_parameters(model):
    shape = shape_of(model)
    assert (shape.linear + shape.other) / 1e9 == pytest.approx(BILLIONS[model], abs=5e-4)


def test_a_local_folder_is_read_and_counted(tmp_path):
    sizes = {"hidden_size": 48, "intermediate_size": 80, "vocab_size": 300, "num_hidden_layers": 3}
    config = Qwen2Config(num_attention_heads=6, num_key_value_heads=2, **sizes)
    qwen2 = Qwen2ForCausalLM(config)  # biases, and an output layer of its own
    qwen2.save_pretrained(tmp_path)
    recipe = RECIPES["phybench_eed"]
    whole = replace(recipe, lora=replace(recipe.lora, load_in_4bit=False))
    tiny, _ = training.load(TINY, whole, LAPTOP)
    for model, folder in ((qwen2, tmp_path), (tiny, TINY)):
        shape = shape_of(str(folder))
        assert shape.linear + shape.other == model.num_parameters()
    adapted = training.add_lora(tiny, recipe, LAPTOP, 0)
    trainable = training.count_parameters(adapted)["trainable"]
    gradients = estimate(recipe, "grpo", shape_of(TINY), LAPTOP, 1)["gradients"]
    assert gradients * GIB == pytest.approx(4 * trainable)


NO_MODELS = ["{", '{"hidden_size": 8}', '{"model_type": "qwen3_moe"}', '{"model_type": "t5"}']
NO_MODELS += ['{"model_type": "phi3"}', '{"model_type": "gpt2"}']


@pytest.mark.parametrize("text", NO_MODELS)
def test_a_config_that_cannot_be_read(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    said = r"is no model that can be trained here \(.*\)\.\nSet MODEL"
    with pytest.raises(ValueError, match=said):
        shape_of(str(tmp_path))


def test_a_model_that_is_nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for model in ("no/such-model", str(tmp_path)):
        with pytest.raises(ValueError, match=f"{model} is no model that .*\n.* network"):
            shape_of(model)
    with pytest.raises(FileNotFoundError, match="no adapter at ./nothing.\nGive one that is here"):
        shape_of("./nothing")


@pytest.mark.parametrize("card", [*CARDS.values(), LAPTOP], ids=lambda machine: machine.name)
def test_the_effective_batch_is_kept_and_fits(card):
    for (recipe, stage), processes in itertools.product(EVERY, (1, 2, 4)):
        recipe = for_model(recipe, card is LAPTOP, card.device)
        base = TINY if card is LAPTOP else recipe.model
        found = plan(recipe, stage, base, replace(card, processes=processes))
        effective = found.device_batch * found.accumulation * found.processes
        case = (recipe.name, stage, processes)
        assert effective == getattr(recipe, stage).batch and found.processes == processes, case
        assert found.fits and found.total <= 0.9 * card.memory_gb, case


def test_processes_that_do_not_divide_the_batch():
    said = "batch of 20 does not divide among 3 processes.\nStart a number of them that divides it"
    with pytest.raises(ValueError, match=said):
        plan(RECIPES["gsm8k_xml"], "sft", QWEN, replace(T4, processes=3))


def test_a_card_takes_the_largest_batch_that_fits_and_keeps_it_busy():
    """One batch larger would be too much for the memory, or for nothing."""
    hashed, openr1 = RECIPES["gsm8k_hash"], RECIPES["openr1_boxed"]
    small = replace(T4, memory_gb=11.0)
    found = plan(hashed, "sft", QWEN, small)
    assert (found.device_batch, found.accumulation, found.fits) == (2, 2, True)
    assert total(estimate(hashed, "sft", shape_of(QWEN), small, 4)) > 0.9 * 11
    names = ("T4 16 GB", "L4 24 GB", "A100 40 GB", "A100 80 GB")
    batches = [plan(openr1, "grpo", QWEN, CARDS[name]).device_batch for name in names]
    assert batches == [1, 2, 4, 8] and 8 * 3072 <= 350 * 79.1 < 16 * 3072
    tiny, less = for_model(RECIPES["gsm8k_xml"], True, "cpu"), replace(LAPTOP, memory_gb=2.0)
    assert [plan(tiny, "grpo", TINY, each).device_batch for each in (LAPTOP, less)] == [64, 32]


def test_a_plan_prints_itself_and_what_does_not_fit_says_what_to_do():
    text = str(plan(RECIPES["gsm8k_xml"], "sft", QWEN, replace(T4, processes=2)))
    assert " of 14.7 GiB, estimated" in text and "weights 2.47" in text and "turns" not in text
    assert "batch     5 × 2 × 2 = 20 (device batch" in text and text.count("\n") == 2
    found = plan(RECIPES["openr1_boxed"], "grpo", QWEN, replace(T4, memory_gb=8.0))
    assert not found.fits and (found.device_batch, found.accumulation) == (1, 16)
    text = str(found)
    assert "take turns" in text and "of which KV cache" in text and "smaller MODEL" in text


def test_the_targets_on_a_card_of_16_gb():
    assert plan(RECIPES["gsm8k_xml"], "sft", QWEN, T4).total * 1.0737 <= 8
    for name in ("gsm8k_xml", "gsm8k_hash", "openr1_boxed"):
        assert plan(RECIPES[name], "grpo", QWEN, T4).total * 1.0737 <= 14.5
    shape = shape_of(QWEN)
    four_bit = estimate(RECIPES["gsm8k_xml"], "grpo", shape, T4, 1)["weights"]
    whole = estimate(RECIPES["gsm8k_hash"], "grpo", shape, T4, 1)["weights"]
    assert whole == pytest.approx(4.022 * 2 / 1.0737, abs=0.01) and 2.3 < four_bit < 2.6


def test_generating_and_training_take_turns():
    parts = estimate(RECIPES["gsm8k_hash"], "grpo", shape_of(QWEN), T4, 2)
    generating = parts["KV cache"] + parts["prompts"]
    training = parts["gradients"] + parts["activations"] + parts["logits"]
    always = sum(parts.values()) - generating - training
    assert generating > training and total(parts) == pytest.approx(always + generating)
    assert parts["KV cache"] == pytest.approx(16 * 1024 * 37 * 2 * 1024 * 2 / 2**30)
    more = total(parts | {"activations": 9.0})
    assert more == pytest.approx(always + training - parts["activations"] + 9)


def test_a_table_has_every_card_and_stage_and_this_computer():
    table = plan_table(RECIPES["openr1_boxed"], LAPTOP)
    lines = table.to_string(index=False).split("\n")
    assert len(table) == 3 * (len(CARDS) + 1) and max(map(len, lines)) <= 130
    assert "× 8 × 2" in lines[6] and "12.07" in lines[3]
    assert set(table["fits"]) == {"yes"} and list(table["card"])[-1] == "this computer"


QUICK = ["gsm8k_xml/sft/tiny"]
MORE = ["gsm8k_xml/grpo/tiny", "gsm8k_hash/grpo/tiny", "gsm8k_xml/grpo/large"]
MORE += ["gsm8k_xml/sft/large"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and speaks to glibc")
@pytest.mark.parametrize("cases", [QUICK, pytest.param(MORE, marks=pytest.mark.soak)])
def test_the_estimate_is_what_a_run_takes(cases, tmp_path):
    """At the lengths that came up: the recipe's limits, which plans are made for, are longer."""
    command = ["-W", "ignore", "-m", "tests.machine.measured_memory", str(tmp_path), *cases]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    lines = [line for line in done.stdout.split("\n") if line.startswith("MEASURED")]
    assert len(lines) == len(cases), done.stderr[-3000:]
    for line in lines:
        found = json.loads(line.removeprefix("MEASURED"))
        ratio = at_its_lengths(found) / found["added"]
        print(f"{found['case']}: {1024 * found['added']:.0f} MB, estimated {ratio:.2f} of it")
        assert ratio == pytest.approx(1, abs=0.2)


def at_its_lengths(found):
    """The estimate for the lengths that a measured run saw, GiB."""
    recipe, shape, batch = recipe_of(found["case"]), shape_of(found["base"]), found["device_batch"]
    if "scored" not in found:
        lengths = {"max_prompt": found["prompt_ids"], "max_completion": found["completion_ids"]}
        recipe = replace(recipe, grpo=replace(recipe.grpo, **lengths))
        parts = estimate(recipe, "grpo", shape, LAPTOP, batch)
        length = sum(lengths.values())
    else:
        length = found["input_ids"]
        recipe = replace(recipe, sft=replace(recipe.sft, max_length=length))
        parts = estimate(recipe, "sft", shape, LAPTOP, batch)
        # A plan takes every token for a scored one,
        parts |= {"logits": logits(shape, LAPTOP, found["scored"], "sft") / GIB}
    # and knows nothing of what all prompts begin with.
    given = (recipe, shape, LAPTOP, batch, length, found["read"])
    return total(parts | {"activations": activations(*given) / GIB})
