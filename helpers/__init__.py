"""Teach a small Qwen3 to reason: the package behind the four notebooks.

Read it in this order; each part imports only what stands above it, and recipes.py is the menu:

    answers/      reads an answer out of a text and judges it: formats, numbers, formulas, EED
    rows.py       one row of a dataset, published or yours, becomes an Example
    recipes.py    the five systems, as data
    rewards.py    what GRPO pays for
    settings.py   everything that a user can set
    tiny/         the embedded model, its problems, its maker
    machine/      what this computer is, and what fits on it
    data/         rows from Hub, folder or file; splits; prompts and targets
    plots/        every figure
    runs/         a stage's folder: its log, and whether it was healthy
    training/     models, adapters, trainers, checkpoints
    evaluation/   generate, grade, count, compare, report
    sharing/      merge, prove, describe, push
    commands.py   `python -m helpers`; notebooks.py, kernels.py and drawing.py work for it
"""
