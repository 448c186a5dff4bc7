"""What TRL, Unsloth and transformers keep private and this package touches: here, and nowhere else.

Read in TRL 1.15.0, transformers 5.17.0 and unsloth 2026.10.9. tests/training/test_private.py fails
when one of these names has moved.
"""

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from datasets import Dataset
from peft import set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import TrainingArguments, get_scheduler
from trl import GRPOConfig, GRPOTrainer

from helpers.runs import writing

GENERATE = "_generate_single_turn"  # a step's completions, by transformers or by vLLM
SCORE = "_generate_and_score_completions"  # from a step's rows to advantages, Unsloth's too
LOAD = "_load_from_checkpoint"
SAVE = "_save_checkpoint"


def wrap(owner, name: str, *wrappers: Callable[[Callable], Callable]) -> None:
    """Puts wrappers around a method, the innermost first; a second call replaces the first one's.

    A wrapper takes a function and returns one that does more: a decorator, without the @.
    """
    # `owner.name` would be what an earlier call put there. So the function is taken from the
    # class, and `__get__` binds it to the owner, as Python does for `owner.name`.
    method = getattr(type(owner), name).__get__(owner)
    for wrapper in wrappers:
        method = wrapper(method)
    setattr(owner, name, method)  # found before the class's own


def scored(trainer) -> Mapping:
    """A GRPO step's prompts, completions, rewards and advantages, of all processes."""
    return trainer._logs


def trl_loss(
    model,
    tokenizer,
    ids: torch.Tensor,
    attention: torch.Tensor,
    mask: torch.Tensor,
    advantages,
    **how,
) -> float:
    """GRPOTrainer's loss of completions that were drawn elsewhere, to compare one's own with it.

    ids, attention: prompts, padded on the left, and replies, shape (replies, tokens). mask: which
    of the last tokens are the replies'. advantages: one a reply. how: settings of GRPOConfig.
    """
    width = mask.shape[1]
    inputs = {
        "prompt_ids": ids[:, :-width],
        "prompt_mask": attention[:, :-width],
        "completion_ids": ids[:, -width:],
        "completion_mask": mask,
        "advantages": advantages.flatten(),
        "num_items_in_batch": mask.sum(),
    }
    with tempfile.TemporaryDirectory() as folder:
        settings = {"output_dir": folder, "report_to": "none", "bf16": False, **how}
        settings |= {"use_cpu": ids.device.type == "cpu", "gradient_checkpointing": False}
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=GRPOConfig(**settings),
            train_dataset=Dataset.from_list([{"prompt": ""}]),
            processing_class=tokenizer,
        )
        trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation
        with torch.no_grad():
            return trainer.compute_loss(trainer.model, inputs).item()


def begin_anew(trainer) -> None:
    """Lets a trainer that was interrupted forget that step's figures and buffered completions."""
    trainer._metrics["train"].clear()
    trainer._total_train_tokens = 0
    trainer._step = 0
    trainer._buffered_inputs = None


def restore_adapter(model, folder: Path) -> None:
    """Puts a saved adapter's weights into the one that is trained."""
    weights = load_file(folder / "adapter_model.safetensors")
    set_peft_model_state_dict(model, weights, adapter_name="default")


def whole_checkpoints(trainer, folder: Path) -> None:
    """Lets a trainer load all of a checkpoint, and remove one that it could not write."""

    def load_all(load, checkpoint, model=None):
        load(checkpoint, model)
        # Beside a reference adapter transformers restores only that one.
        restore_adapter(trainer.model, Path(checkpoint))

    # Such a function is for a `with` block; put around a method, it encloses each of its calls.
    @contextlib.contextmanager
    def whole() -> Iterator[None]:
        checkpoint = folder / f"checkpoint-{trainer.state.global_step}"
        try:
            with writing(f"The checkpoint {checkpoint}"):
                yield
        except OSError:
            if trainer.is_world_process_zero():
                shutil.rmtree(checkpoint, ignore_errors=True)
            raise

    wrap(trainer, LOAD, lambda load: functools.partial(load_all, load))
    wrap(trainer, SAVE, whole())


def train_in_float(model) -> None:
    """Undoes TRL's cast of LoRA on a 4-bit base to bfloat16, which loses small steps."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def set_reference(model, start: Mapping[str, torch.Tensor]) -> None:
    """Makes the adapter that training starts from the reference of GRPO's KL term, called "ref".

    Unsloth's GPU trainer would take the base without adapters, and so pull back what SFT taught;
    TRL's copies what it finds: bfloat16 on a 4-bit base, trained when its cell is run again.
    """
    if "ref" not in model.peft_config:
        model.add_adapter("ref", model.peft_config["default"])
    for name, weights in start.items():
        trained = model.get_parameter(name)
        reference = model.get_parameter(name.replace(".default.", ".ref."))
        reference.data = weights.to(reference.device, trained.dtype)
        reference.requires_grad = False


def shorten_schedule(args: TrainingArguments, lr_scheduler, steps: int) -> None:
    """Lets a learning rate schedule that has begun end after `steps`, from its next step on."""
    inner = getattr(lr_scheduler, "scheduler", lr_scheduler)  # accelerate wraps it
    warmup = min(args.warmup_steps, steps // 10)
    shorter = get_scheduler(args.lr_scheduler_type, inner.optimizer, warmup, steps)
    inner.lr_lambdas = shorter.lr_lambdas
    inner._last_lr = []
    for group, base, share in zip(
        inner.optimizer.param_groups, inner.base_lrs, inner.lr_lambdas, strict=True
    ):
        group["lr"] = base * share(inner.last_epoch)
        inner._last_lr.append(group["lr"])
