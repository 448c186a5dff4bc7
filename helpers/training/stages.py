"""Whole stages, as the command line runs them: the cells of notebooks 01 and 02 without lessons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from accelerate import PartialState
from accelerate.utils import set_seed, wait_for_everyone
from trl import GRPOTrainer, SFTTrainer

from helpers import data
from helpers.data import Split
from helpers.machine import Machine, detect, plan, writable_folder
from helpers.recipes import Recipe, for_profile, get_recipe
from helpers.settings import DEFAULT_RECIPE, Settings
from helpers.tiny import TINY_MODEL
from helpers.training.adapter import Adapter
from helpers.training.checkpoints import last_checkpoint
from helpers.training.mirroring import restore
from helpers.training.models import add_lora, load
from helpers.training.probe import preflight
from helpers.training.rewards import check_golds, reward_functions
from helpers.training.trainers import (
    grpo_config,
    sft_config,
    start_of_grpo,
    steps_of,
    train,
    vllm_settings,
)
from helpers.training.training_run import TrainingRun


@dataclass(frozen=True)
class Job:
    """What is trained where: settings, the recipe as they and the machine change it, the base."""

    settings: Settings
    recipe: Recipe
    machine: Machine
    base: str

    def run(self, stage: str, parent: Adapter | None) -> TrainingRun:
        """The folder of a stage that starts from `parent`, or from the base."""
        s = self.settings
        place = (s.output, self.recipe, stage)
        return TrainingRun(*place, self.machine, s.seed, self.base, parent, s.mirror)

    def steps(self, stage: str, rows: int) -> int:
        """How many steps a stage takes over that many rows."""
        return steps_of(self.recipe, stage, rows, self.settings.max_steps)

    def splits(self) -> dict[str, Split]:
        """The rows, which are counted on the console."""
        splits = data.load(self.recipe, self.settings.dataset, self.machine.profile)
        counts = []
        for name, use in (("train", "learn from"), ("test", "measure with")):
            split = splits[name]
            counts.append(f"{len(split.examples)} to {use} (left out: {split.left_out})")
        print(f"rows      {', '.join(counts)}")
        return splits


def open_job(settings: Settings) -> Job:
    """Looks at the machine and settles recipe, seed and output on it. Raises what does not fit."""
    recipe = get_recipe(settings.recipe or DEFAULT_RECIPE)
    writable_folder(settings.output)
    machine = detect()
    recipe = changed(for_profile(recipe, machine.profile), settings)
    set_seed(settings.seed)
    base = recipe.model
    if machine.profile == "tiny":
        base = str(TINY_MODEL)
    return Job(settings, recipe, machine, settings.model or base)


def changed(recipe: Recipe, settings: Settings) -> Recipe:
    """The recipe with what the settings change; `batch` is the effective batch."""
    values = {
        "epochs": settings.epochs,
        "batch": settings.batch,
        "learning_rate": settings.learning_rate,
    }
    given = {name: value for name, value in values.items() if value is not None}
    for stage in recipe.stages:
        part = replace(getattr(recipe, stage), **given)
        if settings.rows is not None:
            most = part.rows or settings.rows  # priming keeps to its few
            part = replace(part, rows=min(settings.rows, most))
        if stage == "grpo" and settings.epochs is not None:
            part = replace(part, steps=None)
        recipe = replace(recipe, **{stage: part})
    if settings.use_4bit is None:
        return recipe
    return replace(recipe, lora=replace(recipe.lora, load_in_4bit=settings.use_4bit))


def check(job: Job, names: Sequence[str]) -> Mapping[str, Split]:
    """The job's rows, for "sft", "grpo" or both.

    Raises what a stage would stumble over, before anything is trained.
    """
    for stage in job.recipe.stages:
        command = "grpo" if stage == "grpo" else "sft"
        if command not in names:
            continue
        part = getattr(job.recipe, stage)
        job.steps(stage, part.rows or part.batch)
        plan(job.recipe, stage, job.base, job.machine)
    if "grpo" in names:
        vllm_settings(job.settings.vllm, job.recipe, job.machine)
    splits = job.splits()
    if "grpo" in names:
        examples = splits["train"].examples
        check_golds(job.recipe, examples)
        job.steps("grpo", len(splits["train"].take(job.recipe.grpo.rows)))
    return splits


def sft(job: Job, splits: Mapping[str, Split]) -> Adapter:
    """Priming and SFT, as the recipe has them; the last adapter. Raises ValueError for neither."""
    recipe, settings = job.recipe, job.settings
    if not recipe.supervised:
        cure = f"Use: python -m helpers grpo --recipe {recipe.name}"
        raise ValueError(f"{recipe.name} has no SFT: its GRPO starts from the base.\n{cure}")
    for stage in recipe.supervised:
        print(f"{stage}\n{plan(recipe, stage, job.base, job.machine)}")
    model, tokenizer = load(job.base, recipe, job.machine)
    model = add_lora(model, recipe, job.machine, settings.seed)
    adapter = None
    for stage in recipe.supervised:
        rows = data.chosen(recipe, tokenizer, splits["train"], stage, settings.seed).examples
        run = job.run(stage, adapter)
        steps = job.steps(stage, len(rows))
        trainer = SFTTrainer(
            model=model,
            args=sft_config(recipe, run, job.machine, steps, settings.report_to),
            train_dataset=data.sft_dataset(recipe, rows),
            processing_class=tokenizer,
        )
        adapter = train(trainer, run, settings.budget, settings.resume)
    return adapter


def grpo(job: Job, splits: Mapping[str, Split]) -> Adapter:
    """GRPO from the adapter that is set, else from that of SFT, else from the base; its adapter."""
    recipe, machine, settings = job.recipe, job.machine, job.settings
    start = start_of_grpo(recipe, settings.output, settings.adapter, job.base)
    print(f"grpo\n{plan(recipe, 'grpo', job.base, machine)}")
    model, tokenizer = load(start or job.base, recipe, machine, settings.vllm)
    if start is None:
        model = add_lora(model, recipe, machine, settings.seed)
    rows = data.chosen(recipe, tokenizer, splits["train"], "grpo", settings.seed).examples
    run = job.run("grpo", start)
    steps = job.steps("grpo", len(rows))
    config = grpo_config(recipe, run, machine, steps, settings.report_to, settings.vllm)
    begun = last_checkpoint(run.checkpoints) or run.adapter.is_dir()
    if not (settings.resume and begun):
        args = (model, tokenizer, recipe, rows, steps, machine.device)
        preflight(*args, settings.seed, settings.force)
    functions, _ = reward_functions(recipe)
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=functions,
        args=config,
        train_dataset=data.grpo_dataset(recipe, rows),
        processing_class=tokenizer,
    )
    return train(trainer, run, settings.budget, settings.resume)


def restore_runs(job: Job) -> None:
    """Brings back the runs that are further in the mirror than here."""
    if not job.settings.mirror:
        return
    if job.machine.processes > 1:
        PartialState(cpu=job.machine.device == "cpu")
    if job.machine.main:
        stages = restore(job.settings.output, job.recipe.name, job.settings.mirror)
        print("from the mirror:", stages)
    wait_for_everyone()
