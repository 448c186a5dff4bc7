"""The statistics of an evaluation, on plain numbers: shares and means with intervals, pairs, several tries, and how many problems it takes.

statsmodels and scipy do the work. Sources: Wilson (1927) for shares; Miller, "Adding Error Bars to Evals" (2024), for problems as
the unit and pairs; Chen et al. (2021) for pass@k; Connor (1987) for the size of a paired comparison.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint, samplesize_proportions_2indep_onetail

RESAMPLES = 2000
SUBSETS = 5000  # of the answers to a problem; up to this many are all counted, of more a draw


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share, which stays sensible at 0 and at n.

    >>> [round(x, 3) for x in wilson(7, 10)]
    [0.397, 0.892]
    """
    low, high = proportion_confint(successes, n, method="wilson")
    return float(low), float(high)


def interval_of_mean(
    values: Sequence[float], seed: int = 0, least: float | None = None
) -> tuple[float, float]:
    """The 95 % bootstrap interval of a mean over problems. Where all are equal, which a bootstrap takes for certain: what a share of unlike
    problems that n tries can miss would change, for values from `least` (by default 0, or -1 where they are negative) to 1.

    >>> [round(x, 2) for x in interval_of_mean([0.5] * 20)], [round(x, 2) for x in interval_of_mean([-1.0] * 5)]
    ([0.42, 0.58], [-1.0, 0.04])
    """
    values = np.asarray(values, dtype=float)
    if np.ptp(values) == 0:
        value, missed = float(values.mean()), 1 - 0.025 ** (1 / len(values))
        lowest = (-1.0 if value < 0 else 0.0) if least is None else least
        return value - missed * (value - min(value, lowest)), value + missed * (
            max(value, 1.0) - value
        )
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(seed),
        method="percentile",
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def share(values: pd.Series) -> dict[str, float]:
    """A mean over problems with its interval: Wilson's where each problem counts 0 or 1, bootstrap over problems where it is a mean."""
    low, high = (
        wilson(int(values.sum()), len(values)) if is_whole(values) else interval_of_mean(values)
    )
    return {"value": float(values.mean()), "low": low, "high": high}


def is_whole(*series: pd.Series) -> bool:
    return all(set(values.unique()) <= {0.0, 1.0} for values in series)


def paired(before: pd.Series, after: pd.Series, seed: int = 0) -> dict:
    """Two series over the same problems, compared problem by problem.

    Returns n, the difference of the means with its 95 % bootstrap interval over problems, and p: exact McNemar where each problem
    counts 0 or 1 (with the 2×2 `table`: both, only before, only after, neither), else a paired permutation test.
    """
    low, high = interval_of_mean(after - before, seed, least=-1.0)
    result = {
        "n": len(before),
        "difference": float((after - before).mean()),
        "low": low,
        "high": high,
    }
    if not is_whole(before, after):
        return result | {"p": paired_p(before, after, seed)}
    both, lost, won = (
        int((before * after).sum()),
        int((before * (1 - after)).sum()),
        int(((1 - before) * after).sum()),
    )
    table = {
        "both": both,
        "only_before": lost,
        "only_after": won,
        "neither": len(before) - both - lost - won,
    }
    return result | {
        "p": float(mcnemar([[both, lost], [won, table["neither"]]], exact=True).pvalue),
        "table": table,
    }


def paired_p(before: pd.Series, after: pd.Series, seed: int = 0) -> float:
    """The two-sided p of a paired permutation test: how often would random signs of the differences give one as large? With over 13
    problems 0.0002 is the least it can say. One problem alone says nothing: 1."""
    if len(before) < 2:
        return 1.0
    test = stats.permutation_test(
        (after.to_numpy(), before.to_numpy()),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=9999,
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)


def apart(one: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """The mean of `other` minus that of `one`, for two different sets of problems, with the 95 % interval that follows from those of both
    (Newcombe's hybrid; Zou and Donner, 2008)."""
    one, other = share(pd.Series(one, dtype=float)), share(pd.Series(other, dtype=float))
    difference = other["value"] - one["value"]
    return {
        "difference": difference,
        "low": difference - math.hypot(one["high"] - one["value"], other["value"] - other["low"]),
        "high": difference + math.hypot(one["value"] - one["low"], other["high"] - other["value"]),
    }


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The unbiased chance that at least one of k answers is right, from n drawn answers. Source: Chen et al., 2021.

    >>> round(pass_at_k(4, 1, 2), 3)
    0.5
    """
    check_k(n, k)
    return 1.0 - float(np.prod([(n - correct - i) / (n - i) for i in range(k)]))


def majority_at_k(
    votes: Sequence[Hashable], right: Callable[[Hashable], bool], k: int, seed: int = 0
) -> float:
    """The chance that the most frequent of k answers is right, over all choices of k from the drawn ones.

    votes: one answer a sample, equal answers equal; None has no vote. A tie counts by the share of right answers in it.

    >>> round(majority_at_k(["7", "7", "8", None], lambda answer: answer == "7", 3), 3)
    0.75
    """
    check_k(len(votes), k)
    subsets = itertools.combinations(votes, k)
    if math.comb(len(votes), k) > SUBSETS:
        rng = np.random.default_rng(seed)
        subsets = (
            [votes[i] for i in rng.choice(len(votes), k, replace=False)] for _ in range(SUBSETS)
        )
    return float(np.mean([right_of_most(subset, right) for subset in subsets]))


def right_of_most(votes: Sequence[Hashable], right: Callable[[Hashable], bool]) -> float:
    counts = Counter(vote for vote in votes if vote is not None)
    first = [vote for vote, count in counts.items() if count == max(counts.values())]
    return float(np.mean([right(vote) for vote in first])) if first else 0.0


def check_k(n: int, k: int) -> None:
    if not 1 <= k <= n:
        raise ValueError(
            f"{k} tries need at least {k} samples a problem; there are {n}.\nDraw more samples."
        )


def problems_needed(
    before: float,
    after: float,
    differing: float | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
) -> int:
    """How many problems it takes to see the step from one share to another, at this power and level, two-sided.

    differing: the share of problems on which exactly one of the two models is right, for a comparison in pairs (McNemar); None for
    two separate sets of problems, then n is that of each.

    >>> problems_needed(0.70, 0.75), problems_needed(0.70, 0.75, differing=0.15)
    (1251, 469)
    """
    difference = abs(after - before)
    if not (0 <= before <= 1 and 0 <= after <= 1 and difference):
        raise ValueError(
            f"The shares are {before} and {after}.\nGive two different ones between 0 and 1."
        )
    if differing is None:
        return math.ceil(
            samplesize_proportions_2indep_onetail(
                difference, min(before, after), power, alpha=alpha
            )
        )
    if not difference <= differing <= 1:
        raise ValueError(
            f"{differing} of the problems cannot differ where the shares differ by {difference:.3f}.\nIt is at least the difference, and at most 1."
        )
    z, reach = stats.norm.ppf(1 - alpha / 2), stats.norm.ppf(power)
    return math.ceil(
        (z * math.sqrt(differing) + reach * math.sqrt(differing - difference**2)) ** 2
        / difference**2
    )
