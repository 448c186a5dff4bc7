"""Teach a small Qwen3 to reason: the package behind the four notebooks.

Read it in this order; each module uses only those before it:

    answers/formats.py   how an answer is written, recognised and read out of a text
    answers/grading.py   whether an answer that was read is right (answers/__init__.py gives the order within)
    rows.py              one row of a dataset becomes an example
    recipes.py           the five published systems, as data and side by side in words
    parameters.py        what the notebooks, make and papermill set, checked
    machine.py           what this computer can do, and which profile follows from it
    setting_up.py        makes a bare Colab or Kaggle session ready
    sources.py           rows from the Hub, a folder, a file or the generator
    data.py              examples are checked and split, and become prompts and targets
    rewards.py           what GRPO pays for
    shapes.py, memory.py what a stage takes, and how the batch is cut: `python -m helpers plan`
    unsloth_first.py     imports Unsloth before what it patches
    models.py            load in 4-bit, adapters, batched generation
    runlog.py            one line a step, samples, the manifest of a run
    checkpoints.py       what a run that was cut off goes on from
    plots.py             figures from a log or from evaluation records
    health.py            verdicts on a run, and a look before it begins
    lab.py               curves of runs that were made ill on purpose, to compare with
    drawing.py           reads runs back: `python -m helpers plot`
    processes.py         what several processes have to agree on
    watching.py          writes the log while a trainer trains
    budget.py            sizes a run on a GPU to some minutes
    training.py          settings for this machine, SFT and GRPO
    stages.py            both from a command line: `python -m helpers sft|grpo|both` (commands.py), also under `accelerate launch`
    measures.py          the statistics: intervals, pairs, several tries, how many problems it takes
    records.py           what an evaluation's records say together
    evaluation.py        generate and grade (vllm_engine.py: by vLLM)
    controls.py          problems that nobody can have learned by heart
    report.py            an evaluation as one HTML page
    candidates.py        any models on the same problems: `python -m helpers evaluate`
    export.py            the adapter to give away, and the merged model, streamed
    proof.py             read back in a fresh process: the export is the trained model
    gguf.py              files for llama.cpp and Ollama
    hub.py               a push that nobody does by accident, and that is read back
    card.py              the model card, from what the runs wrote
    giving.py            `python -m helpers export`
    notebooks.py         runs the notebooks from outside (address.py: where this repository lies)
    tiny/                the embedded model and its problems

Importing `helpers` imports nothing heavy.
"""

__version__ = "0.1.0"
