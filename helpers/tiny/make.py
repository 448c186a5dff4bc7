"""Makes the tiny base model: tokenizer, chat template, weights. Run by `python -m helpers.tiny`."""

from __future__ import annotations

import random
import time
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

END, PAD, START = "<|im_end|>", "<|endoftext|>", "<|im_start|>"
TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' and loop.last and '</think>' not in message.content %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
    {{- message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""


def make_tokenizer(texts: list[str], vocab_size: int = 720) -> PreTrainedTokenizerFast:
    """Byte-level BPE as Qwen3 has it: words with their leading space, every digit on its own."""
    tokenizer = Tokenizer(models.BPE())
    words = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[PAD, START, END, "<think>", "</think>"],
            show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        ),
    )
    tokenizer.add_tokens(
        [AddedToken(tag, special=False, normalized=False) for tag in ("<think>", "</think>")]
    )  # as Qwen3: kept in texts
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = TEMPLATE
    return fast


def make_model(tokenizer, hidden: int = 128, layers: int = 4, seed: int = 0) -> Qwen3ForCausalLM:
    """A Qwen3 with random weights and the vocabulary of `tokenizer`."""
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=hidden,
            intermediate_size=3 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 32,
            num_key_value_heads=hidden // 64,
            head_dim=32,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        )
    )


def batches(tokenizer, texts: list[str], size: int, seed: int = 0) -> list[list[list[int]]]:
    """The texts as token ids in batches of similar length, so that little is padding."""
    rows, pool = tokenizer(texts)["input_ids"], 40 * size
    found = []
    for start in range(0, len(rows), pool):
        near = sorted(rows[start : start + pool], key=len)
        found += [near[i : i + size] for i in range(0, len(near), size)]
    random.Random(seed).shuffle(found)
    return found


def pretrain(model, tokenizer, texts: list[str], size: int = 32, rate: float = 3e-3) -> None:
    """One pass over the texts, next-token loss on every token, AdamW with a one-cycle rate."""
    steps = batches(tokenizer, texts, size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=len(steps), pct_start=0.1
    )
    begun = time.time()
    for step, rows in enumerate(steps):
        longest = max(map(len, rows))
        ids = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
        labels = torch.tensor([row + [-100] * (longest - len(row)) for row in rows])
        loss = model(input_ids=ids, attention_mask=(labels != -100).long(), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            spent = time.time() - begun
            left = spent / (step + 1) * (len(steps) - step - 1)
            progress = f"step {step} of {len(steps)}, loss {loss.item():.3f}"
            print(f"{progress}, {spent:.0f} s, {left:.0f} s left", flush=True)


def write(model, tokenizer, folder: Path) -> None:
    """Saves weights (safetensors), configuration, tokenizer and chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
