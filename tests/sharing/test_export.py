"""What is exported is the trained model, read back in a fresh process; a wrong one is caught."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import data, sharing, training
from helpers.sharing import merging, proof
from helpers.tiny import TINY_MODEL
from helpers.training.trainers import save_adapter
from tests.conftest import ROOT

BASE = str(TINY_MODEL)


@pytest.fixture(scope="module")
def adapters(recipe, machine, tmp_path_factory):
    """An adapter that changes the model, and one that was never trained."""
    model, tokenizer = training.load(BASE, recipe, machine)
    model = training.add_lora(model, recipe, machine, 0)
    folder = tmp_path_factory.mktemp("adapters")
    save_adapter(model, tokenizer, folder / "untrained")
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.02)
    save_adapter(model, tokenizer, folder / "trained")
    return {path.name: training.Adapter.read(path) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def trained(adapters):
    return adapters["trained"]


@pytest.fixture(scope="module")
def exports(trained, tmp_path_factory):
    """All forms, one of them in shards."""
    folder = tmp_path_factory.mktemp("exports")
    made = {"adapter": sharing.copy_adapter(BASE, trained, folder / "adapter")}
    for kind in merging.PRECISIONS:
        made[kind] = sharing.merge(BASE, trained, folder / kind, kind)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(merging, "SMALLEST_SHARD", 500_000)
        made["sharded"] = sharing.merge(BASE, trained, folder / "sharded")
    return made


@pytest.fixture(scope="module")
def prompts(recipe, trained):
    examples = data.load(recipe, None, "tiny")["test"].examples[:16]
    return [data.prompt_text(recipe, trained.tokenizer, e.question) for e in examples]


def variant(adapter, folder, base=BASE, change=None, **settings):
    """A copy of an adapter with other settings or matrices, or for another base."""
    shutil.copytree(adapter.folder, folder)
    path = folder / "adapter_config.json"
    settings["base_model_name_or_path"] = str(base)
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    if change:
        weights = load_file(adapter.weights)
        change(weights)
        save_file(weights, folder / adapter.weights.name)
    return training.Adapter.read(folder)


def change_json(path, **more):
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_every_export_is_the_trained_model(exports, trained, prompts):
    found = sharing.prove_all(exports, BASE, trained, prompts, 48)
    for name, shown in found.items():
        assert (shown.prompts, shown.computed_in, shown.same_rounded) == (16, "float32", 16), name
        assert shown.same_text == 16 or name in ("bf16", "fp16")  # those may part at a tie
        assert shown.beyond_rounding <= 1e-5, name
        assert shown.logit_difference_from_base > 10 * shown.logit_difference, name
    assert found["fp32"].relative <= 1e-5 < found["fp16"].relative < found["bf16"].relative < 0.05
    assert found["fp16"].megabytes < 0.6 * found["fp32"].megabytes
    assert len(list(exports["sharded"].folder.glob("model-*.safetensors"))) >= 5


def test_an_export_says_what_it_is_and_names_no_folder_of_this_machine(exports, trained):
    for kind, dtype in merging.PRECISIONS.items():
        export = exports[kind]
        tensors = load_file(export.folder / "model.safetensors").values()
        config = json.loads((export.folder / "config.json").read_text())
        assert {tensor.dtype for tensor in tensors} == {dtype}
        assert config["dtype"] == str(dtype).removeprefix("torch.")
        assert (export.form, export.precision) == ("merged", kind)
    for export in exports.values():
        assert export == sharing.Export.read(export.folder)
        assert export.origin["base"] == "helpers/tiny/model"
        assert export.origin["adapter_sha256"] == trained.hash
        for path in export.folder.rglob("*.json"):
            text = path.read_text()
            assert str(ROOT) not in text and str(trained.folder.parent) not in text, path
    with pytest.raises(FileNotFoundError, match="no export in .*\nExport first"):
        sharing.Export.read(trained.folder)


def halve_precision(weights):
    for name, tensor in weights.items():
        weights[name] = tensor.to(torch.bfloat16)


@pytest.mark.parametrize(
    ("settings", "change"),
    [({}, None), ({"use_rslora": True}, None), ({}, halve_precision)],
    ids=["plain", "rank-stabilised", "16-bit matrices"],
)
def test_streaming_gives_what_peft_gives(settings, change, trained, tmp_path):
    adapter = variant(trained, tmp_path / "adapter", change=change, **settings)
    ours = load_file(sharing.merge(BASE, adapter, tmp_path / "m").folder / "model.safetensors")
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    whole = PeftModel.from_pretrained(base, str(adapter.folder)).merge_and_unload().state_dict()
    for name, tensor in ours.items():
        assert torch.allclose(tensor, whole[name], rtol=0, atol=1e-6), name


def rewrite(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights, load_file(TINY_MODEL / "model.safetensors"))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def interpolate(share):
    """Weights between the base's (0) and the trained ones (1)."""

    def change(weights, base):
        for name, tensor in weights.items():
            weights[name] = base[name].float() + share * (tensor - base[name].float())

    return change


def one_weight(weights, base):
    weights["model.layers.2.self_attn.q_proj.weight"][3, 5] += 1.0


def not_a_number(weights, base):
    weights["model.norm.weight"][0] = float("nan")


def swap_tokens(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    ids = tokenizer["model"]["vocab"]
    one, other = sorted(ids, key=ids.get)[-2:]
    ids[one], ids[other] = ids[other], ids[one]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def cut_in_half(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def generation(**more):
    return lambda folder: change_json(folder / "generation_config.json", **more)


FAULTS = {  # what is done to a merged model's folder, and what the proof says of it
    "the base": (lambda f: rewrite(f, interpolate(0)), "logits of the base model.*\n.*did nothing"),
    "nine tenths": (lambda f: rewrite(f, interpolate(0.9)), "differs from base"),
    "one weight": (lambda f: rewrite(f, one_weight), "differs from base"),
    "nan": (lambda f: rewrite(f, not_a_number), "no numbers"),
    "template": (lambda f: (f / "chat_template.jinja").write_text("{{ 1 }}"), "chat template"),
    "swapped": (swap_tokens, "it has another vocabulary"),
    "half": (cut_in_half, "is not what was exported"),
    "short": (lambda f: change_json(f / "config.json", max_position_embeddings=8), "max_position"),
    "end": (generation(eos_token_id=5), "do not end a reply"),
    "early": (generation(eos_token_id=list(range(300))), "replies otherwise"),
    "penalty": (generation(repetition_penalty=8.0), "replies otherwise"),
}


@pytest.fixture(scope="module")
def spoiled(exports, trained, prompts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("spoiled")
    wrong = {}
    for name, (spoil, _) in FAULTS.items():
        shutil.copytree(exports["fp32"].folder, folder / name)
        spoil(folder / name)
        wrong[name] = replace(exports["fp32"], folder=folder / name)
    asked = {"prompts": prompts[:2], "max_new_tokens": 8}
    asked |= {"base": BASE, "adapter": str(trained.folder)}
    return wrong, proof.read_back(wrong, asked)


@pytest.mark.parametrize("fault", FAULTS)
def test_an_export_that_is_wrong_is_caught(fault, spoiled):
    exports, found = spoiled
    with pytest.raises(ValueError, match=FAULTS[fault][1]) as caught:
        proof.judge(exports[fault], found[fault])
    assert len(str(caught.value).split("\n")) == 2


def test_a_merge_of_an_untrained_adapter_is_caught(adapters, prompts, tmp_path):
    export = sharing.merge(BASE, adapters["untrained"], tmp_path / "merged")
    with pytest.raises(ValueError, match="logits of the base model.*\n.*did nothing"):
        sharing.prove(export, BASE, adapters["untrained"], prompts[:2], 8)


def test_the_fresh_process_tells_how_it_ended(exports, trained):
    with pytest.raises(RuntimeError, match="ended .*nowhere.*\nLook whether"):
        sharing.prove(exports["fp32"], "/nowhere/nowhere", trained, ["3 + 4?"], 8)


def test_the_fresh_process_loads_no_unsloth():
    script = (ROOT / "helpers/sharing/reader.py").read_text()
    imported = re.findall(r"^ *(?:from|import) (\w+)", script, re.MULTILINE)
    assert "transformers" in imported and not {"helpers", "unsloth"} & set(imported)


def add_head(weights):
    weights["base_model.model.lm_head.weight"] = torch.zeros(8, 8)


def of_head_alone(weights):
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    rank, size = weights[name + "A.weight"].shape
    vocabulary = load_file(TINY_MODEL / "model.safetensors")["model.embed_tokens.weight"].shape[0]
    weights.clear()
    weights["base_model.model.lm_head.lora_A.weight"] = torch.zeros(rank, size)
    weights["base_model.model.lm_head.lora_B.weight"] = torch.zeros(vocabulary, rank)


@pytest.mark.filterwarnings("ignore:Unexpected keyword arguments")
@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({"use_dora": True}, None),
        ({"alora_invocation_tokens": [1]}, None),
        ({"target_modules": ["q_proj"]}, None),
        ({"modules_to_save": ["lm_head"]}, add_head),
        ({"target_modules": ["lm_head"]}, of_head_alone),  # tied to the embedding
    ],
    ids=["DoRA", "aLoRA", "other targets", "saved modules", "tied head"],
)
def test_an_adapter_that_cannot_be_streamed_is_refused(settings, change, trained, tmp_path):
    adapter = variant(trained, tmp_path / "adapter", change=change, **settings)
    with pytest.raises(ValueError, match="not just LoRA matrices on this base.\n.*merge_and_un"):
        sharing.merge(BASE, adapter, tmp_path / "merged")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


@pytest.fixture
def base(tmp_path):
    """A copy of the base that may be changed."""
    return shutil.copytree(BASE, tmp_path / "base")


def test_a_base_in_shards_is_read(base, trained, exports, tmp_path):
    from transformers import AutoModelForCausalLM

    (base / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(BASE).save_pretrained(base, max_shard_size="1MB")
    adapter = variant(trained, tmp_path / "adapter", base)
    one = load_file(sharing.merge(str(base), adapter, tmp_path / "m").folder / "model.safetensors")
    other = load_file(exports["fp32"].folder / "model.safetensors")
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_generation_settings_that_the_library_would_not_save_are_settled(base, trained, tmp_path):
    change_json(base / "generation_config.json", do_sample=False, temperature=0.6)
    adapter = variant(trained, tmp_path / "adapter", base)
    merged = sharing.merge(str(base), adapter, tmp_path / "merged").folder
    assert "temperature" not in (merged / "generation_config.json").read_text()


def test_quantised_weights_are_no_base(base, trained, tmp_path):
    change_json(base / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    adapter = variant(trained, tmp_path / "adapter", base)
    with pytest.raises(ValueError, match="are quantised.*\n.*unquantised model"):
        sharing.merge(str(base), adapter, tmp_path / "merged")


def test_an_adapter_without_a_tokenizer_is_named(trained, tmp_path):
    adapter = variant(trained, tmp_path / "adapter")
    (adapter.folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="tokenizer beside the adapter .* missing or damaged.*\n"):
        sharing.copy_adapter(BASE, adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.soak
def test_a_merge_needs_little_memory(tmp_path):
    """It adds far less than the model's size; what else counts, pages of files, only adds."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.sharing.merge_memory", str(tmp_path)]
    found = []
    for step in ("make", "measure", "measure", "measure"):
        done = subprocess.run([*command, step], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        if step == "measure":
            found.append(json.loads(done.stdout.strip().split("\n")[-1]))
    size = found[0]["fp32_mb"]
    added = sorted(one["added_mb"] for one in found)
    assert size > 200 and added[0] < 0.6 * size and added[2] < 1.3 * size, found
