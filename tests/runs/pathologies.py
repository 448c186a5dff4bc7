"""Runs that are made ill on purpose, and whether the verdicts name the illness: the lab."""

import contextlib
from dataclasses import replace
from pathlib import Path

from helpers import data, runs, training
from helpers.machine import Machine
from helpers.recipes import Recipe
from helpers.rewards import texts
from helpers.runs.health import Verdict
from tests.learning import BASE, reinforce, supervise

from transformers import TrainerCallback  # isort: skip  (after Unsloth)
from trl import GRPOTrainer

STEPS = 20


def constant(completions, **_):
    return [1.0] * len(completions)


def length_only(completions, completion_ids, **_):
    """Pays for brevity."""
    return [1 - len(ids) / 100 for ids in completion_ids]


def form_only(completions, **_):
    return training.REWARDS["r_soft"](completions)


def same_as_the_group(completions, **_):
    """The share of the group that gave the same reply: pays for agreement, right or wrong."""
    replies = texts(completions)
    paid = []
    for number, reply in enumerate(replies):
        start = number - number % 8
        paid.append(replies[start : start + 8].count(reply) / 8)
    return paid


class Until(TrainerCallback):
    """Ends a run when a verdict of that name is there."""

    def __init__(self, run: runs.Run, recipe: Recipe, name: str):
        self.run, self.recipe, self.name = run, recipe, name

    def on_step_end(self, args, state, control, **_):
        log = self.run.read_log() if self.run.log.is_file() else []
        found = [verdict.name for verdict in runs.verdicts(log, self.recipe)]
        control.should_training_stop |= self.name in found
        return control


def ill(recipe, machine, out, start, name="", paid=None, spoil=None, steps=STEPS, **values):
    """The verdicts on GRPO with another reward or settings or a spoilt trainer, up to `name`."""
    recipe = changed(recipe, **values)
    model, tokenizer = training.load(start, recipe, machine)
    rows = data.load(recipe, None, "cpu")["train"]
    functions = training.reward_functions(recipe)[0]
    if paid:
        functions = [paid]
        recipe = replace(recipe, rewards={paid.__name__: 1.0})
    rows = data.chosen(recipe, tokenizer, rows, "grpo", 0).examples
    run = training.TrainingRun(out, recipe, "grpo", machine, 0, BASE, parent=start)
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=functions,
        args=training.grpo_config(recipe, run, machine, steps),
        train_dataset=data.grpo_dataset(recipe, rows),
        processing_class=tokenizer,
    )
    trainer.add_callback(Until(run, recipe, name))
    if spoil:
        spoil(trainer)
    with contextlib.suppress(FloatingPointError):  # what NaN should end with
        training.train(trainer, run)
    return runs.history(run.read_log(), recipe)


def nan_gradient(trainer) -> None:
    """From the third step on one gradient is NaN."""

    def spoilt(gradient):
        return gradient * float("nan") if trainer.state.global_step == 2 else gradient

    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    trained[0].register_hook(spoilt)


ILLNESSES = {  # by verdict: what brings it about
    "zero-variance groups": {"paid": constant},
    "length-only reward": {"paid": length_only},
    "format-only learning": {"paid": form_only},
    "truncation": {"max_completion": 8},
    "learning rate too high": {"learning_rate": 0.05},
    "NaN": {"spoil": nan_gradient},
    "entropy collapse": {"paid": same_as_the_group, "learning_rate": 2e-3},
    "repetition": {"max_completion": 200},
}


def changed(recipe: Recipe, **values) -> Recipe:
    return replace(recipe, grpo=replace(recipe.grpo, **values))


def stammering(recipe: Recipe, machine: Machine, out: Path) -> training.Adapter:
    """An adapter that learned from short solutions which are said six times."""
    splits = data.load(recipe, None, "cpu")
    rows = []
    for example in splits["train"].examples:
        if "\n" not in example.solution:
            rows.append(replace(example, solution="\n".join([example.solution] * 6)))
    long = replace(changed(recipe, max_completion=200), sft=replace(recipe.sft, max_length=400))
    splits["train"] = replace(splits["train"], examples=rows)
    return supervise(long, machine, 0, out, splits, 40)


def healthy(recipe: Recipe, machine: Machine, out: Path, seed: int) -> list[Verdict]:
    """The verdicts on the SFT and the GRPO of the recipe as it is, with that seed."""
    splits = data.load(recipe, None, "cpu")
    start = supervise(recipe, machine, seed, out, splits)
    reinforce(recipe, machine, seed, out, splits, start)
    found = []
    for stage in recipe.stages:
        found += runs.history(runs.Run(out / recipe.name / stage).read_log(), recipe)
    return found
