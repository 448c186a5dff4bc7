"""The log's names, and what is shown of a log: the console's line, a summary, completions.

`log.jsonl` has a line a step, which `on_log` in training/watching.py gathers and `record` in
training/training_run.py appends. All its keys, by the file that supplies them; what is unknown is
absent, never 0:

here, `rename`, from what the trainer logs
    epoch, learning_rate, grad_norm   where it stands, and how far it steps
    entropy, token_accuracy           how unsure it is, nats per token; share of tokens foreseen
    loss                              SFT's, nats per token
    grpo_loss, policy_loss, kl_loss   GRPO's: the sum, the policy's part, beta times kl
    kl                                from where it began, nats per token
    reward_mean, reward_std           of the weighted sum of the rewards
    reward/NAME, reward/NAME_std      of each reward, before its weight
    zero_std_groups, clip_ratio       share of groups with equal rewards (with GDPO, `figures`
                                      counts them), of tokens clipped
    completion_mean, completion_max   length in tokens
    truncated                         share of completions cut off at the limit
training/watching.py, `on_log`
    step, fp16                        its number; true where float16 needs the loss scaled
    adv_mean, adv_std, completions    GRPO's advantages, and how many there were
    time_per_step_s                   seconds; its parts are generation_time_s, backward_time_s
                                      and other_time_s
    tokens_generated                  by GRPO; tokens_per_second: those, or what SFT reads
    memory_gb                         the most held so far, GiB
    held_out                          every few steps: share of held-out problems answered right;
                                      held_out_time_s: its seconds, not among the step's
runs/completions.py, `figures`, for GRPO
    correct, score, follows, distinct, repetition, reward_gap, reward_length_corr
                                      what the replies say, explained there
training/training_run.py, `record`
    timestamp_iso, device, seed       when and where
    not_finite                        the keys of what was NaN or infinite, which is null
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from helpers.recipes import Recipe

# TRL's and Unsloth's names on the left, ours on the right; `rename` sees to the rewards.
NAMES = {
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "epoch": "epoch",
    "entropy": "entropy",
    "kl": "kl",
    "mean_token_accuracy": "token_accuracy",
    "reward": "reward_mean",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "zero_std_groups",
    "completions/mean_length": "completion_mean",
    "completion_length": "completion_mean",
    "completions/max_length": "completion_max",
    "completions/clipped_ratio": "truncated",
    "clip_ratio/region_mean": "clip_ratio",
}
# The keys of grpo_training_logs.jsonl, as gsm8k_hash's system has them.
PUBLISHED = ("timestamp_iso", "step", "epoch", "device", "seed", "grpo_loss", "policy_loss")
PUBLISHED += ("kl_loss", "reward_mean", "reward_std", "adv_mean", "adv_std", "grad_norm")
PUBLISHED += ("learning_rate", "time_per_step_s", "generation_time_s", "backward_time_s")
PUBLISHED += ("other_time_s", "tokens_generated")


def rename(logs: Mapping, stage: str, beta: float) -> dict:
    """A trainer's log row under the names of log.jsonl. What is unknown is absent, never 0."""
    line = {ours: logs[theirs] for theirs, ours in NAMES.items() if theirs in logs}
    for key, value in logs.items():
        if key.startswith("rewards/"):
            name = key.removeprefix("rewards/").removesuffix("/mean").replace("/std", "_std")
            line[f"reward/{name}"] = value
    if stage != "grpo":
        line["loss"] = logs["loss"]
        return line
    line["grpo_loss"] = logs["loss"]
    if not beta:
        line.pop("kl", None)  # Unsloth logs a 0 that nobody measured
    if "kl" in line or not beta:
        line["kl_loss"] = beta * line.get("kl", 0.0)
        line["policy_loss"] = logs["loss"] - line["kl_loss"]
    return line


def console(line: Mapping, recipe: Recipe) -> str:
    """A step on one line, as the published systems print it.

    >>> from helpers.recipes import get_recipe
    >>> step = {"step": 410, "reward_mean": 0.69, "kl": 0.03, "learning_rate": 4.7e-7}
    >>> console(step, get_recipe("phybench_eed"))
    '[Step 410] reward/phybench_reward=0.69 kl/mean=0.03 lr=4.7e-7'
    """
    family = recipe.name.partition("_")[0]
    parts = (
        (f"reward/{family}_reward", "reward_mean", "{:.2f}"),
        ("loss", "loss", "{:.3f}"),
        ("kl/mean", "kl", "{:.2f}"),
        ("lr", "learning_rate", "{:.1e}"),
        ("len/avg_comp", "completion_mean", "{:.0f}"),
    )
    shown = []
    for name, key, form in parts:
        if line.get(key) is not None:
            number = form.format(line[key]).replace("e-0", "e-").replace("e+00", "")
            shown.append(f"{name}={number}")
    return f"[Step {line['step']}] " + " ".join(shown)


def summary(log: Sequence[Mapping]) -> pd.DataFrame:
    """Each figure of a log in its first and its last tenth, its least and its most."""
    table = pd.DataFrame(log).select_dtypes("number")
    table = table.drop(columns=["step", "seed", "epoch"], errors="ignore")
    tenth = max(1, len(table) // 10)
    parts = [table.head(tenth).mean(), table.tail(tenth).mean(), table.min(), table.max()]
    return pd.concat(parts, axis="columns", keys=["first tenth", "last tenth", "least", "most"])


def completions_table(samples: Sequence[Mapping]) -> pd.DataFrame:
    """The best and the worst completion with its rewards, early, midway and late in the run."""
    table = pd.DataFrame(samples).drop(columns="answer", errors="ignore")
    steps = sorted(table["step"].unique())
    when = {steps[-1]: "late", steps[len(steps) // 2]: "middle", steps[0]: "early"}
    ranked = table[table["step"].isin(when)].sort_values(["step", "reward"])
    ends = ranked.groupby("step").nth([0, -1])
    which = ["worst", "best"] * len(when)
    return ends.set_index([ends["step"].map(when).rename("when"), pd.Index(which, name="which")])


def duration(minutes: float) -> str:
    """
    >>> duration(0.4), duration(12.2), duration(200)
    ('24 s', '12 min', '3.3 h')
    """
    if minutes < 2:
        return f"{60 * minutes:.0f} s"
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h"
