"""Whole stages, as the command line runs them: the cells of notebooks 01 and 02 without lessons.

And what stands before GRPO: a look at eight groups.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from accelerate import PartialState
from accelerate.utils import set_seed, wait_for_everyone
from trl import GRPOTrainer, SFTTrainer

from helpers import data
from helpers.data import Split
from helpers.machine import Machine, default_base, detect, for_size, plan, shape_of, writable_folder
from helpers.recipes import SUPERVISED, Recipe, for_model, get_recipe, in_words
from helpers.rewards import columns, reward_functions, reward_table, written
from helpers.rows import Example
from helpers.runs import Run, duration, few_groups
from helpers.settings import DEFAULT_RECIPE, Settings
from helpers.tiny import is_embedded
from helpers.training.adapter import Adapter
from helpers.training.held_out import NO_BEST
from helpers.training.mirroring import restore
from helpers.training.models import add_lora, load
from helpers.training.replies import generate
from helpers.training.trainers import (
    check_group,
    check_tracker,
    grpo_config,
    sft_config,
    start_of_grpo,
    steps_of,
    train,
    vllm_settings,
)
from helpers.training.training_run import TrainingRun

# Of a step's time: measured on the embedded model; assumed for a GPU.
GENERATING_SHARE = {"cpu": 0.55, "cuda": 0.7}
A_LOOK = 20  # seconds for the pre-flight's first two groups, within which it asks six more


@dataclass(frozen=True)
class Job:
    """What is trained where: settings, the recipe as they and the machine change it, the base."""

    settings: Settings
    recipe: Recipe
    machine: Machine
    base: str

    def run(self, stage: str, parent: Adapter | None) -> TrainingRun:
        """The folder of a stage that starts from `parent`, or from the base."""
        own = self.settings
        run = (own.output, self.recipe, stage, self.machine, own.seed, self.base)
        return TrainingRun(*run, parent=parent, mirror=own.mirror, dataset=self.place)

    @property
    def place(self) -> str:
        """Where the rows come from."""
        return data.place_of(self.recipe.source, self.settings.dataset, self.machine.device)

    def steps(self, stage: str, rows: int) -> int:
        """How many steps a stage takes over that many rows."""
        return steps_of(self.recipe, stage, rows, self.settings.max_steps)

    def splits(self) -> dict[str, Split]:
        """The rows, which are counted on the console."""
        splits = data.load(self.recipe, self.settings.dataset, self.machine.device)
        counts = []
        for name, use in (("train", "learn from"), ("test", "measure with")):
            split = splits[name]
            counts.append(f"{len(split.examples)} to {use} (left out: {split.left_out})")
        print(f"rows      {', '.join(counts)}")
        return splits

    def rows(self, tokenizer, split: Split, stage: str) -> list[Example]:
        """What a stage trains on, which is counted on the console."""
        part = data.chosen(self.recipe, tokenizer, split, stage, self.settings.seed)
        print(f"rows      {len(part.examples)} for {stage} (left out: {part.left_out})")
        return part.examples


def open_job(settings: Settings, names: Sequence[str] = ("sft", "grpo")) -> Job:
    """Looks at the machine and settles recipe, seed and output on it. Raises what does not fit.

    names: what is trained sooner or later, "sft", "grpo" or both.
    """
    recipe = get_recipe(settings.recipe or DEFAULT_RECIPE)
    writable_folder(settings.output)
    machine = detect()
    check_tracker(settings.report_to)
    vllm_settings(settings.vllm, recipe, machine)
    if settings.vllm and settings.keep_best:
        raise ValueError(NO_BEST)
    base = settings.model or default_base(recipe, machine)
    machine = for_size(machine, shape_of(base).parameters)
    own = in_words(changed(recipe, settings))
    recipe = for_model(recipe, is_embedded(base), machine.device, settings.budget)
    recipe = changed(recipe, settings)
    if not is_embedded(base):  # whose settings are its own
        for what, words in in_words(recipe).items():
            if words != own[what]:
                print(f"on a CPU  {what}: {words} (in the recipe: {own[what]})")
    set_seed(settings.seed)
    seam = data.fit(recipe, data.load_tokenizer(base), base)
    for line in seam.mended:
        print(f"mended    {line}")
    job = Job(settings, seam.recipe, machine, base)
    if "grpo" in names:
        check_group(job.recipe.grpo.batch, job.recipe.grpo.generations)
    if data.note_rows(base, job.place):  # then it shows that they go through, and no more
        job = replace(job, settings=replace(settings, force=True))
    return job


def changed(recipe: Recipe, settings: Settings) -> Recipe:
    """The recipe with what the settings change; `batch` is the effective batch."""
    given = given_of(settings, "epochs", "batch", "learning_rate", "rows")
    own = given_of(settings, "generations", "max_prompt", "max_completion", "temperature")
    if settings.epochs is not None:
        own["steps"] = None
    length = given_of(settings, "max_length")
    for stage in recipe.stages:
        before = getattr(recipe, stage)
        part = replace(before, **given, **(length if stage in SUPERVISED else own))
        if stage == "priming" and before.rows and part.rows:
            part = replace(part, rows=min(before.rows, part.rows))  # it keeps to its few
        recipe = replace(recipe, **{stage: part})
    if settings.file:
        recipe = replace(recipe, source=replace(recipe.source, files=settings.file))
    lora = recipe.lora
    if settings.use_4bit is not None:
        lora = replace(lora, load_in_4bit=settings.use_4bit)
    if settings.lora_rank is not None:
        alpha = round(settings.lora_rank * lora.alpha / lora.r)
        lora = replace(lora, r=settings.lora_rank, alpha=alpha)
    return replace(recipe, lora=lora)


def given_of(settings: Settings, *names: str) -> dict:
    """Those of these settings that say something."""
    values = {name: getattr(settings, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def check(job: Job, names: Sequence[str]) -> Mapping[str, Split]:
    """The job's rows, for "sft", "grpo" or both.

    Raises what a stage would stumble over, before anything is trained.
    """
    recipe = job.recipe
    stages = [*recipe.supervised] if "sft" in names else []
    if "grpo" in names:
        stages.append("grpo")
    for stage in stages:
        found = plan(recipe, stage, job.base, job.machine)
        if found.total > 2 * found.memory_gb and not job.settings.force:  # beyond any doubt
            raise ValueError(f"{stage}: {found.advice}")
    splits = job.splits()
    if "sft" in names and recipe.supervised:
        data.solved(splits["train"])
    if "grpo" in names:
        train = splits["train"] = check_golds(recipe, splits["train"])
        job.steps("grpo", len(train.take(recipe.grpo.rows)))
    return splits


def check_golds(recipe: Recipe, split: Split) -> Split:
    """The rows whose right answer, in the recipe's format, earns every decisive reward whole.

    What the others lack is counted, and printed. Raises ValueError, naming the reward, where no row
    is left: a reward that does not pay for the truth trains nothing, and no curve shows it.
    """
    examples = split.examples
    if not examples:
        raise ValueError("There is no row to learn from: the only one is held out.\nAdd rows.")
    replies = [recipe.after_opening(written(recipe, example)) for example in examples]
    golds = [example.answer for example in examples]
    prompts = [data.messages(recipe, example.question) for example in examples]
    paid = reward_table(recipe, replies, golds, prompts=prompts, **columns(examples))
    decisive = [name for name in recipe.decisive if name in paid]
    kept, unpaid = [], Counter()
    for place, example in enumerate(examples):
        short = [name for name in decisive if abs((paid[name][place] or 0.0) - 1) > 1e-9]
        if short:
            unpaid[f"with an answer for which {short[0]} does not pay 1"] += 1
        else:
            kept.append(example)
    found = Split(kept, {**split.dropped, **unpaid})
    if not kept:
        raise ValueError(
            f"No row has a right answer that earns every reward ({found.left_out}).\n"
            "Mend that reward, or the recipe's read_row, format or score; one that only shapes or "
            "takes away stands in the recipe's shaping, such as shaping={'brevity': (-1, 0)}."
        )
    if unpaid:
        print(f"golds     left out: {Split([], unpaid).left_out}")
    return found


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
        rows = job.rows(tokenizer, splits["train"], stage)
        run = job.run(stage, adapter)
        steps = job.steps(stage, len(rows))
        config = sft_config(recipe, run, job.machine, steps, settings.report_to)
        trainer = SFTTrainer(
            model=model,
            args=config,
            train_dataset=data.sft_dataset(recipe, tokenizer, rows),
            processing_class=tokenizer,
        )
        adapter = train(trainer, run, settings.budget, settings.resume)
    return adapter


def preflight(
    model,
    tokenizer,
    recipe: Recipe,
    examples: Sequence[Example],
    steps: int,
    device: str,
    seed: int = 0,
    force: bool = False,
) -> dict:
    """Samples a group for each of some questions, and prints what GRPO would work with.

    Of two questions, and of six more if those were quick, or show nothing to learn from. Returns
    the shares and the minutes. Raises ValueError, unless force, if nothing can be learned.
    """
    grpo = recipe.grpo
    begun = time.perf_counter()
    totals, right, ended = sample_groups(model, tokenizer, recipe, examples[:2], seed)
    quick = time.perf_counter() - begun < A_LOOK
    nothing = (np.ptp(totals, axis=1) < 1e-9).all() or not ended.any()
    if examples[2:8] and (quick or nothing):
        more, hits, ends = sample_groups(model, tokenizer, recipe, examples[2:8], seed + 1)
        totals = np.vstack((totals, more))
        right += hits
        ended = np.hstack((ended, ends))
    seconds = (time.perf_counter() - begun) / totals.size  # a reply
    flat = float((np.ptp(totals, axis=1) < 1e-9).mean())
    cut = float(1 - ended.mean())
    minutes = steps * grpo.batch * seconds / GENERATING_SHARE[device] / 60
    print(f"{len(totals)} questions × {grpo.generations} replies: ", end="")
    print(f"{flat:.0%} of the groups without variance, {cut:.0%} of the replies cut off")
    print(f"mean reward {totals.mean():.2f} of {recipe.maximum:.2f}, answers right: {right}")
    print(f"{steps} steps will take about {duration(minutes)}")
    if 0.5 < cut < 1:
        print("most replies are cut off: more SFT, or a larger MAX_COMPLETION, lets them end")
    if flat < 1 and few_groups(flat, recipe):
        print("few groups a step differ: it is mostly chance; a larger batch, or a lower rate")
    reason = ""
    if flat == 1:
        reason = "every group has replies that all earn the same, so there is nothing to prefer"
    elif cut == 1:
        reason = "no reply ends within the limit"
    if reason and force:
        print(f"{reason}; it is trained all the same")
    elif reason:
        cure = "Train SFT longer, take easier questions or a larger MAX_COMPLETION; "
        cure += "FORCE = True trains all the same."
        raise ValueError(f"Nothing could be learned: {reason}.\n{cure}")
    return {"zero_std_groups": flat, "truncated": cut, "minutes": minutes}


def sample_groups(
    model, tokenizer, recipe: Recipe, examples: Sequence[Example], seed: int
) -> tuple[np.ndarray, int, np.ndarray]:
    """A group of replies to each question: what they earn, how many are right, which have ended.

    Shapes: (questions, group), a number, (replies).
    """
    grpo = recipe.grpo
    asked = [example for example in examples for _ in range(grpo.generations)]
    prompts = [data.prompt_text(recipe, tokenizer, example.question) for example in asked]
    sampling = {"temperature": grpo.temperature, "seed": seed, "label": "pre-flight"}
    replies = generate(model, tokenizer, prompts, grpo.max_completion, **sampling)
    texts = [reply.text for reply in replies]
    golds = [example.answer for example in asked]
    questions = [data.messages(recipe, example.question) for example in asked]
    ids = tokenizer(texts)["input_ids"]
    given = {"prompts": questions, "completion_ids": ids, **columns(asked)}
    totals = reward_table(recipe, texts, golds, **given)["total"]
    found = [recipe.format.extract(recipe.with_opening(text)) for text in texts]
    scores = [recipe.score(own, gold) for own, gold in zip(found, golds, strict=True)]
    ended = np.array([reply.finished for reply in replies])
    return np.reshape(totals, (-1, grpo.generations)), scores.count(1.0), ended


def grpo(job: Job, splits: Mapping[str, Split]) -> Adapter:
    """GRPO from the adapter that is set, else from that of SFT, else from the base; its adapter."""
    recipe, machine, settings = job.recipe, job.machine, job.settings
    start = start_of_grpo(recipe, settings.output, settings.adapter, job.base)
    print(f"grpo\n{plan(recipe, 'grpo', job.base, machine)}")
    model, tokenizer = load(start or job.base, recipe, machine, settings.vllm)
    if start is None:
        model = add_lora(model, recipe, machine, settings.seed)
    rows = job.rows(tokenizer, splits["train"], "grpo")
    run = job.run("grpo", start)
    steps = job.steps("grpo", len(rows))
    config = grpo_config(recipe, run, machine, steps, settings.report_to, settings.vllm)
    if not (settings.resume and run.begun):
        preflight(
            model, tokenizer, recipe, rows, steps, machine.device, settings.seed, settings.force
        )
    functions, _ = reward_functions(recipe)
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=functions,
        args=config,
        train_dataset=data.grpo_dataset(recipe, rows),
        processing_class=tokenizer,
    )
    asked = data.held_out(recipe, tokenizer, splits["test"])
    return train(trainer, run, settings.budget, settings.resume, asked, settings.keep_best)


def restore_runs(job: Job) -> None:
    """Brings back the runs that are further in the mirror than here, and says what is finished."""
    settings, name = job.settings, job.recipe.name
    if settings.mirror:
        if job.machine.processes > 1:
            PartialState(cpu=job.machine.device == "cpu")
        if job.machine.main:
            print("from the mirror:", restore(settings.output, name, settings.mirror))
        wait_for_everyone()
    folder = Path(settings.output, name)
    runs = {stage: Run.read(folder / stage) for stage in job.recipe.stages}
    finished = [stage for stage, run in runs.items() if run and run.finished]
    if finished and settings.resume:
        print(
            f"finished  {', '.join(finished)} in {folder}: read, not trained, if nothing changed;"
        )
        print("          to train again: RESUME = False in 01 and 02 (in a terminal --no-resume)")
