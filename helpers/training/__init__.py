"""Models, rewards and trainers: what turns a base into an adapter."""

from helpers.training.unsloth_first import quiet  # isort: skip  (before all that it patches)
from helpers.training.adapter import Adapter, is_adapter, same_model
from helpers.training.checkpoints import CODE, code_hash, differences, lock_folder, reading
from helpers.training.mirroring import restore
from helpers.training.models import (
    END_OF_TURN,
    Completion,
    adapter_identity,
    add_lora,
    at_work,
    base_of,
    count_parameters,
    end_tokens,
    generate,
    identity,
    in_batches,
    load,
    merged_weights,
    progress,
    scales,
)
from helpers.training.probe import preflight
from helpers.training.rewards import (
    REWARDS,
    check_golds,
    group_advantages,
    reward_functions,
    reward_table,
    written,
)
from helpers.training.stages import Job, changed, check, check_place, copied
from helpers.training.trainers import (
    check_group,
    grpo_config,
    sft_config,
    start_of_grpo,
    steps_of,
    train,
    vllm_settings,
)
from helpers.training.training_run import TrainingRun, settings_of

__all__ = [
    "Adapter",
    "CODE",
    "Completion",
    "END_OF_TURN",
    "Job",
    "REWARDS",
    "TrainingRun",
    "adapter_identity",
    "add_lora",
    "at_work",
    "base_of",
    "changed",
    "check",
    "check_golds",
    "check_group",
    "check_place",
    "code_hash",
    "copied",
    "count_parameters",
    "differences",
    "end_tokens",
    "generate",
    "group_advantages",
    "grpo_config",
    "identity",
    "in_batches",
    "is_adapter",
    "load",
    "lock_folder",
    "merged_weights",
    "preflight",
    "progress",
    "reading",
    "restore",
    "reward_functions",
    "reward_table",
    "same_model",
    "scales",
    "settings_of",
    "sft_config",
    "start_of_grpo",
    "steps_of",
    "train",
    "vllm_settings",
    "written",
]
