"""Steps on a card, ours beside plain ones, at equal settings: `make bench-gpu` (half an hour).

Ours are with Unsloth, the plain ones with transformers, bitsandbytes and TRL. Every measurement is
a process of its own, since importing Unsloth patches TRL: ours runs first and leaves its settings,
which the plain side takes. Where the Hub cannot be reached, the model is one of Qwen3-4B's shape
with random weights: no reply of it ends by itself, and a step costs what it costs at the longest.
`--rehearse` runs the same code on the CPU, on the embedded model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from helpers.machine import computer as machines
from helpers.machine.planning import PUBLISHED
from helpers.tiny import TINY_MODEL
from tests.bench import ROOT, run_part

FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja"]
PARTS = [("ours", "sft", "padded"), ("ours", "sft", "packed"), ("plain", "sft", "padded")]
PARTS += [("ours", "grpo", "padded"), ("plain", "grpo", "padded")]


def model_folder(name: str, folder: Path) -> tuple[Path, str]:
    """The model, the same for both sides: a folder, a download or random; and what to call it."""
    from huggingface_hub import snapshot_download

    if Path(name).is_dir():
        return Path(name), Path(name).name
    machines.go_offline_without_hub()
    try:
        return Path(snapshot_download(name, allow_patterns=FILES)), name
    except OSError:  # as are the client's errors, and being offline
        return random_model(folder / "random-qwen3-4b"), "random weights in Qwen3-4B's shape"


def random_model(folder: Path) -> Path:
    """Random weights, made on the card in 16 bits, with Qwen3's tokenizer where it is at hand."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    real = ROOT.parent / "shared" / "qwen3"
    files = real if (real / "tokenizer.json").is_file() else TINY_MODEL
    tokenizer = AutoTokenizer.from_pretrained(files)
    shape = json.loads(PUBLISHED.read_text())["qwen3-4b"]
    shape |= {"max_position_embeddings": 40_960, "rope_theta": 1e6}
    shape |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(0)
    with torch.device("cuda"):
        config = AutoConfig.for_model(**shape)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="2GB")
    tokenizer.save_pretrained(folder)
    del model
    torch.cuda.empty_cache()
    return folder


def measure(model: Path, folder: Path, part: Sequence[str], rehearse: bool) -> dict:
    """One measurement, in a process of its own."""
    out = folder / f"{'-'.join(part)}.json"
    words = ["gpu_side", *part, str(model), str(out), *["--rehearse"] * rehearse]
    run_part(*words, stdout=subprocess.DEVNULL)
    return json.loads(out.read_text())


def table(found: dict[Sequence[str], dict], model: str, card: str) -> str:
    """The measurements as Markdown, under a line that says of what and when."""
    versions = [f"{name} {version}" for name, version in machines.versions().items()]
    lines = [f"{card}, {date.today()}, {model} in 4-bit, {', '.join(versions)}", ""]
    lines.append(
        "| what | step | useful tokens/s | generation | most memory |\n|---|---|---|---|---|"
    )
    for (side, stage, packing), figures in found.items():
        what, share = f"SFT, {packing}", ""
        if stage == "grpo":
            what, share = "GRPO", f"{figures['generation_share']:.0%}"
        lines.append(
            f"| {what}, {side} | {figures['step_s']:.2f} s | "
            f"{figures['tokens_per_second']:.0f} | {share} | {figures['memory_gb']:.1f} GB |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="ours beside plain TRL on this card")
    model = "a Hub id or a local folder with 16-bit weights"
    parser.add_argument("--model", default="Qwen/Qwen3-4B", help=model)
    parser.add_argument("--out", type=Path, required=True, help="the file that gets the table")
    rehearse = "on the CPU, with the embedded model"
    parser.add_argument("--rehearse", action="store_true", help=rehearse)
    asked = parser.parse_args()
    import torch

    if not (torch.cuda.is_available() or asked.rehearse):
        sys.exit(
            "There is no GPU here, and this compares steps on one.\n"
            "Run it where torch sees a CUDA card with 16 GB or more, or with --rehearse."
        )
    card, model, name = "rehearsal on the CPU", TINY_MODEL, "the embedded model"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if not asked.rehearse:
            card = torch.cuda.get_device_name()
            model, name = model_folder(asked.model, folder)
        found = {part: measure(model, folder, part, asked.rehearse) for part in PARTS}
    text = table(found, name, card)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
