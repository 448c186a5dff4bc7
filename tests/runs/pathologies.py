"""Runs that are made ill on purpose, and whether the verdicts name the illness: the pathology lab."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from helpers import runs as runlog
from helpers import data
from helpers.machine.computer import Machine
from helpers.recipes import Recipe
from helpers.runs import health
from helpers.training import Adapter, models, rewards
from helpers.training import trainers as training
from helpers.training.training_run import TrainingRun
from tests.learning import BASE, reinforce, supervise

from transformers import TrainerCallback  # isort: skip  (after Unsloth)

STEPS = 20


def constant(completions, **_):
    return [1.0] * len(completions)


def length_only(completions, completion_ids=None, **_):
    return [len(ids) / 100 for ids in completion_ids]


def form_only(completions, **_):
    return rewards.r_soft(completions)


def same_as_the_group(completions, **_):
    """The share of the group that gave the same reply: pays for agreement, whether right or wrong."""
    texts = rewards.texts(completions)
    return [texts[i - i % 8 : i - i % 8 + 8].count(text) / 8 for i, text in enumerate(texts)]


class Until(TrainerCallback):
    """Ends a run when a verdict of that name is there."""

    def __init__(self, run: runlog.Run, recipe: Recipe, name: str):
        self.run, self.recipe, self.name = run, recipe, name

    def on_step_end(self, args, state, control, **_):
        log = runlog.read_lines(self.run.log) if self.run.log.is_file() else []
        control.should_training_stop |= self.name in {
            verdict.name for verdict in health.verdicts(log, self.recipe)
        }
        return control


def ill(
    recipe: Recipe,
    machine: Machine,
    out: Path,
    start: Path,
    name: str = "",
    paid: Callable | None = None,
    spoil: Callable | None = None,
    steps: int = STEPS,
) -> list[health.Verdict]:
    """GRPO with another reward, or a trainer that `spoil` was let loose on, until the verdict `name` is there; the verdicts of its log."""
    from trl import GRPOTrainer

    model, tokenizer = models.load(str(start), recipe, machine)
    functions = [paid] if paid else rewards.reward_functions(recipe)[0]
    recipe = replace(recipe, rewards={paid.__name__: 1.0}) if paid else recipe
    splits = data.load(recipe, None, "tiny")
    rows = data.chosen(recipe, tokenizer, splits["train"], "grpo", 0).examples
    run = TrainingRun(out, recipe, "grpo", machine, 0, BASE, parent=Adapter.read(start))
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
    try:
        training.train(trainer, run)
    except FloatingPointError:
        pass  # what NaN should end with
    return health.history(runlog.read_lines(run.log), recipe)


def nan_gradient(trainer) -> None:
    """From the third step on one gradient is NaN."""
    parameter = next(p for p in trainer.model.parameters() if p.requires_grad)
    parameter.register_hook(
        lambda gradient: gradient * float("nan") if trainer.state.global_step == 2 else gradient
    )


def changed(recipe: Recipe, **values) -> Recipe:
    return replace(recipe, grpo=replace(recipe.grpo, **values))


def stammering(recipe: Recipe, machine: Machine, out: Path) -> Path:
    """An adapter that learned from short solutions which are said six times."""
    splits = data.load(recipe, None, "tiny")
    rows = [
        replace(e, solution="\n".join([e.solution] * 6))
        for e in splits["train"].examples
        if "\n" not in e.solution
    ]
    short = replace(
        recipe,
        sft=replace(recipe.sft, max_length=400),
        grpo=replace(recipe.grpo, max_completion=200),
    )
    return supervise(
        short, machine, 0, out, splits | {"train": replace(splits["train"], examples=rows)}, 40
    )


def healthy(recipe: Recipe, machine: Machine, out: Path, seed: int) -> list[health.Verdict]:
    """The recipe as it is, with that seed; the verdicts of its SFT and its GRPO."""
    splits = data.load(recipe, None, "tiny")
    start = supervise(recipe, machine, seed, out, splits)
    reinforce(recipe, machine, seed, out, splits, start)
    return [
        verdict
        for stage in recipe.stages
        for verdict in health.history(
            runlog.read_lines(out / recipe.name / stage / "log.jsonl"), recipe
        )
    ]
