"""The sizes of a model, without loading it: all that an estimate of memory needs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from helpers.machine.folders import hint

# What counts in the config.json of the recipes' models; the base models have the same.
PUBLISHED = Path(__file__).with_name("published.json")
ALIAS = "^(qwen|unsloth)/|(-base)?(-unsloth)?(-bnb-4bit)?$"


@dataclass(frozen=True)
class Shape:
    """How wide a Qwen's layers are, and how many there are."""

    hidden: int
    layers: int
    query: int  # of all heads together
    key: int
    intermediate: int
    vocabulary: int
    head_norm: int  # the width at which q and k are normalised (Qwen3); 0: they are not
    biases: int  # of q, k and v together (Qwen2)
    tied: bool  # the output layer is the embedding

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
        tables = (2 - self.tied) * self.vocabulary * self.hidden
        norms = 2 * self.hidden + 2 * self.head_norm
        return tables + self.layers * (norms + self.biases) + self.hidden


def shape_of(model: str) -> Shape:
    """The sizes of a local folder's model, of a published one, or of another on the Hub.

    Raises ValueError if there is no config.json, or no Qwen's.
    """
    try:
        return shape_from(read_config(model))
    except (OSError, ValueError, KeyError) as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        cure = "Set MODEL to a dense Qwen2 or Qwen3: a Hub id (and check the network), or a folder "
        cure += "with config.json, tokenizer and safetensors weights." + hint("config.json")
        raise ValueError(f"There is no model at {model} ({reason}).\n{cure}") from error


def read_config(model: str) -> dict:
    """A model's config.json; of a published model, in 4-bit or not, what counts of it."""
    file = Path(model, "config.json")
    if not Path(model).is_dir():
        name = re.sub(ALIAS, "", model.lower())
        published = json.loads(PUBLISHED.read_text())
        if name in published:
            return published[name]
        from huggingface_hub import hf_hub_download

        file = Path(hf_hub_download(model, "config.json"))
    return json.loads(file.read_text())


def shape_from(config: dict) -> Shape:
    """The sizes that a config.json states; what some leave out has transformers' value."""
    if config.get("num_experts"):
        raise ValueError("a mixture of experts")
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    query = heads * head_dim
    key = config.get("num_key_value_heads", heads) * head_dim
    biases, head_norm = 0, head_dim
    if config["model_type"] == "qwen2":
        biases, head_norm = query + 2 * key, 0
    return Shape(
        config["hidden_size"],
        config["num_hidden_layers"],
        query,
        key,
        config["intermediate_size"],
        config["vocab_size"],
        head_norm,
        biases,
        config.get("tie_word_embeddings", False),
    )
