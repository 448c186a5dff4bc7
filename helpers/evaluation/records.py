"""What an evaluation's records say: shares with intervals, pairs, tries, agreement, and tables.

The unit is the problem: its drawn answers are averaged first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from helpers.answers import hallucinates
from helpers.evaluation import statistics
from helpers.evaluation.grading import Record

OUTCOMES = ("correct", "right_wrong_format", "wrong", "no_answer", "truncated")
MEASURES = ("strict", "flexible", "format", "score", "reward")
RIGHT = 0  # the vote of a right answer
Same = Callable[[str, str], float | None]  # a recipe's score: 1.0 where two answers say the same
Records = Sequence[Record]
Answers = tuple[Records, Records]  # greedy and drawn ones


def by_problem(records: Records) -> pd.DataFrame:
    """A row a problem, sorted by id, with the mean of each measure and reward over its answers."""
    rows = []
    for record in records:
        measures = {
            "strict": record.outcome == "correct",
            "flexible": record.flexible_right,
            "format": record.follows,
            "score": record.score,
            "reward": record.reward,
        }
        rows.append({**record.rewards, **measures})
    index = [record.id for record in records]
    return pd.DataFrame(rows, index, dtype=float).groupby(level=0).mean()


def per_problem(records: Records, key: str = "strict") -> pd.Series:
    """One number a problem: strict, flexible, format, score, reward, or a reward by its name."""
    return by_problem(records)[key]


def summarise(records: Records) -> dict:
    """n problems, shares and mean rewards with intervals, outcomes, tokens, hallucination rate."""
    problems = by_problem(records)
    outcomes = Counter(record.outcome for record in records)
    tokens = pd.Series([r.tokens for r in records]).groupby([r.outcome for r in records]).mean()
    invented = [hallucinates(record.question, record.completion) for record in records]
    return {
        "n": len(problems),
        "completions": len(records),
        **{key: statistics.share(problems[key]) for key in MEASURES},
        "rewards": {name: statistics.share(problems[name]) for name in records[0].rewards},
        "outcomes": {name: outcomes[name] for name in OUTCOMES},
        "tokens": float(np.mean([record.tokens for record in records])),
        "tokens_by_outcome": {name: tokens[name] for name in OUTCOMES if name in tokens},
        "hallucination": float(np.mean(invented)),
    }


def compare(before: Records, after: Records, key: str = "strict") -> dict:
    """Two evaluations in pairs, as `statistics.paired`; ValueError if the problems differ."""
    first = {(record.id, record.question, record.gold) for record in before}
    second = {(record.id, record.question, record.gold) for record in after}
    if first != second:
        counts = f"{len(first)} and {len(second)}, {len(first & second)} in common"
        cure = "Evaluate both on the same problems."
        raise ValueError(f"The evaluations are of different problems ({counts}).\n{cure}")
    return statistics.paired(per_problem(before, key), per_problem(after, key))


def votes(records: Records, same: Same) -> dict[str, list[int | None]]:
    """For each problem the votes of its answers: 0 for right ones, 1, 2, … for each other one.

    None where a reply is cut off, out of shape or without an answer. Right ones stand alone because
    `same` need not be transitive: 50 % is 50 and 0.5, which are not each other.
    """
    found, others = {}, {}
    for record in records:
        known = others.setdefault(record.id, [])
        found.setdefault(record.id, []).append(vote(record, known, same))
    return found


def vote(record: Record, known: list[str], same: Same) -> int | None:
    """One answer's vote; a wrong one that is none of the known ones joins them."""
    answer = record.extracted
    if answer is None or not record.follows or not record.finished:
        return None
    if record.score == 1.0:
        return RIGHT
    for number, other in enumerate(known, 1):
        if answer == other or same(answer, other) == 1.0:
            return number
    known.append(answer)
    return len(known)


def tries(records: Records, same: Same) -> dict[str, dict[str, dict]]:
    """`pass` and `majority` at k = "1", "2", …, each with its 95 % interval over problems.

    pass: at least one of k answers is strictly right. majority: the most frequent answer of k is.
    """
    voted = votes(records, same)
    problems = sorted(voted)
    correct = Counter(record.id for record in records if record.outcome == "correct")
    samples = len(voted[problems[0]])
    found = {"pass": {}, "majority": {}}
    for k in range(1, samples + 1):
        passed = [statistics.pass_at_k(samples, correct[p], k) for p in problems]
        agreed = [statistics.majority_at_k(voted[p], RIGHT.__eq__, k) for p in problems]
        found["pass"][str(k)] = statistics.share(pd.Series(passed))
        found["majority"][str(k)] = statistics.share(pd.Series(agreed))
    return found


def agreement(records: Records, same: Same) -> dict:
    """Whether agreement among a problem's samples tells that its most frequent answer is right.

    `levels`: for each share of agreeing samples n, and the share of right answers, ties by their
    share, with the Wilson interval of the nearest whole number of right ones.
    """
    rows = []
    for answers in votes(records, same).values():
        counts = Counter(answer for answer in answers if answer is not None)
        agreeing = max(counts.values(), default=0) / len(answers)
        right = statistics.right_of_most(answers, RIGHT.__eq__)
        rows.append({"agreement": agreeing, "right": right})
    levels = []
    for level, part in pd.DataFrame(rows).groupby("agreement")["right"]:
        low, high = statistics.wilson(round(part.sum()), len(part))
        right = {"right": float(part.mean()), "low": low, "high": high}
        levels.append({"agreement": float(level), "n": len(part), **right})
    return {"levels": levels}


def results(found: Mapping[str, Answers], same: Same) -> dict:
    """What summary.json holds of each model's records, and of each against the one before."""
    all_of = {"greedy": {}, "sampled": {}, "tries": {}, "agreement": {}, "compare": {}}
    before = None
    for name, (greedy, sampled) in found.items():
        all_of["greedy"][name] = summarise(greedy)
        all_of["sampled"][name] = summarise(sampled)
        all_of["tries"][name] = tries(sampled, same)
        all_of["agreement"][name] = agreement(sampled, same)
        if before:
            change = compare(found[before][1], sampled)
            all_of["compare"][f"{before} → {name}"] = change
        before = name
    return all_of


def show(summaries: Mapping[str, dict]) -> pd.DataFrame:
    """A table for people: a row a model, shares with their 95 % intervals."""
    rows = {}
    for name, summary in summaries.items():
        rows[name] = {key: percent(summary[key]) for key in ("strict", "flexible", "format")}
        rows[name]["n"] = summary["n"]
        rows[name]["tokens"] = f"{summary['tokens']:.0f}"
        rows[name]["hallucinated"] = f"{summary['hallucination']:.1%}"
    return pd.DataFrame(rows).T


def show_rewards(summaries: Mapping[str, dict]) -> pd.DataFrame:
    """A row a model: the mean of each reward and of their weighted sum with 95 % intervals."""
    rows = {}
    for name, summary in summaries.items():
        parts = summary["rewards"] | {"total": summary["reward"]}
        rows[name] = {reward: interval(part) for reward, part in parts.items()}
    return pd.DataFrame(rows).T


def show_tries(found: Mapping[str, dict]) -> pd.DataFrame:
    """A row a model: pass@k and majority@k with 95 % intervals."""
    rows = {name: {} for name in found}
    for name, kinds in found.items():
        for kind, parts in kinds.items():
            rows[name] |= {f"{kind}@{k}": percent(part) for k, part in parts.items()}
    return pd.DataFrame(rows).T


def show_control(found: Mapping[str, Mapping]) -> pd.DataFrame:
    """A row a model and kind of control problems: how much better it does on them."""
    rows = {}
    for name, kinds in found.items():
        for kind, change in kinds.items():
            rows[f"{name}, {kind}"] = {"difference": points(change), "n": change["n"]}
    return pd.DataFrame(rows).T


def points(change: Mapping[str, float]) -> str:
    """A difference of shares, in percentage points.

    >>> points({"difference": 0.412, "low": 0.352, "high": 0.47})
    '+41.2 points [+35.2, +47.0]'
    """
    difference, low, high = (100 * change[key] for key in ("difference", "low", "high"))
    return f"{difference:+.1f} points [{low:+.1f}, {high:+.1f}]"


def percent(part: Mapping[str, float]) -> str:
    return f"{part['value']:.1%} [{part['low']:.1%}, {part['high']:.1%}]"


def interval(part: Mapping[str, float]) -> str:
    return f"{part['value']:.2f} [{part['low']:.2f}, {part['high']:.2f}]"
