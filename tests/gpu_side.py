"""One side of `tests/bench_gpu.py`, which writes its figures as JSON.

`python -m tests.gpu_side ours|plain sft|grpo padded|packed MODEL OUT`

"plain" must not import Unsloth, nor what of `helpers` does: it loads with transformers, and takes
its settings from the file that ours left.
"""

from __future__ import annotations

import json
import runpy
import statistics
import sys
import time
from pathlib import Path

from helpers import data
from helpers.machine import computer as machines
from helpers.recipes import RECIPES, Recipe, for_model

if "ours" in sys.argv:
    from helpers import training  # with Unsloth, before what it patches

import torch
from accelerate.utils import set_seed
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer
from trl.trainer import utils

SAME = """per_device_train_batch_size gradient_accumulation_steps learning_rate lr_scheduler_type
    warmup_steps weight_decay optim max_steps max_grad_norm logging_steps save_strategy seed
    data_seed report_to bf16 fp16 gradient_checkpointing dataloader_pin_memory disable_tqdm use_cpu
    max_length completion_only_loss num_generations steps_per_generation num_iterations
    max_completion_length temperature top_p top_k beta epsilon epsilon_high loss_type scale_rewards
    mask_truncated_completions reward_weights use_vllm remove_unused_columns
    chat_template_kwargs""".split()  # noqa: SIM905  (what both sides are told)
# Steps, and how many of them are not counted: on a GPU the first ones compile.
STEPS = {"sft": (13, 3), "grpo": (5, 2)}
REHEARSED = {"sft": (3, 1), "grpo": (2, 1)}


def plain_model(name: str, recipe: Recipe, machine):
    """The same 4-bit weights and the same LoRA, by transformers, bitsandbytes and PEFT alone."""
    dtype, lora = getattr(torch, machine.dtype), recipe.lora
    nested = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    four_bit = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=dtype, **nested)
    options = {"quantization_config": four_bit, "dtype": dtype, "device_map": {"": machine.device}}
    model = AutoModelForCausalLM.from_pretrained(name, **options)
    tokenizer = AutoTokenizer.from_pretrained(name)
    tokenizer.eos_token, tokenizer.pad_token = "<|im_end|>", "<|endoftext|>"
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    shape = {"r": lora.r, "lora_alpha": lora.alpha, "target_modules": list(lora.targets)}
    return get_peft_model(model, LoraConfig(**shape, task_type="CAUSAL_LM")), tokenizer


class Head:
    """In the place of a Triton kernel, without which TRL 1.15 has no losses: for the rehearsal."""

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


def trainer_of(stage: str, recipe: Recipe, model, tokenizer, config, examples):
    shared = {"model": model, "args": config, "processing_class": tokenizer}
    if stage == "sft":
        return SFTTrainer(train_dataset=data.sft_dataset(recipe, tokenizer, examples), **shared)
    # The file without its room, which would import Unsloth
    place = machines.__file__.replace("machine/computer.py", "rewards.py")
    functions = runpy.run_path(place)["reward_functions"](recipe)[0]
    rows = data.grpo_dataset(recipe, examples)
    return GRPOTrainer(reward_funcs=functions, train_dataset=rows, **shared)


class Meter(TrainerCallback):
    """Clocks and counters on a trainer's methods: what each step takes, generates and reads."""

    def __init__(self, trainer, stage: str, device: str):
        self.device, self.steps, self.tokens, self.generating, self.begun = device, [], 0, 0.0, 0.0
        trainer.add_callback(self)
        if stage == "grpo":
            trainer._generate_single_turn = self.timed(trainer._generate_single_turn)
            scored = trainer._generate_and_score_completions
            trainer._generate_and_score_completions = self.counted(scored)
        else:
            trainer.training_step = self.reading(trainer.training_step)

    def clock(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_step_begin(self, *_, **__):
        self.begun, self.tokens, self.generating = self.clock(), 0, 0.0

    def on_step_end(self, *_, **__):
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
        memory = machines.peak_memory()
        if self.device == "cuda":
            memory = torch.cuda.max_memory_allocated() / 2**30
        steps = self.steps[warm:]
        return {
            "step_s": statistics.median(s for s, _, _ in steps),
            "tokens_per_second": statistics.median(t / s for s, t, _ in steps),
            "generation_share": statistics.median(g / s for s, _, g in steps),
            "memory_gb": memory,
        }


def main(side: str, stage: str, packing: str, model_name: str, out: str, rehearse="") -> None:
    steps, warm = (REHEARSED if rehearse else STEPS)[stage]
    machine = machines.detect()
    recipe = for_model(RECIPES["gsm8k_xml"], machine.device == "cpu", machine.device)
    place = Path(out).with_name(f"{side}{packing}")
    left = Path(out).with_name(f"settings-{stage}.json")
    if side == "ours":
        model, tokenizer = training.load(model_name, recipe, machine)
        model = training.add_lora(model, recipe, machine, 0)
        run = training.TrainingRun(place, recipe, stage, machine, 0, model_name)
        make = training.grpo_config if stage == "grpo" else training.sft_config
        config = make(recipe, run, machine, steps)
        if packing == "packed":
            config.packing = True
        else:
            same = {name: value for name, value in config.to_dict().items() if name in SAME}
            left.write_text(json.dumps(same))
    else:
        model, tokenizer = plain_model(model_name, recipe, machine)
        make = GRPOConfig if stage == "grpo" else SFTConfig
        config = make(output_dir=str(place / "checkpoints"), **json.loads(left.read_text()))
        if machine.device == "cpu":
            utils._ChunkedLogProbFunction = Head
    rows = data.load(recipe, "embedded", machine.device)["train"]
    examples = rows.take(8 * getattr(recipe, stage).batch * steps)
    trainer = trainer_of(stage, recipe, model, tokenizer, config, examples)
    meter = Meter(trainer, stage, machine.device)
    set_seed(0)
    trainer.train()
    assert ("unsloth" in sys.modules) == (side == "ours"), "the plain side must not see Unsloth"
    Path(out).write_text(json.dumps(meter.figures(warm)))


if __name__ == "__main__":
    main(*sys.argv[1:])
