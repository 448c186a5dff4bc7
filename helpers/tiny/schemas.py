"""The generated problems as rows of each dataset, so that the embedded default goes through the same row adapters as the real data.

As in real data, the solutions differ in how much they show: some write all steps out, some ("terse") only state the result. Every
result is right; but a terse solution asks a small model to do two steps in its head.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from helpers.rows import WRAPPER
from helpers.tiny.problems import Problem, generate

TERSE_SHARE = 0.6
ROWS = {"train": 4000, "test": 2000}
REPEATS = 2  # how often DAPO's generated rows repeat; the published ones do so 100 times
UNVERIFIED, UNSTATED = (
    20,
    10,
)  # one in so many: OpenR1 rows without a verified generation, PHYBench rows with the answer only in a box


def without_marks(text: str) -> str:
    """A solution without GSM8K's calculator marks."""
    return "".join(part.split(">>")[-1] for part in text.split("<<"))


def gsm8k_rows(split: str, count: int, seed: int = 0) -> list[dict]:
    """Rows with `question` and `answer`, as `load_dataset("openai/gsm8k", "main")` gives them."""
    rng = random.Random(f"style-{split}-{seed}")
    rows = []
    for problem in generate(split, count, seed):
        solution = problem.short if rng.random() < TERSE_SHARE else "\n".join(problem.steps)
        rows.append({"question": problem.question, "answer": f"{solution}\n#### {problem.result}"})
    return rows


def openr1_rows(split: str, count: int, seed: int = 0) -> list[dict]:
    """Rows with the columns of OpenR1-Math-220k: two generations each, of which at most one was verified."""
    rng = random.Random(f"style-{split}-{seed}")
    return [
        openr1_row(rng, problem, f"{split}-{seed}-{n}", n % UNVERIFIED > 0)
        for n, problem in enumerate(generate(split, count, seed))
    ]


def openr1_row(rng: random.Random, problem: Problem, identity: str, verified: bool) -> dict:
    thought = without_marks(
        problem.short if rng.random() < TERSE_SHARE else "\n".join(problem.steps)
    )
    right = f"<think>\n{thought}\n</think>\n\nIt is \\boxed{{{problem.result}}}."
    wrong = f"<think>\nThis is hard.\n</think>\n\nIt is \\boxed{{{int(problem.result) + 1}}}."
    generations, checks = (
        ([right, wrong], [True, False]) if verified else ([wrong, wrong], [False, False])
    )
    return {
        "problem": problem.question,
        "solution": without_marks("\n".join(problem.steps)),
        "answer": problem.result,
        "problem_type": "Algebra",
        "question_type": "math-word-problem",
        "source": "generated",
        "uuid": identity,
        "is_reasoning_complete": [True, True],
        "generations": generations,
        "correctness_math_verify": checks,
        "correctness_llama": None,
        "finish_reasons": None,
        "correctness_count": sum(checks),
        "messages": [
            {"role": "user", "content": problem.question},
            {"role": "assistant", "content": generations[0]},
        ],
    }


def dapo_rows(split: str, count: int, seed: int = 0) -> list[dict]:
    """Rows in DAPO-Math-17k's original schema: a wrapped prompt, the truth in `reward_model`, every row several times."""
    return [
        {
            "data_source": "math_dapo",
            "prompt": [{"role": "user", "content": problem.question.join(WRAPPER)}],
            "ability": "MATH",
            "reward_model": {"ground_truth": problem.result, "style": "generated"},
            "extra_info": {"index": f"{split}-{seed}-{n}"},
        }
        for n, problem in enumerate(generate(split, count, seed))
        for _ in range(REPEATS)
    ]


def phybench_rows(split: str, count: int, seed: int = 0) -> list[dict]:
    """Rows with the columns of PHYBench; the answers are formulas, some of which stand only in the solution's box."""
    return [
        {
            "id": f"{split}-{seed}-{n}",
            "tag": "MECHANICS",
            "content": problem.question,
            "solution": "\n".join(problem.steps) + f"\n\\boxed{{{problem.result}}}",
            "answer": problem.result if n % UNSTATED else "",
        }
        for n, problem in enumerate(generate(split, count, seed, kind="physics"))
    ]


def math500_rows(split: str, count: int, seed: int = 1) -> list[dict]:
    """Rows with the columns of MATH-500."""
    return [
        {
            "problem": problem.question,
            "solution": without_marks("\n".join(problem.steps)),
            "answer": problem.result,
            "subject": "Algebra",
            "level": "2",
            "unique_id": f"{split}/{seed}/{n}.json",
        }
        for n, problem in enumerate(generate(split, count, seed))
    ]


SCHEMAS: dict[str, Callable[[str, int], list[dict]]] = {
    "openai/gsm8k": gsm8k_rows,
    "open-r1/OpenR1-Math-220k": openr1_rows,
    "BytedTsinghua-SIA/DAPO-Math-17k": dapo_rows,
    "Eureka-Lab/PHYBench": phybench_rows,
    "HuggingFaceH4/MATH-500": math500_rows,
}


def embedded_rows(dataset: str) -> dict[str, list[dict]]:
    """Generated rows under "train" and "test" in the schema of a dataset. Raises ValueError for one that has no generator."""
    if dataset not in SCHEMAS:
        raise ValueError(
            f"There are no generated rows for {dataset}.\nSet DATASET to a Hub id, a local folder or a file."
        )
    return {split: SCHEMAS[dataset](split, count) for split, count in ROWS.items()}
