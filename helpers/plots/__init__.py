"""Every figure: from a run's log, from an evaluation's summaries, and the lab's curves.

losses, rewards, spread, replies, timing, tokens: figures of a run's log
live          a run in two panels while it goes on
compare_runs  several runs over each other
save_all      writes every figure of a log
accuracy_bars, outcomes, token_counts, scores, calibration: figures of an evaluation
save          writes a figure as PNG
lab           curves of runs that were made ill on purpose
"""

from helpers.plots import lab
from helpers.plots.evaluation import accuracy_bars, calibration, outcomes, scores, token_counts
from helpers.plots.panels import save
from helpers.plots.training import (
    compare_runs,
    live,
    losses,
    replies,
    rewards,
    save_all,
    spread,
    timing,
    tokens,
)
