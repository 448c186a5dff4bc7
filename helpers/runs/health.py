"""Is the run healthy? Verdicts from the log, each with its evidence and a cure.

The figures of a step's completions (`figures`) go into the log; a verdict reads the log only. A question is answered before the step
learns from it, so in a run's first epoch `correct` is on questions that GRPO has not seen (SFT may have).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from helpers.recipes import Recipe
from helpers.settings import AFRESH

WINDOW = 5  # steps that a figure is averaged over, or more:
GROUPS = (
    32  # a window holds at least so many groups, else a step of one or two groups is all chance
)
TREND = 15  # steps, and at least three windows, before a trend is judged: the first window against the last


@dataclass(frozen=True)
class Verdict:
    """name: what is wrong; step: when it was seen; keys: the figures in log.jsonl that show it."""

    name: str
    step: int
    keys: tuple[str, ...]
    evidence: str
    cure: str

    def __str__(self) -> str:
        return f"⚠ {self.name}, at step {self.step}: {self.evidence}.\n  {self.cure}"


# What is looked for in the log, as a mean over a window at its end, and what helps.
RULES = {
    "NaN": (
        "a loss, a gradient or a reward that is no number",
        "Lower the learning rate; on a card without bfloat16 load in float32; mend a reward function that returns NaN or infinity.",
    ),
    "learning rate too high": (
        "reward_mean under half of what it was, or an SFT loss over 1.5 times its first",
        f"Divide the learning rate by ten and start afresh: {AFRESH}.",
    ),
    "zero-variance groups": (
        "zero_std_groups ≥ 0.9 while correct < 0.9",
        "Take easier or harder questions, larger groups or a higher temperature; check that the reward tells replies apart.",
    ),
    "truncation": ("truncated ≥ 0.5", "Replies do not end: more SFT, or a larger max_completion."),
    "entropy collapse": (
        "distinct ≤ 0.3, entropy under half of its first value, correct ≤ 0.7",
        "All replies are alike before they are right: lower the learning rate, or raise the temperature or beta.",
    ),
    "KL blow-up": (
        "kl ≥ 1 nat per token",
        "The model runs away from where it began: lower the learning rate, or raise beta.",
    ),
    "format-only learning": (
        "reward_gap ≤ 5 % of the maximum, or over 15 steps and more follows up by 0.2 and score not",
        "Right and wrong replies earn the same: give the reward for the answer more weight, or mend it.",
    ),
    "length-only reward": (
        "reward_gap ≤ 5 % of the maximum and reward_length_corr over 0.9 or under -0.9",
        "The reward follows the length of the reply: take the length out of it.",
    ),
    "repetition": (
        "repetition ≥ 0.4",
        "The reply repeats itself: lower the learning rate, add r_repeat to the rewards, or lower what pays for it.",
    ),
    "reward up, correctness not": (
        "over 15 steps and more reward_mean up by a tenth of the maximum and score not",
        "The model earns without being right: read the completions, and close the hole in the reward.",
    ),
}


# The figures that a rule reads, without which it cannot be judged; SFT's log has only those of the first two.
READS = {
    "NaN": (),
    "learning rate too high": (),
    "zero-variance groups": ("zero_std_groups",),
    "truncation": ("truncated",),
    "entropy collapse": ("distinct",),
    "KL blow-up": ("kl",),
    "format-only learning": ("reward_gap",),
    "length-only reward": ("reward_gap",),
    "repetition": ("repetition",),
    "reward up, correctness not": ("score", "follows"),
}


def figures(recipe: Recipe, samples: Sequence[Mapping], group: int) -> dict[str, float]:
    """What a step's samples say beyond their rewards; a figure that cannot be had is left out.

    correct, follows, score: two shares of the replies and the mean score, judged as in evaluation. distinct: different replies of a group, as a share of it.
    repetition: share of three-word sequences that occurred before in the same reply. reward_gap: what a right reply earns more
    than a wrong one of the same group, form and length being equal (by least squares). reward_length_corr: of reward and length in
    a group, form and rightness being equal: right replies may be longer, for they show their steps.
    samples: a step's lines, a group's side by side; each with question, completion, answer, tokens and reward.
    """
    groups = [slice(start, start + group) for start in range(0, len(samples), group)]
    found = {
        "repetition": np.mean([repeated(s["completion"]) for s in samples]),
        "distinct": np.mean(
            [len({s["completion"] for s in samples[g]}) / len(samples[g]) for g in groups]
        ),
    }
    follows = np.array([recipe.format.follows(s["completion"]) for s in samples], float)
    if all(s["answer"] is not None for s in samples):
        scores = np.array([scored(recipe, s) or 0.0 for s in samples])
        right = follows * (scores == 1.0)
        found |= {
            "correct": right.mean(),
            "score": scores.mean(),
            **gaps(samples, groups, right, follows),
        }
    return {
        key: round(float(value), 4) for key, value in (found | {"follows": follows.mean()}).items()
    }


def gaps(
    samples: Sequence[Mapping], groups: Sequence[slice], right: np.ndarray, follows: np.ndarray
) -> dict[str, float]:
    """reward_gap and reward_length_corr, each where there is enough that differs within groups."""
    columns = {"right": right, "follows": follows} | {
        key: np.array([s[key] for s in samples], float) for key in ("reward", "tokens")
    }
    centred, found = (
        {
            name: np.concatenate([values[g] - values[g].mean() for g in groups])
            for name, values in columns.items()
        },
        {},
    )
    pay, being_right = (without(centred, name, "follows", "tokens") for name in ("reward", "right"))
    if (
        being_right @ being_right > 0.5
    ):  # else rightness hardly differs where form and length do not
        found["reward_gap"] = pay @ being_right / (being_right @ being_right)
    rest, length = (
        without(centred, "reward", "right", "follows"),
        without(centred, "tokens", "right", "follows"),
    )
    if min(np.count_nonzero(abs(values) > 1e-6) for values in (rest, length)) >= len(samples) / 4:
        found["reward_length_corr"] = np.corrcoef(rest, length)[0, 1]
    return found


def without(columns: Mapping[str, np.ndarray], name: str, *others: str) -> np.ndarray:
    """What is left of a column when the others have explained what they can (least squares)."""
    explain = np.stack([columns[other] for other in others], axis=1)
    return columns[name] - explain @ np.linalg.lstsq(explain, columns[name], rcond=None)[0]


def scored(recipe: Recipe, sample: Mapping) -> float | None:
    """The score of a reply: the accuracy reward, which is the same function, where the recipe pays it."""
    if sample.get("accuracy_reward") is not None:
        return sample["accuracy_reward"]
    return recipe.score(recipe.format.extract(sample["completion"]), sample["answer"])


def repeated(text: str) -> float:
    """The share of three-word sequences that were there before.

    >>> repeated("one two three four"), round(repeated("so it is " * 5), 2)
    (0.0, 0.77)
    """
    words = text.split()
    threes = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(threes)) / len(threes) if threes else 0.0


def verdicts(log: Sequence[Mapping], recipe: Recipe) -> list[Verdict]:
    """What is wrong at the end of this log, from its last steps; empty if nothing is. A figure that the log does not have is not judged."""
    if not log:
        return []
    last = log[-1]
    found = [ruined(last)]
    if last.get("reward_mean") is not None:
        window = window_of(last, recipe)
        found += of_grpo(log, window, recipe) if len(log) >= window else []
    elif last.get("loss") is not None and len(log) >= WINDOW:
        found.append(loss_rose(log))
    return [
        Verdict(name, last["step"], keys, evidence, RULES[name][1])
        for name, keys, evidence in filter(None, found)
    ]


def history(log: Sequence[Mapping], recipe: Recipe) -> list[Verdict]:
    """Every verdict of a run, each as it was first seen (in a run of over 500 steps: at one of 500 looks)."""
    first: dict[str, Verdict] = {}
    for end in sorted({*range(1, len(log), max(1, len(log) // 500)), len(log)} - {0}):
        for verdict in verdicts(log[:end], recipe):
            first.setdefault(verdict.name, verdict)
    return list(first.values())


def groups_of(line: Mapping, recipe: Recipe) -> float:
    return max(1.0, (line.get("completions") or recipe.grpo.batch) / recipe.grpo.generations)


def window_of(line: Mapping, recipe: Recipe) -> int:
    """The steps of a window: five, or as many as hold 32 groups."""
    return max(WINDOW, math.ceil(GROUPS / groups_of(line, recipe)))


def mean(lines: Sequence[Mapping], key: str) -> float | None:
    """The mean of a figure over the lines that have it; None if fewer than half do."""
    values = [line[key] for line in lines if isinstance(line.get(key), int | float)]
    return float(np.mean(values)) if values and 2 * len(values) >= len(lines) else None


def ruined(line: Mapping):
    """A loss, a gradient or a reward that is no number. With loss scaling (float16) a single gradient may be: its step is skipped."""
    bad = [
        key
        for key in line.get("not_finite") or []
        if "loss" in key or key == "reward_mean" or (key == "grad_norm" and not line.get("fp16"))
    ]
    return ("NaN", tuple(bad), f"{' and '.join(bad)} not finite") if bad else None


def stop_if_ruined(line: Mapping) -> None:
    """Raises FloatingPointError after a step that leaves weights which are no numbers, before they can be saved."""
    if ruined(line):
        raise FloatingPointError(
            f"At step {line['step']} {ruined(line)[2]}.\n{RULES['NaN'][1]} "
            f"Set {AFRESH}, too, if you change a setting."
        )


def loss_rose(log: Sequence[Mapping]):
    before, now = mean(log[:3], "loss"), mean(log[-WINDOW:], "loss")
    rose = before is not None and now is not None and now > 1.5 * before and now > before + 0.05
    return (
        ("learning rate too high", ("loss",), f"loss rose from {before:.2f} to {now:.2f}")
        if rose
        else None
    )


def of_grpo(log: Sequence[Mapping], window: int, recipe: Recipe) -> list:
    now = {
        key: mean(log[-window:], key)
        for key in (
            "zero_std_groups",
            "correct",
            "score",
            "truncated",
            "entropy",
            "distinct",
            "kl",
            "repetition",
            "reward_gap",
            "reward_length_corr",
            "follows",
            "reward_mean",
        )
    }
    found = [
        at_least(now, "truncated", 0.5, "truncation"),
        at_least(now, "repetition", 0.4, "repetition"),
        at_least(now, "kl", 1.0, "KL blow-up"),
    ]
    if now["correct"] is None or now["correct"] < 0.9:
        found.append(
            at_least(now, "zero_std_groups", 0.9, "zero-variance groups", correct_words(now))
        )
    return found + [
        reward_fell(log, window, recipe),
        blind(now, recipe),
        collapsed(log, now),
        *trends(log, window, now, recipe),
    ]


def correct_words(now: Mapping) -> str:
    return "" if now["correct"] is None else f", correct {now['correct']:.2f}"


def at_least(now: Mapping, key: str, limit: float, name: str, more: str = ""):
    bad = now[key] is not None and now[key] >= limit
    return (name, (key,), f"{key} {now[key]:.2f}{more}") if bad else None


def reward_fell(log: Sequence[Mapping], window: int, recipe: Recipe):
    """Less than half is left of what the first steps (eight groups) or the best window earned, and by more than chance explains."""

    def level(lines):
        """Mean reward and its standard error, a group's replies counted as one."""
        error = [(line.get("reward_std") or 0.0) ** 2 / groups_of(line, recipe) for line in lines]
        return mean(lines, "reward_mean") or 0.0, math.sqrt(sum(error)) / len(lines)

    first = log[: max(1, math.ceil(8 / groups_of(log[0], recipe)))]
    starts = range(0, len(log) - window + 1, window)
    before, error = max([level(first), *(level(log[start : start + window]) for start in starts)])
    now, error_now = level(log[-window:])
    fell = now < 0.5 * before and before - now > 4 * math.hypot(error, error_now)
    return (
        (
            "learning rate too high",
            ("reward_mean",),
            f"reward_mean fell from {before:.2f} to {now:.2f}",
        )
        if fell
        else None
    )


def blind(now: Mapping, recipe: Recipe):
    """Right and wrong replies earn the same; the length of a reply decides, or its form."""
    if now["reward_gap"] is None or now["reward_gap"] > 0.05 * recipe.maximum:
        return None
    if abs(now["reward_length_corr"] or 0.0) > 0.9:
        return (
            "length-only reward",
            ("reward_gap", "reward_length_corr"),
            f"reward_gap {now['reward_gap']:.2f}, reward_length_corr "
            f"{now['reward_length_corr']:.2f}",
        )
    return (
        "format-only learning",
        ("reward_gap", "follows"),
        f"reward_gap {now['reward_gap']:.2f} (right replies earn that much more than wrong ones)",
    )


def collapsed(log: Sequence[Mapping], now: Mapping):
    """A group's replies became one reply, which is not the right one. Unsloth logs no entropy: then the replies alone decide."""
    before, after = mean(log[:1], "entropy"), now["entropy"]
    if (
        now["distinct"] is None
        or now["distinct"] > 0.3
        or (now["correct"] or 0.0) > 0.7
        or (before and after and after > 0.5 * before)
    ):
        return None
    entropy = f"entropy {before:.3f} → {after:.3f}, " if before and after is not None else ""
    return (
        "entropy collapse",
        ("entropy", "distinct"),
        f"{entropy}distinct {now['distinct']:.2f}{correct_words(now)}",
    )


def trends(log: Sequence[Mapping], window: int, now: Mapping, recipe: Recipe) -> list:
    """The first steps against the last: did what is paid for rise, and what is wanted not?"""
    first = {key: mean(log[:window], key) for key in ("score", "reward_mean", "follows")}
    if len(log) < max(TREND, 3 * window) or any(
        part[key] is None for key in first for part in (first, now)
    ):
        return []
    rose = {key: now[key] - first[key] for key in first}
    if rose["score"] > 0.02 or now["score"] >= 0.9:
        return []
    shown = ", ".join(f"{key} {first[key]:.2f} → {now[key]:.2f}" for key in first)
    found = (
        [("reward up, correctness not", ("reward_mean", "score"), shown)]
        if rose["reward_mean"] > 0.1 * recipe.maximum
        else []
    )
    return found + (
        [("format-only learning", ("follows", "score"), shown)] if rose["follows"] > 0.2 else []
    )


def report(log: Sequence[Mapping], recipe: Recipe) -> pd.DataFrame:
    """A row for every verdict there is: what is looked for, and if it was seen when, with evidence and cure; or why it was not judged."""
    seen, unknown = (
        {verdict.name: verdict for verdict in history(log, recipe)},
        unjudged(log, recipe),
    )
    rows = [
        {
            "verdict": name,
            "looked for": rule,
            "seen": f"step {seen[name].step}: {seen[name].evidence}. {cure}"
            if name in seen
            else f"not judged: {unknown[name]}"
            if name in unknown
            else "no",
        }
        for name, (rule, cure) in RULES.items()
    ]
    return pd.DataFrame(rows).set_index("verdict")


def unjudged(log: Sequence[Mapping], recipe: Recipe) -> dict[str, str]:
    """The verdicts that this log says nothing about, and why."""
    grpo = any(line.get("reward_mean") is not None for line in log)
    window = window_of(log[-1], recipe) if grpo else WINDOW
    found = {}
    for name, keys in READS.items():
        needed = (
            0
            if name == "NaN"
            else max(TREND, 3 * window)
            if name == "reward up, correctness not"
            else window
        )
        missing = [key for key in keys if not any(line.get(key) is not None for line in log)]
        if keys and not grpo:
            found[name] = "for GRPO only"
        elif len(log) < needed:
            found[name] = f"it takes {needed} steps"
        elif missing:
            found[name] = f"this log has no {' and '.join(missing)}"
    return found


def duration(minutes: float) -> str:
    """
    >>> duration(0.4), duration(12.2), duration(200)
    ('24 s', '12 min', '3.3 h')
    """
    return (
        f"{60 * minutes:.0f} s"
        if minutes < 2
        else f"{minutes:.0f} min"
        if minutes < 120
        else f"{minutes / 60:.1f} h"
    )
