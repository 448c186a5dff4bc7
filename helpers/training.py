"""The recipe's settings as TRL takes them on this machine, and a training run that ends whole or not at all.

The trainers themselves are built in the notebooks, in full view. A recipe states the effective batch; the machine only decides how
it is cut into device batch × accumulation.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from helpers import machine as machines
from helpers.machine import Machine
from helpers.models import check_adapter, merged_weights
from helpers.recipes import Recipe
from helpers.runlog import Run, finished_run, watch

from helpers.unsloth_first import FastLanguageModel  # isort: skip  (before transformers, trl and peft)
from transformers import TrainerCallback, get_scheduler
from trl import GRPOConfig, SFTConfig

QUICK_MINUTES = {"priming": 1.0, "sft": 8.0, "grpo": 30.0}  # what the quick budget gives a stage on a GPU; evaluation has the rest of the hour


def device_batch(effective: int, machine: Machine, tokens: int, vocabulary: int) -> tuple[int, int]:
    """Cuts an effective batch into (device batch, accumulation): as many rows at once as this memory takes, and a divisor.

    On the CPU what fills the memory are the logits: tokens × vocabulary numbers a row, held three times (with gradients). They get
    a tenth of the memory. On a GPU Unsloth computes them in pieces, and the card's size decides.
    """
    if machine.device == "cpu":
        room = int(machine.memory_gb * 2**30 / 10 / (tokens * vocabulary * 12))
    else:
        room = 4 if machine.memory_gb < 20 else 8 if machine.memory_gb < 45 else 16
    batch = max(n for n in range(1, effective + 1) if effective % n == 0 and n <= max(1, room))
    return batch, effective // batch


def check_group(batch: int, generations: int) -> None:
    """Raises ValueError, naming the nearest sizes that work, unless the group size divides the batch."""
    if generations < 2 or batch % generations:
        below, above = max(generations, 2) * (batch // max(generations, 2)), max(generations, 2) * (batch // max(generations, 2) + 1)
        fits = [n for n in range(2, batch + 1) if batch % n == 0]
        raise ValueError(f"A batch of {batch} completions does not divide into groups of {generations}.\n"
                         f"Set the batch to {below or above} or {above}, or the group size to one of {fits}.")


def steps_of(recipe: Recipe, stage: str, examples: int, max_steps: int | None) -> int:
    """How many steps a stage takes over that many examples."""
    part = getattr(recipe, stage)
    prompts = part.batch // part.generations if stage == "grpo" else part.batch
    planned = getattr(part, "steps", None) or max(1, round(part.epochs * examples / prompts))
    return min(planned, max_steps) if max_steps else planned


def start_of_grpo(recipe: Recipe, output: str | Path, adapter: str, base: str) -> Path | None:
    """The adapter that GRPO goes on from: the one given, else that of the SFT run; None where the recipe starts from the base.

    Raises FileNotFoundError or ValueError that say what is missing or does not fit.
    """
    if not adapter and not recipe.sft:
        return None
    sft = Path(output) / recipe.name / "sft"
    if not adapter:
        finished_run(sft, "Run 01_sft.ipynb first, or set ADAPTER.")
    return check_adapter(adapter or sft / "adapter", base)


def common(part, run: Run, machine: Machine, steps: int, tokens: int, vocabulary: int) -> dict:
    """The settings that SFT and GRPO share, every one written out: Unsloth changes TRL's defaults on a GPU."""
    batch, accumulation = device_batch(part.batch, machine, tokens, vocabulary)
    bf16 = machine.dtype == "bfloat16"
    return dict(
        output_dir=str(run.folder / "checkpoints"), per_device_train_batch_size=batch, per_device_eval_batch_size=batch,
        gradient_accumulation_steps=accumulation, learning_rate=part.learning_rate, lr_scheduler_type=part.schedule,
        warmup_steps=round(part.warmup * steps), weight_decay=part.weight_decay, optim="adamw_torch_fused", max_steps=steps,
        max_grad_norm=1.0, logging_steps=1, save_strategy="no", report_to="none", seed=run.seed, data_seed=run.seed,
        bf16=bf16, fp16=machine.dtype == "float16", tf32=None, gradient_checkpointing=machine.profile == "gpu",
        dataloader_pin_memory=machine.profile == "gpu", disable_tqdm=True, use_cpu=machine.device == "cpu")


def sft_config(recipe: Recipe, run: Run, machine: Machine, steps: int, vocabulary: int) -> SFTConfig:
    """SFTTrainer's settings for priming or SFT: only the completion is learned, one example a row, nothing packed."""
    part = getattr(recipe, run.stage)
    return SFTConfig(**common(part, run, machine, steps, part.max_length, vocabulary), max_length=part.max_length, packing=False,
                     padding_free=False, completion_only_loss=True, dataset_num_proc=1)


def grpo_config(recipe: Recipe, run: Run, machine: Machine, steps: int, vocabulary: int) -> GRPOConfig:
    """GRPOTrainer's settings. Raises ValueError if the group size does not divide the batch."""
    part = recipe.grpo
    check_group(part.batch, part.generations)
    shared = common(part, run, machine, steps, part.max_completion, vocabulary)
    return GRPOConfig(
        **shared, num_generations=part.generations, steps_per_generation=shared["gradient_accumulation_steps"], num_iterations=1,
        max_completion_length=part.max_completion, temperature=part.temperature, top_p=1.0, top_k=0, beta=part.beta,
        epsilon=part.epsilon, epsilon_high=part.epsilon, loss_type=part.loss_type, scale_rewards=part.scale_rewards,
        mask_truncated_completions=False, reward_weights=list(recipe.rewards.values()), use_vllm=False, remove_unused_columns=False,
        chat_template_kwargs={"enable_thinking": recipe.thinking})


class FitToBudget(TrainerCallback):
    """Shortens a run so that it fits into some minutes: measures the first steps, then sets the last step and the schedule."""

    def __init__(self, minutes: float, measured: int = 5):
        self.seconds, self.measured, self.begun = minutes * 60, measured, 0.0

    def on_step_end(self, args, state, control, lr_scheduler=None, **_):
        if state.global_step == 1:  # the first step compiles and warms up
            self.begun = time.perf_counter()
        if state.global_step != self.measured:
            return
        a_step = (time.perf_counter() - self.begun) / (self.measured - 1)
        steps = max(self.measured + 1, int(self.seconds / a_step))
        if steps < state.max_steps:
            state.max_steps = steps
            inner = getattr(lr_scheduler, "scheduler", lr_scheduler)
            shorter = get_scheduler(args.lr_scheduler_type, inner.optimizer, min(args.warmup_steps, steps // 10), steps)
            inner.lr_lambdas, inner._last_lr = shorter.lr_lambdas, [base * rate(inner.last_epoch) for base, rate in
                                                                    zip(inner.base_lrs, shorter.lr_lambdas, strict=True)]
            for group, rate in zip(inner.optimizer.param_groups, inner._last_lr, strict=True):
                group["lr"] = rate


def train(trainer, run: Run, budget: str = "quick") -> Path:
    """Trains, saves the adapter with its tokenizer, and only then marks the run as finished.

    Interrupting the kernel marks the run "interrupted" and leaves no adapter behind. Returns the adapter's folder.
    """
    if run.stage == "grpo":
        trainer._generate_single_turn = with_merged_weights(trainer.model, trainer._generate_single_turn)
    watch(trainer, run)
    if run.machine.profile == "gpu" and budget == "quick":
        trainer.add_callback(FitToBudget(QUICK_MINUTES[run.stage]))
    if run.machine.device == "cpu":
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()  # TRL casts LoRA on a 4-bit base to bfloat16, in which small steps are lost
    FastLanguageModel.for_training(trainer.model)  # generating before has put it into inference mode
    machines.set_seed(run.seed)
    try:
        trainer.train()
    except (Exception, KeyboardInterrupt) as error:  # the run must not pass for whole
        run.finish("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", error=type(error).__name__)
        raise
    save_adapter(trainer.model, trainer.processing_class, run.adapter)
    if run.stage == "grpo":
        shutil.copyfile(run.log, run.folder / "grpo_training_logs.jsonl")  # the published name
    run.finish("finished", steps=trainer.state.global_step, adapter_hash=machines.file_hash(run.adapter / "adapter_model.safetensors"))
    FastLanguageModel.for_inference(trainer.model)
    return run.adapter


def with_merged_weights(model, function):
    """The same function, run while the model's 4-bit layers hold merged weights (see `models.merged_weights`)."""
    def wrapped(*args, **kwargs):
        with merged_weights(model):
            return function(*args, **kwargs)
    return wrapped


def save_adapter(model, tokenizer, folder: Path) -> None:
    """Saves the default adapter and the tokenizer under a temporary name, then renames."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part, selected_adapters=["default"], save_embedding_layers=False)
    tokenizer.save_pretrained(part)
    (part / "README.md").unlink(missing_ok=True)  # PEFT's template, which names a path of this machine
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
