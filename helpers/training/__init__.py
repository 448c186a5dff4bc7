"""Models, rewards and trainers: what turns a base into an adapter.

load               a base, or an adapter on its base; and the tokenizer
add_lora           freezes a base and adds the recipe's LoRA matrices
count_parameters   how many parameters train, and how many there are
Adapter            the noun: folder, base, rank, tokenizer and run of a trained adapter
save_config        writes an adapter's configuration; save_tokenizer a tokenizer's files
whole_weights      says which file of a base is damaged; folder_identity is its weights' hash
is_adapter         whether a folder holds an adapter, rather than a whole model
generate           continues prompts; in_batches does so batch by batch
ask                answers a question on the screen, word by word
Completion         a generated text, its tokens, and whether it ended by itself
progress           a bar with the time left
neutral_settings   generation settings that change no reply; end_tokens end it
at_work            the weights at work, by name; scales are those of the adapter
identity           a hash of weights; adapter_identity is that of LoRA matrices
REWARDS            what GRPO can pay for; reward_functions are a recipe's, as TRL takes them
reward_table       what completions earn, reward by reward
written            a right reply in the recipe's format
check_golds        the rows whose right answer earns the full reward
group_advantages   GRPO's advantages; trl_loss is GRPOTrainer's loss of given completions
preflight          a look at eight groups before GRPO begins
check_group        refuses groups that do not divide the batch
start_of_grpo      the adapter that GRPO goes on from
sft_config         SFTTrainer's settings; grpo_config is GRPOTrainer's
vllm_settings      who generates GRPO's completions; rank_in_vllm: the room for LoRA there
TrainingRun        a stage's folder while it is trained
settings_of        a recipe's settings as plain values
train              trains, or goes on after a kill (checkpoints.py), and returns the adapter
lock_folder        holds a folder for one process
reading            how a recipe reads; code_hash is that of the files in CODE
open_job           settings, recipe, machine and base together
changed            a recipe with what the settings change
restore_runs       brings a job's runs back from their mirror
save_adapter       saves an adapter with its tokenizer, whole or not at all
quiet              keeps libraries' notes of no use to a reader off the screen
"""

from helpers.training.unsloth_first import quiet  # isort: skip  (before all that it patches)
from helpers.rewards import REWARDS, group_advantages, reward_functions, reward_table, written
from helpers.training.adapter import (
    Adapter,
    folder_identity,
    identity,
    is_adapter,
    save_config,
    save_tokenizer,
    whole_weights,
)
from helpers.training.checkpoints import CODE, code_hash, lock_folder, reading
from helpers.training.models import (
    adapter_identity,
    add_lora,
    at_work,
    count_parameters,
    end_tokens,
    load,
    neutral_settings,
    rank_in_vllm,
    scales,
)
from helpers.training.private import trl_loss
from helpers.training.replies import Completion, ask, generate, in_batches, progress
from helpers.training.stages import changed, check_golds, open_job, preflight, restore_runs
from helpers.training.trainers import (
    check_group,
    grpo_config,
    save_adapter,
    sft_config,
    start_of_grpo,
    train,
    vllm_settings,
)
from helpers.training.training_run import TrainingRun, settings_of
