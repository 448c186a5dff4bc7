"""How much memory a merge adds at its peak, beside the model's FP32 size.

python -m tests.sharing.merge_memory FOLDER make|measure: each in a process of its own, since what
makes the model would hide the merge's peak.
"""

import json
import resource
import sys
from pathlib import Path

from helpers.tiny import TINY_MODEL


def make(folder: Path) -> None:
    """A random Qwen3 of 0.2 GB in FP32, stored in 16 bits as models are, and an adapter on it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    sizes = {"vocab_size": 8_000, "hidden_size": 1024, "intermediate_size": 3072}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64}
    config = Qwen3Config(**sizes, **heads, num_hidden_layers=4, tie_word_embeddings=True)
    model = Qwen3ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder / "base")
    targets = ["q_proj", "v_proj", "down_proj"]
    lora = LoraConfig(r=16, target_modules=targets, task_type="CAUSAL_LM")
    tuned = get_peft_model(model, lora)
    tuned.peft_config["default"].base_model_name_or_path = str(folder / "base")
    tuned.save_pretrained(folder / "run" / "adapter")
    AutoTokenizer.from_pretrained(TINY_MODEL).save_pretrained(folder / "run" / "adapter")


def measure(folder: Path) -> None:
    from helpers import sharing, training

    adapter = training.Adapter.read(folder / "run" / "adapter")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    export = sharing.merge(str(folder / "base"), adapter, folder / "merged")
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3 * 1.024
    print(json.dumps({"fp32_mb": round(export.megabytes), "added_mb": round(added)}))


if __name__ == "__main__":
    {"make": make, "measure": measure}[sys.argv[2]](Path(sys.argv[1]))
