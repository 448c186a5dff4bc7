"""Generated problems as rows of each dataset, which go through the same adapters as real data.

As in real data, the solutions differ in how much they show: some write all steps out, some only
state the result. Every result is right; but a terse solution asks a small model to do two steps in
its head.
"""

from random import Random

from helpers.rows import CALCULATOR, WRAPPER
from helpers.tiny.problems import Problem, generate

ROWS = {"train": 4000, "test": 2000}


def without_marks(text: str) -> str:
    """A solution without GSM8K's calculator marks."""
    return CALCULATOR.sub("", text)


def in_full(problem: Problem) -> str:
    return without_marks("\n".join(problem.steps))


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def gsm8k_row(problem: Problem, solution: str, number: int, batch: str) -> dict:
    return {"question": problem.question, "answer": f"{solution}\n#### {problem.result}"}


def openr1_row(problem: Problem, solution: str, number: int, batch: str) -> dict:
    """Two generations, of which one at most is right."""
    reply = "<think>\n{}\n</think>\n\nIt is \\boxed{{{}}}."
    wrong = first = reply.format("This is hard.", int(problem.result) + 1)
    verified = number % 20 > 0  # one in 20 rows has no verified generation
    if verified:
        first = reply.format(without_marks(solution), problem.result)
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
        "messages": [user(problem.question), {"role": "assistant", "content": first}],
    }


def dapo_row(problem: Problem, solution: str, number: int, batch: str) -> dict:
    """The original schema: a wrapped prompt, the truth in `reward_model`."""
    before, after = WRAPPER
    return {
        "data_source": "math_dapo",
        "prompt": [user(before + problem.question + after)],
        "ability": "MATH",
        "reward_model": {"ground_truth": problem.result, "style": "generated"},
        "extra_info": {"index": f"{batch}-{number}"},
    }


def phybench_row(problem: Problem, solution: str, number: int, batch: str) -> dict:
    """One answer in 10 stands only in the solution's box."""
    return {
        "id": f"{batch}-{number}",
        "tag": "MECHANICS",
        "content": problem.question,
        "solution": f"{in_full(problem)}\n\\boxed{{{problem.result}}}",
        "answer": problem.result if number % 10 else "",
    }


def math500_row(problem: Problem, solution: str, number: int, batch: str) -> dict:
    return {
        "problem": problem.question,
        "solution": in_full(problem),
        "answer": problem.result,
        "subject": "Algebra",
        "level": "2",
        "unique_id": f"{batch.replace('-', '/')}/{number}.json",
    }


def platinum_row(problem: Problem, solution: str, number: int, batch: str) -> dict:
    return gsm8k_row(problem, solution, number, batch) | {"cleaning_status": "consensus"}


# The row, the kind and the seed of the problems, and how many equal rows a problem gives: of
# DAPO's the published ones repeat 100 times.
SCHEMAS = {
    "openai/gsm8k": (gsm8k_row, "words", 0, 1),
    "open-r1/OpenR1-Math-220k": (openr1_row, "words", 0, 1),
    "BytedTsinghua-SIA/DAPO-Math-17k": (dapo_row, "words", 0, 2),
    "Eureka-Lab/PHYBench": (phybench_row, "physics", 0, 1),
    "HuggingFaceH4/MATH-500": (math500_row, "words", 1, 1),
    "madrylab/gsm8k-platinum": (platinum_row, "words", 1, 1),
}


def rows_for(dataset: str, split: str, count: int) -> list[dict]:
    """Rows of `count` problems with the columns that a dataset has on the Hub."""
    write_row, kind, seed, repeats = SCHEMAS[dataset]
    batch = f"{split}-{seed}"
    rng = Random(f"style-{batch}")
    rows = []
    for number, problem in enumerate(generate(split, count, seed, kind)):
        solution = problem.solution(rng, terse=0.6)
        rows += repeats * [write_row(problem, solution, number, batch)]
    return rows


def embedded_rows(dataset: str) -> dict[str, list[dict]]:
    """Generated rows under "train" and "test" in the schema of a dataset."""
    if dataset not in SCHEMAS:
        raise ValueError(
            f"There are no generated rows for {dataset}.\n"
            "Set DATASET to a Hub id, a local folder or a file."
        )
    return {split: rows_for(dataset, split, count) for split, count in ROWS.items()}
