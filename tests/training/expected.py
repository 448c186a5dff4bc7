"""What must arrive in a trainer's configuration, and what must stand in a line of the log."""

from dataclasses import fields

# All settings of a recipe arrive in the trainers' configurations, some by another name,
THEIR_NAMES = {"schedule": "lr_scheduler_type", "generations": "num_generations"}
THEIR_NAMES |= {"max_completion": "max_completion_length", "iterations": "num_iterations"}
THEIR_NAMES |= {"importance": "importance_sampling_level"}
THEIR_NAMES |= {"mask_truncated": "mask_truncated_completions"}
THEIR_NAMES |= {"aggregation": "multi_objective_aggregation"}
# but for those that arrive in another form, or are used before.
OTHERWISE = {"batch", "warmup", "steps", "epochs", "rows", "max_prompt"}
ALWAYS = {"optim": "adamw_torch_fused", "max_steps": 100, "seed": 3, "data_seed": 3}
ALWAYS |= {"report_to": [], "save_strategy": "no", "max_grad_norm": 1.0, "logging_steps": 1}
ALWAYS |= {"logging_nan_inf_filter": False, "tf32": None, "disable_tqdm": True}
ALWAYS |= {"ddp_find_unused_parameters": False}
ALWAYS_SFT = {"packing": False, "padding_free": False, "completion_only_loss": True}
ALWAYS_SFT |= {"loss_type": "nll"}
ALWAYS_GRPO = {"top_p": 1.0, "top_k": 0}
ALWAYS_GRPO |= {"use_vllm": False, "remove_unused_columns": False}
COMMON_KEYS = {"timestamp_iso", "step", "epoch", "device", "seed", "learning_rate", "grad_norm"}
COMMON_KEYS |= {"time_per_step_s", "tokens_per_second", "memory_gb"}
SFT_KEYS = COMMON_KEYS | {"loss"}
GRPO_KEYS = COMMON_KEYS | {"grpo_loss", "policy_loss", "kl_loss", "reward_mean", "reward_std"}
GRPO_KEYS |= {"adv_mean", "adv_std", "zero_std_groups", "entropy", "clip_ratio", "truncated"}
GRPO_KEYS |= {"completion_mean", "completion_max", "tokens_generated"}
GRPO_KEYS |= {"generation_time_s", "backward_time_s", "other_time_s"}


def settings(recipe, stage: str, device: str) -> dict:
    """A configuration of 100 steps with seed 3, by TRL's names; without how the batch is cut."""
    part = getattr(recipe, stage)
    gpu = device == "cuda"
    found = {"warmup_steps": round(100 * part.warmup), "use_cpu": not gpu}
    found |= {"gradient_checkpointing": gpu, "dataloader_pin_memory": gpu}
    for name in {field.name for field in fields(part)} - OTHERWISE:
        found[THEIR_NAMES.get(name, name)] = getattr(part, name)
    if stage != "grpo":
        return ALWAYS | ALWAYS_SFT | found | {"dataset_num_proc": 1 if gpu else None}
    found["epsilon_high"] = part.epsilon_high or part.epsilon
    found["reward_weights"] = list(recipe.rewards.values())
    found["chat_template_kwargs"] = {"enable_thinking": recipe.thinking}
    return ALWAYS | ALWAYS_GRPO | found
