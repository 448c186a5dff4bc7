"""A gold with one slip is not paid as the gold, by the score of its recipe."""

from collections import Counter

import pytest

from helpers.answers import eed_score, same_math, same_number
from tests.answers import near_misses as slips
from tests.conftest import needs_shared

pytestmark = needs_shared
# golds, their recipe's score, and of how many golds `make test` takes one
SETS = [(slips.gsm8k, same_number, 60), (slips.math500, same_math, 8)]
SETS += [(slips.dapo, same_math, 40), (slips.phybench, eed_score, 200)]


def paid(golds, score):
    """The near misses that earn as much as the gold; prints how many of how many of each slip."""
    found, counts = [], Counter()
    for case in slips.near_misses(golds):
        counts[case.slip] += 1
        if score(case.predicted, case.gold) == 1.0:
            found.append(case)
    print(f"\n{len(found)} of {counts.total()} are paid; made: {dict(counts)}")
    print("of the five:", sum(counts[slip] for slip in slips.FIVE), *found, sep="\n    ")
    return found


@pytest.mark.parametrize(("golds", "score", "step"), SETS)
def test_some(golds, score, step):
    assert paid(golds()[::step], score) == []


@pytest.mark.soak
@pytest.mark.parametrize(("golds", "score", "_"), SETS)
def test_all(golds, score, _):
    assert paid(golds(), score) == []
