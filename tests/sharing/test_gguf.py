"""GGUF: what is said where there is no llama.cpp, the Modelfile, and, where it is, a conversion."""

import subprocess
import sys

import pytest

from helpers import data, sharing
from helpers.sharing import gguf
from tests.conftest import ROOT, SHARED, needs_shared
from tests.sharing.test_export import exports, make_adapter, trained  # noqa: F401  (fixtures)

CONVERTER = "import sys; open(sys.argv[3], 'w').write('GGUF'); "
QUANTIZER = f"""#!{sys.executable}
import pathlib, sys
source, file, kind = sys.argv[1:]
pathlib.Path(file).write_text(pathlib.Path(source).read_text() + kind)
"""


@pytest.fixture
def llama(tmp_path, monkeypatch):
    """A folder where llama.cpp is looked for, with a stand-in for its converter."""
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path / "llama"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gguf, "PLACES", ())
    (tmp_path / "llama").mkdir()

    def install(ends):
        (tmp_path / "llama" / gguf.CONVERTER).write_text(CONVERTER + ends)

    return install


def test_without_llama_cpp_the_remedy_is_exact(llama, tmp_path, recipe, exports):  # noqa: F811
    with pytest.raises(FileNotFoundError) as caught:
        sharing.to_gguf(exports["fp32"], tmp_path / "gguf", recipe)
    said = str(caught.value)
    for words in ("git clone", "pip install ./llama.cpp/gguf-py sentencepiece", "LLAMA_CPP"):
        assert words in said
    assert "llama-quantize llama-completion" in said and not (tmp_path / "gguf").exists()
    llama("")
    sharing.check_gguf("q8_0")
    with pytest.raises(FileNotFoundError, match="llama-quantize"):
        sharing.check_gguf("q4_k_m")


def test_a_converter_that_fails_leaves_nothing(llama, tmp_path, recipe, exports):  # noqa: F811
    llama("sys.exit('no such tokenizer')")
    with pytest.raises(ValueError, match="q8_0.gguf: no such tokenizer.\n.*pip install"):
        sharing.to_gguf(exports["fp32"], tmp_path / "gguf", recipe)
    assert [path.name for path in tmp_path.iterdir()] == ["llama"]


def test_the_export_holds_file_modelfile_and_origin(llama, tmp_path, recipe, exports):  # noqa: F811
    llama("")
    quantizer = tmp_path / "llama" / gguf.QUANTIZER
    quantizer.write_text(QUANTIZER)
    quantizer.chmod(0o755)
    merged = exports["fp32"]
    for kind, written in (("f16", "GGUF"), ("q4_k_m", "GGUFQ4_K_M")):
        made = sharing.to_gguf(merged, tmp_path / kind, recipe, kind)
        names = {path.name for path in made.folder.iterdir()}
        assert names == {f"{kind}.gguf", "Modelfile", "export.json"}
        assert (made.folder / f"{kind}.gguf").read_text() == written
        assert (made.form, made.precision) == ("gguf", kind)
        assert made.origin["adapter_sha256"] == merged.origin["adapter_sha256"]
        text = (made.folder / "Modelfile").read_text()
        assert text == sharing.modelfile(merged, recipe, f"{kind}.gguf")


def test_the_modelfile_asks_as_training_did(recipe, exports, trained):  # noqa: F811
    text = sharing.modelfile(exports["fp32"], recipe, "q8_0.gguf")
    template = text.split('TEMPLATE """')[1].split('"""')[0].split("{{ .Response }}")[0]
    asked = template.replace("{{ .System }}", recipe.system).replace("{{ .Prompt }}", "3 + 4?")
    assert asked == data.prompt_text(recipe, trained.tokenizer, "3 + 4?")
    assert text.startswith("FROM ./q8_0.gguf\n") and 'PARAMETER stop "<|im_end|>"' in text


@needs_shared
def test_a_real_conversion_and_its_replies(tmp_path, recipe, machine):
    """A small random model with Qwen's tokenizer goes all the way; rounding turns its tokens."""
    try:
        for program in (gguf.CONVERTER, gguf.QUANTIZER, gguf.GENERATOR):
            gguf.find_program(program)
    except FileNotFoundError:
        pytest.skip("llama.cpp is not installed here; set LLAMA_CPP to its folder")
    base = str(tmp_path / "base")
    command = [sys.executable, "-m", "helpers.tiny", "random", SHARED / "qwen3", base]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    adapter = make_adapter(base, tmp_path / "run" / "adapter", recipe, machine, 0.02)
    tokenizer = adapter.tokenizer
    merged = sharing.merge(base, adapter, tmp_path / "merged")
    for kind in gguf.SIZES:
        sharing.to_gguf(merged, tmp_path / kind, recipe, kind)
    files = [tmp_path / kind / f"{kind}.gguf" for kind in gguf.SIZES]
    sizes = [file.stat().st_size for file in files]
    assert sizes == sorted(sizes, reverse=True)
    prompts = [data.prompt_text(recipe, tokenizer, f"{n} + 4?") for n in range(4)]
    said = sharing.gguf_replies(files[0], tokenizer, prompts, 12)
    assert all(reply.text for reply in said)
    assert said == sharing.gguf_replies(files[0], tokenizer, prompts, 12)
