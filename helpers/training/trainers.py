"""The recipe's settings as TRL takes them on this machine, and a run that ends whole or goes on.

A recipe states the effective batch; the machine only decides how it is cut into device batch ×
accumulation × processes. The trainers are built in the notebooks, in full view, and
in `stages.py`.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate.utils import broadcast_object_list, set_seed, wait_for_everyone
from peft import PeftConfig
from transformers import TrainerCallback
from transformers.integrations import get_available_reporting_integrations
from trl import GRPOConfig, SFTConfig

from helpers import machine as machines
from helpers.machine import Machine, make_readable
from helpers.recipes import Recipe
from helpers.rows import Example
from helpers.runs import Run, check_start, part_of, writing
from helpers.settings import AFRESH
from helpers.tiny import is_embedded
from helpers.training import checkpoints, private
from helpers.training.adapter import Adapter, save_config, save_tokenizer
from helpers.training.dequantised import dequantised_weights
from helpers.training.held_out import HeldOut, watch_held_out
from helpers.training.mirroring import mirror
from helpers.training.training_run import TrainingRun
from helpers.training.unsloth_first import FastLanguageModel
from helpers.training.watching import LogCallback, watch

# Minutes of the quick budget; evaluation has the rest of the hour.
QUICK_MINUTES = {"priming": 1.0, "sft": 15.0, "grpo": 25.0}
MEASURED = 5  # steps, before the rest is sized; the first one compiles and does not count


def check_tracker(report_to: str) -> None:
    """Raises ValueError for a tracker that is not installed."""
    if report_to not in ("", "none", *get_available_reporting_integrations()):
        cure = f'pip install {report_to}, or set REPORT_TO = "none".'
        raise ValueError(f"REPORT_TO is {report_to!r}, which is not installed.\n{cure}")


def check_group(batch: int, generations: int) -> None:
    """Raises ValueError, naming the nearest sizes that fit, unless groups divide the batch."""
    if generations >= 2 and batch % generations == 0:
        return
    sizes = [size for size in range(2, batch + 1) if batch % size == 0]
    if generations < 2:
        cure = f"Set GENERATIONS to one of {sizes}."
        raise ValueError(f"A group of one reply has nothing to be compared with.\n{cure}")
    below = batch // generations * generations
    near = f"{below} or {below + generations}" if below else generations
    raise ValueError(
        f"A batch of {batch} completions does not divide into groups of {generations}.\n"
        f"Set BATCH to {near}, or GENERATIONS, the group size, to one of {sizes}."
    )


def steps_of(recipe: Recipe, stage: str, examples: int, max_steps: int | None) -> int:
    """How many steps a stage takes over that many examples.

    Raises ValueError if GRPO's groups do not divide its batch, or there are too few for a step.
    """
    part = getattr(recipe, stage)
    a_step = part.batch
    if stage == "grpo":
        check_group(part.batch, part.generations)
        a_step = part.batch // part.generations
        if examples < a_step:  # the trainer would leave them all out
            smaller = examples * part.generations
            raise ValueError(
                f"GRPO takes {a_step} questions a step, and there are {examples}.\n"
                f"Add rows, or set BATCH to {smaller} or less."
            )
    steps = getattr(part, "steps", None) or max(1, round(part.epochs * examples / a_step))
    return min(steps, max_steps) if max_steps else steps


def start_of_grpo(recipe: Recipe, output: str | Path, adapter: str, base: str) -> Adapter | None:
    """The adapter that GRPO goes on from: the one given, else that of the SFT run, else None.

    Raises FileNotFoundError or ValueError that say what is missing or does not fit.
    """
    if not adapter and not recipe.sft:
        return None
    if not adapter:
        cure = "Run 01_sft.ipynb first, or set ADAPTER (in a terminal: python -m helpers sft)."
        adapter = Run.read_finished(Path(output) / recipe.name / "sft", cure).adapter
    check_start(Path(output, recipe.name, "grpo"), adapter)
    start = Adapter.read(adapter, base)
    rank = start.config.r
    if rank != recipe.lora.r:
        what = f"The adapter in {start.folder} has rank {rank}, and the recipe's is {recipe.lora.r}"
        raise ValueError(f"{what}.\nSet LORA_RANK to {rank}.")
    return start


def common(part, run: TrainingRun, machine: Machine, steps: int, report_to: str) -> dict:
    """The settings that SFT and GRPO share, all written out: Unsloth changes TRL's defaults.

    save_strategy is "no" because `watching.LogCallback` says when to save: by the clock.
    """
    # Read by the tracker's callback, if that one is chosen.
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(run.folder / "tensorboard")
    plan = machines.plan(run.recipe, run.stage, run.base, machine)
    return dict(
        output_dir=str(run.checkpoints),
        per_device_train_batch_size=plan.device_batch,
        per_device_eval_batch_size=plan.device_batch,
        gradient_accumulation_steps=plan.accumulation,
        learning_rate=part.learning_rate,
        lr_scheduler_type=part.schedule,
        warmup_steps=round(part.warmup * steps),
        weight_decay=part.weight_decay,
        optim="adamw_torch_fused",
        max_steps=steps,
        max_grad_norm=1.0,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        seed=run.seed,
        data_seed=run.seed,
        report_to=report_to or "none",
        run_name=f"{run.recipe.name}-{run.stage}-{run.seed}",
        bf16=machine.dtype == "bfloat16",
        fp16=machine.dtype == "float16",
        tf32=None,
        gradient_checkpointing=machine.device == "cuda",
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=machine.device == "cuda",
        disable_tqdm=True,
        use_cpu=machine.device == "cpu",
    )


def sft_config(
    recipe: Recipe, run: TrainingRun, machine: Machine, steps: int, report_to: str = "none"
) -> SFTConfig:
    """SFTTrainer's settings, also for priming: one example a row, only its completion is learned.

    dataset_num_proc: even one worker is a process of its own, and would outlive a kill; on a GPU
    Unsloth reads None as many. max_seq_length: there it takes a max_length of 1024 for none.
    """
    part = getattr(recipe, run.stage)
    config = SFTConfig(
        **common(part, run, machine, steps, report_to),
        max_length=part.max_length,
        packing=False,
        padding_free=False,
        completion_only_loss=True,
        dataset_num_proc=None if machine.device == "cpu" else 1,
    )
    config.max_seq_length = part.max_length
    return config


def vllm_settings(mode: str, recipe: Recipe, machine: Machine) -> dict:
    """Who generates GRPO's completions: "" transformers, "colocate" vLLM on the training card,
    "server" one that `trl vllm-serve` has started. Raises ImportError where it is not installed.
    """
    if not mode:
        return {"use_vllm": False}
    if not machine.vllm:
        needs = "Linux with a GPU from compute capability 8.0"
        cure = f"pip install vllm ({needs}), or leave VLLM empty."
        raise ImportError(f"vLLM is not installed, or there is no GPU.\n{cure}")
    return {
        "use_vllm": True,
        "vllm_mode": mode,
        "vllm_max_model_length": machines.row_length(recipe.grpo),
        "vllm_importance_sampling_correction": True,
    }


def grpo_config(
    recipe: Recipe, run: TrainingRun, machine: Machine, steps: int, report_to: str = "none", vllm=""
) -> GRPOConfig:
    """GRPOTrainer's settings, for a batch that `steps_of` has checked."""
    part = recipe.grpo
    shared = common(part, run, machine, steps, report_to)
    return GRPOConfig(
        **shared,
        num_generations=part.generations,
        steps_per_generation=shared["gradient_accumulation_steps"],
        num_iterations=part.iterations,
        max_completion_length=part.max_completion,
        temperature=part.temperature,
        top_p=1.0,
        top_k=0,
        beta=part.beta,
        epsilon=part.epsilon,
        epsilon_high=part.epsilon_high or part.epsilon,
        importance_sampling_level=part.importance,
        loss_type=part.loss_type,
        mask_truncated_completions=part.mask_truncated,
        scale_rewards=part.scale_rewards,
        multi_objective_aggregation=part.aggregation,
        reward_weights=list(recipe.rewards.values()),
        remove_unused_columns=False,
        chat_template_kwargs={"enable_thinking": recipe.thinking},
        **vllm_settings(vllm, recipe, machine),
    )


def train(
    trainer,
    run: TrainingRun,
    budget: str = "quick",
    resume: bool = True,
    held_out: Sequence[Example] = (),
    keep_best: bool = False,
) -> Adapter:
    """Trains, saves the adapter with its tokenizer, and only then marks the run as finished.

    A killed run goes on, by the same call, from its newest whole checkpoint (before the first,
    afresh), and ends as if never killed. Of a finished run it loads the adapter. If settings, data,
    code or versions are not as they were, a finished run is kept beside the new one, and for an
    unfinished one ValueError says what differs. resume=False starts afresh. held_out: problems that
    are asked every few steps; keep_best: saves the adapter that was best on them, not the last.
    """
    watched = watch_held_out(trainer, run, held_out, keep_best)
    start = starting_adapter(trainer.model, run.stage)
    checkpoint = None
    with contextlib.ExitStack() as cleanup:
        if run.machine.main:
            cleanup.enter_context(checkpoints.lock_folder(run.folder, "training in"))
            made_of = checkpoints.fingerprint(trainer, run, budget, start)
            made_of["keep_best"] = keep_best
            checkpoint = checkpoints.begin(run, made_of, resume)
        checkpoint, run.manifest = broadcast_object_list([checkpoint, run.manifest])
        if run.machine.device == "cpu":
            private.train_in_float(trainer.model)
        if run.finished:
            private.restore_adapter(trainer.model, run.adapter)
            steps = run.manifest["steps"]
            print(f"this run was finished before, in {steps} steps; {AFRESH} trains it anew")
        else:
            if getattr(trainer.args, "beta", 0.0):
                private.set_reference(trainer.model, start)
            if not checkpoint:
                for name, weights in start.items():
                    trainer.model.get_parameter(name).data.copy_(weights)
                trainer.optimizer = trainer.lr_scheduler = None  # the trainer makes new ones
            train_to_end(trainer, run, budget, checkpoint, watched)
        if run.machine.main:  # what a finished run needs no more, here and in its mirror
            shutil.rmtree(run.checkpoints, ignore_errors=True)
            shutil.rmtree(run.best, ignore_errors=True)
            mirror(run)
        wait_for_everyone()
    FastLanguageModel.for_inference(trainer.model)
    return Adapter.read(run.adapter, run.base)  # which may have moved since a finished run


def starting_adapter(model, stage: str) -> dict[str, torch.Tensor]:
    """The weights that a stage of this model starts from, kept on the model.

    A stage that is run again in the same kernel starts from them, not from what it has learned. It
    makes later stages forget theirs.
    """
    order = ("priming", "sft", "grpo")
    kept = getattr(model, "starts", {})
    for later in order[order.index(stage) + 1 :]:
        kept.pop(later, None)
    if stage not in kept:
        kept[stage] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                kept[stage][name] = parameter.detach().to("cpu", copy=True)
    model.starts = kept
    return kept[stage]


def train_to_end(
    trainer, run: TrainingRun, budget: str, checkpoint: Path | None, watched: HeldOut | None
) -> None:
    """One process's part of a run, from its start or a checkpoint to its adapter."""
    callback = watch(trainer, run, watched)
    if budget == "quick" and not is_embedded(run.base):
        trainer.remove_callback(FitToBudget)
        trainer.add_callback(FitToBudget(run))
    private.whole_checkpoints(trainer, run.checkpoints)
    if run.machine.device == "cpu" and run.machine.processes > 1:
        machines.allow_numbered_cpus()
    FastLanguageModel.for_training(trainer.model)  # generating has left it in inference mode
    set_seed(run.seed, device_specific=True)  # else all processes would draw alike
    try:
        with dequantised_weights(trainer.model):
            steps = take_steps(trainer, run, callback, checkpoint)
        if "best" in run.manifest:
            private.restore_adapter(trainer.model, run.best)
        weights = None
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:  # every process has a part
            weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
        if run.machine.main:
            with writing(f"The adapter {run.adapter}"):
                save_adapter(trainer.model, trainer.processing_class, run.adapter, weights)
            file = run.adapter / "adapter_model.safetensors"
            run.finish("finished", steps=steps, adapter_hash=machines.file_hash(file))
    except (Exception, KeyboardInterrupt) as error:  # the run must not pass for whole
        callback.cleanup.close()  # the curves stay
        if run.machine.main:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            with contextlib.suppress(OSError):  # of a full disk; the error itself says so
                run.finish(status, error=type(error).__name__)
            mirror(run)
        raise


def take_steps(trainer, run: TrainingRun, callback: LogCallback, checkpoint: Path | None) -> int:
    """Trains to the last step, and returns how many there were."""
    if checkpoint:
        planned = run.manifest.get("fitted", {}).get("steps", trainer.args.max_steps)
        steps = checkpoints.step_of(checkpoint)
        if steps >= planned:  # cut off after the last step; a trainer would take one more
            private.restore_adapter(trainer.model, checkpoint)
            return steps
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    steps = trainer.state.global_step
    if callback.stopping and steps < trainer.state.max_steps:
        raise KeyboardInterrupt(f"stopped and saved at step {steps}; run it again to go on")
    return steps


class FitToBudget(TrainerCallback):
    """Measures a run's first steps, then sets its last step and its schedule to fit the minutes.

    What it decided stands in the run's manifest, so that a run that goes on keeps to it.
    """

    def __init__(self, run: TrainingRun):
        self.run = run
        self.first = None  # this process's first step
        self.begun = 0.0  # when that ended

    def on_train_begin(self, args, state, control, lr_scheduler=None, **_):
        self.first = None
        self.shorten(args, state, lr_scheduler)

    def on_step_end(self, args, state, control, lr_scheduler=None, **_):
        step = state.global_step
        manifest = self.run.manifest
        now = time.perf_counter()
        if self.first is None:
            self.first = step
            self.begun = now
        taken = step - self.first
        seconds = 60 * QUICK_MINUTES[self.run.stage]
        enough = taken >= MEASURED - 1 or (taken and now - self.begun > seconds / 4)
        [enough] = broadcast_object_list([enough and "fitted" not in manifest])
        if enough:
            last = int(seconds * taken / (now - self.begun))
            last = min(max(step + 1, last), state.max_steps)
            fitted = {"at": step, "steps": last}
            [manifest["fitted"]] = broadcast_object_list([fitted])
            if self.run.machine.main:
                self.run.write_manifest()
        self.shorten(args, state, lr_scheduler)

    def shorten(self, args, state, lr_scheduler) -> None:
        """Sets the last step, once, from the step on at which it was decided."""
        fitted = self.run.manifest.get("fitted")
        if fitted and state.global_step >= fitted["at"] and state.max_steps > fitted["steps"]:
            state.max_steps = fitted["steps"]
            private.shorten_schedule(args, lr_scheduler, fitted["steps"])


def save_adapter(model, tokenizer, folder: Path, weights: dict | None = None) -> None:
    """Saves the default adapter (with these weights, if given) and the tokenizer, or nothing."""
    part = part_of(folder)
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(
        part, selected_adapters=["default"], save_embedding_layers=False, state_dict=weights
    )
    config = PeftConfig.from_pretrained(part)
    save_config(config, config.base_model_name_or_path, part)
    save_tokenizer(tokenizer, part)
    (part / "README.md").unlink(missing_ok=True)  # PEFT's, with a path of this machine
    make_readable(part)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
