"""GGUF: what is said where there is no llama.cpp, the Modelfile's prompt, and, where llama.cpp is, a real conversion."""

import sys

import pytest

from helpers import data
from helpers.sharing import export, gguf
from helpers.training import models
from tests.conftest import ROOT, SHARED
from tests.sharing.test_export import adapters, exports  # noqa: F401  (fixtures)


def test_without_llama_cpp_the_remedy_is_exact(tmp_path, recipe, monkeypatch, exports):  # noqa: F811
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError) as caught:
        gguf.to_gguf(exports["fp32"], tmp_path / "gguf", recipe)
    said = str(caught.value)
    for words in (
        "git clone",
        "pip install ./llama.cpp/gguf-py sentencepiece",
        "cmake --build",
        "llama-quantize llama-completion",
        "LLAMA_CPP",
    ):
        assert words in said
    assert not (tmp_path / "gguf").exists()


def test_unknown_types_and_missing_models_are_named(tmp_path, recipe):
    with pytest.raises(ValueError, match="q9.*\n.*f16, q8_0, q4_k_m"):
        gguf.check(("q9",))
    with pytest.raises(FileNotFoundError, match="no merged model.*\n.*python -m helpers export"):
        gguf.to_gguf(tmp_path, tmp_path / "gguf", recipe)


def test_a_converter_that_fails_leaves_nothing(tmp_path, recipe, monkeypatch, exports):  # noqa: F811
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "convert_hf_to_gguf.py").write_text(
        "import sys; open(sys.argv[3], 'w').write('half'); sys.exit('no such tokenizer')"
    )
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path / "llama"))
    with pytest.raises(
        ValueError,
        match="could not write q8_0.gguf: no such tokenizer.\n.*tokenizers that it knows",
    ):
        gguf.to_gguf(exports["fp32"], tmp_path / "gguf", recipe)
    assert {path.name for path in tmp_path.iterdir()} == {"llama"}


def test_the_modelfile_asks_as_training_did(recipe, exports):  # noqa: F811
    from transformers import AutoTokenizer

    text = gguf.modelfile(exports["fp32"], recipe, "q8_0.gguf")
    template = text.split('TEMPLATE """')[1].split('"""')[0].split("{{ .Response }}")[0]
    prompt = data.prompt_text(recipe, AutoTokenizer.from_pretrained(str(exports["fp32"])), "3 + 4?")
    assert (
        template.replace("{{ .System }}", recipe.system).replace("{{ .Prompt }}", "3 + 4?")
        == prompt
    )
    assert text.startswith("FROM ./q8_0.gguf\n") and 'PARAMETER stop "<|im_end|>"' in text


def test_a_real_conversion_and_its_replies(tmp_path, recipe, machine):
    """A small random model with Qwen's tokenizer goes all the way. It is so undecided that rounding turns its tokens: texts are not compared here."""
    try:
        gguf.llama_cpp("converter"), gguf.llama_cpp("quantizer"), gguf.llama_cpp("generator")
    except FileNotFoundError:
        pytest.skip("llama.cpp is not installed here; set LLAMA_CPP to its folder")
    if not SHARED.is_dir():
        pytest.skip("../shared, with the real tokenizer, is not here")
    import subprocess

    from helpers.training.trainers import save_adapter

    base = str(tmp_path / "base")
    subprocess.run(
        [sys.executable, "-m", "helpers.tiny", "random", str(SHARED / "qwen3"), base],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    model, tokenizer = models.load(base, recipe, machine)
    model = models.add_lora(model, recipe, machine, 0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.02)
    save_adapter(model, tokenizer, tmp_path / "run" / "adapter")
    merged = export.merge(base, tmp_path / "run" / "adapter", tmp_path / "merged")
    files = gguf.to_gguf(merged, tmp_path / "gguf", recipe, ("f16", "q8_0", "q4_k_m"))
    assert [file.stat().st_size for file in files] == sorted(
        (file.stat().st_size for file in files), reverse=True
    )
    prompts = [data.prompt_text(recipe, tokenizer, f"{n} + 4?") for n in range(4)]
    said = gguf.replies(files[0], tokenizer, prompts, 12)
    assert all(reply.text for reply in said) and said == gguf.replies(
        files[0], tokenizer, prompts, 12
    )
