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

ROOT = Path(__file__).parent.parent
TINY_MODEL = ROOT / "helpers" / "tiny" / "model"
QWEN3_4B = dict(
    hidden_size=2560,
    num_hidden_layers=36,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    intermediate_size=9728,
    vocab_size=151_936,
    tie_word_embeddings=True,
    max_position_embeddings=40_960,
    rope_theta=1e6,
)
PARTS = (
    ("ours", "sft", "padded"),
    ("ours", "sft", "packed"),
    ("plain", "sft", "padded"),
    ("ours", "grpo", ""),
    ("plain", "grpo", ""),
)


def model_folder(name: str, folder: Path) -> tuple[Path, str]:
    """The model's files, the same for both sides, and what to call it.

    They are a folder, a download, or random weights in Qwen3-4B's shape.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    if Path(name).is_dir():
        return Path(name), Path(name).name
    machines.go_offline_without_hub()
    try:
        return Path(
            snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.jinja"])
        ), name
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled):
        return random_model(folder / "random-qwen3-4b"), "random weights in Qwen3-4B's shape"


def random_model(folder: Path) -> Path:
    """Writes a model with random weights, made on the card in 16 bits.

    Its tokenizer is Qwen3's where that is at hand, else the embedded one.
    """
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    files = ROOT.parent / "shared" / "qwen3"
    tokenizer = AutoTokenizer.from_pretrained(
        files if (files / "tokenizer.json").is_file() else TINY_MODEL
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = Qwen3ForCausalLM(
            Qwen3Config(
                **QWEN3_4B, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
            )
        )
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder, max_shard_size="2GB")
    tokenizer.save_pretrained(folder)
    del model
    torch.cuda.empty_cache()
    return folder


def measure(model: Path, folder: Path, part: Sequence[str], rehearse: bool) -> dict:
    """One measurement, in a process of its own."""
    out = folder / ("-".join(filter(None, part)) + ".json")
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "tests.gpu_side",
            *part,
            str(model),
            str(out),
            *["--rehearse"] * rehearse,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(
            f"{' '.join(part)} failed: {done.stderr.strip().splitlines()[-1]}\n"
            f"Run it alone: python -m tests.gpu_side {' '.join(part)} {model} out.json"
        )
    return json.loads(out.read_text())


def table(found: dict[Sequence[str], dict], model: str, card: str) -> str:
    """The measurements as Markdown, under a line that says of what and when."""
    lines = [
        f"{card}, {date.today()}, {model} in 4-bit, "
        + ", ".join(f"{name} {version}" for name, version in machines.versions().items()),
        "",
        "| what | step | useful tokens/s | generation | most memory |",
        "|---|---|---|---|---|",
    ]
    for (side, stage, packing), figures in found.items():
        share = f"{figures['generation_share']:.0%}" if stage == "grpo" else ""
        lines.append(
            f"| {stage.upper()}{packing and ', ' + packing}, {side} | {figures['step_s']:.2f} s | "
            f"{figures['tokens_per_second']:.0f} | {share} | {figures['memory_gb']:.1f} GB |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="ours beside plain TRL on this card")
    parser.add_argument(
        "--model", default="Qwen/Qwen3-4B", help="a Hub id or a local folder with 16-bit weights"
    )
    parser.add_argument("--out", type=Path, required=True, help="the file that gets the table")
    parser.add_argument(
        "--rehearse", action="store_true", help="on the CPU, with the embedded model"
    )
    asked = parser.parse_args()
    import torch

    if not (torch.cuda.is_available() or asked.rehearse):
        sys.exit(
            "There is no GPU here, and this compares steps on one.\n"
            "Run it where torch sees a CUDA card with 16 GB or more, or with --rehearse."
        )
    card = "rehearsal on the CPU" if asked.rehearse else torch.cuda.get_device_name()
    with tempfile.TemporaryDirectory() as folder:
        model, name = (
            (TINY_MODEL, "the embedded model")
            if asked.rehearse
            else model_folder(asked.model, Path(folder))
        )
        found = {part: measure(model, Path(folder), part, asked.rehearse) for part in PARTS}
    text = table(found, name, card)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
