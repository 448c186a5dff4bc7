"""One side of `tests/bench_gpu.py`, which writes its figures as JSON.

`python -m tests.gpu_side ours|plain sft|grpo padded|packed MODEL OUT`

"plain" must not import Unsloth, nor what of `helpers` does: it loads with transformers, and takes
its settings from the file that ours left.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
import time
from pathlib import Path

from helpers import data
from helpers.machine import computer as machines
from helpers.recipes import Recipe, for_model, get_recipe

SAME = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "optim",
    "max_steps",
    "max_grad_norm",
    "logging_steps",
    "save_strategy",
    "seed",
    "data_seed",
    "report_to",
    "bf16",
    "fp16",
    "gradient_checkpointing",
    "dataloader_pin_memory",
    "disable_tqdm",
    "use_cpu",
    "max_length",
    "completion_only_loss",
    "num_generations",
    "steps_per_generation",
    "num_iterations",
    "max_completion_length",
    "temperature",
    "top_p",
    "top_k",
    "beta",
    "epsilon",
    "epsilon_high",
    "loss_type",
    "scale_rewards",
    "mask_truncated_completions",
    "reward_weights",
    "use_vllm",
    "remove_unused_columns",
    "chat_template_kwargs",
)  # what both sides are told
STEPS, WARM = {"sft": 13, "grpo": 5}, {"sft": 3, "grpo": 2}  # on a GPU the first steps compile
REHEARSED, REHEARSED_WARM = {"sft": 3, "grpo": 2}, {"sft": 1, "grpo": 1}


def rewards_alone():
    """helpers/training/rewards.py without its room, which would import Unsloth."""
    place = machines.__file__.replace("machine/computer.py", "training/rewards.py")
    spec = importlib.util.spec_from_file_location("rewards_alone", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def our_model(name: str, recipe: Recipe, machine):
    from helpers.training import models

    model, tokenizer = models.load(name, recipe, machine)
    return models.add_lora(model, recipe, machine, 0), tokenizer


def plain_model(name: str, recipe: Recipe, machine):
    """The same 4-bit weights and the same LoRA, by transformers, bitsandbytes and PEFT alone."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    dtype, lora = getattr(torch, machine.dtype), recipe.lora
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    model = AutoModelForCausalLM.from_pretrained(
        name, quantization_config=four_bit, dtype=dtype, device_map={"": machine.device}
    )
    tokenizer = AutoTokenizer.from_pretrained(name)
    tokenizer.eos_token, tokenizer.pad_token = "<|im_end|>", "<|endoftext|>"
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return get_peft_model(
        model,
        LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            target_modules=list(lora.targets),
            task_type="CAUSAL_LM",
        ),
    ), tokenizer


def our_settings(
    stage: str, recipe: Recipe, run, machine, steps: int, tokenizer, packing: bool, left: Path
):
    """The notebooks' settings; those of padded runs are left for the plain side."""
    from helpers.training import trainers as training

    config = (training.grpo_config if stage == "grpo" else training.sft_config)(
        recipe, run, machine, steps
    )
    if packing:
        config.packing = True
    else:
        left.write_text(
            json.dumps({name: value for name, value in config.to_dict().items() if name in SAME})
        )
    return config


def plain_settings(stage: str, place: Path, left: Path):
    from trl import GRPOConfig, SFTConfig

    settings = json.loads(left.read_text())
    return (GRPOConfig if stage == "grpo" else SFTConfig)(
        output_dir=str(place / "checkpoints"), **settings
    )


def without_triton() -> None:
    """For the rehearsal: on a CPU this product takes the place of a Triton kernel.

    By that kernel TRL 1.15 computes both losses; without it, it cannot train.
    """
    import torch
    from trl.trainer import utils

    class Head:
        @staticmethod
        def apply(hidden, weight, bias, targets, temperature, chunk, softcapping, scale, outputs):
            logits = torch.nn.functional.linear(hidden, weight, bias).float() / temperature
            log_probs = logits.log_softmax(-1)
            found = {
                "entropy": -(log_probs.exp() * log_probs).sum(-1),
                "log_sum_sq_probs": (2 * log_probs).logsumexp(-1),
                "mean_logits": logits.mean(-1),
                "is_top1": logits.argmax(-1) == targets,
            }
            return log_probs.gather(-1, targets[:, None])[:, 0], *(
                figure.detach() if name in outputs else None for name, figure in found.items()
            )

    utils._ChunkedLogProbFunction = Head


def trainer_of(stage: str, recipe: Recipe, model, tokenizer, config, examples):
    from trl import GRPOTrainer, SFTTrainer  # after Unsloth, where it is imported

    shared = dict(model=model, args=config, processing_class=tokenizer)
    if stage == "sft":
        return SFTTrainer(train_dataset=data.sft_dataset(recipe, tokenizer, examples), **shared)
    return GRPOTrainer(
        reward_funcs=rewards_alone().reward_functions(recipe)[0],
        train_dataset=data.grpo_dataset(recipe, examples),
        **shared,
    )


class Meter:
    """Puts clocks and counters on a trainer's methods.

    They give seconds, seconds of generation and useful tokens of each step.
    """

    def __init__(self, trainer, stage: str, device: str):
        from transformers import TrainerCallback

        self.device, self.steps, self.tokens, self.generating, self.begun = device, [], 0, 0.0, 0.0
        callback = type(
            "Marks",
            (TrainerCallback,),
            {
                "on_step_begin": lambda _, *a, **k: self.begin(),
                "on_step_end": lambda _, *a, **k: self.end(),
            },
        )
        trainer.add_callback(callback())
        if stage == "grpo":
            trainer._generate_single_turn = self.timed(trainer._generate_single_turn)
            trainer._generate_and_score_completions = self.counted(
                trainer._generate_and_score_completions
            )
        else:
            trainer.training_step = self.reading(trainer.training_step)

    def clock(self) -> float:
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def begin(self) -> None:
        self.begun, self.tokens, self.generating = self.clock(), 0, 0.0

    def end(self) -> None:
        self.steps.append((self.clock() - self.begun, self.tokens, self.generating))

    def timed(self, function):
        def wrapped(*args, **kwargs):
            begun = self.clock()
            result = function(*args, **kwargs)
            self.generating += self.clock() - begun
            return result

        return wrapped

    def counted(self, function):
        def wrapped(*args, **kwargs):
            outputs = function(*args, **kwargs)
            self.tokens += int(outputs["completion_mask"].sum())
            return outputs

        return wrapped

    def reading(self, function):
        def wrapped(model, inputs, *args, **kwargs):
            mask = inputs.get("attention_mask")  # packed rows have none, and no padding
            self.tokens += int(inputs["input_ids"].numel() if mask is None else mask.sum())
            return function(model, inputs, *args, **kwargs)

        return wrapped

    def figures(self, warm: int) -> dict[str, float]:
        """Medians over the steps after the first `warm`."""
        import torch

        steps = self.steps[warm:]
        memory = (
            torch.cuda.max_memory_allocated() / 2**30
            if self.device == "cuda"
            else machines.peak_memory()
        )
        return {
            "step_s": statistics.median(s for s, _, _ in steps),
            "tokens_per_second": statistics.median(t / s for s, t, _ in steps),
            "generation_share": statistics.median(g / s for s, _, g in steps),
            "memory_gb": memory,
        }


def main(side: str, stage: str, *more: str) -> None:
    rehearse, (packing, model_name, out) = (
        "--rehearse" in more,
        ([""] + [m for m in more if m != "--rehearse"])[-3:],
    )
    steps, warm, out = (
        (REHEARSED if rehearse else STEPS)[stage],
        (REHEARSED_WARM if rehearse else WARM)[stage],
        Path(out),
    )
    load = our_model if side == "ours" else plain_model
    if side == "ours":
        import helpers.training.unsloth_first  # noqa: F401  (before transformers, trl and peft)
    from accelerate.utils import set_seed

    machine = machines.detect()
    recipe = for_model(get_recipe("gsm8k_xml"), machine.device == "cpu", machine.device)
    model, tokenizer = load(model_name, recipe, machine)
    place = out.parent / f"{side}{packing}"
    left = out.parent / f"settings-{stage}.json"
    if side == "ours":
        from helpers.training import TrainingRun

        run = TrainingRun(place, recipe, stage, machine, 0, model_name)
        config = our_settings(
            stage, recipe, run, machine, steps, tokenizer, packing == "packed", left
        )
    else:
        config = plain_settings(stage, place, left)
    if side == "plain" and machine.device == "cpu":
        without_triton()
    per_step = getattr(recipe, stage).batch
    trainer = trainer_of(
        stage,
        recipe,
        model,
        tokenizer,
        config,
        data.load(recipe, "embedded", machine.device)["train"].take(8 * per_step * steps),
    )
    meter = Meter(trainer, stage, machine.device)
    set_seed(0)
    trainer.train()
    assert ("unsloth" in sys.modules) == (side == "ours"), "the plain side must not see Unsloth"
    out.write_text(json.dumps(meter.figures(warm)))


if __name__ == "__main__":
    main(*sys.argv[1:])
