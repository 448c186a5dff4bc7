"""Models, rewards and trainers: what turns a base into an adapter."""

from helpers.training.unsloth_first import quiet  # isort: skip  (before all that it patches)
from helpers.training.adapter import Adapter, is_adapter, same_model
from helpers.training.checkpoints import CODE, alone, code_hash, differences, reading, restore
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
from helpers.training.stages import Job, changed, open_job, restore_runs
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
