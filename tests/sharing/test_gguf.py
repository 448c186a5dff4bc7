"""GGUF: what is said where there is no llama.cpp, the Modelfile, and, where it is, a conversion."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from helpers import data, sharing
from helpers.sharing import gguf
from helpers.tiny.make import write_random
from tests.conftest import ROOT, SHARED, needs_shared
from tests.sharing.test_export import exports, make_adapter, trained  # noqa: F401  (fixtures)

import torch  # isort: skip  (after Unsloth)
from safetensors.torch import load_file  # isort: skip

CONVERTER = "import sys; '--help' in sys.argv or open(sys.argv[3], 'w').write('GGUF'); "
QUANTIZER = f"""#!{sys.executable}
import pathlib, sys
source, file, kind = sys.argv[1:]
pathlib.Path(file).write_text(pathlib.Path(source).read_text() + kind)
"""
GENERATOR = f"""#!{sys.executable}
import pathlib, sys
with open(pathlib.Path(__file__).with_name("asked"), "a") as asked:
    print(*sys.argv[1:], file=asked)
"""


@pytest.fixture
def llama(tmp_path, monkeypatch):
    """A folder where llama.cpp is looked for, with a stand-in for its converter."""
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path / "llama"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "llama"))
    monkeypatch.setattr(gguf, "PLACES", ())
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "sentencepiece.py").touch()  # which the real converter needs

    def install(ends, generator=""):
        (tmp_path / "llama" / gguf.CONVERTER).write_text(CONVERTER + ends)
        programs = {gguf.QUANTIZER: QUANTIZER}
        if generator:
            programs[gguf.GENERATOR] = GENERATOR + generator
        for name, text in programs.items():
            (tmp_path / "llama" / name).write_text(text)
            (tmp_path / "llama" / name).chmod(0o755)

    return install


def test_without_llama_cpp_the_remedy_is_exact(llama, tmp_path, recipe, exports):  # noqa: F811
    with pytest.raises(FileNotFoundError) as caught:
        sharing.to_gguf(exports["fp32"], tmp_path / "gguf", recipe)
    said = str(caught.value)
    for words in ("git clone", "pip install ./llama.cpp/gguf-py sentencepiece", "LLAMA_CPP"):
        assert words in said
    assert "llama-quantize llama-completion" in said and not (tmp_path / "gguf").exists()
    llama("")
    (tmp_path / "llama" / gguf.QUANTIZER).unlink()
    sharing.check_gguf("q8_0")
    with pytest.raises(FileNotFoundError, match="llama-quantize"):
        sharing.check_gguf("q4_k_m")
    (tmp_path / "llama" / "sentencepiece.py").write_text("import no_such")
    with pytest.raises(ValueError, match=r"import sentencepiece fails .*'no_such'\).\nInstall it"):
        sharing.check_gguf("q8_0")


FAILING = {  # ends of the converter, the generator, and what is said
    "no gguf-py": (
        "import no_gguf",
        "",
        r"convert_hf_to_gguf.py --help fails \(status 1: .*'no_gguf'\).\nInstall .*pip",
    ),
    "no tokenizer": (
        "'--help' in sys.argv or sys.exit('no such tokenizer')",
        "",
        r"write q8_0.gguf \(status 1: no such tokenizer\).\nIt needs a tokenizer that it knows",
    ),
    "a crash": (
        "",
        "print('reading'); sys.exit('GGML_ASSERT(ok) failed')",
        r"reply from q8_0.gguf \(status 1: GGML_ASSERT\(ok\) failed\).\nExport it again",
    ),
}


@pytest.mark.parametrize("fault", FAILING)
def test_a_program_that_fails_leaves_nothing(fault, llama, tmp_path, recipe, exports):  # noqa: F811
    converter, generator, said = FAILING[fault]
    llama(converter, generator)
    with pytest.raises(ValueError, match=said):
        sharing.to_gguf(exports["fp32"], tmp_path / "gguf", recipe)
    assert [path.name for path in tmp_path.iterdir()] == ["llama"]
    if generator:  # it is not tried again
        assert (tmp_path / "llama" / "asked").read_text().count("\n") == 1


def test_a_file_is_read_back_where_that_can_be(llama, tmp_path, recipe, exports, capsys):  # noqa: F811
    """With the threads of this process: llama.cpp's own choice was 75 times slower."""
    replies = {"": "not read back, for there is no"}
    replies["print('18 [end of text]')"] = "read back, replies to 'What is 9 + 9?': '18'"
    for generator, said in replies.items():
        llama("", generator)
        sharing.to_gguf(exports["fp32"], tmp_path / "gguf", recipe)
        assert f"q8_0.gguf: {said}" in capsys.readouterr().out
    asked = (tmp_path / "llama" / "asked").read_text()
    assert f" -t {torch.get_num_threads()} " in asked


def test_the_export_holds_file_modelfile_and_origin(llama, tmp_path, recipe, exports):  # noqa: F811
    llama("")
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


FROM_SOURCE = """
import json, sys
import gguf
file = gguf.GGUFReader(sys.argv[1])
shapes = {tensor.name: [int(n) for n in tensor.shape] for tensor in file.tensors}
[weight] = [tensor.data for tensor in file.tensors if tensor.name == "output_norm.weight"]
print(json.dumps([shapes, weight.tolist()]))
"""


@pytest.mark.soak
@needs_shared
def test_the_converter_of_the_day_reads_what_is_exported(tmp_path, recipe, machine, monkeypatch):
    """That of llama-cpp-python's source package, on a random model with Qwen's tokenizer."""
    name = "llama-cpp-python"
    pip = [sys.executable, "-m", "pip"]
    command = [*pip, "download", "--no-deps", "--no-binary", name, name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    packed = list(tmp_path.glob("*.tar.gz"))
    if not packed:
        pytest.skip(f"no source package of {name} here: {done.stderr.strip()[-200:]}")
    shutil.unpack_archive(packed[0], tmp_path, filter="data")
    subprocess.run([*pip, "install", "-q", "--target", tmp_path / "needs", "sentencepiece"])
    [llama] = tmp_path.glob("*/vendor/llama.cpp")
    monkeypatch.setenv("LLAMA_CPP", str(llama))
    monkeypatch.setenv("PYTHONPATH", f"{llama / 'gguf-py'}{os.pathsep}{tmp_path / 'needs'}")
    monkeypatch.setattr(gguf, "PLACES", ())
    base = str(tmp_path / "base")
    write_random(SHARED / "qwen3", tmp_path / "base")
    adapter = make_adapter(base, tmp_path / "run" / "adapter", recipe, machine, 0.02)
    merged = sharing.merge(base, adapter, tmp_path / "merged")
    made = sharing.to_gguf(merged, tmp_path / "gguf", recipe, "f16")
    command = [sys.executable, "-c", FROM_SOURCE, made.folder / "f16.gguf"]
    done = subprocess.run(command, capture_output=True, text=True)
    shapes, norm = json.loads(done.stdout)
    weights = load_file(merged.folder / "model.safetensors")
    embedded = weights["model.embed_tokens.weight"].shape
    assert shapes["token_embd.weight"] == list(reversed(embedded))
    assert norm == weights["model.norm.weight"].tolist()
