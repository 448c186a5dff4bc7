"""What the records of an evaluation say: shares with intervals, outcomes, pairs, several tries, and how far agreement can be trusted.

A record is a dictionary, one a completion, with the keys of `evaluation.grade`; drawn answers also carry `sample`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from helpers.answers import hallucinates
from helpers.evaluation import statistics as measures

OUTCOMES = ("correct", "right_wrong_format", "wrong", "no_answer", "truncated")
NEEDED = (
    "id",
    "question",
    "gold",
    "completion",
    "tokens",
    "extracted",
    "flexible_right",
    "score",
    "follows",
    "outcome",
    "reward",
    "rewards",
)
MEASURES = {
    "strict": lambda r: r["outcome"] == "correct",
    "flexible": lambda r: r["flexible_right"],
    "format": lambda r: r["follows"],
    "score": lambda r: r["score"],
    "reward": lambda r: r["reward"],
}
RIGHT = 0  # the vote of a right answer
Same = Callable[
    [str | None, str], float | None
]  # a recipe's score: 1.0 where two answers say the same


def check(records: Sequence[Mapping]) -> None:
    """Raises ValueError, with the cause and the cure, unless these are the whole records of one evaluation."""
    if not records:
        raise ValueError("There are no records to summarise.\nRun the evaluation first.")
    missing = next((key for key in NEEDED for r in records if key not in r), None)
    if missing or not all(r["outcome"] in OUTCOMES for r in records):
        raise ValueError(
            f"These are not records of an evaluation: {missing or 'the outcome'} is missing or unknown.\nEvaluate the model again."
        )
    answers = Counter(r["id"] for r in records)
    seen = Counter((r["id"], r.get("sample")) for r in records)
    twice = next((name for (name, _), count in seen.items() if count > 1), None)
    if twice is not None:
        raise ValueError(
            f"The problem {twice!r} is in these records twice.\nGive each problem an id of its own, and each drawn answer its sample number."
        )
    if len(set(answers.values())) > 1:
        raise ValueError(
            f"Some problems have {max(answers.values())} answers and others {min(answers.values())}.\nThe evaluation is not whole: run it again, it goes on."
        )


def per_problem(records: Sequence[Mapping], key: str = "strict") -> pd.Series:
    """One number a problem, its mean over samples; index: id. key: strict, flexible, format, score, reward, or a reward's name."""
    value = MEASURES.get(key, lambda r: r["rewards"][key])
    table = pd.Series([float(value(r)) for r in records], index=[r["id"] for r in records])
    return table.groupby(level=0).mean()


def summarise(records: Sequence[Mapping]) -> dict:
    """n problems; strict, flexible, format, score, total reward and each reward (under `rewards`) with 95 % intervals; outcomes (they sum to the
    completions); tokens, and tokens of each outcome that occurs; hallucination rate."""
    check(records)
    counts = Counter(r["outcome"] for r in records)
    return {
        "n": len({r["id"] for r in records}),
        "completions": len(records),
        **{key: measures.share(per_problem(records, key)) for key in MEASURES},
        "rewards": {
            name: measures.share(per_problem(records, name)) for name in records[0]["rewards"]
        },
        "outcomes": {name: counts[name] for name in OUTCOMES},
        "tokens": float(np.mean([r["tokens"] for r in records])),
        "tokens_by_outcome": {
            name: float(np.mean([r["tokens"] for r in records if r["outcome"] == name]))
            for name in OUTCOMES
            if counts[name]
        },
        "hallucination": float(
            np.mean([hallucinates(r["question"], r["completion"]) for r in records])
        ),
    }


def compare(
    before: Sequence[Mapping], after: Sequence[Mapping], key: str = "strict", seed: int = 0
) -> dict:
    """Two evaluations of the same problems, paired, as `measures.paired` has it. Raises ValueError if the problems differ."""
    check(before)
    check(after)
    a, b = per_problem(before, key), per_problem(after, key)
    if set(a.index) != set(b.index):
        raise ValueError(
            f"The evaluations are of different problems ({len(a)} and {len(b)}, {len(set(a.index) & set(b.index))} in common).\n"
            "Evaluate both on the same problems."
        )
    golds = {r["id"]: (r["question"], r["gold"]) for r in before}
    changed = next((r["id"] for r in after if golds[r["id"]] != (r["question"], r["gold"])), None)
    if changed is not None:
        raise ValueError(
            f"The problem {changed!r} is not the same in both evaluations.\nEvaluate both on the same problems."
        )
    return measures.paired(a, b.reindex(a.index), seed)


def votes(records: Sequence[Mapping], same: Same) -> dict[str, list[int | None]]:
    """For each problem, a number for each of its answers: 0 for right ones, else equal where `same` says that the answers are; None where
    there is none that is in its place, in a reply that has the whole shape and is finished.

    Right ones stand alone because `same` need not be transitive: 50 % is 50 and 0.5, which are not each other.
    """
    found: dict[str, list[int | None]] = {}
    kinds: dict[str, list[str]] = {}
    for record in records:
        known = kinds.setdefault(record["id"], [])
        answer = (
            record["extracted"] if record["follows"] and record["outcome"] != "truncated" else None
        )
        kind = (
            None
            if answer is None
            else RIGHT
            if record["score"] == 1.0
            else next(
                (
                    i
                    for i, other in enumerate(known, 1)
                    if answer == other or same(answer, other) == 1.0
                ),
                len(known) + 1,
            )
        )
        if kind == len(known) + 1:
            known.append(answer)
        found.setdefault(record["id"], []).append(kind)
    return found


def tries(records: Sequence[Mapping], same: Same) -> dict[str, dict[str, dict]]:
    """`pass` and `majority` at k = 1 … samples, each with its 95 % interval over problems; keys "1", "2", ….

    pass: at least one of k answers is strictly right. majority: the most frequent answer of k is. At k = 1 both are strict accuracy.
    """
    check(records)
    groups = dict(sorted(grouped(records).items()))
    voted, n = votes(records, same), len(next(iter(groups.values())))
    correct = {
        name: sum(r["outcome"] == "correct" for r in group) for name, group in groups.items()
    }
    return {
        "pass": {
            str(k): measures.share(
                pd.Series([measures.pass_at_k(n, c, k) for c in correct.values()])
            )
            for k in range(1, n + 1)
        },
        "majority": {
            str(k): measures.share(
                pd.Series([measures.majority_at_k(voted[name], RIGHT.__eq__, k) for name in groups])
            )
            for k in range(1, n + 1)
        },
    }


def agreement(records: Sequence[Mapping], same: Same) -> dict:
    """How far agreement among a problem's samples tells that its most frequent answer is right.

    Returns `levels`, one for each share of agreeing samples, with n and the share of right answers. Several equally frequent answers
    count by their share; the 95 % Wilson interval is that of the nearest whole number of right ones.
    """
    check(records)
    rows = []
    voted = votes(records, same)
    for name, group in grouped(records).items():
        counts = Counter(vote for vote in voted[name] if vote is not None)
        rows.append(
            (
                max(counts.values(), default=0) / len(group),
                measures.right_of_most(voted[name], RIGHT.__eq__),
            )
        )
    levels = []
    for level, part in pd.DataFrame(rows, columns=["agreement", "right"]).groupby("agreement")[
        "right"
    ]:
        low, high = measures.wilson(round(part.sum()), len(part))
        levels.append(
            {
                "agreement": float(level),
                "n": len(part),
                "right": float(part.mean()),
                "low": low,
                "high": high,
            }
        )
    return {"levels": levels}


def grouped(records: Sequence[Mapping]) -> dict[str, list[Mapping]]:
    """The records of each problem, by id, in their order."""
    groups: dict[str, list[Mapping]] = {}
    for record in records:
        groups.setdefault(record["id"], []).append(record)
    return groups


def results(found: Mapping[str, tuple[Sequence[Mapping], Sequence[Mapping]]], same: Same) -> dict:
    """What `summary.json` holds of each model's greedy and sampled records: summaries, several tries, agreement, and each
    model's strict sampled accuracy against that of the one before."""
    order = list(found)
    return {
        "greedy": {name: summarise(greedy) for name, (greedy, _) in found.items()},
        "sampled": {name: summarise(sampled) for name, (_, sampled) in found.items()},
        "tries": {name: tries(sampled, same) for name, (_, sampled) in found.items()},
        "agreement": {name: agreement(sampled, same) for name, (_, sampled) in found.items()},
        "compare": {
            f"{a} → {b}": compare(found[a][1], found[b][1])
            for a, b in zip(order, order[1:], strict=False)
        },
    }


def show(summaries: Mapping[str, dict]) -> pd.DataFrame:
    """A table for people: a row a model, shares in percent with their 95 % intervals."""
    return pd.DataFrame(
        {
            name: {
                "strict": percent(s["strict"]),
                "flexible": percent(s["flexible"]),
                "format": percent(s["format"]),
                "n": s["n"],
                "tokens": f"{s['tokens']:.0f}",
                "hallucinated": f"{s['hallucination']:.1%}",
            }
            for name, s in summaries.items()
        }
    ).T


def show_rewards(summaries: Mapping[str, dict]) -> pd.DataFrame:
    """A table for people: a row a model, the mean of each reward and of their weighted sum with 95 % intervals."""

    def cell(part: dict) -> str:
        return f"{part['value']:.2f} [{part['low']:.2f}, {part['high']:.2f}]"

    return pd.DataFrame(
        {
            name: {
                **{reward: cell(part) for reward, part in s["rewards"].items()},
                "total": cell(s["reward"]),
            }
            for name, s in summaries.items()
        }
    ).T


def show_tries(found: Mapping[str, dict]) -> pd.DataFrame:
    """A table for people: a row a model, pass@k and majority@k with 95 % intervals."""
    return pd.DataFrame(
        {
            name: {
                f"{kind}@{k}": percent(part)
                for kind, parts in both.items()
                for k, part in parts.items()
            }
            for name, both in found.items()
        }
    ).T


def show_control(found: Mapping[str, Mapping]) -> pd.DataFrame:
    """A table for people: a row a model and a kind of control problems, how much better or worse it does on them than on the recipe's own."""
    return pd.DataFrame(
        {
            f"{name}, {kind}": {"difference": points(c), "n": c["n"]}
            for name, parts in found.items()
            for kind, c in parts.items()
        }
    ).T


def points(change: Mapping[str, float]) -> str:
    """A difference of shares, in percentage points.

    >>> points({"difference": 0.412, "low": 0.352, "high": 0.47})
    '+41.2 points [+35.2, +47.0]'
    """
    return f"{100 * change['difference']:+.1f} points [{100 * change['low']:+.1f}, {100 * change['high']:+.1f}]"


def percent(part: Mapping[str, float]) -> str:
    return f"{part['value']:.1%} [{part['low']:.1%}, {part['high']:.1%}]"
