"""Is it better, and how sure are we? Generates, grades with the recipe's own `extract` and `score`, and counts honestly.

Records are plain dictionaries, one a completion, with the keys of `grade`. Statistics are by statsmodels and scipy.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from helpers import checkpoints, machine as machines
from helpers.answers.equations import hallucinates
from helpers.data import messages, prompt_text
from helpers.recipes import Recipe
from helpers.rewards import PENALTIES, reward_table
from helpers.rows import Example
from helpers.runlog import append_lines, read_lines, write_json

OUTCOMES = ("correct", "right_wrong_format", "wrong", "no_answer", "truncated")


def grade(recipe: Recipe, example: Example, text: str, tokens: int, finished: bool) -> dict:
    """The record of one completion. `score` is that of the extracted answer; `outcome` is exactly one of OUTCOMES."""
    extracted, flexible = recipe.format.extract(text), recipe.format.extract_flexible(text)
    score, follows = recipe.score(extracted, example.answer) or 0.0, recipe.format.follows(text)
    right_anywhere = max(score, recipe.score(flexible, example.answer) or 0.0)
    outcome = ("correct" if score == 1.0 and follows and finished else "truncated" if not finished
               else "right_wrong_format" if right_anywhere == 1.0 else "no_answer" if extracted is None else "wrong")
    return {"id": example.id, "question": example.question, "gold": example.answer, "completion": text, "tokens": tokens, "finished": finished,
            "extracted": extracted, "flexible": flexible, "flexible_right": right_anywhere == 1.0, "score": score, "follows": follows,
            "outcome": outcome, **paid(recipe, example, text)}


def paid(recipe: Recipe, example: Example, text: str) -> dict:
    """What training would have paid: `rewards`, each of the recipe's (but for penalties), and `reward`, their weighted sum."""
    judged = replace(recipe, rewards={name: weight for name, weight in recipe.rewards.items() if name not in PENALTIES})
    table = reward_table(judged, [text], [example.answer], prompts=[messages(recipe, example.question)])
    return {"reward": table.pop("total")[0], "rewards": {name: values[0] for name, values in table.items()}}


def evaluate(model, tokenizer, recipe: Recipe, examples: Sequence[Example], path: str | Path, samples: int = 0, seed: int = 0,
             resume: bool = True) -> list[dict]:
    """Answers and grades every example; the records are at `path` when all are done, and are returned.

    samples: 0 for one greedy answer a problem, else that many drawn at GRPO's temperature (records then carry `sample`).
    Records are kept batch by batch: run again after an interruption it goes on, and what was finished is read. Both only for the
    same weights, problems, settings and code, by the fingerprint beside the records; others are replaced.
    """
    from helpers.models import in_batches

    if not examples:
        raise ValueError("There are no problems to evaluate.\nRaise the limit, or set DATASET to one with a test split.")
    path, chosen = Path(path), [(example, k) for example in examples for k in range(max(1, samples))]
    temperature = recipe.grpo.temperature if samples else 0.0
    prompts = [prompt_text(recipe, tokenizer, e.question) for e, _ in chosen]
    made_of = fingerprint(model, recipe, examples, prompts, [temperature, samples, seed, recipe.grpo.max_completion, recipe.evaluation.batch])
    if resume and finished(path, made_of):
        return read_lines(path)
    part, done = take_up(path, made_of, seed) if resume else take_up(path, {}, seed)
    for places, completions in in_batches(model, tokenizer, prompts, recipe.grpo.max_completion, temperature, recipe.evaluation.batch,
                                          path.stem, len(done)):
        new = [{"place": i, **grade(recipe, chosen[i][0], c.text, c.tokens, c.finished)} | ({"sample": chosen[i][1]} if samples else {})
               for i, c in zip(places, completions, strict=True)]
        append_lines(part, new)
        done += new
        write_json(beside(path), {**made_of, "done": len(done), "random": machines.random_state()})
    records = [{key: value for key, value in record.items() if key != "place"} for record in sorted(done, key=lambda record: record["place"])]
    write_records(path, records)
    write_json(beside(path), {**made_of, "done": len(done), "records": machines.file_hash(path)})
    part.unlink()
    return records


def fingerprint(model, recipe: Recipe, examples: Sequence[Example], prompts: Sequence[str], settings: list) -> dict:
    """What decides an evaluation's records: the weights at work, problems and prompts, how they are judged and paid, code and versions."""
    from helpers.models import identity

    problems = hashlib.sha256(repr([prompts, [(e.id, e.question, e.answer) for e in examples]]).encode()).hexdigest()[:16]
    return {"weights": identity(model), "recipe": recipe.name, **checkpoints.reading(recipe), "rewards": dict(recipe.rewards), "problems": problems,
            "settings": settings,
            "code": checkpoints.code_hash((*checkpoints.CODE, "evaluation.py")), "versions": machines.versions()}


def beside(path: Path) -> Path:
    return path.with_suffix(".json")


def state_of(path: Path, made_of: dict) -> dict:
    """What lies beside the records, if it has that fingerprint; else {}."""
    try:
        state = json.loads(beside(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if made_of.items() <= state.items() else {}


def finished(path: Path, made_of: dict) -> bool:
    """Whether the records at `path` are whole and of that fingerprint."""
    return path.is_file() and state_of(path, made_of).get("records") == machines.file_hash(path)


def take_up(path: Path, made_of: dict, seed: int) -> tuple[Path, list[dict]]:
    """The file that collects records, cut to the last whole batch, and these records; both empty for a new evaluation.

    Sets the random numbers to where that batch left them.
    """
    part, state = path.with_name(path.name + ".part"), state_of(path, made_of) if made_of else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    done = read_lines(part)[:state["done"]] if "random" in state and part.is_file() else []
    machines.set_seed(seed)
    if done and len(done) == state["done"]:
        machines.set_random_state(state["random"])
    else:
        done = []
    write_records(part, done)
    return part, done


def write_records(path: Path, records: Sequence[dict]) -> None:
    """Writes beside the file and renames, so that an interrupted evaluation leaves nothing that looks whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    new.touch()
    append_lines(new, records)
    os.replace(new, path)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share, which stays sensible at 0 and at n.

    >>> [round(x, 3) for x in wilson(7, 10)]
    [0.397, 0.892]
    """
    low, high = proportion_confint(successes, n, method="wilson")
    return float(low), float(high)


def per_problem(records: Sequence[dict], key: str = "strict") -> pd.Series:
    """One number a problem, its mean over samples; index: id. key: strict, flexible, format, score, reward, or a reward's name."""
    values = {"strict": lambda r: r["outcome"] == "correct", "flexible": lambda r: r["flexible_right"], "format": lambda r: r["follows"],
              "score": lambda r: r["score"], "reward": lambda r: r["reward"]}.get(key, lambda r: r["rewards"][key])
    table = pd.Series([float(values(r)) for r in records], index=[r["id"] for r in records])
    return table.groupby(level=0).mean()


def interval_of_mean(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95 % bootstrap interval (BCa where it exists, else the point) of a mean over problems."""
    values = np.asarray(values, dtype=float)
    if np.ptp(values) == 0 or len(values) < 2:
        return float(values.mean()), float(values.mean())
    found = stats.bootstrap((values,), np.mean, n_resamples=2000, rng=np.random.default_rng(seed), method="percentile")
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def share(values: pd.Series) -> dict:
    """A mean over problems with its interval: Wilson's where each problem counts 0 or 1, bootstrap over problems where it is a mean."""
    whole = set(values.unique()) <= {0.0, 1.0}
    low, high = wilson(int(values.sum()), len(values)) if whole else interval_of_mean(values)
    return {"value": float(values.mean()), "low": low, "high": high}


def summarise(records: Sequence[dict]) -> dict:
    """n problems; strict, flexible, format, score, total reward and each reward (under `rewards`) with 95 % intervals; outcomes (they sum to the
    completions); tokens; hallucination rate."""
    if not records:
        raise ValueError("There are no records to summarise.\nRun the evaluation first.")
    counts = Counter(r["outcome"] for r in records)
    return {"n": len({r["id"] for r in records}), "completions": len(records),
            **{key: share(per_problem(records, key)) for key in ("strict", "flexible", "format", "score", "reward")},
            "rewards": {name: share(per_problem(records, name)) for name in records[0]["rewards"]}, "outcomes": {name: counts[name] for name in OUTCOMES},
            "tokens": float(np.mean([r["tokens"] for r in records])),
            "hallucination": float(np.mean([hallucinates(r["question"], r["completion"]) for r in records]))}


def compare(before: Sequence[dict], after: Sequence[dict], key: str = "strict", seed: int = 0) -> dict:
    """Two evaluations of the same problems, paired. Raises ValueError if the ids differ.

    Returns the difference of the means with its 95 % bootstrap interval over problems, and p: exact McNemar where each problem
    counts 0 or 1 (with the 2×2 `table`: both, only before, only after, neither), else a paired permutation test.
    """
    a, b = per_problem(before, key), per_problem(after, key)
    if set(a.index) != set(b.index):
        raise ValueError(f"The evaluations are of different problems ({len(a)} and {len(b)}, {len(set(a.index) & set(b.index))} in common).\n"
                         "Evaluate both on the same problems.")
    b = b.reindex(a.index)
    low, high = interval_of_mean(b - a, seed)
    result = {"n": len(a), "difference": float((b - a).mean()), "low": low, "high": high}
    if set(a.unique()) | set(b.unique()) <= {0.0, 1.0}:
        both, lost, won = int((a * b).sum()), int((a * (1 - b)).sum()), int(((1 - a) * b).sum())
        table = {"both": both, "only_before": lost, "only_after": won, "neither": len(a) - both - lost - won}
        return result | {"p": float(mcnemar([[both, lost], [won, table["neither"]]], exact=True).pvalue), "table": table}
    return result | {"p": paired_p(a, b, seed)}


def paired_p(before: pd.Series, after: pd.Series, seed: int = 0) -> float:
    """The two-sided p of a paired permutation test: would the sign of each problem's difference be a coin's? 0.0002 is the least it can say."""
    test = stats.permutation_test((after.to_numpy(), before.to_numpy()), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples",
                                  vectorized=True, n_resamples=9999, rng=np.random.default_rng(seed))
    return float(test.pvalue)


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The unbiased chance that at least one of k answers is right, from n drawn answers. Source: Chen et al., 2021.

    >>> round(pass_at_k(4, 1, 2), 3)
    0.5
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs at least {k} samples a problem; there are {n}.\nDraw more samples.")
    return 1.0 - float(np.prod([(n - correct - i) / (n - i) for i in range(k)]))


def show(summaries: dict[str, dict]) -> pd.DataFrame:
    """A table for people: a row a model, shares in percent with their 95 % intervals."""
    def cell(part: dict) -> str:
        return f"{part['value']:.1%} [{part['low']:.1%}, {part['high']:.1%}]"

    return pd.DataFrame({name: {"strict": cell(s["strict"]), "flexible": cell(s["flexible"]), "format": cell(s["format"]),
                                "n": s["n"], "tokens": f"{s['tokens']:.0f}", "hallucinated": f"{s['hallucination']:.1%}"}
                         for name, s in summaries.items()}).T


def show_rewards(summaries: dict[str, dict]) -> pd.DataFrame:
    """A table for people: a row a model, the mean of each reward and of their weighted sum with 95 % intervals."""
    def cell(part: dict) -> str:
        return f"{part['value']:.2f} [{part['low']:.2f}, {part['high']:.2f}]"

    return pd.DataFrame({name: {**{reward: cell(part) for reward, part in s["rewards"].items()}, "total": cell(s["reward"])}
                         for name, s in summaries.items()}).T
