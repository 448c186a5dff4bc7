"""Is the run healthy? Verdicts from the log, each with its evidence and a cure.

`rules.json` lists what can go wrong: what is looked for, the cure, `reads` (keys of the log without
which it cannot be judged), and `limit` (it is seen when the first of these keys reaches it; where
there is none, a function below decides). A verdict reads the log only: figures as means over a
window of steps at its end.
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd

from helpers.recipes import Recipe
from helpers.settings import AFRESH

WINDOW = 5  # steps that a figure is averaged over, or more:
GROUPS = 32  # a window holds at least so many groups, else a step of one or two is all chance
TREND = 15  # steps, and at least three windows, before the first window is held against the last
LOOKS = 200  # at a log, and windows of it: 100,000 steps are judged in seconds
FILE = Path(__file__).with_name("rules.json")
FALL = 0.2  # of held-out accuracy; 64 problems leave a fall of 0.15 to chance
FEW, FAST = 2, 1e-4  # groups that differ in a step, and a learning rate: then steps are chance
TOO_FAST = "learning rate too high"
RULES = json.loads(FILE.read_text(encoding="utf-8").replace("{AFRESH}", AFRESH))

Log = Sequence[Mapping]
Means = Mapping[str, float]  # of the figures that are known
Seen = dict[str, str]  # the evidence for each rule that applies


@dataclass(frozen=True)
class Verdict:
    """name: of the rule; step: when it was seen; evidence: keys of the log and what they say."""

    name: str
    step: int
    evidence: str

    @property
    def cure(self) -> str:
        return RULES[self.name]["cure"]

    def __str__(self) -> str:
        return f"⚠ {self.name}, at step {self.step}: {self.evidence}.\n  {self.cure}"


def verdicts(log: Log, recipe: Recipe) -> list[Verdict]:
    """What is wrong at the end of this log. A figure that the log does not have is not judged."""
    if not log:
        return []
    last = log[-1]
    grpo = last.get("reward_mean") is not None
    window = window_of(recipe) if grpo else WINDOW
    seen = not_finite(last)
    if len(log) >= window:
        now = means(log[-window:])
        if grpo:
            if len(log) >= max(TREND, 3 * window):
                seen |= trends(means(log[:window]), now, recipe)
            seen |= limits_reached(now, recipe)
            seen |= reward_fell(log, window, recipe)
            seen |= collapsed(means(log[:1]), now)
            seen |= held_out_fell(log)
        else:
            before, after = means(log[:3]).get("loss", math.inf), now.get("loss", 0.0)
            if after > max(1.5 * before, before + 0.05):  # a small loss may double
                seen[TOO_FAST] = f"loss rose from {before:.2f} to {after:.2f}"
    return [Verdict(name, last["step"], seen[name]) for name in RULES if name in seen]


def history(log: Log, recipe: Recipe) -> list[Verdict]:
    """Every verdict of a run, as it was first seen at one of at most about LOOKS looks."""
    looks = [*range(1, len(log), max(1, len(log) // LOOKS)), len(log)]
    first: dict[str, Verdict] = {}
    for end in looks:
        for verdict in verdicts(log[:end], recipe):
            first.setdefault(verdict.name, verdict)
    return list(first.values())


def groups_of(recipe: Recipe) -> float:
    return recipe.grpo.batch / recipe.grpo.generations


def few_groups(equal: float, recipe: Recipe) -> bool:
    """Whether a step learns from so few questions that it is mostly chance.

    equal: the share of groups whose rewards are all equal, which teach nothing.
    """
    return (1 - equal) * groups_of(recipe) < FEW and recipe.grpo.learning_rate >= FAST


def window_of(recipe: Recipe) -> int:
    """The steps of a window: five, or as many as hold 32 groups."""
    return max(WINDOW, math.ceil(GROUPS / groups_of(recipe)))


def means(lines: Log) -> dict[str, float]:
    """The mean of each figure that at least half of the lines have."""
    known = defaultdict(list)
    for line in lines:
        for key, value in line.items():
            if isinstance(value, int | float) and math.isfinite(value):
                known[key].append(value)
    half = len(lines) / 2
    return {key: fmean(values) for key, values in known.items() if len(values) >= half}


def shown(means: Means, *keys: str) -> str:
    return ", ".join(f"{key} {means[key]:.2f}" for key in keys if key in means)


def not_finite(line: Mapping) -> Seen:
    bad = []
    for key in line.get("not_finite", ()):
        # With loss scaling (float16) one gradient may be: its step is skipped.
        gradient = key == "grad_norm" and not line.get("fp16")
        if "loss" in key or key == "reward_mean" or gradient:
            bad.append(key)
    return {"NaN": f"{' and '.join(bad)} not finite"} if bad else {}


def stop_if_ruined(line: Mapping) -> None:
    """Raises FloatingPointError after a step that leaves weights which are no numbers."""
    for name, evidence in not_finite(line).items():
        cure = f"{RULES[name]['cure']} Set {AFRESH}, too, if you change a setting."
        raise FloatingPointError(f"At step {line['step']} {evidence}.\n{cure}")


def limits_reached(now: Means, recipe: Recipe) -> Seen:
    seen = {}
    for name, rule in RULES.items():
        if "limit" in rule:
            key = rule["reads"][0]
            if now.get(key, 0.0) >= rule["limit"]:
                seen[name] = shown(now, key)
    equal = seen.pop("zero-variance groups", None)
    if now.get("correct", 0.0) < 0.9:  # else nothing is left to learn, and nothing wrong
        evidence = shown(now, "zero_std_groups", "correct")
        if equal:
            seen["zero-variance groups"] = evidence
        elif few_groups(now.get("zero_std_groups", 0.0), recipe):
            seen["steps by chance"] = evidence
    # Right and wrong replies earn the same: the length of a reply decides, or its form.
    if now.get("reward_gap", math.inf) <= 0.05 * span(recipe):
        if abs(now.get("reward_length_corr", 0.0)) > 0.9:
            seen["length-only reward"] = shown(now, "reward_gap", "reward_length_corr")
        else:
            meaning = "(right replies earn that much more than wrong ones)"
            seen["format-only learning"] = f"{shown(now, 'reward_gap')} {meaning}"
    return seen


def span(recipe: Recipe) -> float:
    """How far apart the least and the most total reward are."""
    least, most = recipe.bounds
    return most - least


def reward_fell(log: Log, window: int, recipe: Recipe) -> Seen:
    """Less than half is left of what the first eight groups, or the best window, earned.

    And by more than chance explains: four standard errors, a group's replies counted as one.
    """
    groups = groups_of(recipe)
    parts = [log[: math.ceil(8 / groups)]]
    stride = window * max(1, len(log) // (window * LOOKS))
    for start in range(0, len(log) - window + 1, stride):
        parts.append(log[start : start + window])
    levels = []
    for part in [*parts, log[-window:]]:
        rewards = [line["reward_mean"] for line in part if line.get("reward_mean") is not None]
        variance = sum((line.get("reward_std") or 0.0) ** 2 for line in part) / groups
        levels.append((np.mean(rewards or [0.0]), math.sqrt(variance) / len(part)))
    before, error_before = max(levels[:-1])
    now, error_now = levels[-1]
    least, _ = recipe.bounds
    fell = before - now > 4 * math.hypot(error_before, error_now)
    if fell and now - least < 0.5 * (before - least):
        return {TOO_FAST: f"reward_mean fell from {before:.2f} to {now:.2f}"}
    return {}


def held_out_fell(log: Log) -> Seen:
    """Problems that are never learned from are answered worse than before."""
    looks = [line["held_out"] for line in log if line.get("held_out") is not None]
    if not looks or max(looks) - looks[-1] < FALL - 1e-9:
        return {}
    first, last = log[0]["reward_mean"], log[-1]["reward_mean"]
    fell = f"held_out {max(looks):.2f} → {looks[-1]:.2f}"
    return {"held-out accuracy fell": f"{fell}, while reward_mean {first:.2f} → {last:.2f}"}


def collapsed(first: Means, now: Means) -> Seen:
    """A group's replies became one reply, which is not the right one.

    Unsloth logs no entropy: then the replies alone decide.
    """
    if now.get("distinct", 1.0) > 0.3 or now.get("correct", 0.0) > 0.7:
        return {}
    evidence = shown(now, "distinct", "correct")
    before, entropy = first.get("entropy"), now.get("entropy")
    if before and entropy is not None:
        if entropy > 0.5 * before:
            return {}
        evidence = f"entropy {before:.3f} → {entropy:.3f}, {evidence}"
    return {"entropy collapse": evidence}


def trends(first: Means, now: Means, recipe: Recipe) -> Seen:
    """The first window against the last: did what is paid for rise, and what is wanted not?"""
    keys = ("score", "reward_mean", "follows")
    if not all(key in first and key in now for key in keys):
        return {}
    rose = {key: now[key] - first[key] for key in keys}
    if rose["score"] > 0.02 or now["score"] >= 0.9:
        return {}
    evidence = ", ".join(f"{key} {first[key]:.2f} → {now[key]:.2f}" for key in keys)
    seen = {}
    if rose["reward_mean"] > 0.1 * span(recipe):
        seen["reward up, correctness not"] = evidence
    if rose["follows"] > 0.2:
        seen["format-only learning"] = evidence
    return seen


def report(log: Log, recipe: Recipe) -> pd.DataFrame:
    """A row for every rule: what is looked for, and whether it was seen, or why not judged."""
    known = pd.DataFrame(log).dropna(axis="columns", how="all").columns
    grpo = "reward_mean" in known
    window = window_of(recipe) if grpo else WINDOW
    steps = {"NaN": 0, "reward up, correctness not": max(TREND, 3 * window)}
    table = pd.DataFrame.from_dict(RULES, orient="index", columns=["looked for"])
    table["seen"] = "no"
    for name, rule in RULES.items():
        needed = steps.get(name, window)
        missing = [key for key in rule["reads"] if key not in known]
        if rule["reads"] and not grpo:
            table.loc[name, "seen"] = "not judged: for GRPO only"
        elif len(log) < needed:
            table.loc[name, "seen"] = f"not judged: it takes {needed} steps"
        elif missing:
            table.loc[name, "seen"] = f"not judged: this log has no {' and '.join(missing)}"
    for verdict in history(log, recipe):
        evidence = f"step {verdict.step}: {verdict.evidence}. {verdict.cure}"
        table.loc[verdict.name, "seen"] = evidence
    return table.rename_axis("verdict")
