"""The statistics of an evaluation: shares and means with intervals, pairs, tries, and sizes.

Sources: Wilson (1927) for shares; Miller, "Adding Error Bars to Evals" (2024), for problems as the
unit and pairs; Zou and Donner (2008) for sets of different problems; Chen et al. (2021) for pass@k;
Connor (1987) for the size of a paired comparison.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from statistics import multimode

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint, samplesize_proportions_2indep_onetail

RESAMPLES, PERMUTATIONS = 2000, 9999
FEW = 12  # problems that differ: the signs of so many are tried in every combination
SUBSETS = 5000  # of a problem's answers: up to so many are all counted, of more a draw
POWER, LEVEL = 0.8, 0.05  # of the test that `problems_needed` plans


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share, which stays sensible at 0 and at n.

    >>> [round(x, 3) for x in wilson(7, 10)]
    [0.397, 0.892]
    """
    low, high = proportion_confint(successes, n, method="wilson")
    return float(low), float(high)


def interval_of_mean(
    values: Sequence[float], least: float = 0.0, most: float = 1.0
) -> tuple[float, float]:
    """The 95 % bootstrap interval of a mean over problems.

    A bootstrap takes equal values for certain, so they get an interval of their own: by the largest
    share of problems that n of them can miss in one case of 40, with values of `least` or `most`.
    """
    values = np.asarray(values, dtype=float)
    if np.ptp(values) == 0:
        value = float(values.mean())
        missed = 1 - 0.025 ** (1 / len(values))
        low = value - missed * (value - min(value, least))
        return low, value + missed * (max(value, most) - value)
    rng = np.random.default_rng(0)
    found = stats.bootstrap((values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=rng)
    low, high = found.confidence_interval
    return float(low), float(high)


def share(values: Sequence[float], span: tuple[float, float] = (0, 1)) -> dict[str, float]:
    """A mean over problems: Wilson's interval where each counts 0 or 1, else a bootstrap.

    span: the least and the most that a value can be.
    """
    if span == (0, 1) and set(values) <= {0.0, 1.0}:
        low, high = wilson(int(sum(values)), len(values))
    else:
        low, high = interval_of_mean(values, *span)
    return {"value": float(np.mean(values)), "low": low, "high": high}


def paired(before: pd.Series, after: pd.Series) -> dict:
    """Two series over the same problems, compared problem by problem.

    Returns n, the difference of the means with its 95 % interval, and p: of exact McNemar where
    each problem counts 0 or 1 (with the 2×2 `table`), else of a permutation test.
    """
    low, high = interval_of_mean(after - before, least=-1.0)
    difference = float((after - before).mean())
    found = {"n": len(before), "difference": difference, "low": low, "high": high}
    if not {*before, *after} <= {0.0, 1.0}:
        return found | {"p": paired_p(before, after)}
    count = Counter(zip(before, after, strict=True))
    table = {
        "both": count[1, 1],
        "only_before": count[1, 0],
        "only_after": count[0, 1],
        "neither": count[0, 0],
    }
    test = mcnemar(np.reshape(list(table.values()), (2, 2)), exact=True)
    return found | {"p": float(test.pvalue), "table": table}


def paired_p(before: pd.Series, after: pd.Series) -> float:
    """The two-sided p of random signs of the differences; 1 of one problem, which says nothing."""
    differs = before != after
    if differs.sum() <= FEW:
        before, after = before[differs], after[differs]
    if len(before) < 2:
        return 1.0
    test = stats.permutation_test(
        (after.to_numpy(), before.to_numpy()),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=PERMUTATIONS,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def apart(one: pd.Series, other: pd.Series) -> dict[str, float]:
    """The means' difference over different problems: Newcombe's hybrid of both intervals."""
    a, a_low, a_high = share(one).values()
    b, b_low, b_high = share(other).values()
    difference = b - a
    down = math.hypot(a_high - a, b - b_low)
    up = math.hypot(a - a_low, b_high - b)
    return {"difference": difference, "low": difference - down, "high": difference + up}


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The unbiased chance that one or more of k answers is right, from n drawn ones.

    >>> round(pass_at_k(4, 1, 2), 3)
    0.5
    """
    return 1.0 - float(np.prod([(n - correct - i) / (n - i) for i in range(k)]))


def majority_at_k(votes: Sequence[Hashable], right: Callable[[Hashable], bool], k: int) -> float:
    """The chance that the most frequent of k answers is right, over all choices from `votes`.

    votes: a problem's answers; None has no vote. A tie counts by its share of right answers.

    >>> round(majority_at_k(["7", "7", "8", None], lambda answer: answer == "7", 3), 3)
    0.75
    """
    subsets = itertools.combinations(votes, k)
    if math.comb(len(votes), k) > SUBSETS:
        rng = np.random.default_rng(0)
        draws = [rng.choice(len(votes), k, replace=False) for _ in range(SUBSETS)]
        subsets = [[votes[i] for i in draw] for draw in draws]
    chances = []
    for subset in subsets:
        first = multimode(vote for vote in subset if vote is not None)
        chances.append(sum(map(right, first)) / max(1, len(first)))
    return float(np.mean(chances))


def problems_needed(before: float, after: float, differing: float | None = None) -> int:
    """How many problems show the step between two shares with 80 % power at the 5 % level.

    differing: the share of problems on which one of the models alone is right, for a comparison in
    pairs (McNemar); None for two sets of problems, each of that size.
    Raises ValueError for shares that are equal, or that no such share can bring so far apart.

    >>> problems_needed(0.70, 0.75), problems_needed(0.70, 0.75, differing=0.15)
    (1251, 469)
    """
    least, most = sorted((before, after))
    step = most - least
    if not step or (differing is not None and differing < step):
        raise ValueError(
            f"No number of problems shows a step from {before} to {after}.\n"
            "Give two different shares, and as differing at least what is between them."
        )
    if differing is None:
        return math.ceil(samplesize_proportions_2indep_onetail(step, least, POWER, alpha=LEVEL))
    level, reach = stats.norm.ppf(1 - LEVEL / 2), stats.norm.ppf(POWER)
    spread = level * math.sqrt(differing) + reach * math.sqrt(differing - step**2)
    return math.ceil(spread**2 / step**2)
