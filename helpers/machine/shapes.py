"""The sizes of a model, without loading it: those of the recipes' models as data, so that plans can be made anywhere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from helpers.machine.setup import hint


@dataclass(frozen=True)
class Shape:
    """A Qwen's sizes. `tied`: the output layer is the embedding. `attention_bias`: q, k and v have one (Qwen2). `head_norm`: q and k are
    normalised (Qwen3)."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool = True
    attention_bias: bool = False
    head_norm: bool = True

    @property
    def query(self) -> int:
        return self.heads * self.head_dim

    @property
    def key(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of a layer's matrices, the ones that are held in 4-bit and that LoRA goes on."""
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
        norms = (
            2 * self.hidden
            + 2 * self.head_dim * self.head_norm
            + (self.query + 2 * self.key) * self.attention_bias
        )
        return (
            self.vocabulary * self.hidden * (1 if self.tied else 2)
            + self.layers * norms
            + self.hidden
        )

    @property
    def parameters(self) -> int:
        return self.linear + self.other


PUBLISHED = {  # from each model's config.json on the Hub
    "qwen3-4b": Shape(2560, 36, 32, 8, 128, 9728, 151_936),
    "qwen3-4b-base": Shape(2560, 36, 32, 8, 128, 9728, 151_936),
    "qwen3-1.7b": Shape(2048, 28, 16, 8, 128, 6144, 151_936),
    "qwen3-0.6b": Shape(1024, 28, 16, 8, 128, 3072, 151_936),
    "qwen2.5-math-1.5b": Shape(
        1536, 28, 12, 2, 128, 8960, 151_936, attention_bias=True, head_norm=False
    ),
}


def shape_of(model: str) -> Shape:
    """The sizes of a local folder's model, of a published one without asking anyone, or of another on the Hub.

    Raises FileNotFoundError (no such folder, or one without config.json), ValueError (a config.json that is no Qwen's) or ConnectionError (the
    Hub does not give it).
    """
    folder = Path(model)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(
                f"There is no config.json in {model}.\n"
                "Set MODEL to a folder with config.json, tokenizer and safetensors weights."
            )
        try:
            return read_shape(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            raise ValueError(
                f"{folder / 'config.json'} could not be read ({type(error).__name__}: {str(error)[:100]}).\n"
                "Set MODEL to a folder with config.json, tokenizer and safetensors weights, of Qwen's kind."
            ) from error
    if model.startswith((".", "/", "~")):
        raise FileNotFoundError(
            f"There is no model at {model}.\nSet MODEL to a local folder or a Hub id."
            + hint("config.json")
        )
    owner, _, name = model.lower().rpartition("/")
    name = name.removesuffix("-bnb-4bit").removesuffix("-unsloth")
    return (
        PUBLISHED[name]
        if owner in ("qwen", "unsloth") and name in PUBLISHED
        else shape_on_hub(model)
    )


def shape_on_hub(model: str) -> Shape:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model).to_dict()
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"The sizes of {model!r} could not be had from the Hub ({type(error).__name__}).\n"
            "Check the network and the id, or set MODEL to a local folder."
        ) from error
    try:
        return read_shape(config)
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ValueError(
            f"{model} is no model of Qwen's kind ({type(error).__name__}: {error}).\nSet MODEL to a dense Qwen2 or Qwen3."
        ) from error


def read_shape(config: dict) -> Shape:
    """From a config.json of Qwen2's or Qwen3's family, whose missing entries have the values that transformers gives them."""
    heads, qwen2 = int(config["num_attention_heads"]), config.get("model_type") == "qwen2"
    if config.get("num_experts"):
        raise ValueError("a mixture of experts")
    head = config.get("head_dim") or (
        128 if config.get("model_type") == "qwen3" else int(config["hidden_size"]) // heads
    )
    return Shape(
        int(config["hidden_size"]),
        int(config["num_hidden_layers"]),
        heads,
        int(config.get("num_key_value_heads") or heads),
        int(head),
        int(config["intermediate_size"]),
        int(config["vocab_size"]),
        config.get("tie_word_embeddings", False),
        config.get("attention_bias", qwen2),
        not qwen2,
    )
