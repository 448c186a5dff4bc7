"""The statistics: against brute force and by simulation. An interval of 95 % covers in 94 to 96 %, a test at 5 % errs in 5 % at most."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from helpers.evaluation import statistics as measures

LOOPS = 2000  # a share near 0.95 is then known to ± 1 point


def coverage(draw, truth, interval):
    rng = np.random.default_rng(5)
    return np.mean(
        [low <= truth <= high for low, high in (interval(draw(rng)) for _ in range(LOOPS))]
    )


def test_wilson_covers_the_truth():
    """The chance, computed exactly, that the interval of n draws holds the true rate: 95 % on average over true rates."""
    for n in (50, 100, 400):
        intervals = [measures.wilson(k, n) for k in range(n + 1)]
        covers = [
            sum(
                binom.pmf(k, n, truth)
                for k, (low, high) in enumerate(intervals)
                if low <= truth <= high
            )
            for truth in np.linspace(0.05, 0.95, 91)
        ]
        assert 0.94 < np.mean(covers) < 0.96 and min(covers) > 0.9


def means_of_samples(rng, n=100):
    """Problems of different difficulty, four answers each."""
    return rng.binomial(4, rng.beta(0.8, 0.6, n)) / 4


def partial_credit(rng, n=100):
    """Scores as EED gives them: nothing, everything, or something between."""
    kind = rng.random(n)
    return np.where(kind < 0.25, 1.0, np.where(kind < 0.6, 0.6 * rng.random(n), 0.0))


def paired_differences(rng, n=100):
    kind = rng.random(n)
    return np.where(kind < 0.25, 0.25, np.where(kind < 0.4, -0.5, np.where(kind < 0.5, 0.75, 0.0)))


@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (means_of_samples, 0.8 / 1.4),
        (partial_credit, 0.25 + 0.35 * 0.3),
        (paired_differences, 0.0625 - 0.075 + 0.075),
    ],
)
def test_bootstrap_intervals_cover_the_truth(draw, truth, monkeypatch):
    monkeypatch.setattr(measures, "RESAMPLES", 1000)  # for speed; the real number is larger
    assert 0.94 <= coverage(draw, truth, measures.interval_of_mean) <= 0.96


def test_the_interval_between_two_sets_covers_the_truth(monkeypatch):
    monkeypatch.setattr(measures, "RESAMPLES", 500)

    def interval(pair):
        found = measures.apart(*pair)
        return found["low"], found["high"]

    assert (
        0.94
        <= coverage(
            lambda rng: (means_of_samples(rng, 150), partial_credit(rng)),
            0.25 + 0.35 * 0.3 - 0.8 / 1.4,
            interval,
        )
        <= 0.96
    )


@pytest.mark.parametrize("differing", [0.05, 0.2, 0.5])
def test_the_paired_test_errs_in_five_percent_at_most(differing):
    """Two models that are equally good, on 100 problems: how often does exact McNemar say that they are not?"""
    rng, errors = np.random.default_rng(1), 0
    for _ in range(LOOPS):
        kind = rng.random(100)
        before, after = pd.Series((kind < 0.5).astype(float)), pd.Series((kind < 0.5).astype(float))
        swap = rng.random(100) < differing
        first = rng.random(100) < 0.5
        before[swap], after[swap] = first[swap].astype(float), (~first[swap]).astype(float)
        both, lost, won = (
            (before * after).sum(),
            (before * (1 - after)).sum(),
            ((1 - before) * after).sum(),
        )
        errors += (
            measures.mcnemar([[both, lost], [won, 100 - both - lost - won]], exact=True).pvalue
            <= 0.05
        )
    assert errors / LOOPS <= 0.05


def test_the_permutation_test_errs_in_five_percent_at_most():
    """In 200 loops, five percent are 10 ± 3.1."""
    rng, errors = np.random.default_rng(2), 0
    for _ in range(200):
        difficulty = rng.beta(0.8, 0.6, 60)
        errors += (
            measures.paired_p(*(pd.Series(rng.binomial(4, difficulty) / 4) for _ in range(2)))
            <= 0.05
        )
    assert errors <= 10 + 2 * 3.1


def test_paired_is_mcnemar_for_shares_and_a_permutation_for_means():
    before, after = (
        pd.Series([1.0] * 10 + [0.0] * 40),
        pd.Series([1.0] * 8 + [0.0] * 2 + [1.0] * 12 + [0.0] * 28),
    )
    found = measures.paired(before, after)
    assert found["table"] == {
        "both": 8,
        "only_before": 2,
        "only_after": 12,
        "neither": 28,
    } and found["difference"] == pytest.approx(0.2)
    assert found["p"] == pytest.approx(2 * binom.cdf(2, 14, 0.5))
    assert "table" not in measures.paired(before, after / 2)


def test_one_problem_and_equal_problems_are_not_taken_for_certain():
    one = measures.paired(pd.Series([0.5]), pd.Series([0.25]))
    assert one["p"] == 1.0 and one["low"] < -0.9 and one["high"] > 0.9
    few = measures.paired(pd.Series([0.0] * 5), pd.Series([1.0] * 5))
    assert few["difference"] == few["high"] == 1.0 and few["low"] < 0.5 and few["p"] == 0.0625
    apart = measures.apart([0.5], [0.0, 1.0, 0.5])
    assert apart["low"] < -0.4 < 0.0 == apart["difference"] < 0.4 < apart["high"]


@pytest.mark.parametrize(
    ("n", "correct", "k"),
    [(4, 1, 2), (5, 3, 2), (6, 0, 3), (6, 6, 3), (7, 2, 7), (16, 5, 8), (12, 11, 6)],
)
def test_pass_at_k_equals_brute_force(n, correct, k):
    draws = itertools.combinations([1] * correct + [0] * (n - correct), k)
    assert measures.pass_at_k(n, correct, k) == pytest.approx(
        np.mean([any(d) for d in draws]), abs=1e-12
    )


@pytest.mark.parametrize(
    "votes",
    [
        ["a", "a", "b", None],
        ["b", "b", "a", "c", "a"],
        [None, None],
        ["a"],
        ["b", "c", "d", "a", "a", None],
    ],
)
def test_majority_at_k_equals_brute_force(votes):
    for k in range(1, len(votes) + 1):
        expected = []
        for subset in itertools.combinations(votes, k):
            given = [v for v in subset if v is not None]
            top = max((given.count(v) for v in given), default=0)
            winners = sorted({v for v in given if given.count(v) == top})
            expected.append(winners.count("a") / len(winners) if winners else 0.0)
        assert measures.majority_at_k(votes, "a".__eq__, k) == pytest.approx(
            np.mean(expected), abs=1e-12
        )


def test_many_samples_are_voted_on_by_a_draw():
    votes = ["a"] * 14 + ["b"] * 16
    assert (
        0.3 < measures.majority_at_k(votes, "a".__eq__, 15) < 0.45
    )  # C(30, 15) subsets are too many to count


@pytest.mark.parametrize("k", [0, 5, -1])
def test_more_tries_than_samples_are_refused(k):
    for ask in (
        lambda: measures.pass_at_k(4, 1, k),
        lambda: measures.majority_at_k(["a"] * 4, bool, k),
    ):
        with pytest.raises(
            ValueError, match="need at least .* samples a problem; there are 4.\nDraw more samples"
        ):
            ask()


def test_so_many_problems_show_the_step():
    """With the number that it says, the test finds the step in 80 % of simulations (McNemar's exact test in a little less)."""
    n, rng = measures.problems_needed(0.5, 0.65, differing=0.35), np.random.default_rng(3)
    found = []
    for _ in range(LOOPS):
        won = rng.multinomial(n, [0.25, 0.10, 0.65])
        found.append(measures.mcnemar([[0, won[1]], [won[0], won[2]]], exact=True).pvalue <= 0.05)
    assert 0.74 < np.mean(found) < 0.83
    m = measures.problems_needed(0.5, 0.65)
    from statsmodels.stats.proportion import test_proportions_2indep

    shown = [
        test_proportions_2indep(
            *(
                int(x)
                for pair in zip(rng.binomial(m, (0.5, 0.65)), (m, m), strict=True)
                for x in pair
            )
        ).pvalue
        <= 0.05
        for _ in range(1000)
    ]
    assert 0.76 < np.mean(shown) < 0.84 and n < m


def test_steps_that_cannot_be_are_refused():
    for before, after, differing in (
        (0.5, 0.5, None),
        (0.5, 1.2, None),
        (0.5, 0.7, 0.1),
        (0.5, 0.7, 1.5),
    ):
        with pytest.raises(ValueError, match="\n"):
            measures.problems_needed(before, after, differing)


def test_equal_results_are_as_likely_worse_as_better():
    import pandas as pd

    same = measures.paired(
        pd.Series([1.0, 0.0, 1.0, 1.0, 0.0]), pd.Series([1.0, 0.0, 1.0, 1.0, 0.0])
    )
    assert (
        same["difference"] == 0
        and same["low"] == pytest.approx(-same["high"])
        and same["high"] == pytest.approx(0.522, abs=1e-3)
    )
