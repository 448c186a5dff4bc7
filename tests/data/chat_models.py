"""Copies of the embedded model with the chat templates and tokenizers of other families."""

import json
import shutil
from pathlib import Path

from helpers.tiny import TINY_MODEL

TEMPLATE = (TINY_MODEL / "chat_template.jinja").read_text()
OPENED = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n' }}{%- endif %}"
REFUSAL = "{%- if messages[0].role == 'system' %}{{ raise_exception('no system') }}{%- endif %}"
TURNS = "{%- for message in messages %}"
WITHOUT_SYSTEM = "{%- for message in messages if message.role != 'system' %}"
TEMPLATES = {
    # As Qwen3-Thinking and the distilled R1: every reply begins in an open thinking part.
    "opens_thinking": TEMPLATE.partition("{%- if add_generation_prompt")[0] + OPENED,
    "refuses_system": REFUSAL + TEMPLATE,  # as Gemma 2 and the first Mistrals
    "drops_system": TEMPLATE.replace(TURNS, WITHOUT_SYSTEM),
    "without_end_of_turn": TEMPLATE.replace("<|im_end|>", "\n").replace("<|im_start|>", "### "),
    "loses_the_question": TEMPLATE.replace("message.content +", "message.content[:9] +"),
}
LLAMA = {"<|im_start|>": "<|start_header_id|>", "<|im_end|>": "<|eot_id|>"}
LLAMA |= {"<|endoftext|>": "<|reserved_special_token_0|>"}
TOKENS = {"of_another_family": LLAMA, "without_padding": {"<|endoftext|>": "<|other|>"}}
SETTINGS = {
    "pads_with_the_end": {"pad_token": "<|im_end|>"},
    # As Llama 3: no `<|im_end|>`, no `<|endoftext|>`, no padding; the text ends with another.
    "of_another_family": {"eos_token": "<|reserved_special_token_0|>", "pad_token": None},
    "without_padding": {"pad_token": None},  # as GPT-2: its one special token ends a text
    # As Llama: the tokenizer puts a first token before a text that has one from the template.
    "begins_by_itself": {"bos_token": "<|im_start|>"},
}
FIRST = [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}]
FIRST += [{"Sequence": {"id": "A", "type_id": 0}}]
BEGINNING = {"type": "TemplateProcessing", "single": FIRST, "pair": FIRST}
START = {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}
BEGINNING |= {"special_tokens": {"<|im_start|>": START}}
LEFT_OUT = {"without_tokenizer": "tokenizer*", "without_template": "chat_template*"}
LEFT_OUT["without_its_tokens"] = "tokenizer.json"


def build(name: str, folder: Path) -> str:
    """The embedded model with what that name says."""
    ignored = shutil.ignore_patterns(LEFT_OUT.get(name, ""))
    shutil.copytree(TINY_MODEL, folder, ignore=ignored)
    if name in LEFT_OUT:
        return str(folder)
    template = TEMPLATES.get(name, TEMPLATE)
    text = (folder / "tokenizer.json").read_text()
    for old, new in TOKENS.get(name, {}).items():
        template = template.replace(old, new)
        text = text.replace(old, new)
    tokenizer = json.loads(text)
    if name == "begins_by_itself":
        tokenizer["post_processor"] = BEGINNING
    if name == "thinking_is_special":  # nobody who decodes a reply gets to see it
        for token in tokenizer["added_tokens"]:
            token["special"] |= token["content"] in ("<think>", "</think>")
    settings = folder / "tokenizer_config.json"
    changed = json.loads(settings.read_text()) | SETTINGS.get(name, {})
    settings.write_text(json.dumps(changed))
    (folder / "chat_template.jinja").write_text(template)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return str(folder)
