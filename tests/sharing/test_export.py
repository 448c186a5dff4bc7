"""What is exported is the trained model, read back in a fresh process; a wrong one is caught."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import data, sharing, training
from helpers.sharing import merging, proof
from helpers.tiny import TINY_MODEL
from helpers.training.trainers import save_adapter
from tests.conftest import ROOT

from peft import LoraConfig, PeftModel, get_peft_model  # isort: skip  (after Unsloth)
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM  # isort: skip

BASE = str(TINY_MODEL)


def make_adapter(base, folder, recipe, machine, std):
    """An adapter whose matrices B are random; as a new one, which changes nothing, with std 0."""
    model, tokenizer = training.load(base, recipe, machine)
    model = training.add_lora(model, recipe, machine, 0)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=std)
    save_adapter(model, tokenizer, folder)
    return training.Adapter.read(folder)


@pytest.fixture(scope="module")
def trained(recipe, machine, tmp_path_factory):
    return make_adapter(BASE, tmp_path_factory.mktemp("adapters") / "a", recipe, machine, 0.02)


@pytest.fixture(scope="module")
def exports(trained, tmp_path_factory):
    """All forms, one of them in shards."""
    folder = tmp_path_factory.mktemp("exports")
    made = {"adapter": sharing.copy_adapter(BASE, trained, folder / "adapter")}
    for kind in merging.PRECISIONS:
        made[kind] = sharing.merge(BASE, trained, folder / kind, kind)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(merging, "LARGEST_SHARD", 500_000)
        made["sharded"] = sharing.merge(BASE, trained, folder / "sharded")
    return made


@pytest.fixture(scope="module")
def prompts(recipe, trained):
    examples = data.load(recipe, None, "cpu")["test"].examples[:16]
    return [data.prompt_text(recipe, trained.tokenizer, e.question) for e in examples]


def variant(adapter, folder, base=BASE, change=None, **settings):
    """A copy of an adapter with other settings or matrices, or for another base."""
    shutil.copytree(adapter.folder, folder)
    change_json(folder / "adapter_config.json", base_model_name_or_path=str(base), **settings)
    if change:
        weights = load_file(adapter.weights)
        change(weights)
        save_file(weights, folder / adapter.weights.name)
    return training.Adapter.read(folder)


def change_json(path, **more):
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def change_index(folder, files):
    """Lets an index say of some tensors that they are in other files."""
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change_json(path, weight_map=index["weight_map"] | files)


def test_every_export_is_the_trained_model(exports, trained, prompts, tmp_path):
    for export in exports.values():
        with pytest.raises(ValueError, match="never proved .*\nRun that export again"):
            sharing.plan_push(export.folder, None)
    found = sharing.prove_all(exports, BASE, trained, prompts, 48)
    for export in exports.values():
        assert "export.json" in sharing.plan_push(export.folder, None).files
    for name, shown in found.items():
        assert (shown.prompts, shown.computed_in, shown.same_rounded) == (16, "float32", 16), name
        assert shown.same_text == 16 or name in ("bf16", "fp16")  # those may part at a tie
        assert shown.beyond_rounding <= 1e-5, name
        assert shown.logit_difference_from_base > 10 * shown.logit_difference, name
    assert found["fp32"].relative <= 1e-5 < found["fp16"].relative < found["bf16"].relative < 0.05
    assert found["fp16"].megabytes < 0.6 * found["fp32"].megabytes
    assert len(list(exports["sharded"].folder.glob("model-*.safetensors"))) >= 5
    with mock.patch.object(proof, "read_back", side_effect=LookupError):  # is not asked again
        assert sharing.prove_all(exports, BASE, trained, prompts, 48) == found
        again = sharing.merge(BASE, trained, exports["fp32"].folder)
        assert again.origin == exports["fp32"].origin | {"proved": True}
        for change, limit in ((b"", 47), (b" ", 48)):  # but for a longer reply, or another file
            copy = tmp_path / f"{limit}"
            shutil.copytree(again.folder, copy)
            shutil.copy(proof.proof_file(again.folder), tmp_path / f"{limit}-proof.json")
            with open(copy / "tokenizer.json", "ab") as file:
                file.write(change)
            with pytest.raises(LookupError):
                sharing.prove(replace(again, folder=copy), BASE, trained, prompts, limit)


def test_an_export_says_what_it_is_and_names_no_folder_of_this_machine(exports, trained):
    for kind, dtype in merging.PRECISIONS.items():
        export = exports[kind]
        tensors = load_file(export.folder / "model.safetensors").values()
        config = json.loads((export.folder / "config.json").read_text())
        assert {tensor.dtype for tensor in tensors} == {dtype}
        assert config["dtype"] == str(dtype).removeprefix("torch.")
        assert (export.form, export.precision) == ("merged", kind)
    for export in exports.values():
        assert sharing.Export.read(export.folder).origin | {"proved": False} == export.origin
        assert export.origin["base"] == "helpers/tiny/model"
        assert export.origin["adapter_sha256"] == trained.hash
        assert export.folder.stat().st_mode & 0o777 == 0o755
        for path in export.folder.iterdir():
            assert path.stat().st_mode & 0o777 == 0o644, path
        for path in export.folder.rglob("*.json"):
            text = path.read_text()
            assert str(ROOT) not in text and str(trained.folder.parent) not in text, path
    with pytest.raises(FileNotFoundError, match="no export in .*\nExport first"):
        sharing.Export.read(trained.folder)


def test_an_adapter_is_written_alike_each_time_for_others_to_read(trained, exports):
    """Its own tokenizer files hold nothing of this machine; an export's length is the base's."""
    for folder, limit in ((trained.folder, 512), (exports["adapter"].folder, 1024)):
        config = json.loads((folder / "adapter_config.json").read_text())
        assert config["target_modules"] == sorted(config["target_modules"])
        tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
        assert not tokenizer.keys() & {"is_local", "local_files_only", "name_or_path"}
        assert tokenizer["model_max_length"] == limit
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


def halve_precision(weights):
    for name, tensor in weights.items():
        weights[name] = tensor.to(torch.bfloat16)


@pytest.mark.parametrize(
    ("settings", "change"), [({}, None), ({"use_rslora": True}, None), ({}, halve_precision)]
)
def test_streaming_gives_what_peft_gives(settings, change, trained, tmp_path):
    adapter = variant(trained, tmp_path / "adapter", change=change, **settings)
    ours = load_file(sharing.merge(BASE, adapter, tmp_path / "m").folder / "model.safetensors")
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    whole = PeftModel.from_pretrained(base, str(adapter.folder)).merge_and_unload().state_dict()
    for name, tensor in ours.items():
        assert torch.allclose(tensor, whole[name], rtol=0, atol=1e-6), name


def interpolate(folder, share):
    """Weights between the base's (0) and the trained ones (1)."""
    weights = load_file(folder / "model.safetensors")
    for name, base in load_file(TINY_MODEL / "model.safetensors").items():
        weights[name] = base.float() + share * (weights[name] - base.float())
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def change_weight(folder, name, place, value):
    weights = load_file(folder / "model.safetensors")
    weights[name][place] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


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


QUERY = "model.layers.2.self_attn.q_proj.weight"
FAULTS = {  # what is done to a merged model's folder, and what the proof says of it
    "the base": (lambda f: interpolate(f, 0), "logits of the base model.*\n.*did nothing"),
    "nine tenths": (lambda f: interpolate(f, 0.9), "differs from base"),
    "one weight": (lambda f: change_weight(f, QUERY, (3, 5), 1.0), "differs from base"),
    "nan": (lambda f: change_weight(f, "model.norm.weight", 0, torch.nan), "no numbers"),
    "template": (lambda f: (f / "chat_template.jinja").write_text("{{ 1 }}"), "chat template"),
    "swapped": (swap_tokens, "it has another vocabulary"),
    "half": (cut_in_half, "is not what was exported"),
    "short": (lambda f: change_json(f / "config.json", max_position_embeddings=8), "max_position"),
    "code": (lambda f: change_json(f / "config.json", auto_map={"AutoModel": "a.B"}), "auto_map"),
    "no json": (lambda f: (f / "config.json").write_text("{"), "config.json is damaged"),
    "no origin": (lambda f: (f / "export.json").write_text("{"), "export.json is damaged"),
    "limit": (
        lambda f: change_json(f / "tokenizer_config.json", model_max_length=512),
        "another model_max_length",
    ),
    "stray": (lambda f: (f / "pytorch_model.bin").touch(), "holds pytorch_model.bin, which no"),
}
SETTINGS = {"eos_token_id": 5, "repetition_penalty": 1.05, "max_new_tokens": 5, "temperature": 0.6}
SETTINGS |= {"suppress_tokens": [7], "max_length": 20, "do_sample": True}
for key, value in SETTINGS.items():
    FAULTS[key] = generation(**{key: value}), "other generation settings"


@pytest.fixture(scope="module")
def spoiled(exports, trained, prompts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("spoiled")
    wrong = {}
    for name, (spoil, _) in FAULTS.items():
        shutil.copytree(exports["fp32"].folder, folder / name)
        spoil(folder / name)
        wrong[name] = replace(exports["fp32"], folder=folder / name)
    return wrong, proof.read_back(wrong, proof.expected(BASE, trained, prompts[:2], 8))


@pytest.mark.parametrize("fault", FAULTS)
def test_an_export_that_is_wrong_is_caught(fault, spoiled):
    exports, found = spoiled
    with pytest.raises(ValueError, match=FAULTS[fault][1]) as caught:
        proof.judge(exports[fault], found[fault])
    assert len(str(caught.value).split("\n")) == 2


def test_the_reader_ends_with_the_process_that_asked_it():
    """A kill leaves nobody who holds a model's memory."""
    reader = "import reader, sys, time; print(1, flush=True); time.sleep(1); "
    reader += "reader.end_with(int(sys.argv[1]))"  # also where it was gone before this began
    asking = "import os, subprocess, sys; me = str(os.getpid()); "
    asking += f"subprocess.run([sys.executable, '-c', {reader!r}, me])"
    options = {"cwd": ROOT / "helpers" / "sharing", "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", asking], **options) as asked:
        assert asked.stdout.readline() == b"1\n"
        asked.kill()
        assert not asked.communicate(timeout=60)[0]  # the reader has this end of the pipe, too


@pytest.mark.parametrize(
    ("lost", "error", "said"),
    [
        ("model.safetensors", RuntimeError, "ended .*base.*\nLook whether the base"),
        ("", OSError, "base"),  # all of it: nothing can be asked
    ],
)
def test_where_nothing_is_found_out_nothing_looks_proven(
    lost, error, said, exports, trained, tmp_path, capsys
):
    export = exports["fp32"]
    unproved = export.origin | {"proved": False}
    made = {"fp32": replace(export, folder=tmp_path / "fp32", origin=unproved)}
    shutil.copytree(exports["fp32"].folder, tmp_path / "fp32")
    shutil.copytree(TINY_MODEL, tmp_path / "base")
    if lost:
        (tmp_path / "base" / lost).unlink()
    else:
        (tmp_path / "base").rename(tmp_path / "gone")
    with pytest.raises(error, match=said):
        sharing.prove_all(made, str(tmp_path / "base"), trained, ["3 + 4?"], 8)
    assert {path.name for path in tmp_path.iterdir()} - {"base", "gone"} == {"fp32-unproved"}
    assert "It is called fp32-unproved now, and" in capsys.readouterr().out


def add_head(weights):
    weights["base_model.model.lm_head.weight"] = torch.zeros(8, 8)


def of_head_alone(weights):
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    rank, size = weights[name + "A.weight"].shape
    vocabulary = load_file(TINY_MODEL / "model.safetensors")["model.embed_tokens.weight"].shape[0]
    weights.clear()
    weights["base_model.model.lm_head.lora_A.weight"] = torch.zeros(rank, size)
    weights["base_model.model.lm_head.lora_B.weight"] = torch.zeros(vocabulary, rank)


def of_embeddings_alone(weights):
    weights["base_model.model.model.embed_tokens.lora_embedding_A"] = torch.zeros(8, 8)


REFUSED = [({"alora_invocation_tokens": [1]}, None, r"this base\.")]
REFUSED += [({"target_modules": ["q_proj"]}, None, r"this base\.")]
REFUSED += [({"modules_to_save": ["lm_head"]}, add_head, "changes the head")]
REFUSED += [({"target_modules": ["lm_head"]}, of_head_alone, "changes the head")]  # a tied one
EMBEDDINGS = {"target_modules": ["embed_tokens", "q_proj"]}
REFUSED += [(EMBEDDINGS, of_embeddings_alone, "changes the embeddings")]


@pytest.mark.filterwarnings("ignore:Unexpected keyword arguments")
@pytest.mark.parametrize(("settings", "change", "said"), REFUSED)
def test_an_adapter_that_cannot_be_streamed_is_refused(settings, change, said, trained, tmp_path):
    adapter = variant(trained, tmp_path / "adapter", change=change, **settings)
    with pytest.raises(ValueError, match=f"not just LoRA .*{said}.*\n.*merge_and_un"):
        sharing.merge(BASE, adapter, tmp_path / "merged")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


@pytest.fixture
def base(tmp_path):
    """A copy of the base that may be changed."""
    return shutil.copytree(BASE, tmp_path / "base")


def test_a_base_in_shards_is_read(base, trained, exports, tmp_path):
    (base / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(BASE).save_pretrained(base, max_shard_size="1MB")
    adapter = variant(trained, tmp_path / "adapter", base)
    one = load_file(sharing.merge(str(base), adapter, tmp_path / "m").folder / "model.safetensors")
    other = load_file(exports["fp32"].folder / "model.safetensors")
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def shorten(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


FIRST, NORM = "model-00001-of-00003.safetensors", "model.norm.weight"
HALF = {
    "a half shard": lambda base: shorten(base / FIRST),
    "no shard": lambda base: (base / FIRST).unlink(),
    "another file": lambda base: change_index(base, {NORM: FIRST}),
    "a tensor too many": lambda base: change_index(base, {"x": FIRST}),
    "no file": lambda base: change_index(base, {NORM: "a.safetensors"}),
    "half an index": lambda base: (base / "model.safetensors.index.json").write_text("{"),
    "no index": lambda base: (base / "model.safetensors.index.json").unlink(),
}


@pytest.mark.parametrize("fault", HALF)
def test_a_base_that_is_not_whole_is_named_before_anything_is_written(
    fault, base, trained, tmp_path
):
    (base / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(BASE).save_pretrained(base, max_shard_size="1.5MB")
    adapter = variant(trained, tmp_path / "adapter", base)
    HALF[fault](base)
    with pytest.raises(ValueError, match="base are not whole.*\nFetch or copy") as caught:
        sharing.merge(str(base), adapter, tmp_path / "merged")
    assert len(str(caught.value).split("\n")) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"base", "adapter"}
    if fault == "a half shard":
        with pytest.raises(ValueError, match="not whole"):
            training.Adapter.read(adapter.folder, str(base))


def test_a_base_with_other_settings(base, trained, prompts, tmp_path, capsys):
    """Its own ways to generate, and its code, stay behind; quantised weights are refused.

    A bad export beside them is renamed, with a file of the user's, and hides no good one.
    """
    change_json(base / "generation_config.json", **SETTINGS | {"eos_token_id": 2})
    change_json(base / "config.json", auto_map={"AutoModelForCausalLM": "a.B"})
    change_json(base / "tokenizer_config.json", name_or_path="/home/alice/q3", model_max_length=77)
    adapter = variant(trained, tmp_path / "adapter", base)
    made = {"merged": sharing.merge(str(base), adapter, tmp_path / "merged")}
    made["adapter"] = sharing.copy_adapter(str(base), adapter, tmp_path / "copied")
    spoiled = shutil.copytree(tmp_path / "merged", tmp_path / "spoiled")
    (spoiled / "mine.txt").write_text("years")
    bad = {"spoiled": replace(made["merged"], folder=spoiled)}
    with pytest.raises(ValueError, match="spoiled .*mine.txt.*\n.*called spoiled-unproved now"):
        sharing.prove_all(bad | made, str(base), adapter, prompts[:4], 24)
    assert capsys.readouterr().out.count(": 4 of 4 greedy replies are those of base + ad") == 2
    assert (tmp_path / "spoiled-unproved" / "mine.txt").read_text() == "years"
    for export in made.values():
        kept = json.loads((export.folder / "generation_config.json").read_text())
        assert kept.keys() == {"eos_token_id", "pad_token_id", "transformers_version"}
        tokenizer = json.loads((export.folder / "tokenizer_config.json").read_text())
        assert tokenizer["model_max_length"] == 77 and "name_or_path" not in tokenizer
    assert "auto_map" not in (made["merged"].folder / "config.json").read_text()
    change_json(base / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    with pytest.raises(ValueError, match="are quantised.*\n.*unquantised model"):
        sharing.merge(str(base), adapter, tmp_path / "refused")


@pytest.mark.parametrize("lost", ["tokenizer.json", "chat_template.jinja"])
@pytest.mark.parametrize("export", [sharing.copy_adapter, sharing.merge])
def test_an_adapter_without_a_tokenizer_is_named(export, lost, trained, tmp_path, monkeypatch):
    adapter = variant(trained, tmp_path / "adapter")
    (adapter.folder / lost).unlink()
    monkeypatch.delattr(merging, "plan_shards")  # it is not come to
    with pytest.raises(ValueError, match="tokenizer beside the adapter .* missing or damaged.*\n"):
        export(BASE, adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_others_must_put_in_is_said(trained, base, tmp_path, capsys):
    adapter = variant(trained, tmp_path / "adapter", base)
    sharing.copy_adapter(str(base), adapter, tmp_path / "out")
    assert capsys.readouterr().out == f"{sharing.local_base(str(base))}\n"
    assert sharing.local_base(str(base)).startswith("base is a folder here: put its Hub id")
    assert sharing.local_base(BASE) == sharing.local_base("Qwen/Qwen3-4B") == ""


MERGE = """
import json, resource, sys
from helpers import sharing, training
from helpers.sharing import merging

merging.LARGEST_SHARD = 50_000_000
place = sys.argv[1]
adapter = training.Adapter.read(place + "/adapter")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
size = sharing.merge(place + "/base", adapter, place + "/merged").megabytes
added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([size, added * 1.024 / 1e3]))
"""


@pytest.mark.soak
def test_a_merge_needs_little_memory(trained, tmp_path):
    """It adds far less than the model's size; what else counts, pages of files, only adds.

    The model is a random Qwen3 of 0.2 GB in FP32, stored in 16 bits as models are. It is merged in
    a process of its own, since what makes the model would hide the merge's peak.
    """
    sizes = {"vocab_size": 8_000, "hidden_size": 1024, "intermediate_size": 3072}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64}
    config = Qwen3Config(**sizes, **heads, num_hidden_layers=4, tie_word_embeddings=True)
    model = Qwen3ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(tmp_path / "base")
    targets = ["q_proj", "v_proj", "down_proj"]
    tuned = get_peft_model(model, LoraConfig(r=16, target_modules=targets, task_type="CAUSAL_LM"))
    tuned.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    save_adapter(tuned, trained.tokenizer, tmp_path / "adapter")
    command, found = [sys.executable, "-W", "ignore", "-c", MERGE, str(tmp_path)], []
    for _ in range(3):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(json.loads(done.stdout.strip().split("\n")[-1]))
    size, added = found[0][0], sorted(one[1] for one in found)
    assert size > 200 and added[0] < 0.6 * size and added[2] < 1.3 * size, found
