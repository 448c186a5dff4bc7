"""What prompts share is read once: replies, losses and gradients are those of transformers."""

import functools
from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from helpers.training import decoding, dequantised, private
from tests.training import building

SIZE = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
SIZE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
SLIDING = {"sliding_window": 5, "use_sliding_window": True, "max_window_layers": 1}
MODELS = {
    "qwen3": SIZE,
    "qwen2": SIZE | SLIDING,
    "llama": SIZE,
    "mistral": SIZE | {"sliding_window": 5},
    "gemma3_text": SIZE | {"sliding_window": 5},
    "phi3": SIZE | {"pad_token_id": 0},
}
BEGINNING = [7, 8, 9, 10, 11, 12, 13]
PROMPTS = [[1, 2, 3], [4], [5, 6, 5, 6, 5]]
REPLIES = [[21, 22], [23, 24, 25, 26, 27, 28], [29]]


def rows(own: list[list[int]], replies: list[list[int]]):
    """Ids and attention of prompts, padded on the left, and replies on the right; the labels."""
    width, length = max(map(len, own)), max(map(len, replies))
    ids, seen, labels = [], [], []
    for prompt, reply in zip(own, replies, strict=True):
        before, after = width - len(prompt), length - len(reply)
        ids.append([0] * before + prompt + reply + [0] * after)
        seen.append([0] * before + [1] * (len(prompt) + len(reply)) + [0] * after)
        labels.append([-100] * width + reply + [-100] * after)
    return torch.tensor(ids), torch.tensor(seen), torch.tensor(labels)


@pytest.mark.parametrize("common", [[], BEGINNING])
@pytest.mark.parametrize("kind", MODELS)
def test_a_loss_with_prompts_read_once_is_the_same(kind, common):
    """Three prompts with three replies each; loss and the gradient of every weight."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **MODELS[kind])
    model = AutoModelForCausalLM.from_config(config).float().train()
    assert decoding.options(model)
    own = [common + prompt for prompt in PROMPTS for _ in REPLIES]
    ids, seen, labels = rows(own, REPLIES * len(PROMPTS))
    places = decoding.positions_of(seen)
    plain = model(input_ids=ids, attention_mask=seen, position_ids=places, labels=labels)
    plain.loss.backward()
    expected = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    width = ids.shape[1] - max(map(len, REPLIES))
    forward = functools.partial(decoding.read_once, model.base_model.forward, width)
    with dequantised.computing(model.base_model, forward):
        shared = model(input_ids=ids, attention_mask=seen, labels=labels)
    shared.loss.backward()
    assert abs(shared.loss - plain.loss) < 1e-6
    for name, weight in model.named_parameters():
        assert torch.allclose(weight.grad, expected[name], atol=1e-6), name


@pytest.mark.parametrize(("stage", "share"), [("sft", 0.75), ("grpo", 0.4)])
def test_a_step_of_a_trainer_is_the_same(stage, share, recipe, machine, tmp_path, monkeypatch):
    """What it logs is what TRL's own step does, on the same replies; so little of it is read."""
    grpo = replace(recipe.grpo, batch=16, max_completion=32)
    recipe = replace(recipe, grpo=grpo, sft=replace(recipe.sft, batch=16))
    logged, read = [], []
    for alike in (lambda inputs: 0, decoding.read_alike):
        monkeypatch.setattr(decoding, "read_alike", alike)
        rows = building.questions(recipe, 64)
        trainer, _ = building.build(stage, recipe, machine, tmp_path / str(len(read)), rows, 1)
        private.wrap(trainer, "compute_loss", decoding.sharing_prompts(trainer))
        tokens = []

        def count(_, states, tokens=tokens):
            if torch.is_grad_enabled():
                tokens.append(states[0].shape[:2].numel())

        trainer.model.get_base_model().base_model.layers[0].register_forward_pre_hook(count)
        trainer.train()
        step = trainer.state.log_history[0]
        logged.append({name: value for name, value in step.items() if "time" not in name})
        read.append(sum(tokens))
    assert logged[0] == pytest.approx(logged[1], abs=1e-5)
    assert read[1] < share * read[0]


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([[7, 8, 1], [7, 8, 2]], 2),
        ([[7, 8, 1], [7, 8, 1]], 2),  # what is learned is never passed over
        ([[7, 8, 1]], 0),
        ([[7, 8, 1], [6, 8, 1]], 0),
    ],
)
def test_of_sft_is_read_once_what_all_rows_begin_with(inputs, expected):
    ids = torch.tensor(inputs)
    labels = torch.cat([torch.full_like(ids[:, :2], -100), ids[:, 2:]], dim=1)
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    assert decoding.read_alike(given) == expected
