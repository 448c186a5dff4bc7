"""`python -m helpers COMMAND`: flags only; `commands.py` does the work.

All flags are settings, from the one list in `settings.py`.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence

from helpers import commands
from helpers.settings import Settings

# What the work stops with when something is wrong: the text is enough.
EXPECTED = (OSError, ValueError, ImportError, RuntimeError, FloatingPointError)

TRAINED = """recipe model dataset output epochs batch learning_rate rows use_4bit max_steps budget
    adapter sft_output grpo_output seed resume mirror report_to vllm force"""

# A command: what it does, its arguments (?, * and + as in patterns), and its flags. Arguments and
# flags that are settings go there; the other arguments go to the function of the command's name.
COMMANDS = {
    "run": (
        "run the four notebooks and print the table of results",
        "NAME=VALUE*",
        "write",
    ),
    "sft": (
        "train a recipe's supervised stages",
        "",
        TRAINED,
    ),
    "grpo": (
        "train by GRPO, from the adapter of SFT where the recipe has it",
        "",
        TRAINED,
    ),
    "both": (
        "SFT, where the recipe has it, and then GRPO",
        "",
        TRAINED,
    ),
    "evaluate": (
        "measure adapters, model folders or Hub ids on the same held-out problems",
        "candidate+",
        "recipe dataset problems samples out base control use_4bit vllm resume seed",
    ),
    "plot": (
        "draw a run from its log, with summary and verdicts; or compare runs",
        "run+",
        "out",
    ),
    "plan": (
        "print what each stage takes on each card; needs no GPU",
        "recipe?",
        "",
    ),
    "recipes": (
        "print the recipes side by side",
        "",
        "",
    ),
    "export": (
        "merge an adapter (by default the last one) into one model, and prove it",
        "adapter?",
        "recipe model repo precision out gguf staging",
    ),
    "push": (
        "print what a push of a folder to a repository would do; with --push do it",
        "folder repo",
        "push public",
    ),
    "address": (
        "write your repository's address into notebooks and README",
        "url",
        "",
    ),
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m helpers", description="Teach a Qwen3 to reason.")
    add = parser.add_subparsers(dest="command", metavar="COMMAND", required=True).add_parser
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    for name, (what, arguments, settings) in COMMANDS.items():
        command = add(name, help=what, description=what)
        for argument in arguments.split():
            bare = argument.rstrip("?*+")
            count = argument.removeprefix(bare) or None
            command.add_argument(bare, metavar=bare.upper(), nargs=count)
        for setting in settings.split():
            add_flag(command, fields[setting])
    return parser


def add_flag(command: argparse.ArgumentParser, field: dataclasses.Field) -> None:
    """A setting under all the spellings of its flag."""
    flags = [f"--{name}" for name in (field.name, *field.metadata["flags"])]
    options = {"dest": field.name, "help": field.metadata["help"]}
    if field.type.startswith("bool"):
        options["action"] = argparse.BooleanOptionalAction
    else:
        options["metavar"] = "VALUE"
    command.add_argument(*flags, **options)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    given = vars(build_parser().parse_args(argv))
    work = getattr(commands, given.pop("command"))
    known = {field.name for field in dataclasses.fields(Settings)}
    arguments = []
    flags = {}
    for name, value in given.items():
        if name not in known:
            arguments.append(value)
        elif value is not None:
            flags[f"--{name}"] = value
    try:
        work(*arguments, Settings.read(flags, "--{}".format))
    except KeyboardInterrupt as error:
        what = str(error) or "stopped; what was done is saved"
        print(f"\n{what}\nRun the same command again: it goes on from there.", file=sys.stderr)
        return 130
    except EXPECTED as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
