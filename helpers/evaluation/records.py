"""What an evaluation's records say: shares with intervals, pairs, tries, agreement, and tables.

The unit is the problem: its drawn answers are averaged first.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from helpers.answers import hallucinates
from helpers.evaluation import statistics
from helpers.evaluation.generating import Record
from helpers.recipes import Recipe

OUTCOMES = ("correct", "right_wrong_format", "wrong", "no_answer", "truncated")
RIGHT = 0  # the vote of a right answer
Same = Callable[[str, str], float | None]  # a recipe's score: 1.0 where two answers say the same
Records = Sequence[Record]
Votes = Mapping[str, list[int | None]]  # of a problem's answers, by its id
Answers = tuple[Records, Records]  # greedy and drawn ones


def per_problem(records: Records) -> pd.DataFrame:
    """A row a problem, sorted by id, with the mean over its answers of each measure.

    These are strict, flexible, format, score, reward, each reward by its name, for `####` lm_eval.
    """
    rows = []
    for record in records:
        row = dict(record.rewards)
        row["strict"] = record.outcome == "correct"
        row["flexible"] = record.flexible_right
        row["format"] = record.follows
        row["score"] = record.score
        row["reward"] = record.reward
        if record.lm_eval is not None:
            row["lm_eval"] = record.lm_eval
        rows.append(row)
    ids = [record.id for record in records]
    return pd.DataFrame(rows).astype(float).groupby(ids).mean()


def summarise(records: Records, spans: Mapping[str, tuple[float, float]] | None = None) -> dict:
    """n problems, shares and mean rewards with intervals, outcomes, tokens, hallucination rate.

    spans: the least and the most of rewards that are not from 0 to 1.
    """
    shares = {}
    problems = per_problem(records)
    for name, values in problems.items():
        shares[name] = statistics.share(values, (spans or {}).get(name, (0, 1)))
    rewards = {name: shares.pop(name) for name in records[0].rewards}
    tokens = pd.Series([float(record.tokens) for record in records])
    by_outcome = tokens.groupby([record.outcome for record in records])
    invented = [hallucinates(record.question, record.completion) for record in records]
    return {
        "n": len(problems),
        "completions": len(records),
        **shares,
        "rewards": rewards,
        "outcomes": by_outcome.size().reindex(OUTCOMES, fill_value=0).to_dict(),
        "tokens": float(tokens.mean()),
        "tokens_by_outcome": by_outcome.mean().reindex(OUTCOMES).dropna().to_dict(),
        "hallucination": sum(invented) / len(invented),
    }


def compare(before: Records, after: Records, key: str = "strict") -> dict:
    """Two evaluations in pairs, as `statistics.paired`; ValueError if the problems differ."""
    asked = []
    for records in (before, after):
        asked.append({(record.id, record.question, record.gold) for record in records})
    if asked[0] != asked[1]:
        cure = "Evaluate both on the same problems."
        raise ValueError(f"The evaluations are of different problems.\n{cure}")
    return statistics.paired(per_problem(before)[key], per_problem(after)[key])


def votes(records: Records, same: Same) -> Votes:
    """For each problem the votes of its answers: 0 for right ones, 1, 2, … for each other one.

    None where a reply is cut off, out of shape or without an answer. Right ones stand alone because
    `same` need not be transitive: 50 % is 50 and 0.5, which are not each other.
    """
    found, wrong = defaultdict(list), defaultdict(list)
    for record in records:
        found[record.id].append(vote(record, wrong[record.id], same))
    return found


def vote(record: Record, wrong: list[str], same: Same) -> int | None:
    """One answer's vote; a wrong one that is none of the known ones joins them."""
    answer = record.extracted
    if answer is None or not record.follows or not record.finished:
        return None
    if record.score == 1.0:
        return RIGHT
    for number, other in enumerate(wrong, 1):
        if answer == other or same(answer, other) == 1.0:
            return number
    wrong.append(answer)
    return len(wrong)


def is_right(vote: int) -> bool:
    return vote == RIGHT


def tries(voted: Votes) -> dict[str, dict[str, dict]]:
    """`pass` and `majority` at k = "1", "2", …, each with its 95 % interval over problems.

    pass: at least one of k answers is strictly right. majority: the most frequent answer of k is.
    """
    passes, majorities = {}, {}
    samples = len(next(iter(voted.values())))
    for k in range(1, samples + 1):
        passed, agreed = [], []
        for _, answers in sorted(voted.items()):
            passed.append(statistics.pass_at_k(samples, answers.count(RIGHT), k))
            agreed.append(statistics.majority_at_k(answers, is_right, k))
        passes[str(k)] = statistics.share(passed)
        majorities[str(k)] = statistics.share(agreed)
    return {"pass": passes, "majority": majorities}


def agreement(voted: Votes) -> dict:
    """Whether agreement among a problem's samples tells that its most frequent answer is right.

    `levels`: for each share of agreeing samples n, and the share of right answers, ties by their
    share, with the Wilson interval of the nearest whole number of right ones.
    """
    agreeing, right = [], []
    for answers in voted.values():
        counts = Counter(answer for answer in answers if answer is not None)
        agreeing.append(max(counts.values(), default=0) / len(answers))
        right.append(statistics.majority_at_k(answers, is_right, len(answers)))
    levels = []
    for level, part in pd.Series(right).groupby(pd.Series(agreeing)):
        low, high = statistics.wilson(round(part.sum()), len(part))
        share = {"right": float(part.mean()), "low": low, "high": high}
        levels.append({"agreement": level, "n": len(part), **share})
    return {"levels": levels}


def results(found: Mapping[str, Answers], recipe: Recipe) -> dict:
    """What summary.json holds of each model's records, and of each against the one before."""
    spans = {name: recipe.span(name) for name in recipe.rewards} | {"reward": recipe.bounds}
    held = {"greedy": {}, "sampled": {}, "tries": {}, "agreement": {}, "compare": {}}
    for name, (greedy, sampled) in found.items():
        held["greedy"][name] = summarise(greedy, spans)
        held["sampled"][name] = summarise(sampled, spans)
        voted = votes(sampled, recipe.score)
        held["tries"][name] = tries(voted)
        majorities = list(held["tries"][name]["majority"].values())
        held["sampled"][name]["vote"] = majorities[-1]  # of all samples
        held["agreement"][name] = agreement(voted)
    for before, after in itertools.pairwise(found):
        held["compare"][f"{before} → {after}"] = compare(found[before][1], found[after][1])
    return held


def show(summaries: Mapping[str, dict], where: str = "") -> pd.DataFrame:
    """A table for people: a row a model, shares with their 95 % intervals.

    where: the place of the problems.
    """
    rows = pd.DataFrame(summaries).T
    shares = [n for n in ("strict", "vote", "lm_eval", "flexible", "format") if n in rows]
    table = rows[shares].map(percent)
    table = table.rename(columns={"lm_eval": "lm-eval strict", "vote": "strict, by vote"})
    table[f"n of {where}" if where else "n"] = rows["n"]
    table["tokens"] = rows["tokens"].map("{:.0f}".format)
    table["hallucinated"] = rows["hallucination"].map("{:.1%}".format)
    return table


def show_rewards(summaries: Mapping[str, dict]) -> pd.DataFrame:
    """A row a model: the mean of each reward and of their weighted sum with 95 % intervals."""
    rows = {}
    for name, summary in summaries.items():
        rows[name] = summary["rewards"] | {"total": summary["reward"]}
    return pd.DataFrame(rows).T.map("{0[value]:.2f} [{0[low]:.2f}, {0[high]:.2f}]".format)


def show_tries(found: Mapping[str, dict]) -> pd.DataFrame:
    """A row a model: pass@k and majority@k with 95 % intervals."""
    rows = pd.json_normalize(list(found.values()), max_level=1, sep="@")
    return rows.set_axis(list(found)).map(percent)


def show_changes(changes: Mapping[str, Mapping]) -> pd.DataFrame:
    """A row a comparison: the difference with its interval, p, and n."""
    rows = {}
    for name, change in changes.items():
        rows[name] = {"difference": points(change), "p": f"{change['p']:.2g}", "n": change["n"]}
    return pd.DataFrame(rows).T


def show_control(found: Mapping[str, Mapping]) -> pd.DataFrame:
    """A row a model and kind of control problems: how much better it does on them."""
    rows = {}
    for name, kinds in found.items():
        for kind, change in kinds.items():
            rows[f"{name}, {kind}"] = {"difference": points(change), "n": change["n"]}
    return pd.DataFrame(rows).T


def points(change: Mapping[str, float]) -> str:
    """A difference of shares, in percentage points.

    >>> points({"difference": 0.412, "low": 0.352, "high": 0.47})
    '+41.2 points [+35.2, +47.0]'
    """
    percentages = {name: 100 * change[name] for name in ("difference", "low", "high")}
    return "{difference:+.1f} points [{low:+.1f}, {high:+.1f}]".format(**percentages)


def percent(part: Mapping[str, float]) -> str:
    return "{value:.1%} [{low:.1%}, {high:.1%}]".format(**part)
