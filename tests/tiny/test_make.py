"""The same documents give the same tokenizer and, byte for byte, the same weights."""

import torch

from helpers.machine import file_hash
from helpers.tiny import TINY_MODEL
from helpers.tiny.corpus import documents
from helpers.tiny.make import batches, build, make_tokenizer


def built(folder):
    torch.manual_seed(123)  # the maker seeds itself
    build(folder, 96)
    return {file.name: file_hash(file) for file in folder.iterdir()}


def test_two_builds_are_the_same(tmp_path):
    assert built(tmp_path / "one") == built(tmp_path / "two")
    needed = {"model.safetensors", "tokenizer.json", "chat_template.jinja", "config.json"}
    assert needed <= {file.name for file in (tmp_path / "one").iterdir()}
    assert needed | {"README.md"} <= {file.name for file in TINY_MODEL.iterdir()}


def test_the_shipped_tokenizer_is_the_one_that_the_maker_makes(tmp_path):
    texts = list(documents(5000, seed=0))  # with which the maker's documents begin
    make_tokenizer(texts).save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").read_text() == (TINY_MODEL / "tokenizer.json").read_text()


def test_batches_hold_every_text_once():
    texts = list(documents(100, seed=1))
    tokenizer = make_tokenizer(texts)
    found = [tokenizer.decode(row) for rows in batches(tokenizer, texts, 32) for row in rows]
    assert sorted(found) == sorted(texts)
