"""Loading a base, adapters of another base, batched generation."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from helpers import data
from helpers.runs import write_json
from helpers.tiny import TINY_MODEL
from helpers.tiny.make import write_random
from helpers.training import Adapter, models, save_adapter
from helpers.training.adapter import folder_identity

from transformers import AutoTokenizer  # isort: skip  (after Unsloth)

BASE = str(TINY_MODEL)
MATRICES = {"x.q_proj.lora_A.weight": torch.ones(4, 6), "x.q_proj.lora_B.weight": torch.zeros(5, 4)}
QUESTION = "Mia has 3 pens. She sells 2 of them and gets 5 new pens. How many pens?"


@pytest.fixture(scope="module")
def loaded(recipe, machine):
    return models.load(BASE, recipe, machine)


def test_the_base_is_in_4bit_small_and_ends(loaded):
    model, tokenizer = loaded
    kinds = {type(module).__name__ for module in model.modules()}
    assert "Linear4bit" in kinds and model.config.model_type == "qwen3"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert sum(file.stat().st_size for file in TINY_MODEL.iterdir()) < 4_200_000
    assert (TINY_MODEL / "model.safetensors").stat().st_size <= 4_000_000


def test_batches_and_order_do_not_change_greedy_answers(loaded, recipe):
    examples = data.load(recipe, None, "cpu")["test"].examples[:12]
    prompts = [data.prompt_text(recipe, loaded[1], example.question) for example in examples]
    together = models.generate(*loaded, prompts, 48)
    alone = [models.generate(*loaded, [prompt], 48)[0] for prompt in prompts]
    assert together == alone == models.generate(*loaded, prompts, 48, batch=5)
    assert all(reply.tokens <= 48 and "<|im_end|>" not in reply.text for reply in together)


def test_sampling_follows_its_seed(loaded, recipe):
    prompts = [data.prompt_text(recipe, loaded[1], QUESTION)] * 8
    one, two, other = (
        models.generate(*loaded, prompts, 32, temperature=1.0, seed=seed) for seed in (1, 1, 2)
    )
    assert one == two != other and len({reply.text for reply in one}) > 1


def test_the_limit_is_seen_as_unfinished(loaded, recipe):
    [cut] = models.generate(*loaded, [data.prompt_text(recipe, loaded[1], QUESTION)], 3)
    assert (cut.tokens, cut.finished) == (3, False)


@torch.no_grad()
def test_merged_weights_compute_the_same_and_are_dropped(recipe, machine):
    model, tokenizer = models.load(BASE, recipe, machine)
    model = models.add_lora(model, recipe, machine, 0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn_like(parameter) * 0.02
    rows = tokenizer("Mia has 3 pens.", return_tensors="pt")
    plain = model(**rows).logits
    with models.merged_weights(model):
        merged = model(**rows).logits
    with model.disable_adapter():
        base = model(**rows).logits
        with models.merged_weights(model):
            assert torch.allclose(model(**rows).logits, base, atol=1e-3)
    assert torch.allclose(plain, merged, atol=1e-3) and not torch.allclose(plain, base, atol=1e-1)
    assert torch.equal(model(**rows).logits, plain)


def adapter(folder, base, weights=MATRICES, **settings):
    folder.mkdir()
    settings = {"peft_type": "LORA", "base_model_name_or_path": base, "r": 4} | settings
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


def test_an_adapter_is_read_if_it_is_there_and_of_this_base(tmp_path):
    found = Adapter.read(adapter(tmp_path / "a", BASE), BASE)
    assert (found.base, found.config.r, found.run) == (BASE, 4, None)
    adapter(tmp_path / "b", "unsloth/Qwen3-4B-unsloth-bnb-4bit")
    assert Adapter.read(tmp_path / "b", "Qwen/Qwen3-4B")
    other = adapter(tmp_path / "c", "Qwen/Qwen3-0.6B")
    with pytest.raises(ValueError, match="trained on Qwen/Qwen3-0.6B.*\nSet MODEL=Qwen/Qwen3-0"):
        Adapter.read(other, BASE)
    said = "no adapter.*\nRun 01_sft.ipynb first, or set ADAP"
    with pytest.raises(FileNotFoundError, match=said):
        Adapter.read(tmp_path / "none", BASE)


CUT_OFF = [(0, "header too small"), (4, "header too small"), (40, "header"), (-8, "incomplete")]


@pytest.mark.parametrize(("length", "what"), CUT_OFF)
def test_an_adapter_that_was_cut_off_is_damaged(length, what, tmp_path):
    weights = adapter(tmp_path / "cut", BASE) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:length])
    cause = f"^The adapter in {tmp_path / 'cut'} is damaged \\(SafetensorError: .*{what}.*\\)\\."
    with pytest.raises(ValueError, match=cause + "\nTrain it again, or name another one\\.$"):
        Adapter.read(tmp_path / "cut", BASE)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_an_adapter_of_no_numbers_is_damaged(value, tmp_path):
    broken = {name: tensor.clone().to(torch.bfloat16) for name, tensor in MATRICES.items()}
    broken["x.q_proj.lora_B.weight"][2, 1] = float(value)
    with pytest.raises(ValueError, match="x.q_proj.lora_B.weight holds NaN or infinite numbers"):
        Adapter.read(adapter(tmp_path / "broken", BASE, broken), BASE)


OTHER_KINDS = ["{}", '{"peft_type": "LORA"}']
OTHER_KINDS += ['{"peft_type": "IA3", "base_model_name_or_path": "x"}']


@pytest.mark.parametrize("text", ["{", *OTHER_KINDS])
def test_a_configuration_of_another_kind_is_named(text, tmp_path):
    folder = adapter(tmp_path / "a", BASE)
    (folder / "adapter_config.json").write_text(text)
    words = "is not of LoRA" if text in OTHER_KINDS else "is damaged .JSONDecodeError"
    with pytest.raises(ValueError, match=f"{words}.*\n"):
        Adapter.read(folder)


def test_a_base_that_moved_is_known_by_its_weights(recipe, machine, tmp_path):
    """On this machine or another: the run wrote down a hash of the weights, not only their path."""
    for name, layers in (("old", 1), ("other", 2)):
        write_random(TINY_MODEL, tmp_path / name, layers=layers)
    old = str(tmp_path / "old")
    model, tokenizer = models.load(old, recipe, machine)
    mine = tmp_path / "run" / "adapter"
    save_adapter(models.add_lora(model, recipe, machine, 0), tokenizer, mine)
    known = {"status": "finished", "base_weights": folder_identity(old)}
    write_json(mine.parent / "run.json", known)
    new = str((tmp_path / "old").rename(tmp_path / "new"))
    with pytest.raises(FileNotFoundError, match="old, which is not here.\nSet MODEL"):
        Adapter.read(mine)
    with pytest.raises(ValueError, match="was trained on .*old, not on .*other.\n"):
        Adapter.read(mine, str(tmp_path / "other"))
    moved = Adapter.read(mine, new)
    assert moved.base == new
    loaded, _ = models.load(moved, recipe, machine)
    assert loaded.peft_config["default"].base_model_name_or_path == new
    assert Adapter.read(adapter(tmp_path / "mine", "/there/helpers/tiny/model")).base == BASE
    alone = tmp_path / "alone"  # nothing says which base it was: its matrices must fit
    shutil.copytree(mine, alone)
    assert Adapter.read(alone, new).base == new
    with pytest.raises(ValueError, match="alone does not fit .*\nSet MODEL"):
        models.load(Adapter.read(alone, BASE), recipe, machine)


def test_a_base_that_is_not_there(recipe, machine, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    orphan = Adapter.read(adapter(tmp_path / "mine", "nobody/nothing"))
    named = "'nobody/nothing', which the adapter in .*mine names, could not.*\nCheck the net"
    for base, error, words in (
        ("nobody/nothing", ConnectionError, "from the Hub.*\nCheck the network and the id"),
        (orphan, ConnectionError, f"The base {named}"),
    ):
        with pytest.raises(error, match=words):
            models.load(base, recipe, machine)


def test_a_base_whose_end_is_its_padding_learns_to_end_a_turn(recipe, machine, tmp_path):
    """Qwen's base models end and pad with the same token; the chat template ends with another."""
    write_random(TINY_MODEL, tmp_path, layers=1)
    plain = AutoTokenizer.from_pretrained(tmp_path)
    plain.eos_token = plain.pad_token = "<|endoftext|>"
    plain.save_pretrained(tmp_path)
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": plain.eos_token_id}))
    model, tokenizer = models.load(str(tmp_path), recipe, machine)
    assert model.config.hidden_size == 64 and len(tokenizer) == model.config.vocab_size
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert set(model.generation_config.eos_token_id) == {tokenizer.eos_token_id, plain.eos_token_id}
