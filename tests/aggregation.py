"""GDPO beside the sum: `python -m tests.aggregation FOLDER 0 1 2 3 4` prints tests/README's table.

Of each seed one SFT adapter, and from it two runs of GRPO that differ in `aggregation` alone.
A seed that is measured already is read; so two programs can share the work.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats

from helpers import data, evaluation
from helpers.machine import Machine, detect
from helpers.recipes import RECIPES, for_model
from tests.learning import measure, reinforce, supervise

PROBLEMS = 200
WAYS = {"sum": "sum_then_normalize", "GDPO": "normalize_then_sum"}
KEYS = ("strict", "format")


def measured(machine: Machine, seed: int, out: Path) -> dict[str, dict[str, float]]:
    """Sampled accuracy and format rate of both ways, with one seed."""
    place = out / f"{seed}.json"
    if place.is_file():
        return json.loads(place.read_text())
    recipe = for_model(RECIPES["gsm8k_xml"], True, "cpu")
    splits = data.load(recipe, "", "cpu")
    asked = splits["test"].take(PROBLEMS)
    start = supervise(recipe, machine, seed, out / str(seed), splits)
    found = {}
    for name, aggregation in WAYS.items():
        one = replace(recipe, grpo=replace(recipe.grpo, aggregation=aggregation))
        folder = out / f"{seed}-{name}"
        end = reinforce(one, machine, seed, folder, splits, start)
        _, sampled = measure(one, machine, seed, folder, asked, end)
        rates = evaluation.per_problem(sampled)
        found[name] = {key: float(rates[key].mean()) for key in KEYS}
    place.write_text(json.dumps(found))
    return found


def row(name: str, key: str, seeds: list[dict]) -> str:
    """A line of the table; GDPO's ends with the difference, Student's t over the seeds."""
    rates = [100 * seed[name][key] for seed in seeds]
    cells = [f"{key}, {name}", *(f"{rate:.1f}%" for rate in rates), f"{np.mean(rates):.1f}%", ""]
    if name == "GDPO":
        gains = np.array(rates) - [100 * seed["sum"][key] for seed in seeds]
        found = stats.ttest_1samp(gains, 0)
        low, high = found.confidence_interval()
        cells[-1] = f"{gains.mean():+.1f} [{low:+.1f}, {high:+.1f}], p = {found.pvalue:.2f}"
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    here = detect()
    seeds = [measured(here, int(seed), folder) for seed in sys.argv[2:]]
    for key in KEYS:
        for name in WAYS:
            print(row(name, key, seeds))
