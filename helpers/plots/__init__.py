"""Every figure: from a run's log, from an evaluation's summaries, and the lab's curves."""

from helpers.plots.figures import (
    accuracy_bars,
    calibration,
    compare_runs,
    live,
    losses,
    outcomes,
    picture,
    replies,
    rewards,
    save,
    save_all,
    scores,
    spread,
    timing,
    token_counts,
    tokens,
)

__all__ = [
    "accuracy_bars",
    "calibration",
    "compare_runs",
    "live",
    "losses",
    "outcomes",
    "picture",
    "replies",
    "rewards",
    "save",
    "save_all",
    "scores",
    "spread",
    "timing",
    "token_counts",
    "tokens",
]
