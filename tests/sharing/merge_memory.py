"""Prints, three times, how much memory a merge adds at its peak, beside the model's FP32 size: `python -m tests.sharing.merge_memory FOLDER`."""

import json
import resource
import subprocess
import sys
from pathlib import Path

TINY_MODEL = Path(__file__).parents[2] / "helpers/tiny/model"


def make(folder: Path) -> None:
    """A random Qwen3 of 0.2 GB in FP32, stored in 16 bits as models are, and an adapter on it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=8_000,
            hidden_size=1024,
            intermediate_size=3072,
            num_hidden_layers=4,
            num_attention_heads=8,
            num_key_value_heads=4,
            head_dim=64,
            tie_word_embeddings=True,
        )
    ).to(torch.bfloat16)
    model.save_pretrained(folder / "base")
    tuned = get_peft_model(
        model,
        LoraConfig(r=16, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM"),
    )
    tuned.peft_config["default"].base_model_name_or_path = str(folder / "base")
    tuned.save_pretrained(folder / "run" / "adapter")
    AutoTokenizer.from_pretrained(TINY_MODEL).save_pretrained(folder / "run" / "adapter")


def measure(folder: Path) -> None:
    from helpers.sharing import export

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    export.merge(str(folder / "base"), folder / "run" / "adapter", folder / "merged")
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3 * 1.024
    print(
        json.dumps(
            {
                "fp32_mb": round(export.megabytes(folder / "merged")),
                "added_mb": round(added),
                "before_mb": round(before / 1e3 * 1.024),
            }
        )
    )


if __name__ == "__main__":
    place = Path(sys.argv[1])
    if "measure" in sys.argv:
        measure(place)
    else:  # made in a process of its own, whose peak would hide the merge's
        subprocess.run(
            [
                sys.executable,
                "-c",
                f"from tests.sharing.merge_memory import make; from pathlib import Path; make(Path({str(place)!r}))",
            ],
            check=True,
        )
        for _ in range(
            3
        ):  # pages of the files that are read count too, and when they go is the kernel's affair
            subprocess.run(
                [
                    sys.executable,
                    "-W",
                    "ignore",
                    "-m",
                    "tests.sharing.merge_memory",
                    str(place),
                    "measure",
                ],
                check=True,
            )
