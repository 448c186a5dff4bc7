"""The same documents give the same tokenizer and, byte for byte, the same weights."""

import torch

from helpers.machine import computer as machines
from helpers.tiny import TINY_MODEL
from helpers.tiny.__main__ import DOCUMENTS
from helpers.tiny.corpus import documents
from helpers.tiny.make import batches, make_model, make_tokenizer, pretrain, write


def build(folder):
    torch.manual_seed(123)  # the maker seeds itself
    texts = list(documents(256, seed=0))
    tokenizer = make_tokenizer(texts)
    model = make_model(tokenizer)
    pretrain(model, tokenizer, texts)
    write(model, tokenizer, folder)
    return {file.name: machines.file_hash(file) for file in folder.iterdir()}


def test_two_builds_are_the_same(tmp_path):
    assert build(tmp_path / "one") == build(tmp_path / "two")
    needed = {"model.safetensors", "tokenizer.json", "chat_template.jinja", "config.json"}
    assert needed <= {file.name for file in (tmp_path / "one").iterdir()}
    assert needed | {"README.md"} <= {file.name for file in TINY_MODEL.iterdir()}


def test_the_shipped_tokenizer_is_the_one_that_the_maker_makes(tmp_path):
    write_to = tmp_path / "tokenizer"
    make_tokenizer(list(documents(DOCUMENTS, seed=0))[:5000]).save_pretrained(write_to)
    assert (write_to / "tokenizer.json").read_text() == (TINY_MODEL / "tokenizer.json").read_text()


def test_batches_hold_every_text_once():
    texts = list(documents(100, seed=1))
    tokenizer = make_tokenizer(texts)
    found = [tokenizer.decode(row) for rows in batches(tokenizer, texts, 32) for row in rows]
    assert sorted(found) == sorted(texts)
