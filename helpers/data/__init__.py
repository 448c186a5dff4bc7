"""A row becomes an example, and examples become what SFT and GRPO train on."""

from helpers.data.examples import (
    Split,
    chosen,
    grpo_dataset,
    load,
    load_further,
    messages,
    normalised,
    prompt_text,
    sft_dataset,
    short_enough,
    usable_row,
)
from helpers.data.sources import EMBEDDED, place_of

__all__ = [
    "EMBEDDED",
    "Split",
    "chosen",
    "grpo_dataset",
    "load",
    "load_further",
    "messages",
    "normalised",
    "place_of",
    "prompt_text",
    "sft_dataset",
    "short_enough",
    "usable_row",
]
