"""Loading a base, adapters of another base, batched generation."""

import contextlib
import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save, save_file

from helpers import data
from helpers.runs import write_json
from helpers.tiny import TINY_MODEL
from helpers.tiny.make import write_random
from helpers.training import Adapter, decoding, dequantised, models, replies, save_adapter
from helpers.training.adapter import folder_identity, identity
from tests.learning import BASE, untrained

from transformers import AutoTokenizer, GenerationConfig  # isort: skip  (after Unsloth)

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


def test_batches_and_order_do_not_change_greedy_answers_but_the_limit_does(loaded, recipe):
    examples = data.load(recipe, None, "cpu")["test"].examples[:12]
    prompts = [data.prompt_text(recipe, loaded[1], example.question) for example in examples]
    together = replies.generate(*loaded, prompts, 48)
    alone = [replies.generate(*loaded, [prompt], 48)[0] for prompt in prompts]
    assert together == alone == replies.generate(*loaded, prompts, 48, batch=5)
    assert all(reply.tokens <= 48 and "<|im_end|>" not in reply.text for reply in together)
    [cut] = replies.generate(*loaded, prompts[:1], 3)
    assert (cut.tokens, cut.finished) == (3, False)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_loop_on_a_cpu_makes_the_tokens_of_transformers_own(temperature, loaded, recipe):
    """With prompts of several lengths, some twice, and replies that end early, late or not."""
    model, tokenizer = loaded
    examples = data.load(recipe, None, "cpu")["test"].examples[:9]
    prompts = [data.prompt_text(recipe, tokenizer, example.question) for example in examples]
    given = {"return_tensors": "pt", "padding": True, "padding_side": "left"}
    rows = tokenizer(prompts * 2, add_special_tokens=False, **given)
    how = {"max_new_tokens": 30, "do_sample": temperature > 0}
    if temperature:
        how |= {"temperature": temperature, "top_k": 0, "top_p": 1.0}
    found, random = [], []
    for loop in ({}, decoding.options(model)):
        torch.manual_seed(0)
        found.append(model.generate(**rows, **how, **loop))
        random.append(torch.get_rng_state())
    replies = found[0][:, rows["input_ids"].shape[1] :]
    ended = (replies == tokenizer.eos_token_id).any(dim=1)
    assert ended.any() and not ended.all()
    assert torch.equal(*found) and torch.equal(*random)


def test_sampling_follows_its_seed(loaded, recipe):
    prompts = [data.prompt_text(recipe, loaded[1], QUESTION)] * 8
    one, two, other = (replies.generate(*loaded, prompts, 32, 1.0, seed=seed) for seed in (1, 1, 2))
    assert one == two != other and len({reply.text for reply in one}) > 1


OWN = {"repetition_penalty": 1.3, "suppress_tokens": [20, 21], "max_length": 20, "do_sample": True}
OWN |= {"temperature": 0.1, "top_p": 0.1, "top_k": 1, "min_new_tokens": 30, "num_beams": 2}


@pytest.mark.parametrize("with_lora", [False, True])
def test_a_bases_own_generation_settings_change_no_reply(with_lora, recipe, machine, tmp_path):
    """Neither greedy nor drawn ones, nor those that GRPOTrainer asks for, by its own settings."""
    own = shutil.copytree(BASE, tmp_path / "own")
    for file, more in (("generation_config.json", OWN), ("config.json", {"max_length": 20})):
        (own / file).write_text(json.dumps(json.loads((own / file).read_text()) | more))
    asked = GenerationConfig(max_new_tokens=32, do_sample=True, temperature=1.0, top_k=0, top_p=1.0)
    found = []
    for base in (BASE, str(own)):
        model, tokenizer = models.load(base, recipe, machine)
        if with_lora:
            model = models.add_lora(model, recipe, machine, 0)
        prompts = [data.prompt_text(recipe, tokenizer, QUESTION)] * 3
        greedy = replies.generate(model, tokenizer, prompts[:1], 32)
        drawn = replies.generate(model, tokenizer, prompts, 32, 1.0)
        torch.manual_seed(0)
        rows = tokenizer(prompts, return_tensors="pt")
        trained = model.generate(**rows, generation_config=asked).tolist()
        found.append((greedy, drawn, trained))
    assert found[0] == found[1]


@torch.no_grad()
def test_merged_weights_compute_the_same_and_are_dropped(recipe, machine):
    model, tokenizer = untrained(recipe, machine)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn_like(parameter) * 0.02
    rows = tokenizer("Mia has 3 pens.", return_tensors="pt")
    plain = model(**rows).logits
    with dequantised.merged_weights(model):
        merged = model(**rows).logits
    with model.disable_adapter():
        base = model(**rows).logits
        with dequantised.merged_weights(model):
            assert torch.allclose(model(**rows).logits, base, atol=1e-3)
    assert torch.allclose(plain, merged, atol=1e-3) and not torch.allclose(plain, base, atol=1e-1)
    assert torch.equal(model(**rows).logits, plain)


@pytest.mark.parametrize("rank", [4, 64])  # beside W, and in one product with it
def test_training_on_dequantised_weights_is_the_same(rank, recipe, machine):
    """The loss and each gradient, those of the adapter at work, and all as it was afterwards."""
    model, tokenizer = untrained(replace(recipe, lora=replace(recipe.lora, r=rank)), machine)
    model.add_adapter("ref", model.peft_config["default"])
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter, dtype=torch.float32) * 0.02
    [layer, *_] = dequantised.layers_on_cpu(model)
    assert dequantised.one_product_is_less(layer) == (rank == 64)
    rows = tokenizer("Mia has 3 pens. She sells 2 of them.", return_tensors="pt")
    found = []
    for training in (contextlib.nullcontext(), dequantised.dequantised_weights(model)):
        with training:
            model.zero_grad()
            loss = model(**rows, labels=rows["input_ids"]).loss
            loss.backward()
            with dequantised.merged_weights(model), torch.no_grad():
                model(**rows)
            with torch.no_grad(), model.disable_adapter():
                of_base = model(**rows).logits
        own = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        found.append((loss, of_base, own))
    (loss, of_base, own), (other_loss, other_of_base, others) = found
    assert abs(loss - other_loss) < 1e-5 and torch.allclose(of_base, other_of_base, atol=1e-4)
    assert own.keys() == others.keys() and not any(".ref." in name for name in own)
    for name, gradient in own.items():
        assert (gradient - others[name]).norm() < 1e-4 * gradient.norm(), name
    assert not any("forward" in vars(layer) for layer in dequantised.layers_on_cpu(model))


def test_an_identity_is_of_the_weights_at_work(recipe, machine):
    model, _ = untrained(recipe, machine)
    found = [identity(models.at_work(model)) for _ in range(2)]
    next(p for name, p in model.named_parameters() if "lora_B" in name).data += 0.5
    found.append(identity(models.at_work(model)))
    with model.disable_adapter():
        found.append(identity(models.at_work(model)))
    assert found[0] == found[1] and len(set(found)) == 3


def adapter(folder, base):
    folder.mkdir()
    settings = {"peft_type": "LORA", "base_model_name_or_path": base, "r": 4}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    save_file(MATRICES, folder / "adapter_model.safetensors")
    return folder


def test_an_adapter_is_read_if_it_is_there_and_of_this_base(tmp_path):
    found = Adapter.read(adapter(tmp_path / "a", BASE), BASE)
    assert (found.base, found.config.r, found.run) == (BASE, 4, None)
    with pytest.raises(ValueError, match="trained on Qwen/Qwen3-0.6B.*\nSet MODEL=Qwen/Qwen3-0"):
        Adapter.read(adapter(tmp_path / "b", "Qwen/Qwen3-0.6B"), BASE)
    said = "no adapter.*\nRun 01_sft.ipynb first, or set ADAP"
    with pytest.raises(FileNotFoundError, match=said):
        Adapter.read(tmp_path / "none", BASE)


SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
NAN, INF = (save({"x": torch.tensor([0.0, n]).bfloat16()}) for n in (torch.nan, torch.inf))
DAMAGE = r"^The adapter in .*broken is damaged \({}.*\)\.\nTrain it again, or name another one\.$"
UNREADABLE = {
    "empty": (WEIGHTS, save(MATRICES)[:0], DAMAGE.format("SafetensorError: .*header too small")),
    "begun": (WEIGHTS, save(MATRICES)[:4], DAMAGE.format("SafetensorError: .*header too small")),
    "half a header": (WEIGHTS, save(MATRICES)[:40], DAMAGE.format("SafetensorError: .*header")),
    "cut off": (WEIGHTS, save(MATRICES)[:-8], DAMAGE.format("SafetensorError: .*incomplete")),
    "NaN": (WEIGHTS, NAN, DAMAGE.format("x holds NaN or infinite numbers")),
    "infinite": (WEIGHTS, INF, DAMAGE.format("x holds NaN or infinite numbers")),
    "no JSON": (SETTINGS, b"{", DAMAGE.format("JSONDecodeError")),
    "no kind": (SETTINGS, b"{}", "is not of LoRA.*\n"),
    "no base": (SETTINGS, b'{"peft_type": "LORA"}', "is not of LoRA.*\n"),
    "IA3": (SETTINGS, b'{"peft_type":"IA3", "base_model_name_or_path": "x"}', "is not of LoRA.*\n"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_adapter_that_cannot_be_used_is_named(name, tmp_path):
    file, content, said = UNREADABLE[name]
    folder = adapter(tmp_path / "broken", BASE)
    (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        Adapter.read(folder, BASE)


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
    with pytest.raises(ConnectionError, match="from the Hub.*\nCheck the network and the id"):
        models.load("nobody/nothing", recipe, machine)
    orphan = Adapter.read(adapter(tmp_path / "mine", "nobody/nothing"))
    why = "The base 'nobody/nothing', which the adapter in .*mine names, could not.*\nCheck the net"
    with pytest.raises(ConnectionError, match=why):
        models.load(orphan, recipe, machine)


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
