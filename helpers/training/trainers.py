"""The recipe's settings as TRL takes them on this machine, and a training run that ends whole, or goes on where it was cut off.

The trainers themselves are built in the notebooks, in full view, and for the command line in stages.py. A recipe states the effective batch; the
machine only decides how it is cut into device batch × accumulation × processes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from helpers import machine as machines
from helpers import machine as memory
from helpers import machine as processes
from helpers.machine import Machine
from helpers.recipes import Recipe
from helpers.runs import Run, writing
from helpers.settings import AFRESH, TRACKERS
from helpers.training import checkpoints
from helpers.training.adapter import Adapter
from helpers.training.budget import FitToBudget
from helpers.training.training_run import TrainingRun
from helpers.training.watching import LogCallback, watch

from helpers.training.unsloth_first import FastLanguageModel  # isort: skip  (before transformers, trl and peft)
import torch
from accelerate.utils import broadcast_object_list, wait_for_everyone
from peft import set_peft_model_state_dict
from safetensors.torch import load_file
from transformers.integrations import get_available_reporting_integrations
from trl import GRPOConfig, SFTConfig


def check_group(batch: int, generations: int) -> None:
    """Raises ValueError, naming the nearest sizes that work, unless the group size divides the batch."""
    if generations < 2 or batch % generations:
        below, above = (
            max(generations, 2) * (batch // max(generations, 2)),
            max(generations, 2) * (batch // max(generations, 2) + 1),
        )
        fits = [n for n in range(2, batch + 1) if batch % n == 0]
        raise ValueError(
            f"A batch of {batch} completions does not divide into groups of {generations}.\n"
            f"Set the batch to {f'{below} or ' if below else ''}{above}, or the group size to one of {fits}."
        )


def steps_of(recipe: Recipe, stage: str, examples: int, max_steps: int | None) -> int:
    """How many steps a stage takes over that many examples.

    Raises ValueError if GRPO's groups do not divide its batch, or if a step takes more questions than there are.
    """
    part, prompts = getattr(recipe, stage), getattr(recipe, stage).batch
    if stage == "grpo":
        check_group(part.batch, part.generations)
        prompts = part.batch // part.generations
        if examples < prompts:  # the trainer would leave them all out
            raise ValueError(
                f"GRPO takes {prompts} questions a step, and there are {examples}.\n"
                f"Add rows, or make the batch smaller (--batch_size {examples * part.generations}, or grpo.batch)."
            )
    planned = getattr(part, "steps", None) or max(1, round(part.epochs * examples / prompts))
    return min(planned, max_steps) if max_steps else planned


def start_of_grpo(recipe: Recipe, output: str | Path, adapter: str, base: str) -> Adapter | None:
    """The adapter that GRPO goes on from: the one given, else that of the SFT run; None where the recipe starts from the base.

    Raises FileNotFoundError or ValueError that say what is missing or does not fit.
    """
    if not adapter and not recipe.sft:
        return None
    sft = Path(output) / recipe.name / "sft"
    if not adapter:
        Run.read_finished(
            sft,
            "Run 01_sft.ipynb first, or set ADAPTER (in a terminal: python -m helpers sft, or --adapter).",
        )
    return Adapter.read(adapter or sft / "adapter", base)


def common(part, run: TrainingRun, machine: Machine, steps: int, report_to: str) -> dict:
    """The settings that SFT and GRPO share, every one written out: Unsloth changes TRL's defaults on a GPU.

    save_strategy is "no" because the run's own callback says when to save: by the clock, not by steps.
    """
    check_report_to(report_to)
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(
        run.folder / "tensorboard"
    )  # read by the trainer's callback, if that is chosen
    plan = memory.plan(run.recipe, run.stage, run.base, machine)
    bf16 = machine.dtype == "bfloat16"
    return dict(
        output_dir=str(run.folder / "checkpoints"),
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
        bf16=bf16,
        fp16=machine.dtype == "float16",
        tf32=None,
        gradient_checkpointing=machine.profile == "gpu",
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=machine.profile == "gpu",
        disable_tqdm=True,
        use_cpu=machine.device == "cpu",
    )


def check_report_to(name: str) -> None:
    """Raises ValueError unless that tracker ("wandb", "tensorboard", "trackio", …; "" or "none" for no one) is installed."""
    found = get_available_reporting_integrations()
    if name not in ("", "none", *found):
        cure = (
            f'pip install {name}, or set REPORT_TO = "none".'
            if name in TRACKERS
            else f"Use one of none, {', '.join(TRACKERS)}."
        )
        raise ValueError(
            f"REPORT_TO is {name!r}, which is not installed (there is {', '.join(found) or 'none'}).\n{cure}"
        )


def sft_config(
    recipe: Recipe, run: TrainingRun, machine: Machine, steps: int, report_to: str = "none"
) -> SFTConfig:
    """SFTTrainer's settings for priming or SFT: only the completion is learned, one example a row, nothing packed."""
    part = getattr(recipe, run.stage)
    workers = (
        None if machine.device == "cpu" else 1
    )  # even one is a process of its own, and would outlive a kill; Unsloth reads None as many
    config = SFTConfig(
        **common(part, run, machine, steps, report_to),
        max_length=part.max_length,
        packing=False,
        padding_free=False,
        completion_only_loss=True,
        dataset_num_proc=workers,
    )
    config.max_seq_length = (
        part.max_length
    )  # on a GPU Unsloth takes a max_length of 1024 for none, and would take the model's
    return config


def vllm_settings(mode: str, recipe: Recipe, machine: Machine) -> dict:
    """Who generates GRPO's completions: "" transformers, "colocate" vLLM on the training card, "server" one that `trl vllm-serve` has started.

    Raises ValueError for another mode, ImportError where vLLM is not installed.
    """
    if mode not in ("", "colocate", "server"):
        raise ValueError(f'VLLM is {mode!r}.\nSet it to "", "colocate" or "server".')
    if mode and not machine.vllm:
        raise ImportError(
            "vLLM is not installed, or there is no GPU.\npip install vllm (Linux with a GPU from compute capability 8.0), or leave VLLM empty."
        )
    if not mode:
        return {"use_vllm": False}
    return {
        "use_vllm": True,
        "vllm_mode": mode,
        "vllm_max_model_length": recipe.grpo.max_prompt + recipe.grpo.max_completion,
        "vllm_importance_sampling_correction": True,
    }


def grpo_config(
    recipe: Recipe,
    run: TrainingRun,
    machine: Machine,
    steps: int,
    report_to: str = "none",
    vllm: str = "",
) -> GRPOConfig:
    """GRPOTrainer's settings. Raises ValueError if the group size does not divide the batch."""
    part = recipe.grpo
    check_group(part.batch, part.generations)
    shared = common(part, run, machine, steps, report_to)
    return GRPOConfig(
        **shared,
        num_generations=part.generations,
        steps_per_generation=shared["gradient_accumulation_steps"],
        num_iterations=1,
        max_completion_length=part.max_completion,
        temperature=part.temperature,
        top_p=1.0,
        top_k=0,
        beta=part.beta,
        epsilon=part.epsilon,
        epsilon_high=part.epsilon,
        loss_type=part.loss_type,
        scale_rewards=part.scale_rewards,
        mask_truncated_completions=False,
        reward_weights=list(recipe.rewards.values()),
        remove_unused_columns=False,
        chat_template_kwargs={"enable_thinking": recipe.thinking},
        **vllm_settings(vllm, recipe, machine),
    )


def train(trainer, run: TrainingRun, budget: str = "quick", resume: bool = True) -> Adapter:
    """Trains, saves the adapter with its tokenizer, and only then marks the run as finished. Returns the adapter's folder.

    Run again after any interruption it goes on from the last whole checkpoint; of a finished run it loads the adapter. If settings,
    data, code or versions are not as they were, ValueError says what differs. resume=False starts afresh.
    """
    start = starting_adapter(trainer.model, run.stage)
    with (
        checkpoints.alone(run.folder, "training in")
        if run.machine.main
        else contextlib.nullcontext()
    ):
        checkpoint = None
        if run.machine.main:
            checkpoint = checkpoints.begin(
                run, checkpoints.fingerprint(trainer, run, budget, hash_of(start)), resume
            )
        with processes.explain_lost_process():
            shared = broadcast_object_list([checkpoint, run.manifest])
            checkpoint, run.manifest = shared
        if run.machine.device == "cpu":
            train_in_float(trainer.model)
        if run.finished:
            restore_adapter(trainer.model, run.adapter)
            tidy(run)
            print(
                f"this run was finished before, in {run.manifest['steps']} steps; {AFRESH} trains it anew"
            )
        else:
            if getattr(trainer.args, "beta", 0.0):
                set_reference(trainer.model, start)
            if not checkpoint:
                put_back(trainer, start)
            go(trainer, run, budget, checkpoint)
        wait_for_everyone()
    FastLanguageModel.for_inference(trainer.model)
    return Adapter.read(run.adapter)


def tidy(run: TrainingRun) -> None:
    """Removes the checkpoints of a finished run, here and in its mirror."""
    if run.machine.main:
        shutil.rmtree(run.checkpoints, ignore_errors=True)
        checkpoints.mirror(run)


def starting_adapter(model, stage: str) -> dict[str, torch.Tensor]:
    """The weights that a stage of this model starts from, kept on the model when the stage is first trained: run again in the same
    kernel, it starts from there and not from what it learned before. An earlier stage that is run again makes later ones begin anew."""
    order = ("priming", "sft", "grpo")
    kept = {
        name: start
        for name, start in getattr(model, "starts", {}).items()
        if order.index(name) <= order.index(stage)
    }
    if stage not in kept:
        kept[stage] = {
            name: p.detach().to("cpu", copy=True)
            for name, p in model.named_parameters()
            if p.requires_grad
        }
    model.starts = kept
    return kept[stage]


def hash_of(weights: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode() + tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def put_back(trainer, start: dict[str, torch.Tensor]) -> None:
    """Sets the adapter to its start, and lets the trainer make a new optimizer."""
    for name, parameter in trainer.model.named_parameters():
        if name in start:
            parameter.data.copy_(start[name])
    trainer.optimizer = trainer.lr_scheduler = None


def set_reference(model, start: dict[str, torch.Tensor]) -> None:
    """Makes the adapter that training starts from the reference of GRPO's KL term, on the CPU and on a GPU.

    Unsloth's GPU trainer would take the base without adapters, and so pull back what SFT taught; TRL's copies the adapter as it finds it,
    in bfloat16 on a 4-bit base, and as trained when the trainer's cell is run again.
    """
    if "ref" not in model.peft_config:
        model.add_adapter("ref", model.peft_config["default"])
    for name, weights in start.items():
        reference = model.get_parameter(name.replace(".default.", ".ref."))
        reference.data = weights.to(reference.device, model.get_parameter(name).dtype)
        reference.requires_grad = False


def train_in_float(model) -> None:
    """Undoes TRL's cast of LoRA on a 4-bit base to bfloat16, in which small steps are lost, and which is slow on a CPU."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def go(trainer, run: TrainingRun, budget: str, checkpoint: Path | None) -> None:
    """One process's part of a run, from its start or a checkpoint to its end or an interruption."""
    callback = watch(trainer, run)
    if run.machine.profile == "gpu" and budget == "quick":
        trainer.remove_callback(FitToBudget)
        trainer.add_callback(FitToBudget(run))
    make_resumable(trainer, run)
    FastLanguageModel.for_training(
        trainer.model
    )  # generating before has put it into inference mode
    machines.set_seed(run.seed + run.machine.process)  # else all processes would draw alike
    planned = run.manifest.get("fitted", {}).get("steps", trainer.args.max_steps)
    steps = checkpoints.step_of(checkpoint) if checkpoint else 0
    try:
        if steps >= planned:  # cut off after the last step; a trainer would take one more
            restore_adapter(trainer.model, checkpoint)
        else:
            with interrupt_between_steps(callback), processes.explain_lost_process():
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            steps = trainer.state.global_step
            if callback.stopping and steps < trainer.state.max_steps:
                raise KeyboardInterrupt(f"stopped and saved at step {steps}; run it again to go on")
            if not steps:
                raise RuntimeError(
                    "The trainer took no step: the rows do not fill one.\nAdd rows, or make the batch smaller."
                )
        weights = gathered(trainer)
        if run.machine.main:
            with writing(f"The adapter {run.adapter}"):
                save_adapter(trainer.model, trainer.processing_class, run.adapter, weights)
            run.finish(
                "finished",
                steps=steps,
                adapter_hash=machines.file_hash(run.adapter / "adapter_model.safetensors"),
            )
    except (Exception, KeyboardInterrupt) as error:  # the run must not pass for whole
        callback.close(keep_curves=True)
        if run.machine.main:
            with contextlib.suppress(OSError):  # of a full disk; the error itself says so
                run.finish(
                    "interrupted" if isinstance(error, KeyboardInterrupt) else "failed",
                    error=type(error).__name__,
                )
            checkpoints.mirror(run)
        raise
    tidy(run)


def make_resumable(trainer, run: TrainingRun) -> None:
    """Mends what keeps TRL's checkpoints from being exact: with beta > 0 only the reference adapter is loaded, not the trained one;
    and a checkpoint that could not be written is removed and explained."""
    load, save = (
        type(trainer)._load_from_checkpoint.__get__(trainer),
        type(trainer)._save_checkpoint.__get__(trainer),
    )

    def load_all(checkpoint, model=None):
        load(checkpoint, model)
        restore_adapter(trainer.model, Path(checkpoint))

    def save_whole(*args, **kwargs):
        part = run.checkpoints / f"checkpoint-{trainer.state.global_step}"
        try:
            with writing(f"The checkpoint {part}"):
                save(*args, **kwargs)
        except OSError:
            if run.machine.main:
                shutil.rmtree(part, ignore_errors=True)
            raise

    if run.machine.device == "cpu" and run.machine.processes > 1:
        processes.allow_numbered_cpus()
    trainer._load_from_checkpoint, trainer._save_checkpoint = load_all, save_whole


def restore_adapter(model, folder: Path) -> None:
    set_peft_model_state_dict(
        model, load_file(folder / "adapter_model.safetensors"), adapter_name="default"
    )


@contextlib.contextmanager
def interrupt_between_steps(callback: LogCallback) -> Iterator[None]:
    """Lets an interrupt (Ctrl-C, the notebook's stop button) end the step first, so that it can be saved. A second one stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(number, frame):
        if callback.stopping:
            raise KeyboardInterrupt
        callback.stopping = True
        print("\nstopping after this step, with a checkpoint; interrupt again to stop at once")

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def gathered(trainer) -> dict[str, torch.Tensor] | None:
    """The weights put together from all processes, where FSDP or DeepSpeed has cut them up; None where each process has them whole."""
    cut = getattr(trainer, "is_fsdp_enabled", False) or getattr(
        trainer, "is_deepspeed_enabled", False
    )
    return trainer.accelerator.get_state_dict(trainer.model_wrapped) if cut else None


def save_adapter(
    model, tokenizer, folder: Path, weights: dict[str, torch.Tensor] | None = None
) -> None:
    """Saves the default adapter and the tokenizer under a temporary name, then renames."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(
        part, selected_adapters=["default"], save_embedding_layers=False, state_dict=weights
    )
    tokenizer.save_pretrained(part)
    (part / "README.md").unlink(
        missing_ok=True
    )  # PEFT's template, which names a path of this machine
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
