"""Is the run healthy? Verdicts from the log, each with its evidence and a cure.

`RULES` is the list of what can go wrong; a function below decides where a limit is not enough.
A verdict reads the log only: figures as means over a window of steps at its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from helpers.recipes import Recipe
from helpers.settings import AFRESH

WINDOW = 5  # steps that a figure is averaged over, or more:
GROUPS = 32  # a window holds at least so many groups, else a step of one or two is all chance
TREND = 15  # steps, and at least three windows, before the first window is held against the last

Log = Sequence[Mapping]
Means = Callable[[str], float | None]  # means("kl"): over a window; None if it is not known
Seen = dict[str, str]  # the evidence for each rule that applies; {} if none does


@dataclass(frozen=True)
class Rule:
    """reads: keys of the log without which it cannot be judged.

    limit: it is seen when the first of these keys reaches it; None: a function decides.
    """

    looked_for: str
    cure: str
    reads: tuple[str, ...] = ()
    limit: float | None = None


RULES = {
    "NaN": Rule(
        "a loss, a gradient or a reward that is no number",
        "Lower the learning rate; on a card without bfloat16 load in float32; "
        "mend a reward function that returns NaN or infinity.",
    ),
    "learning rate too high": Rule(
        "reward_mean under half of what it was, or an SFT loss over 1.5 times its first",
        f"Divide the learning rate by ten and start afresh: {AFRESH}.",
    ),
    "zero-variance groups": Rule(
        "zero_std_groups ≥ 0.9 while correct < 0.9",
        "Take easier or harder questions, larger groups or a higher temperature; "
        "check that the reward tells replies apart.",
        ("zero_std_groups",),
        0.9,
    ),
    "truncation": Rule(
        "truncated ≥ 0.5",
        "Replies do not end: more SFT, or a larger max_completion.",
        ("truncated",),
        0.5,
    ),
    "entropy collapse": Rule(
        "distinct ≤ 0.3, entropy under half of its first value, correct ≤ 0.7",
        "All replies are alike before they are right: "
        "lower the learning rate, or raise the temperature or beta.",
        ("distinct",),
    ),
    "KL blow-up": Rule(
        "kl ≥ 1 nat per token",
        "The model runs away from where it began: lower the learning rate, or raise beta.",
        ("kl",),
        1.0,
    ),
    "format-only learning": Rule(
        "reward_gap ≤ 5 % of the maximum, "
        "or over 15 steps and more follows up by 0.2 and score not",
        "Right and wrong replies earn the same: "
        "give the reward for the answer more weight, or mend it.",
        ("reward_gap",),
    ),
    "length-only reward": Rule(
        "reward_gap ≤ 5 % of the maximum and reward_length_corr over 0.9 or under -0.9",
        "The reward follows the length of the reply: take the length out of it.",
        ("reward_gap",),
    ),
    "repetition": Rule(
        "repetition ≥ 0.4",
        "The reply repeats itself: "
        "lower the learning rate, add r_repeat to the rewards, or lower what pays for it.",
        ("repetition",),
        0.4,
    ),
    "reward up, correctness not": Rule(
        "over 15 steps and more reward_mean up by a tenth of the maximum and score not",
        "The model earns without being right: "
        "read the completions, and close the hole in the reward.",
        ("score", "follows"),
    ),
}


@dataclass(frozen=True)
class Verdict:
    """name: of the rule; step: when it was seen; evidence: keys of the log and what they say."""

    name: str
    step: int
    evidence: str

    @property
    def cure(self) -> str:
        return RULES[self.name].cure

    def __str__(self) -> str:
        return f"⚠ {self.name}, at step {self.step}: {self.evidence}.\n  {self.cure}"


def verdicts(log: Log, recipe: Recipe) -> list[Verdict]:
    """What is wrong at the end of this log. A figure that the log does not have is not judged."""
    if not log:
        return []
    last = log[-1]
    seen = not_finite(last)
    if last.get("reward_mean") is not None:
        seen |= of_grpo(log, recipe)
    elif last.get("loss") is not None:
        seen |= loss_rose(log)
    return [Verdict(name, last["step"], seen[name]) for name in RULES if name in seen]


def history(log: Log, recipe: Recipe) -> list[Verdict]:
    """Every verdict of a run, as it was first seen at one of at most about 500 looks."""
    looks = {*range(1, len(log), max(1, len(log) // 500)), len(log)}
    first: dict[str, Verdict] = {}
    for end in sorted(looks):
        for verdict in verdicts(log[:end], recipe):
            first.setdefault(verdict.name, verdict)
    return list(first.values())


def of_grpo(log: Log, recipe: Recipe) -> Seen:
    window = window_of(log[-1], recipe)
    if len(log) < window:
        return {}
    now = partial(mean, log[-window:])
    seen = {}
    if len(log) >= max(TREND, 3 * window):
        seen = trends(partial(mean, log[:window]), now, recipe)
    seen |= limits_reached(now) | reward_fell(log, window, recipe)
    return seen | gap_closed(now, recipe) | collapsed(mean(log[:1], "entropy"), now)


def groups_of(line: Mapping, recipe: Recipe) -> float:
    completions = line.get("completions") or recipe.grpo.batch
    return max(1.0, completions / recipe.grpo.generations)


def window_of(line: Mapping, recipe: Recipe) -> int:
    """The steps of a window: five, or as many as hold 32 groups."""
    return max(WINDOW, math.ceil(GROUPS / groups_of(line, recipe)))


def mean(lines: Log, key: str) -> float | None:
    """The mean of a figure over the lines that have it; None if fewer than half do."""
    values = [line[key] for line in lines if isinstance(line.get(key), int | float)]
    if not values or 2 * len(values) < len(lines):
        return None
    return float(np.mean(values))


def shown(means: Means, *keys: str) -> str:
    known = [key for key in keys if means(key) is not None]
    return ", ".join(f"{key} {means(key):.2f}" for key in known)


def not_finite(line: Mapping) -> Seen:
    bad = []
    for key in line.get("not_finite") or []:
        # With loss scaling (float16) one gradient may be: its step is skipped.
        gradient = key == "grad_norm" and not line.get("fp16")
        if "loss" in key or key == "reward_mean" or gradient:
            bad.append(key)
    return {"NaN": f"{' and '.join(bad)} not finite"} if bad else {}


def stop_if_ruined(line: Mapping) -> None:
    """Raises FloatingPointError after a step that leaves weights which are no numbers."""
    for name, evidence in not_finite(line).items():
        cure = f"{RULES[name].cure} Set {AFRESH}, too, if you change a setting."
        raise FloatingPointError(f"At step {line['step']} {evidence}.\n{cure}")


def loss_rose(log: Log) -> Seen:
    first, now = mean(log[:3], "loss"), mean(log[-WINDOW:], "loss")
    if len(log) < WINDOW or first is None or now is None:
        return {}
    if now > 1.5 * first and now > first + 0.05:  # a small loss may double
        return {"learning rate too high": f"loss rose from {first:.2f} to {now:.2f}"}
    return {}


def limits_reached(now: Means) -> Seen:
    seen = {}
    for name, rule in RULES.items():
        if rule.limit and (now(rule.reads[0]) or 0.0) >= rule.limit:
            seen[name] = shown(now, rule.reads[0])
    if "zero-variance groups" in seen:
        seen["zero-variance groups"] = shown(now, "zero_std_groups", "correct")
        if (now("correct") or 0.0) >= 0.9:  # nothing is left to learn, and nothing wrong
            del seen["zero-variance groups"]
    return seen


def reward_fell(log: Log, window: int, recipe: Recipe) -> Seen:
    """Less than half is left of what the first eight groups, or the best window, earned.

    And by more than chance explains: four standard errors.
    """
    parts = [log[: max(1, math.ceil(8 / groups_of(log[0], recipe)))]]
    for start in range(0, len(log) - window + 1, window):
        parts.append(log[start : start + window])
    before, error_before = max(reward_level(part, recipe) for part in parts)
    now, error_now = reward_level(log[-window:], recipe)
    chance = 4 * math.hypot(error_before, error_now)
    if now < 0.5 * before and before - now > chance:
        return {"learning rate too high": f"reward_mean fell from {before:.2f} to {now:.2f}"}
    return {}


def reward_level(lines: Log, recipe: Recipe) -> tuple[float, float]:
    """Mean reward and its standard error, a group's replies counted as one."""
    variance = 0.0
    for line in lines:
        variance += (line.get("reward_std") or 0.0) ** 2 / groups_of(line, recipe)
    return mean(lines, "reward_mean") or 0.0, math.sqrt(variance) / len(lines)


def gap_closed(now: Means, recipe: Recipe) -> Seen:
    """Right and wrong replies earn the same; the length of a reply decides, or its form."""
    gap = now("reward_gap")
    if gap is None or gap > 0.05 * recipe.maximum:
        return {}
    if abs(now("reward_length_corr") or 0.0) > 0.9:
        return {"length-only reward": shown(now, "reward_gap", "reward_length_corr")}
    meaning = "(right replies earn that much more than wrong ones)"
    return {"format-only learning": f"reward_gap {gap:.2f} {meaning}"}


def collapsed(entropy_before: float | None, now: Means) -> Seen:
    """A group's replies became one reply, which is not the right one.

    Unsloth logs no entropy: then the replies alone decide.
    """
    distinct, entropy = now("distinct"), now("entropy")
    if distinct is None or distinct > 0.3 or (now("correct") or 0.0) > 0.7:
        return {}
    evidence = shown(now, "distinct", "correct")
    if entropy_before and entropy is not None:
        if entropy > 0.5 * entropy_before:
            return {}
        evidence = f"entropy {entropy_before:.3f} → {entropy:.3f}, {evidence}"
    return {"entropy collapse": evidence}


def trends(first: Means, now: Means, recipe: Recipe) -> Seen:
    """The first window against the last: did what is paid for rise, and what is wanted not?"""
    rose, parts = {}, []
    for key in ("score", "reward_mean", "follows"):
        before, after = first(key), now(key)
        if before is None or after is None:
            return {}
        rose[key] = after - before
        parts.append(f"{key} {before:.2f} → {after:.2f}")
    if rose["score"] > 0.02 or now("score") >= 0.9:
        return {}
    seen, evidence = {}, ", ".join(parts)
    if rose["reward_mean"] > 0.1 * recipe.maximum:
        seen["reward up, correctness not"] = evidence
    if rose["follows"] > 0.2:
        seen["format-only learning"] = evidence
    return seen


def report(log: Log, recipe: Recipe) -> pd.DataFrame:
    """A row for every rule: what is looked for, and whether it was seen, or why not judged."""
    rows = {name: {"looked for": rule.looked_for, "seen": "no"} for name, rule in RULES.items()}
    for name, why in unjudged(log, recipe).items():
        rows[name]["seen"] = f"not judged: {why}"
    for verdict in history(log, recipe):
        evidence = f"step {verdict.step}: {verdict.evidence}. {verdict.cure}"
        rows[verdict.name]["seen"] = evidence
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("verdict")


def unjudged(log: Log, recipe: Recipe) -> dict[str, str]:
    """The rules that this log says nothing about, and why."""
    known = {key for line in log for key, value in line.items() if value is not None}
    grpo = "reward_mean" in known
    window = window_of(log[-1], recipe) if grpo else WINDOW
    steps = {"NaN": 0, "reward up, correctness not": max(TREND, 3 * window)}
    found = {}
    for name, rule in RULES.items():
        needed = steps.get(name, window)
        missing = [key for key in rule.reads if key not in known]
        if rule.reads and not grpo:
            found[name] = "for GRPO only"
        elif len(log) < needed:
            found[name] = f"it takes {needed} steps"
        elif missing:
            found[name] = f"this log has no {' and '.join(missing)}"
    return found
