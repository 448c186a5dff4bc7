"""Copies of the embedded model with the chat templates and tokenizers of other families."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from helpers.tiny import TINY_MODEL

TEMPLATE = (TINY_MODEL / "chat_template.jinja").read_text()
ASKED = "{{- '<|im_start|>assistant\n' }}"
CLOSED = "{{- '<think>\n\n</think>\n\n' }}"
TURNS = "{%- for message in messages %}"
LLAMA = {"<|im_start|>": "<|start_header_id|>", "<|im_end|>": "<|eot_id|>"}
LLAMA |= {"<|endoftext|>": "<|reserved_special_token_0|>"}


def with_template(folder: Path, template: str, **settings) -> str:
    """The embedded model with that chat template, and settings of its tokenizer."""
    shutil.copytree(TINY_MODEL, folder)
    (folder / "chat_template.jinja").write_text(template)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return str(folder)


def with_tokens(folder: Path, names: dict[str, str], template: str = TEMPLATE, **settings) -> str:
    """The embedded model whose special tokens have other names."""
    for old, new in names.items():
        template = template.replace(old, new)
    with_template(folder, template, **settings)
    path = folder / "tokenizer.json"
    text = path.read_text()
    for old, new in names.items():
        text = text.replace(old, new)
    path.write_text(text)
    return str(folder)


def opens_thinking(folder: Path) -> str:
    """As Qwen3-Thinking and the distilled R1: every reply begins in an open thinking part."""
    start = TEMPLATE.index("{%- if add_generation_prompt")
    opened = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n' }}{%- endif %}"
    return with_template(folder, TEMPLATE[:start] + opened)


def refuses_system(folder: Path) -> str:
    """As Gemma 2 and the first Mistrals."""
    check = "{%- if messages[0].role == 'system' %}{{ raise_exception('no system') }}{%- endif %}"
    return with_template(folder, check + TEMPLATE)


def drops_system(folder: Path) -> str:
    turns = "{%- for message in messages if message.role != 'system' %}"
    return with_template(folder, TEMPLATE.replace(TURNS, turns))


def without_end_of_turn(folder: Path) -> str:
    template = TEMPLATE.replace("<|im_end|>", "\n").replace("<|im_start|>", "### ")
    return with_template(folder, template)


def pads_with_the_end(folder: Path) -> str:
    return with_template(folder, TEMPLATE, pad_token="<|im_end|>")


def of_another_family(folder: Path) -> str:
    """As Llama 3: no `<|im_end|>`, no `<|endoftext|>`, no padding; the text ends with another."""
    return with_tokens(folder, LLAMA, eos_token="<|reserved_special_token_0|>", pad_token=None)


def begins_by_itself(folder: Path) -> str:
    """As Llama: the tokenizer puts a first token before a text that has one from the template."""
    name = with_template(folder, TEMPLATE, bos_token="<|im_start|>")
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    first = {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    token = {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [first, text],
        "pair": [first, text],
        "special_tokens": {"<|im_start|>": token},
    }
    path.write_text(json.dumps(tokenizer))
    return name


def without_tokenizer(folder: Path) -> str:
    shutil.copytree(TINY_MODEL, folder, ignore=shutil.ignore_patterns("tokenizer*"))
    return str(folder)


def without_template(folder: Path) -> str:
    shutil.copytree(TINY_MODEL, folder, ignore=shutil.ignore_patterns("chat_template*"))
    return str(folder)


def thinking_is_special(folder: Path) -> str:
    """`<think>` is a special token, which nobody who decodes a reply gets to see."""
    name = with_template(folder, TEMPLATE)
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    for token in tokenizer["added_tokens"]:
        token["special"] |= token["content"] in ("<think>", "</think>")
    path.write_text(json.dumps(tokenizer))
    return name


def without_padding(folder: Path) -> str:
    """As GPT-2: its one special token ends a text."""
    return with_tokens(folder, {"<|endoftext|>": "<|other|>"}, pad_token=None)


def loses_the_question(folder: Path) -> str:
    return with_template(folder, TEMPLATE.replace("message.content +", "message.content[:9] +"))
