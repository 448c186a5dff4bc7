"""lm-evaluation-harness's own GSM8K filters and metric, and completions to try both on."""

from __future__ import annotations

import random
from functools import cache
from importlib import resources

import yaml
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.filters.extraction import RegexFilter

from helpers.tiny.problems import generate
from helpers.tiny.schemas import without_marks


@cache
def task() -> dict:
    return yaml.safe_load(
        resources.files("lm_eval").joinpath("tasks/gsm8k/gsm8k.yaml").read_text(encoding="utf-8")
    )


def extracted(name: str, text: str) -> str:
    """What its filter, strict-match or flexible-extract, takes; "[invalid]" for nothing."""
    chain = next(part["filter"] for part in task()["filter_list"] if part["name"] == name)
    settings = {key: value for key, value in chain[0].items() if key != "function"}
    return list(RegexFilter(**settings).apply([[text]], [{}]))[0][0]  # then take_first


def verdict(name: str, text: str, target: str) -> bool:
    """Its exact match of what the filter took with the target, a whole GSM8K solution."""
    metric = next(part for part in task()["metric_list"] if part["metric"] == "exact_match")
    options = {
        key: metric[key] for key in ("regexes_to_ignore", "ignore_case", "ignore_punctuation")
    }
    return bool(
        exact_match_hf_evaluate(
            predictions=[extracted(name, text)], references=[target], **options
        )["exact_match"]
    )


def variants(rng: random.Random, steps: str, gold: int) -> list[str]:
    """Ways to end a reply, right and wrong, in and out of the format."""
    other, number = gold + rng.choice([-2, -1, 1, 2, 10]), rng.choice([gold, gold, gold + 1])
    return [
        f"{steps}\n#### {gold}",
        f"{steps}\n#### {other}",
        f"{steps}\n#### {number}\n",
        f"{steps}\n\n#### {number}  ",
        f"{steps} So it is {number}.",
        f"{steps}\nThe answer is {number}",
        f"{steps}\n#### {number}.",
        f"{steps}\n#### ${number}",
        f"{steps}\n#### {number} pens",
        f"{steps}\n####{number}",
        f"{steps}\n#### {number}.0",
        f"{steps}\n#### {number * 1000:,}",
        f"{steps}\n#### {number} or {number + 1}",
        f"{steps}\n#### {other}\n#### {gold}",
        f"{steps}\n#### {gold}\n#### {other}",
        f"{steps}\n#### {number}\nThat was easy.",
        f"{steps}\n#### {number}\nAll {other} of them.",
        f"#### {number}",
        f"{steps} #### {number}",
        f"{steps}\n#### {number}"[: rng.randint(1, len(steps) + 6)],
        "",
        f"{steps}\n####",
        f"{steps}\n#### seven",
        f"{steps}\n#### -{number}",
        f"{steps}\n#### {number}/2",
        f"{steps}\n#### {number}%",
        f"{steps}\n### {number}",
        f"{steps}\n#### {number}, {number}",
        f"{steps}\n#### x = {number}",
        f"<think>\n{steps}\n#### {number}",
        f"<think>\n#### {other}\n</think>\n{steps}\n#### {gold}",
        f"{steps}\n#### The answer is {number}",
        f"{steps}\n**#### {number}**",
        f"{steps}\nIt is {number}...",
        f"{steps} It is {number}, I think.",
        f"{steps} It is {number} - 1.",
        f"{steps} 1/{number}",
    ]


def made(count: int) -> list[tuple[str, str]]:
    """`count` completions with their gold: every variant of generated problems in turn."""
    rng, found = random.Random(0), []
    for problem in generate("test", count // 30 + 1, seed=9):
        found += [
            (text, problem.result)
            for text in variants(rng, without_marks("\n".join(problem.steps)), int(problem.result))
        ]
    return found[:count]
