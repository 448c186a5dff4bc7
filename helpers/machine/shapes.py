"""The sizes of a model, without loading it; those of the recipes' models are here as data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from helpers.machine.folders import hint


@dataclass(frozen=True)
class Shape:
    """A Qwen's sizes, named as in its config.json but shorter."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool = True  # the output layer is the embedding
    attention_bias: bool = False  # q, k and v have one (Qwen2)
    head_norm: bool = True  # q and k are normalised (Qwen3)

    @property
    def query(self) -> int:
        return self.heads * self.head_dim

    @property
    def key(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of a layer's matrices, which are in 4-bit and which LoRA goes on."""
        return {
            "q_proj": (self.hidden, self.query),
            "k_proj": (self.hidden, self.key),
            "v_proj": (self.hidden, self.key),
            "o_proj": (self.query, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear(self) -> int:
        """How many weights those matrices have in all layers."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.projections.values())

    @property
    def other(self) -> int:
        """Embedding, output layer where it is not tied, norms and biases."""
        tables = 1 if self.tied else 2
        norms = 2 * self.hidden + 2 * self.head_dim * self.head_norm
        biases = (self.query + 2 * self.key) * self.attention_bias
        last_norm = self.hidden
        return tables * self.vocabulary * self.hidden + self.layers * (norms + biases) + last_norm


PUBLISHED = {  # from each model's config.json on the Hub; base models have the same
    "qwen3-4b": Shape(2560, 36, 32, 8, 128, 9728, 151_936),
    "qwen3-1.7b": Shape(2048, 28, 16, 8, 128, 6144, 151_936),
    "qwen3-0.6b": Shape(1024, 28, 16, 8, 128, 3072, 151_936),
    "qwen2.5-math-1.5b": Shape(1536, 28, 12, 2, 128, 8960, 151_936, True, True, False),
}


def shape_of(model: str) -> Shape:
    """The sizes of a local folder's model, of a published one, or of another on the Hub.

    Raises FileNotFoundError (no such folder) or ValueError (no config.json there, or no Qwen's).
    """
    owner, _, name = model.lower().rpartition("/")
    for suffix in ("-bnb-4bit", "-unsloth", "-base"):
        name = name.removesuffix(suffix)
    if not Path(model).is_dir():
        if model.startswith((".", "/", "~")):
            cure = "Set MODEL to a local folder or a Hub id." + hint("config.json")
            raise FileNotFoundError(f"There is no model at {model}.\n{cure}")
        if owner in ("qwen", "unsloth") and name in PUBLISHED:
            return PUBLISHED[name]
    try:
        return read_shape(config_of(model))
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ValueError(
            f"The config.json of {model} could not be read ({reason}).\n"
            "Set MODEL to a dense Qwen2 or Qwen3: a Hub id (and check the network), or a folder "
            "with config.json, tokenizer and safetensors weights."
        ) from error


def config_of(model: str) -> dict:
    file = Path(model, "config.json")
    if not Path(model).is_dir():
        from huggingface_hub import hf_hub_download

        file = Path(hf_hub_download(model, "config.json"))
    return json.loads(file.read_text(encoding="utf-8"))


def read_shape(config: dict) -> Shape:
    """From a config.json; a missing entry has transformers' value."""
    heads, qwen2 = config["num_attention_heads"], config.get("model_type") == "qwen2"
    head_dim = config["hidden_size"] // heads
    if config.get("model_type") == "qwen3":
        head_dim = 128
    if config.get("num_experts"):
        raise ValueError("a mixture of experts")
    return Shape(
        config["hidden_size"],
        config["num_hidden_layers"],
        heads,
        config.get("num_key_value_heads") or heads,
        config.get("head_dim") or head_dim,
        config["intermediate_size"],
        config["vocab_size"],
        tied=config.get("tie_word_embeddings", False),
        attention_bias=config.get("attention_bias", qwen2),
        head_norm=not qwen2,
    )
