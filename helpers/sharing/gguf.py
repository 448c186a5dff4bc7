"""Turns a merged model into GGUF files for llama.cpp and Ollama, by llama.cpp's own converter where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from helpers.recipes import Recipe
from helpers.runs import write_json
from helpers.sharing.export import MARK, Staged, megabytes, origin_of
from helpers.training import Completion, progress

KINDS = ("f16", "q8_0", "q4_k_m")
PROGRAMS = {
    "converter": "convert_hf_to_gguf.py",
    "quantizer": "llama-quantize",
    "generator": "llama-completion",
}
SIZE = {"f16": 0.5, "q8_0": 0.27, "q4_k_m": 0.16}  # of the FP32 model, for the room that is needed
PLACES = (
    "llama.cpp",
    "~/llama.cpp",
    "~/.unsloth/llama.cpp",
    "/content/llama.cpp",
    "/kaggle/temp/llama.cpp",
)  # Unsloth installs into the third
REMEDY = """There is no llama.cpp {what} on this machine, which GGUF needs.
Run these four lines in a terminal (minutes; needs git, cmake and a C++ compiler), then this again:
    git clone --depth 1 https://github.com/ggml-org/llama.cpp
    pip install ./llama.cpp/gguf-py sentencepiece
    cmake -S llama.cpp -B llama.cpp/build -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF
    cmake --build llama.cpp/build --target llama-quantize llama-completion -j
It is looked for in the working folder and at home; for another place set LLAMA_CPP to the folder."""
END = " [end of text]"  # what llama.cpp prints where a reply ends by itself
MODELFILE = '''FROM ./{file}
TEMPLATE """{template}"""
SYSTEM """{system}"""
PARAMETER stop "<|im_end|>"
PARAMETER temperature 0
PARAMETER num_predict {limit}
PARAMETER num_ctx {context}
'''


def llama_cpp(what: str) -> Path:
    """One of llama.cpp's programs: "converter", "quantizer" or "generator". Raises FileNotFoundError with the lines that install it."""
    name = PROGRAMS[what]
    folders = [os.environ["LLAMA_CPP"]] if os.environ.get("LLAMA_CPP") else PLACES
    found = (
        Path(folder).expanduser() / inside / name
        for folder in folders
        for inside in ("", "build/bin")
    )
    on_path = shutil.which(name)
    path = next((path for path in found if path.is_file()), Path(on_path) if on_path else None)
    if path is None:
        raise FileNotFoundError(REMEDY.format(what=what))
    return path.absolute()


def check(kinds: Sequence[str]) -> None:
    """Raises ValueError for a type that there is not, and FileNotFoundError where llama.cpp's programs for these types are not."""
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(
            f"Unknown GGUF type {sorted(unknown)[0]!r}.\nUse some of: {', '.join(KINDS)}."
        )
    for what in ("converter", *(["quantizer"] if "q4_k_m" in kinds else [])):
        llama_cpp(what)


def to_gguf(
    merged: str | Path,
    folder: str | Path,
    recipe: Recipe,
    kinds: Sequence[str] = ("q8_0",),
    staging: str | Path | None = None,
) -> list[Path]:
    """Writes `<kind>.gguf` for each kind, and a Modelfile for Ollama that uses the last. merged: a merged model, best in FP32.

    Raises ValueError (no such kind, or a model that the converter does not know), FileNotFoundError (no llama.cpp), OSError (no room).
    """
    if not (Path(merged) / "config.json").is_file():
        raise FileNotFoundError(
            f"There is no merged model in {merged}.\nMerge first: helpers.export.merge, or python -m helpers export."
        )
    check(kinds)
    convert, quantize = (
        llama_cpp("converter"),
        llama_cpp("quantizer") if "q4_k_m" in kinds else None,
    )
    with Staged(folder, staging, reads=(Path(merged),)) as part:
        made = [kind for kind in KINDS if kind in kinds or (kind == "f16" and quantize)]
        part.needs(int(sum(SIZE[kind] for kind in made) * megabytes(merged) * 1e6) + 20_000_000)
        for kind in made:
            file = part.path / f"{kind}.gguf"
            if kind == "q4_k_m":
                finished([str(quantize), str(part.path / "f16.gguf"), str(file), "Q4_K_M"], file)
            else:
                finished(
                    [
                        sys.executable,
                        str(convert),
                        str(Path(merged).absolute()),
                        "--outfile",
                        str(file),
                        "--outtype",
                        kind,
                    ],
                    file,
                )
        if "f16" not in kinds:
            (part.path / "f16.gguf").unlink(missing_ok=True)
        (part.path / "Modelfile").write_text(
            modelfile(merged, recipe, f"{kinds[-1]}.gguf"), encoding="utf-8"
        )
        write_json(
            part.path / MARK, origin_of(merged) | {"form": "gguf", "precision": ", ".join(kinds)}
        )
    return [Path(folder) / f"{kind}.gguf" for kind in kinds]


def finished(command: list[str], file: Path) -> None:
    """Runs a converter. Raises ValueError with its last words unless it wrote the file."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode or not file.is_file():
        said = (
            [line.strip() for line in (done.stdout + done.stderr).split("\n") if line.strip()]
            or ["it said nothing"]
        )[-1][:200]
        cure = (
            "Run `pip install ./llama.cpp/gguf-py sentencepiece`, then this again."
            if "ModuleNotFound" in said
            else "It writes models with tokenizers that it knows, such as Qwen's; the embedded tiny model has one of its own."
        )
        raise ValueError(f"llama.cpp could not write {file.name}: {said}.\n{cure}")


def replies(
    file: str | Path,
    tokenizer,
    prompts: Sequence[str],
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[Completion]:
    """Continues every prompt once, by llama.cpp in processes of its own. temperature 0 is greedy. Raises RuntimeError if it cannot read the file."""
    found = []
    options = [
        "-n",
        str(max_new_tokens),
        "--temp",
        str(temperature),
        "--top-k",
        "0",
        "--top-p",
        "1",
        "--min-p",
        "0",
    ]
    with tempfile.TemporaryDirectory() as place, progress(len(prompts), Path(file).stem) as bar:
        for number, prompt in enumerate(prompts):
            asked = Path(place) / "prompt.txt"
            asked.write_text(prompt + "\n", encoding="utf-8")  # one line end is taken off again
            found.append(
                reply(
                    file,
                    tokenizer,
                    asked,
                    max_new_tokens,
                    [*options, "--seed", str((seed * 1_000_003 + number) % 2**32)],
                )
            )
            bar.update(1)
    return found


def reply(
    file: str | Path, tokenizer, asked: Path, max_new_tokens: int, options: list[str]
) -> Completion:
    """One reply. On a busy machine llama.cpp may end before it has printed all, so a reply without an end is believed when it comes twice."""
    before = None
    for _ in range(10):
        done = subprocess.run(
            [
                str(llama_cpp("generator")),
                "-m",
                str(file),
                "-f",
                str(asked),
                "-no-cnv",
                "--no-display-prompt",
                *options,
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        text = done.stdout.rstrip("\n")
        finished, text = text.endswith(END), text.removesuffix(END)
        if done.returncode == 0 and (finished or text == before):
            return Completion(
                text, min(max_new_tokens, len(tokenizer(text)["input_ids"]) + finished), finished
            )
        before = text
    raise RuntimeError(
        f"llama.cpp gave no whole reply from {file} (status {done.returncode}).\nExport it again, or try when the machine is less busy."
    )


def modelfile(merged: str | Path, recipe: Recipe, file: str) -> str:
    """Ollama's description of the model, with the prompt that it was trained with: the chat template, rendered around Ollama's variables."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(merged))
    chat = [
        {"role": "system", "content": "{{ .System }}"},
        {"role": "user", "content": "{{ .Prompt }}"},
    ]
    template = tokenizer.apply_chat_template(
        chat, tokenize=False, add_generation_prompt=True, enable_thinking=recipe.thinking
    )
    return MODELFILE.format(
        file=file,
        template=template + "{{ .Response }}<|im_end|>\n",
        system=recipe.system,
        limit=recipe.grpo.max_completion,
        context=recipe.grpo.max_prompt + recipe.grpo.max_completion,
    )
