"""Random expressions in equal and in changed forms: the verdict is that of exact arithmetic."""

from collections import Counter

import pytest

from helpers.answers import same_math
from tests.answers.fuzzing import CHANGES, REWRITES, cases


def wrong(count, changes, score):
    """All cases with another verdict; prints how many of each kind, and the shortest of them."""
    found = [case for case in cases(count, changes, score) if verdict(case) != score]
    found.sort(key=lambda case: len(case.predicted + case.gold))
    counts = Counter(case.kind for case in found)
    print(f"\n{len(found)} of {count} that should earn {score} do not: {dict(counts)}")
    for kind in counts:
        for case in [case for case in found if case.kind == kind][:6]:
            print(f"{kind}: {case.predicted!r} beside {case.gold!r}: {verdict(case)}")
    return found


def verdict(case):
    return same_math(case.predicted, case.gold)


@pytest.mark.parametrize(("changes", "score"), [(REWRITES, 1.0), (CHANGES, 0.0)])
def test_some(changes, score):
    assert wrong(400, changes, score) == []


@pytest.mark.soak
@pytest.mark.parametrize(("changes", "score"), [(REWRITES, 1.0), (CHANGES, 0.0)])
def test_many(changes, score):
    assert wrong(5000, changes, score) == []
