"""SFT and GRPO from a command line, alone or under `accelerate launch`: the cells of notebooks 01 and 02 without their lessons."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trl import GRPOTrainer, SFTTrainer

from helpers import data
from helpers import machine as memory
from helpers import runs as runlog
from helpers.data import Split
from helpers.machine import Machine
from helpers.recipes import Recipe
from helpers.training import models, rewards
from helpers.training import trainers as training
from helpers.training.checkpoints import last_checkpoint
from helpers.training.probe import preflight

ADAPTER_FILES = {
    "adapter_config.json",
    "adapter_model.safetensors",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer_config.json",
    "README.md",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
}


@dataclass(frozen=True)
class Job:
    """What the notebooks' parameters say, under the same names. The recipe is settled for the machine's profile."""

    recipe: Recipe
    machine: Machine
    output: Path = Path("outputs")
    model: str = ""
    dataset: str = ""
    seed: int = 0
    max_steps: int = 0
    budget: str = "quick"
    adapter: str = ""
    resume: bool = True
    mirror: str = ""
    report_to: str = "none"
    force: bool = False
    vllm: str = ""

    @property
    def base(self) -> str:
        return models.base_of(self.recipe, self.model or None, self.machine)

    def run(self, stage: str, parent: Path | None) -> runlog.Run:
        return runlog.Run(
            self.output, self.recipe, stage, self.machine, self.seed, self.base, parent, self.mirror
        )

    def plan(self, stage: str) -> str:
        return str(memory.plan(self.recipe, stage, self.base, self.machine))

    def splits(self) -> dict[str, Split]:
        """The rows, and a line that says how many there are."""
        splits = data.load(self.recipe, self.dataset or None, self.machine.profile)
        counts = (
            f"{len(split.examples)} to {'learn from' if name == 'train' else 'measure with'} (left out: {split.left_out})"
            for name, split in splits.items()
        )
        print(f"rows      {', '.join(counts)}")
        return splits


def changed(
    recipe: Recipe,
    stages: Mapping[str, bool],
    epochs: float | None,
    batch: int | None,
    rate: float | None,
    rows: int | None,
    four_bit: bool | None,
) -> Recipe:
    """The recipe with what the command line changes, in the stages that it runs. `batch` is the effective batch."""
    values = {"epochs": epochs, "batch": batch, "learning_rate": rate, "rows": rows}
    given = {name: value for name, value in values.items() if value is not None}
    for stage in (stage for stage in recipe.stages if stages.get(stage)):
        most = getattr(recipe, stage).rows
        given |= (
            {"rows": min(rows, most or rows)} if rows is not None else {}
        )  # at most: priming keeps to its few
        fixed = (
            {"steps": None} if stage == "grpo" and epochs is not None else {}
        )  # so many epochs, not so many steps
        recipe = replace(recipe, **{stage: replace(getattr(recipe, stage), **given, **fixed)})
    return (
        recipe
        if four_bit is None
        else replace(recipe, lora=replace(recipe.lora, load_in_4bit=four_bit))
    )


def sft(job: Job, splits: Mapping[str, Split] | None = None) -> Path:
    """Priming and SFT, as the recipe has them, on the rows of the job or those given; the last adapter. Raises ValueError for a recipe without."""
    recipe, adapter = job.recipe, None
    if not recipe.supervised:
        raise ValueError(
            f"{recipe.name} has no SFT: its GRPO starts from the base.\nUse: python -m helpers grpo --recipe {recipe.name}"
        )
    splits = splits or job.splits()
    for stage in recipe.supervised:
        print(f"{stage}\n{job.plan(stage)}")
    model, tokenizer = models.load(job.base, recipe, job.machine)
    model = models.add_lora(model, recipe, job.machine, job.seed)
    for stage in recipe.supervised:
        rows = data.chosen(recipe, tokenizer, splits["train"], stage, job.seed).examples
        run, steps = (
            job.run(stage, adapter),
            training.steps_of(recipe, stage, len(rows), job.max_steps),
        )
        trainer = SFTTrainer(
            model=model,
            args=training.sft_config(recipe, run, job.machine, steps, job.report_to),
            train_dataset=data.sft_dataset(recipe, rows),
            processing_class=tokenizer,
        )
        adapter = training.train(trainer, run, job.budget, job.resume)
    return adapter


def grpo(job: Job, splits: Mapping[str, Split] | None = None) -> Path:
    """GRPO from the adapter given, else from that of the SFT run, else from the base; its adapter."""
    recipe, machine = job.recipe, job.machine
    start = training.start_of_grpo(recipe, job.output, job.adapter, job.base)
    training.vllm_settings(job.vllm, recipe, machine)  # says at once what is missing
    splits = splits or job.splits()
    check_rows(job, splits)  # before the model is loaded
    print(f"grpo\n{job.plan('grpo')}")
    model, tokenizer = models.load(str(start or job.base), recipe, machine, job.vllm)
    if start is None:
        model = models.add_lora(model, recipe, machine, job.seed)
    rows = data.chosen(recipe, tokenizer, splits["train"], "grpo", job.seed).examples
    run, steps = job.run("grpo", start), training.steps_of(recipe, "grpo", len(rows), job.max_steps)
    settings = training.grpo_config(recipe, run, machine, steps, job.report_to, job.vllm)
    if not (job.resume and (last_checkpoint(run.checkpoints) or (run.folder / "adapter").is_dir())):
        preflight(model, tokenizer, recipe, rows, steps, machine.device, job.seed, job.force)
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=rewards.reward_functions(recipe)[0],
        args=settings,
        processing_class=tokenizer,
        train_dataset=data.grpo_dataset(recipe, rows),
    )
    return training.train(trainer, run, job.budget, job.resume)


def check(job: Job, stages: Sequence[str]) -> Mapping[str, Split]:
    """The job's rows. Raises ValueError or ImportError for what a stage would stumble over, before the first one is trained."""
    for stage in stages:
        part = getattr(job.recipe, stage)
        training.steps_of(job.recipe, stage, part.rows or part.batch, job.max_steps)
        job.plan(stage)
    if "grpo" in stages:
        training.vllm_settings(job.vllm, job.recipe, job.machine)
    training.check_report_to(job.report_to)
    splits = job.splits()
    if "grpo" in stages:
        check_rows(job, splits)
    return splits


def check_rows(job: Job, splits: Mapping[str, Split]) -> None:
    """Raises ValueError for rows that GRPO cannot be trained on: too few for a step, or right answers that do not earn the full reward."""
    rewards.check_golds(job.recipe, splits["train"].examples)
    training.steps_of(
        job.recipe, "grpo", len(splits["train"].take(job.recipe.grpo.rows)), job.max_steps
    )


def check_place(folder: Path | None) -> None:
    """Raises FileExistsError if an adapter cannot go there: only an empty folder, or one that holds an adapter and nothing else, is taken."""
    if (
        folder
        and folder.exists()
        and (
            not folder.is_dir() or any(path.name not in ADAPTER_FILES for path in folder.iterdir())
        )
    ):
        raise FileExistsError(
            f"{folder} holds something that is no adapter.\nName another folder, or an empty one."
        )


def copied(adapter: Path, folder: Path | None) -> Path:
    """The adapter, also in `folder`, if one is given; it appears there when it is whole."""
    if folder is None or folder.resolve() == adapter.resolve():
        return adapter
    check_place(folder)
    folder = folder.resolve()
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(adapter, part)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
    return folder
