"""The sizes of a model, without loading it: all that an estimate of memory needs."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from helpers.machine.folders import hint

# What counts in the config.json of the recipes' models; the base models have the same.
PUBLISHED = Path(__file__).with_name("published.json")
ALIAS = "^(qwen|unsloth)/|(-base)?(-unsloth)?(-bnb-4bit)?$"


@dataclass(frozen=True)
class Shape:
    """How wide a Qwen's layers are, how many there are, and how many weights that makes."""

    layers: int
    hidden: int
    intermediate: int
    query: int  # of all heads together
    key: int
    head_norm: int  # the width at which q and k are normalised (Qwen3); 0: they are not
    vocabulary: int
    # (inputs, outputs) of a layer's matrices, which are in 4-bit and which LoRA goes on
    projections: dict[str, tuple[int, int]]
    linear: int  # weights of those matrices in all layers
    other: int  # of embedding, output layer where it is not tied, norms and biases


def shape_of(model: str) -> Shape:
    """The sizes of a published model, in 4-bit or not, of a folder's, or of another on the Hub.

    Raises ValueError if there is no config.json, or no Qwen's.
    """
    from transformers import AutoConfig

    name = re.sub(ALIAS, "", model.lower())
    published = json.loads(PUBLISHED.read_text())
    try:
        if name in published:
            return shape_from(AutoConfig.for_model(**published[name]))
        return shape_from(AutoConfig.from_pretrained(model))
    except (OSError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ValueError(
            f"There is no model at {model} ({reason}).\n"
            "Set MODEL to a dense Qwen2 or Qwen3: a Hub id (and check the network), or a folder "
            "with config.json, tokenizer and safetensors weights." + hint("config.json")
        ) from error


def shape_from(config) -> Shape:
    """The sizes that a configuration of transformers states."""
    if hasattr(config, "num_experts"):
        raise ValueError("a mixture of experts")
    layers, hidden, wide = config.num_hidden_layers, config.hidden_size, config.intermediate_size
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", hidden // heads)
    query = heads * head_dim
    key = config.num_key_value_heads * head_dim
    projections = {
        "q_proj": (hidden, query),
        "k_proj": (hidden, key),
        "v_proj": (hidden, key),
        "o_proj": (query, hidden),
        "gate_proj": (hidden, wide),
        "up_proj": (hidden, wide),
        "down_proj": (wide, hidden),
    }
    linear = layers * sum(map(math.prod, projections.values()))
    head_norm, biases = head_dim, 0
    if config.model_type == "qwen2":
        head_norm, biases = 0, query + 2 * key
    other = config.vocab_size * hidden
    if not config.tie_word_embeddings:
        other *= 2
    other += layers * (2 * hidden + 2 * head_norm + biases) + hidden
    vocabulary = config.vocab_size
    return Shape(
        layers, hidden, wide, query, key, head_norm, vocabulary, projections, linear, other
    )
