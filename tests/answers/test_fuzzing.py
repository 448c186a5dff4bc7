"""Random expressions in equal and in changed forms: the verdict is that of exact arithmetic."""

from collections import Counter

import pytest

from helpers.answers import same_math
from tests.answers.fuzzing import CHANGED, EQUAL, cases

BOTH = pytest.mark.parametrize(("rules", "score"), [(EQUAL, 1.0), (CHANGED, 0.0)])


def wrong(count, rules, score):
    """The cases with another verdict; prints how many there are of each rule, and the shortest."""
    found = []
    for case in cases(count, rules, score):
        verdict = same_math(case.predicted, case.gold)
        if verdict != score:
            found.append((case.rule, case.predicted, case.gold, verdict))
    found.sort(key=lambda row: len(row[1] + row[2]))
    print(f"\n{len(found)} of {count} do not earn {score}")
    for rule, times in Counter(row[0] for row in found).most_common():
        print(f"{times} × {rule}", *[row[1:] for row in found if row[0] == rule][:3], sep="\n    ")
    return found


@BOTH
def test_some(rules, score):
    assert wrong(300, rules, score) == []


@pytest.mark.soak
@BOTH
def test_many(rules, score):
    assert wrong(5000, rules, score) == []
