"""Variants of GRPO: each arrives in the trainer, and changes what it should, by hand."""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest

from helpers import data
from helpers.runs import Run
from helpers.training import models, watching
from helpers.training import trainers as training
from tests.training import building
from tests.training.building import BASE, plain, weights

import torch  # isort: skip  (after Unsloth)

ROWS, STEPS = 40, 2


def varied(recipe, **values):
    grpo = replace(recipe.grpo, batch=8, generations=4, max_completion=24, **values)
    return replace(recipe, grpo=grpo)


@pytest.fixture(scope="module")
def loaded(recipe, machine):
    model, tokenizer = models.load(BASE, recipe, machine)
    return models.add_lora(model, recipe, machine, 0), tokenizer


def trainer_of(recipe, machine, out, loaded, steps=STEPS):
    model, tokenizer = loaded
    run = training.TrainingRun(out, recipe, "grpo", machine, 0, BASE)
    rows = data.grpo_dataset(recipe, building.questions(recipe, ROWS))
    args = building.config(run, steps)
    return building.trainer_on(model, tokenizer, recipe, "grpo", args, rows), run


def batch_of(trainer, tokenizer, recipe):
    """Two replies of unlike lengths, with what a step gives the loss; the policy has moved."""
    prompts = [data.prompt_text(recipe, tokenizer, "3 + 4?")] * 2
    prompt = tokenizer(prompts, add_special_tokens=False, return_tensors="pt")
    ids = tokenizer(["It is 7 beads.", "3 + 4 = 8, so it is 8 beads."], add_special_tokens=False)
    width = max(map(len, ids["input_ids"]))
    replies = torch.tensor([row + [0] * (width - len(row)) for row in ids["input_ids"]])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids["input_ids"]])
    whole = torch.cat([prompt["input_ids"], replies], 1)
    attention = torch.cat([prompt["attention_mask"], mask], 1)
    with torch.no_grad():
        logits = trainer.model(input_ids=whole, attention_mask=attention).logits
    logits = logits[:, -width - 1 : -1].float() / recipe.grpo.temperature
    now = torch.log_softmax(logits, -1).gather(-1, replies[..., None])[..., 0]
    moved = torch.linspace(-0.5, 0.5, width)  # log of the ratio to what drew them
    inputs = {
        "prompt_ids": prompt["input_ids"],
        "prompt_mask": prompt["attention_mask"],
        "completion_ids": replies,
        "completion_mask": mask,
        "advantages": torch.tensor([-0.5, 1.0]),
        "old_per_token_logps": now - moved,
        "num_items_in_batch": mask.sum(),
    }
    return inputs, mask.numpy(), np.exp(np.tile(moved.numpy(), (2, 1)))


def by_hand(grpo, mask, ratio):
    """The loss by its formula, as notebook 02 has it."""
    if grpo.importance == "sequence":
        logs = (np.log(ratio) * mask).sum(1) / mask.sum(1)
        ratio = np.exp(logs)[:, None] * np.ones_like(ratio)
    advantage = np.array([[-0.5], [1.0]])
    high = grpo.epsilon_high or grpo.epsilon
    clipped = np.clip(ratio, 1 - grpo.epsilon, 1 + high)
    loss = -np.minimum(ratio * advantage, clipped * advantage) * mask
    if grpo.loss_type == "grpo":
        return (loss.sum(1) / mask.sum(1)).mean()
    if grpo.loss_type == "dr_grpo":
        return loss.sum() / (len(mask) * grpo.max_completion)
    return loss.sum() / mask.sum()


VARIANTS = {
    "as it is": {},
    "clip-higher": {"epsilon_high": 0.28},
    "per answer": {"loss_type": "grpo"},
    "bnpo": {"loss_type": "bnpo"},
    "Dr. GRPO": {"loss_type": "dr_grpo"},
    "GSPO": {"loss_type": "grpo", "importance": "sequence"},
}


@pytest.fixture(scope="module")
def losses(recipe, machine, loaded, tmp_path_factory):
    """For each variant: the trainer's loss of one batch, and the loss by hand."""
    found = {}
    for name, values in VARIANTS.items():
        other = varied(recipe, **values)
        trainer, _ = trainer_of(other, machine, tmp_path_factory.mktemp("variant"), loaded)
        trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
        trainer.model.eval()
        inputs, mask, ratio = batch_of(trainer, loaded[1], other)
        with torch.no_grad():
            theirs = trainer.compute_loss(trainer.model, inputs).item()
        found[name] = theirs, by_hand(other.grpo, mask, ratio)
    return found


@pytest.mark.parametrize("name", VARIANTS)
def test_the_loss_of_a_variant_is_its_formula(name, losses):
    theirs, ours = losses[name]
    assert theirs == pytest.approx(ours, abs=1e-5)
    if name not in ("as it is", "bnpo"):  # which differs only where a batch is cut into parts
        assert abs(theirs - losses["as it is"][0]) > 1e-3


def test_completions_are_used_again(recipe, machine, loaded, tmp_path):
    other = varied(recipe, iterations=2, learning_rate=5e-3)
    trainer, run = trainer_of(other, machine, tmp_path, loaded, steps=4)
    training.train(trainer, run)
    assert trainer.num_iterations == 2
    drawn = ["reward_mean" in line and "tokens_generated" in line for line in run.read_log()]
    assert drawn == [True, False, True, False]
    assert [line["clip_ratio"] > 0 for line in run.read_log()] == [False, True, False, True]
    assert {sample["step"] for sample in run.read_samples()} == {1, 3}


def test_what_was_cut_off_is_left_out(recipe, machine, loaded, tmp_path):
    found = {}
    for masked in (True, False):
        other = varied(recipe, mask_truncated=masked)
        other = replace(other, grpo=replace(other.grpo, max_completion=4))
        trainer, run = trainer_of(other, machine, tmp_path / str(masked), loaded, steps=1)
        training.train(trainer, run)
        [found[masked]] = run.read_log()
    assert found[True]["truncated"] == found[False]["truncated"] == 1.0
    assert found[True]["grad_norm"] == 0.0 and found[True]["grpo_loss"] == 0.0


def test_each_reward_is_normalised_apart(recipe, machine, loaded, tmp_path):
    """GDPO: advantages by hand, for rewards that differ by completion."""
    other = varied(recipe, aggregation="normalize_then_sum")
    trainer, run = trainer_of(other, machine, tmp_path, loaded, steps=1)
    training.train(trainer, run)
    samples = run.read_samples()
    paid = np.array([[s[name] for name in recipe.rewards] for s in samples])
    groups = paid.reshape(-1, 4, len(recipe.rewards))
    spread = groups.std(axis=1, ddof=1, keepdims=True)
    apart = ((groups - groups.mean(axis=1, keepdims=True)) / (spread + 1e-4)).reshape(paid.shape)
    total = apart @ list(recipe.rewards.values())
    wanted = (total - total.mean()) / (total.std(ddof=1) + 1e-4)
    assert [s["advantage"] for s in samples] == pytest.approx(wanted, abs=2e-3)
    equal = np.ptp(groups, axis=1).max(axis=1) == 0
    assert run.read_log()[0]["zero_std_groups"] == pytest.approx(equal.mean())


def test_held_out_accuracy_changes_nothing_but_the_log(recipe, machine, tmp_path, monkeypatch):
    """The same run without it, to the bit; the adapter that was best is the one that is saved.

    Also by a run that was cut off while it was saved.
    """
    monkeypatch.setitem(watching.SAVE_SECONDS, "cpu", 0.0)
    recipe = varied(recipe, learning_rate=5e-2)
    recipe = replace(recipe, grpo=replace(recipe.grpo, max_completion=48))
    rows, found = building.questions(recipe, ROWS), {}
    for watched in (False, True):
        trainer, run = building.build("grpo", recipe, machine, tmp_path / str(watched), rows, 4)
        some = rows[-1:] if watched else ()
        if watched:
            with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
                cut.setattr(training, "save_adapter", mock.Mock(side_effect=KeyboardInterrupt))
                training.train(trainer, run, held_out=some, keep_best=True)
            assert run.best.exists()
        training.train(trainer, run, held_out=some, keep_best=watched)
        found[watched] = plain(run)
    looks = [line.pop("held_out", None) for line in found[True]]
    for line in found[True]:
        line.pop("held_out_time_s", None)
    assert found[True] == found[False]
    assert looks == [0.0, 0.0, 0.0, 0.0]  # one problem is asked at every step
    manifest = Run.read(run.folder).manifest
    assert manifest["best"] == {"step": 1, "held_out": 0.0} and not run.best.exists()
    assert weights(run) != weights(Run(tmp_path / "False" / recipe.name / "grpo"))
    with pytest.raises(ValueError, match="KEEP_BEST needs held-out .*\nLeave KEEP_BEST out"):
        training.train(trainer, run, keep_best=True)
