"""Generated problems as rows of each dataset, which go through the same adapters as real data.

As in real data, the solutions differ in how much they show: some write all steps out, some only
state the result. Every result is right; but a terse solution asks a small model to do two steps in
its head.
"""

from __future__ import annotations

import random
from collections.abc import Callable

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


def gsm8k_rows(split: str, count: int, seed: int = 0) -> list[dict]:
    """Rows with `question` and `answer`, as `load_dataset("openai/gsm8k", "main")` gives them."""
    rng = random.Random(f"style-{split}-{seed}")
    rows = []
    for problem in generate(split, count, seed):
        solution = problem.solution(rng, TERSE_SHARE)
        rows.append({"question": problem.question, "answer": f"{solution}\n#### {problem.result}"})
    return rows


def openr1_rows(split: str, count: int, seed: int = 0) -> list[dict]:
    """Rows with the columns of OpenR1-Math-220k: two generations, of which one at most is right."""
    rng = random.Random(f"style-{split}-{seed}")
    rows = []
    for n, problem in enumerate(generate(split, count, seed)):
        thought = without_marks(problem.solution(rng, TERSE_SHARE))
        right = f"<think>\n{thought}\n</think>\n\nIt is \\boxed{{{problem.result}}}."
        other = int(problem.result) + 1
        wrong = f"<think>\nThis is hard.\n</think>\n\nIt is \\boxed{{{other}}}."
        verified = n % UNVERIFIED > 0
        first = right if verified else wrong
        row = {
            "problem": problem.question,
            "solution": in_full(problem),
            "answer": problem.result,
            "problem_type": "Algebra",
            "question_type": "math-word-problem",
            "source": "generated",
            "uuid": f"{split}-{seed}-{n}",
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
        rows.append(row)
    return rows


def dapo_rows(split: str, count: int, seed: int = 0) -> list[dict]:
    """Rows in DAPO-Math-17k's original schema: a wrapped prompt, the truth in `reward_model`."""
    rows = []
    for n, problem in enumerate(generate(split, count, seed)):
        row = {
            "data_source": "math_dapo",
            "prompt": [{"role": "user", "content": problem.question.join(WRAPPER)}],
            "ability": "MATH",
            "reward_model": {"ground_truth": problem.result, "style": "generated"},
            "extra_info": {"index": f"{split}-{seed}-{n}"},
        }
        rows += REPEATS * [row]
    return rows


def phybench_rows(split: str, count: int, seed: int = 0) -> list[dict]:
    """Rows with the columns of PHYBench; some formulas stand only in the solution's box."""
    rows = []
    for n, problem in enumerate(generate(split, count, seed, kind="physics")):
        row = {
            "id": f"{split}-{seed}-{n}",
            "tag": "MECHANICS",
            "content": problem.question,
            "solution": f"{in_full(problem)}\n\\boxed{{{problem.result}}}",
            "answer": problem.result if n % UNSTATED else "",
        }
        rows.append(row)
    return rows


def math500_rows(split: str, count: int, seed: int = 1) -> list[dict]:
    """Rows with the columns of MATH-500."""
    rows = []
    for n, problem in enumerate(generate(split, count, seed)):
        row = {
            "problem": problem.question,
            "solution": in_full(problem),
            "answer": problem.result,
            "subject": "Algebra",
            "level": "2",
            "unique_id": f"{split}/{seed}/{n}.json",
        }
        rows.append(row)
    return rows


SCHEMAS: dict[str, Callable[[str, int], list[dict]]] = {
    "openai/gsm8k": gsm8k_rows,
    "open-r1/OpenR1-Math-220k": openr1_rows,
    "BytedTsinghua-SIA/DAPO-Math-17k": dapo_rows,
    "Eureka-Lab/PHYBench": phybench_rows,
    "HuggingFaceH4/MATH-500": math500_rows,
}


def embedded_rows(dataset: str) -> dict[str, list[dict]]:
    """Generated rows under "train" and "test" in the schema of a dataset."""
    if dataset not in SCHEMAS:
        raise ValueError(
            f"There are no generated rows for {dataset}.\n"
            "Set DATASET to a Hub id, a local folder or a file."
        )
    return {split: SCHEMAS[dataset](split, count) for split, count in ROWS.items()}
