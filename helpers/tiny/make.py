"""Makes the tiny base model: tokenizer, chat template, weights. Run by `python -m helpers.tiny`."""

import random
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from tqdm.std import tqdm
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from helpers.tiny import TINY_MODEL
from helpers.tiny.corpus import documents

END, PAD = "<|im_end|>", "<|endoftext|>"
THINKING = ("<think>", "</think>")
DOCUMENTS = 120_000
RATE = 3e-3
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE as Qwen3 has it: words with their leading space, every digit on its own."""
    words = pre_tokenizers.Split(Regex(WORDS), "isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, as_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=720,
        special_tokens=[PAD, "<|im_start|>", END, *THINKING],
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    kept_in_texts = [AddedToken(tag, special=False, normalized=False) for tag in THINKING]
    tokenizer.add_tokens(kept_in_texts)  # as Qwen3 has them
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = (TINY_MODEL / "chat_template.jinja").read_text()
    return fast


def make_model(tokenizer, hidden: int = 128, layers: int = 4) -> Qwen3ForCausalLM:
    """A Qwen3 with random weights and the vocabulary of `tokenizer`."""
    torch.manual_seed(0)
    config = Qwen3Config(
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
    return Qwen3ForCausalLM(config)


def batches(tokenizer, texts: list[str], size: int) -> list[list[list[int]]]:
    """The texts as token ids in batches of similar length, so that little is padding."""
    rows = tokenizer(texts)["input_ids"]
    pool = 40 * size
    found = []
    for start in range(0, len(rows), pool):
        near = sorted(rows[start : start + pool], key=len)
        found += [near[i : i + size] for i in range(0, len(near), size)]
    random.Random(0).shuffle(found)
    return found


def build(folder: Path, count: int = DOCUMENTS) -> None:
    """Makes the embedded model from nothing: tokenizer, and weights by one pass over the texts.

    Next-token loss on every token, AdamW with a one-cycle rate.
    """
    texts = list(documents(count, seed=0))
    tokenizer = make_tokenizer(texts[:5000])
    model = make_model(tokenizer)
    steps = batches(tokenizer, texts, size=32)
    optimizer = AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = OneCycleLR(optimizer, RATE, total_steps=len(steps), pct_start=0.1)
    bar = tqdm(steps, "pre-training", mininterval=10)
    for rows in bar:
        batch = tokenizer.pad({"input_ids": rows}, padding_side="right", return_tensors="pt")
        labels = batch.input_ids.masked_fill(batch.attention_mask == 0, -100)
        loss = model(**batch, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_random(source: Path, folder: Path, layers: int = 2) -> None:
    """A small Qwen3 with random weights for the tokenizer and chat template of a folder."""
    tokenizer = AutoTokenizer.from_pretrained(str(source))
    make_model(tokenizer, hidden=64, layers=layers).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
