"""`python -m helpers COMMAND`: flags only; `commands.py` does the work, and says what it is.

All flags are settings, from the one list in `settings.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields

from helpers import commands
from helpers.settings import Settings

# What the work stops with when something is wrong: the text is enough.
EXPECTED = (OSError, ValueError, ImportError, RuntimeError, FloatingPointError)
SETTINGS = {field.name: field for field in fields(Settings)}

LENGTHS = "max_prompt max_completion temperature"
SFT = f"""recipe model dataset file output epochs batch learning_rate rows use_4bit rank generations
    max_length {LENGTHS} max_steps budget sft_output seed resume mirror report_to vllm force"""
GRPO = f"{SFT} adapter grpo_output keep_best"
EVALUATE = f"""recipe model model_path dataset file problems samples out base control {LENGTHS}
    budget use_4bit vllm resume seed"""

# The commands with their arguments (?, * and + as in patterns) and their flags.
COMMANDS = {
    "run": ("NAME=VALUE*", "write"),
    "sft": ("", SFT),
    "grpo": ("", GRPO),
    "both": ("", GRPO),
    "evaluate": ("candidate*", EVALUATE),
    "ask": ("name", "recipe model use_4bit budget"),
    "plot": ("run+", "out"),
    "plan": ("recipe?", ""),
    "recipes": ("", ""),
    "smollm2": ("folder", ""),
    "export": ("adapter?", "recipe model repo precision out gguf staging"),
    "push": ("folder repo", "push public"),
    "address": ("url", ""),
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m helpers", description="Teach a Qwen3 to reason.")
    add = parser.add_subparsers(dest="command", metavar="COMMAND", required=True).add_parser
    for name, (arguments, flags) in COMMANDS.items():
        what = getattr(commands, name).__doc__
        command = add(name, help=what.partition("\n")[0], description=what)
        for argument in arguments.split():
            bare = argument.rstrip("?*+")
            count = argument.removeprefix(bare) or None
            command.add_argument(bare, metavar=bare.upper(), nargs=count)
        for flag in flags.split():
            field = SETTINGS[flag]
            spellings = [f"--{spelling}" for spelling in (flag, *field.metadata["flags"])]
            options = {"metavar": "VALUE"}
            if field.type.startswith("bool"):
                options = {"action": argparse.BooleanOptionalAction}
            command.add_argument(*spellings, dest=flag, help=field.metadata["help"], **options)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    given = vars(build_parser().parse_args(argv))
    work = getattr(commands, given.pop("command"))
    # what is a setting goes there, the rest to the function of the command's name
    arguments = [value for name, value in given.items() if name not in SETTINGS]
    flags = {f"--{n}": value for n, value in given.items() if n in SETTINGS and value is not None}
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
