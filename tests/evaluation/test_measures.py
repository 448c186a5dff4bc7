"""The statistics against brute force; intervals of 95 % and tests at 5 % by simulation."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from statsmodels.stats.proportion import test_proportions_2indep as test_of_two

from helpers.evaluation import statistics as measures

LOOPS = 2000  # a share near 0.95 is then known to ± 1 point
test_of_two.__test__ = False


def test_wilson_covers_the_truth():
    """The exact chance that the interval of n draws holds the true rate, on average over rates."""
    for n in (50, 100, 400):
        low, high = np.array([measures.wilson(k, n) for k in range(n + 1)]).T
        covers = []
        for truth in np.linspace(0.05, 0.95, 91):
            chances = binom.pmf(np.arange(n + 1), n, truth)
            covers.append(chances[(low <= truth) & (truth <= high)].sum())
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


def between_sets(rng):
    found = measures.apart(pd.Series(means_of_samples(rng, 150)), pd.Series(partial_credit(rng)))
    return found["low"], found["high"]


@pytest.mark.parametrize(
    ("interval", "truth", "loops"),
    [
        (lambda rng: measures.interval_of_mean(means_of_samples(rng)), 0.8 / 1.4, LOOPS),
        (lambda rng: measures.interval_of_mean(partial_credit(rng)), 0.355, LOOPS),
        (lambda rng: measures.interval_of_mean(paired_differences(rng)), 0.0625, LOOPS),
        (between_sets, 0.355 - 0.8 / 1.4, LOOPS // 2),
    ],
)
def test_intervals_cover_the_truth(interval, truth, loops, monkeypatch):
    monkeypatch.setattr(measures, "RESAMPLES", 500)  # for speed
    rng = np.random.default_rng(5)
    intervals = [interval(rng) for _ in range(loops)]
    assert 0.94 <= np.mean([low <= truth <= high for low, high in intervals]) <= 0.96


@pytest.mark.parametrize("differing", [0.05, 0.2, 0.5])
def test_exact_mcnemar_errs_in_five_percent_at_most(differing, monkeypatch):
    """Of two models that are equally good, how often does it say that they are not?"""
    monkeypatch.setattr(measures, "interval_of_mean", lambda *_, least: (0.0, 0.0))  # for speed
    rng, errors = np.random.default_rng(1), 0
    for _ in range(LOOPS // 2):
        same, swap, first = rng.random((3, 100))
        before = np.where(swap < differing, first < 0.5, same < 0.5).astype(float)
        after = np.where(swap < differing, first >= 0.5, same < 0.5).astype(float)
        errors += measures.paired(pd.Series(before), pd.Series(after))["p"] <= 0.05
    assert errors / (LOOPS // 2) <= 0.05


def test_the_permutation_test_errs_in_five_percent_at_most(monkeypatch):
    """In 200 loops, five percent are 10 ± 3.1."""
    monkeypatch.setattr(measures, "PERMUTATIONS", 999)  # for speed
    rng, errors = np.random.default_rng(2), 0
    for _ in range(200):
        difficulty = rng.beta(0.8, 0.6, 60)
        both = [pd.Series(rng.binomial(4, difficulty) / 4) for _ in range(2)]
        errors += measures.paired_p(*both) <= 0.05
    assert errors <= 10 + 2 * 3.1


def test_one_problem_and_equal_problems_are_not_taken_for_certain():
    one = measures.paired(pd.Series([0.5]), pd.Series([0.25]))
    assert one["p"] == 1.0 and one["low"] < -0.9 and one["high"] > 0.9
    few = measures.paired(pd.Series([0.0] * 5), pd.Series([1.0] * 5))
    assert few["difference"] == few["high"] == 1.0 and few["low"] < 0.5 and few["p"] == 0.0625
    halves = pd.Series([0.5] * 20)
    lower = halves.copy()
    lower[3] = 0.0
    assert measures.paired(halves, lower)["p"] == 1.0
    apart = measures.apart(pd.Series([0.5]), pd.Series([0.0, 1.0, 0.5]))
    assert apart["low"] < -0.4 < 0.0 == apart["difference"] < 0.4 < apart["high"]
    equal = pd.Series([1.0, 0.0, 1.0, 1.0, 0.0])
    same = measures.paired(equal, equal)  # as likely worse as better
    assert same["difference"] == 0 and same["low"] == pytest.approx(-same["high"])
    assert same["high"] == pytest.approx(0.522, abs=1e-3)
    assert measures.share([0.0] * 5, (-1, 0)) == {
        "value": 0,
        "low": pytest.approx(-0.522, abs=1e-3),
        "high": 0,
    }
    negative = measures.interval_of_mean([-1.0] * 5)
    assert [round(x, 2) for x in negative] == [-1.0, 0.04]


@pytest.mark.parametrize(
    ("n", "correct", "k"),
    [(4, 1, 2), (5, 3, 2), (6, 0, 3), (6, 6, 3), (7, 2, 7), (16, 5, 8), (12, 11, 6)],
)
def test_pass_at_k_equals_brute_force(n, correct, k):
    draws = itertools.combinations([1] * correct + [0] * (n - correct), k)
    brute = np.mean([any(draw) for draw in draws])
    assert measures.pass_at_k(n, correct, k) == pytest.approx(brute, abs=1e-12)


@pytest.mark.parametrize("votes", ["aab-", "bbaca", "--", "a", "bcdaa-"])
def test_majority_at_k_equals_brute_force(votes):
    votes = [None if vote == "-" else vote for vote in votes]
    for k in range(1, len(votes) + 1):
        expected = []
        for subset in itertools.combinations(votes, k):
            given = [vote for vote in subset if vote is not None]
            top = max((given.count(vote) for vote in given), default=0)
            winners = sorted({vote for vote in given if given.count(vote) == top})
            expected.append(winners.count("a") / len(winners) if winners else 0.0)
        found = measures.majority_at_k(votes, "a".__eq__, k)
        assert found == pytest.approx(np.mean(expected), abs=1e-12)


def test_many_samples_are_voted_on_by_a_draw():
    votes = ["a"] * 14 + ["b"] * 16  # C(30, 15) subsets are too many to count
    assert 0.3 < measures.majority_at_k(votes, "a".__eq__, 15) < 0.45


@pytest.mark.parametrize("shares", [(0.7, 0.7), (0.7, 0.7, 0.2), (0.5, 0.9, 0.1)])
def test_no_number_of_problems_shows_what_is_no_step(shares):
    with pytest.raises(ValueError, match="shows a step from 0.. to 0...\nGive two different"):
        measures.problems_needed(*shares)


def test_so_many_problems_show_the_step():
    """A test finds it in 80 % of simulations, McNemar's exact test in a little less."""
    rng, found = np.random.default_rng(3), []
    n = measures.problems_needed(0.5, 0.65, differing=0.35)
    for _ in range(LOOPS):
        won, lost, neither = rng.multinomial(n, [0.25, 0.10, 0.65])
        found.append(measures.mcnemar([[0, lost], [won, neither]], exact=True).pvalue <= 0.05)
    assert 0.74 < np.mean(found) < 0.83
    m, shown = measures.problems_needed(0.5, 0.65), []
    for _ in range(LOOPS // 2):
        one, other = rng.binomial(m, (0.5, 0.65))
        shown.append(test_of_two(int(one), m, int(other), m).pvalue <= 0.05)
    assert 0.76 < np.mean(shown) < 0.84 and n < m
