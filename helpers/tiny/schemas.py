"""Generated problems as rows of each dataset, which go through the same adapters as real data.

As in real data, the solutions differ in how much they show: some write all steps out, some only
state the result. Every result is right; but a terse solution asks a small model to do two steps in
its head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from helpers.rows import CALCULATOR, WRAPPER
from helpers.tiny.problems import Problem, generate

TERSE_SHARE = 0.6
ROWS = {"train": 4000, "test": 2000}
REPEATS = 2  # how often DAPO's generated rows repeat; the published ones do so 100 times
UNVERIFIED = 20  # one in so many OpenR1 rows has no verified generation
UNSTATED = 10  # one in so many PHYBench rows has its answer only in a box


def without_marks(text: str) -> str:
    """A solution without GSM8K's calculator marks."""
    return CALCULATOR.sub("", text)


def in_full(problem: Problem) -> str:
    return without_marks("\n".join(problem.steps))


def gsm8k_row(problem: Problem, solution: str, number: int, batch: str) -> dict:
    """As `load_dataset("openai/gsm8k", "main")` gives it."""
    return {"question": problem.question, "answer": f"{solution}\n#### {problem.result}"}


def openr1_row(problem: Problem, solution: str, number: int, batch: str) -> dict:
    """The columns of OpenR1-Math-220k: two generations, of which one at most is right."""
    right = f"<think>\n{without_marks(solution)}\n</think>\n\nIt is \\boxed{{{problem.result}}}."
    other = int(problem.result) + 1
    wrong = f"<think>\nThis is hard.\n</think>\n\nIt is \\boxed{{{other}}}."
    verified = number % UNVERIFIED > 0
    first = right if verified else wrong
    return {
        "problem": problem.question,
        "solution": in_full(problem),
        "answer": problem.result,
        "problem_type": "Algebra",
        "question_type": "math-word-problem",
        "source": "generated",
        "uuid": f"{batch}-{number}",
        "is_reasoning_complete": [True, True],
        "generations": [first, wrong],
        "correctness_math_verify": [verified, False],
        "correctness_llama": None,
        "finish_reasons": None,
        "correctness_count": int(verified),
        "messages": [
            {"role": "user", "content": problem.question},
            {"role": "assistant", "content": first},
        ],
    }


def dapo_row(problem: Problem, solution: str, number: int, batch: str) -> dict:
    """DAPO-Math-17k's original schema: a wrapped prompt, the truth in `reward_model`."""
    return {
        "data_source": "math_dapo",
        "prompt": [{"role": "user", "content": problem.question.join(WRAPPER)}],
        "ability": "MATH",
        "reward_model": {"ground_truth": problem.result, "style": "generated"},
        "extra_info": {"index": f"{batch}-{number}"},
    }


def phybench_row(problem: Problem, solution: str, number: int, batch: str) -> dict:
    """The columns of PHYBench; some formulas stand only in the solution's box."""
    return {
        "id": f"{batch}-{number}",
        "tag": "MECHANICS",
        "content": problem.question,
        "solution": f"{in_full(problem)}\n\\boxed{{{problem.result}}}",
        "answer": problem.result if number % UNSTATED else "",
    }


def math500_row(problem: Problem, solution: str, number: int, batch: str) -> dict:
    """The columns of MATH-500."""
    return {
        "problem": problem.question,
        "solution": in_full(problem),
        "answer": problem.result,
        "subject": "Algebra",
        "level": "2",
        "unique_id": f"{batch.replace('-', '/')}/{number}.json",
    }


@dataclass(frozen=True)
class Schema:
    """How the rows of a dataset are made; every problem gives `repeats` equal ones."""

    row: Callable[[Problem, str, int, str], dict]
    kind: str = "words"
    seed: int = 0
    repeats: int = 1


SCHEMAS = {
    "openai/gsm8k": Schema(gsm8k_row),
    "open-r1/OpenR1-Math-220k": Schema(openr1_row),
    "BytedTsinghua-SIA/DAPO-Math-17k": Schema(dapo_row, repeats=REPEATS),
    "Eureka-Lab/PHYBench": Schema(phybench_row, kind="physics"),
    "HuggingFaceH4/MATH-500": Schema(math500_row, seed=1),
}


def rows_for(dataset: str, split: str, count: int) -> list[dict]:
    """Rows of `count` problems with the columns of a dataset."""
    schema = SCHEMAS[dataset]
    batch = f"{split}-{schema.seed}"
    rng = Random(f"style-{batch}")
    rows = []
    for number, problem in enumerate(generate(split, count, schema.seed, schema.kind)):
        solution = problem.solution(rng, TERSE_SHARE)
        row = schema.row(problem, solution, number, batch)
        rows += schema.repeats * [row]
    return rows


def embedded_rows(dataset: str) -> dict[str, list[dict]]:
    """Generated rows under "train" and "test" in the schema of a dataset."""
    if dataset not in SCHEMAS:
        raise ValueError(
            f"There are no generated rows for {dataset}.\n"
            "Set DATASET to a Hub id, a local folder or a file."
        )
    return {split: rows_for(dataset, split, count) for split, count in ROWS.items()}
