"""GGUF files for llama.cpp and Ollama, by llama.cpp's own programs where they are installed."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from helpers import data
from helpers.recipes import Recipe
from helpers.runs import write_json
from helpers.sharing.export import EXPORT_FILE, Export, staged
from helpers.training import Completion, progress

import torch  # isort: skip  (after Unsloth)

# What making each kind needs, as a share of the FP32 model's size; q4_k_m is made from f16
SIZES = {"f16": 0.5, "q8_0": 0.27, "q4_k_m": 0.66}
CONVERTER, QUANTIZER, GENERATOR = "convert_hf_to_gguf.py", "llama-quantize", "llama-completion"
PLACES = ("~/llama.cpp", "~/.unsloth/llama.cpp", "/content/llama.cpp", "/kaggle/temp/llama.cpp")
REMEDY = Path(__file__).with_name("llama_cpp.txt")  # what to do where it is missing
MODELFILE = Path(__file__).with_name("modelfile.txt")
END = " [end of text]"  # what llama.cpp prints where a reply ends by itself
QUESTION = "What is 9 + 9?"  # what a new file is asked


def find_program(name: str) -> Path:
    """One of llama.cpp's programs. Raises FileNotFoundError with the lines that install it."""
    own = os.environ.get("LLAMA_CPP", "llama.cpp")
    for place in (own, *PLACES, *os.get_exec_path()):
        for inside in ("", "build/bin"):
            path = Path(place).expanduser() / inside / name
            if path.is_file():
                return path.absolute()
    raise FileNotFoundError(REMEDY.read_text(encoding="utf-8").format(program=name))


def run_program(command: Sequence) -> subprocess.CompletedProcess:
    how = {"capture_output": True, "text": True, "errors": "replace"}
    return subprocess.run(command, stdin=subprocess.DEVNULL, **how)


def last_words(done: subprocess.CompletedProcess) -> str:
    """How a program ended that failed."""
    said = (done.stdout + done.stderr).strip().rpartition("\n")[2][:200]
    return f"status {done.returncode}: {said}"


def check_gguf(kind: str) -> None:
    """Raises FileNotFoundError where what makes this kind is missing, ValueError where it fails."""
    if kind == "q4_k_m":
        find_program(QUANTIZER)
    for words in ([str(find_program(CONVERTER)), "--help"], ["-c", "import sentencepiece"]):
        done = run_program([sys.executable, *words])
        if done.returncode:
            raise ValueError(
                f"GGUF cannot be made: {' '.join(words)} fails ({last_words(done)}).\n"
                "Install it with what it needs: pip install ./llama.cpp/gguf-py sentencepiece"
            )


def to_gguf(
    merged: Export,
    folder: str | Path,
    recipe: Recipe,
    kind: str = "q8_0",
    staging: str | Path | None = None,
) -> Export:
    """Writes `<kind>.gguf`, and a Modelfile for Ollama; prints what the file replies to a question.

    merged: best in FP32. kind: "f16", "q8_0" or "q4_k_m".
    Raises ValueError (a model that the converter does not know, or llama.cpp cannot read back),
    FileNotFoundError (no llama.cpp) or OSError (no room).
    """
    check_gguf(kind)
    whole = merged.megabytes * (1 if merged.precision == "fp32" else 2)
    size = int(SIZES[kind] * whole * 1e6) + 20_000_000
    with staged(folder, merged.folder, size, staging) as made:
        file = made / f"{kind}.gguf"
        command = [sys.executable, find_program(CONVERTER), merged.folder.absolute(), "--outfile"]
        if kind == "q4_k_m":
            full = made / "f16.gguf"
            write_file(full, [*command, full, "--outtype", "f16"])
            write_file(file, [find_program(QUANTIZER), full, file, "Q4_K_M"])
            full.unlink()
        else:
            write_file(file, [*command, file, "--outtype", kind])
        text = modelfile(merged, recipe, file.name)
        (made / "Modelfile").write_text(text, encoding="utf-8")
        origin = merged.origin | {"form": "gguf", "precision": kind}
        origin.pop("proved", None)  # what it replies is said instead
        write_json(made / EXPORT_FILE, origin)
        print(f"{file.name}: {first_reply(file, merged, recipe)}")
    return Export.read(folder)


def first_reply(file: Path, merged: Export, recipe: Recipe) -> str:
    """What a file replies to one question, in words, or that nobody asked it."""
    try:
        find_program(GENERATOR)
    except FileNotFoundError:
        return f"not read back, for there is no {GENERATOR} here"
    tokenizer = data.load_tokenizer(str(merged.folder))
    prompt = data.prompt_text(recipe, tokenizer, QUESTION)
    limit = min(64, recipe.grpo.max_completion)
    [reply] = gguf_replies(file, tokenizer, [prompt], limit)
    return f"read back, replies to {QUESTION!r}: {reply.text!r}"


def write_file(file: Path, command: Sequence) -> None:
    done = run_program(command)
    if done.returncode:
        raise ValueError(
            f"llama.cpp could not write {file.name} ({last_words(done)}).\n"
            "It needs a tokenizer that it knows, such as Qwen's; "
            "the embedded tiny model has one of its own."
        )


def gguf_replies(
    file: str | Path,
    tokenizer,
    prompts: Sequence[str],
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[Completion]:
    """Continues every prompt once, by llama.cpp in processes of its own; temperature 0: greedy."""
    command = [find_program(GENERATOR), "-m", file, "-no-cnv", "--no-display-prompt"]
    command += ["-n", str(max_new_tokens), "--temp", str(temperature)]
    command += ["--top-k", "0", "--top-p", "1", "--min-p", "0"]
    command += ["-t", str(torch.get_num_threads())]  # its own choice can take a minute a reply
    found = []
    with tempfile.TemporaryDirectory() as place, progress(len(prompts), Path(file).stem) as bar:
        asked = Path(place, "prompt.txt")
        for number, prompt in enumerate(prompts):
            asked.write_text(prompt + "\n", encoding="utf-8")  # one line end is taken off again
            own_seed = (seed * 1_000_003 + number) % 2**32
            text, finished = whole_reply([*command, "-f", asked, "--seed", str(own_seed)])
            tokens = len(tokenizer(text)["input_ids"]) + finished
            found.append(Completion(text, min(max_new_tokens, tokens), finished))
            bar.update(1)
    return found


def whole_reply(command: Sequence) -> tuple[str, bool]:
    """What llama.cpp replies, and whether the reply ended by itself. ValueError where it fails."""
    before = None  # it may end before it has printed all: without an end it must come twice
    for _ in range(10):
        done = run_program(command)
        if done.returncode:
            what = f"{GENERATOR} could not reply from {Path(command[2]).name} ({last_words(done)})"
            raise ValueError(f"{what}.\nExport it again, with a llama.cpp of today.")
        text = done.stdout.rstrip("\n")
        finished = text.endswith(END)
        if finished or text == before:
            return text.removesuffix(END), finished
        before = text
    raise RuntimeError(
        f"llama.cpp gave no whole reply from {command[2]}.\n"
        "Export it again, or try when the machine is less busy."
    )


def modelfile(merged: Export, recipe: Recipe, file: str) -> str:
    """Ollama's description: the chat template of training, around Ollama's variables."""
    tokenizer = data.load_tokenizer(str(merged.folder))
    data.settle_tokenizer(tokenizer)
    asking = replace(recipe, system="{{ .System }}")
    return MODELFILE.read_text(encoding="utf-8").format(
        file=file,
        template=data.prompt_text(asking, tokenizer, "{{ .Prompt }}"),
        end=tokenizer.eos_token,
        system=recipe.system,
        limit=recipe.grpo.max_completion,
        context=recipe.grpo.max_prompt + recipe.grpo.max_completion,
    )
