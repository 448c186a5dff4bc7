"""`python -m helpers COMMAND`: flags only; `commands.py` does the work, and says what it is.

All flags are settings, from the one list in `settings.py`.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from difflib import get_close_matches
from errno import EACCES, ENOSPC, EPERM, EROFS

from helpers import commands
from helpers.settings import NO, YES, Settings

# What the work stops with when something is wrong: the text is enough.
EXPECTED = (OSError, ValueError, ImportError, RuntimeError, FloatingPointError)
SETTINGS = {field.name: field for field in fields(Settings)}
SWITCHES = {f"--{name}" for name, field in SETTINGS.items() if field.type.startswith("bool")}
VALUES = {"int": "N", "float": "NUMBER", "str": "VALUE"}  # what help shows

LENGTHS = "max_prompt max_completion temperature"
SFT = f"""recipe model dataset file output epochs batch learning_rate rows use_4bit lora_rank
    generations max_length {LENGTHS} max_steps budget sft_output seed resume mirror report_to vllm
    force"""
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
        summary = what.partition("\n")[0]
        command = add(name, help=summary, description=what, allow_abbrev=False)
        for argument in arguments.split():
            bare = argument.rstrip("?*+")
            count = argument.removeprefix(bare) or None
            command.add_argument(bare, metavar=bare.upper(), nargs=count)
        for flag in flags.split():
            field = SETTINGS[flag]
            spellings = [f"--{spelling}" for spelling in (flag, *field.metadata["flags"])]
            if f"--{flag}" in SWITCHES:
                options = {"action": argparse.BooleanOptionalAction}
            else:
                value = VALUES[field.type.removesuffix(" | None")]
                options = {"metavar": "|".join(field.metadata["choices"]) or value}
            command.add_argument(*spellings, dest=flag, help=field.metadata["help"], **options)
    return parser


def with_switches(words: Sequence[str]) -> list[str]:
    """`--resume false` and `--resume=false` as `--no-resume`, which is what the parser knows."""
    found = []
    for word in words:
        flag, _, said = word.partition("=")
        if word.lower() in YES + NO and found and found[-1] in SWITCHES:
            flag, said = found.pop(), word
        if flag in SWITCHES and said.lower() in NO:
            word = flag.replace("--", "--no-")
        elif flag in SWITCHES and said.lower() in YES:
            word = flag
        found.append(word)
    return found


def as_flags(text: str, command: str) -> str:
    """A message with this command's flags in place of the names of parameters.

    >>> as_flags("Set MODEL=x, or RESUME = False (in a terminal --no-resume).", "sft")
    'Set --model x, or --no-resume.'
    """

    def as_flag(found: re.Match) -> str:
        parameter, value = found.groups(default="")
        name = f"--{parameter.lower()}"
        if name in SWITCHES and value.lower() in YES:
            return name
        if name in SWITCHES and value.lower() in NO:
            return name.replace("--", "--no-")
        return f"{name} {value}".rstrip()

    if command == "run":  # it takes NAME=VALUE
        return re.sub(r"(\w+) = (\w+) \(in a terminal --[\w-]+\)", r"\1=\2", text)
    flags = COMMANDS[command][1].split()
    if not flags:
        return text
    if "out" in flags:
        text = re.sub(r"\bOUTPUT\b", "OUT", text)
    names = "|".join(flags).upper()
    text = re.sub(r"\w+ = \w+ \(in a terminal (--[\w-]+)\)", r"\1", text)
    return re.sub(rf"(?<![\w/.-])({names})(?![\w/-])(?: ?= ?(\S*[^\s,.;)]))?", as_flag, text)


def refusal(command: str, unknown: Sequence[str]) -> str:
    """What is said of words that a command does not know, with the likeliest cure."""
    arguments, flags = COMMANDS[command]
    flag = unknown[0].partition("=")[0]
    near = get_close_matches(flag, [f"--{name}" for name in flags.split()], 1, cutoff=0.75)
    meant = f" Did you mean {near[0]}?" if near else ""
    if flag.removeprefix("--") in re.findall(r"\w+", arguments):
        meant = f" Name it without {flag}."
    cure = f"See its flags: python -m helpers {command} --help"
    return f"error: {command} has no {' '.join(unknown)}.{meant}\n{cure}\n"


def with_cure(error: Exception) -> str:
    """An error's text, with a cure where the library or the system that raised it gives none."""
    text = str(error)
    if "\n" in text:
        return text
    if isinstance(error, ModuleNotFoundError):
        return f"{text}\nUse `.venv/bin/python`, into which `make run` installs what is needed."
    if getattr(error, "errno", None) in (ENOSPC, EACCES, EPERM, EROFS):
        return f"{text}\nSee that there is room and that you may write there, or set OUTPUT anew."
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    words = sys.argv[1:] if argv is None else argv
    parser = build_parser()
    known, unknown = parser.parse_known_args(with_switches(words))
    given = vars(known)
    command = given.pop("command")
    if unknown:
        parser.exit(2, refusal(command, unknown))
    work = getattr(commands, command)
    arguments, flags = [], {}
    for name, value in given.items():
        if name not in SETTINGS:
            arguments.append(value)
        elif value is not None:
            flags[f"--{name}"] = value
    try:
        work(*arguments, Settings.read(flags, "--{}".format))
    except KeyboardInterrupt as error:
        what, then = "stopped", ""
        if command == "run" or "resume" in COMMANDS[command][1].split():
            what, then = "stopped; what was done is saved", ": it goes on from there"
        print(f"\n{str(error) or what}\nRun the same command again{then}.", file=sys.stderr)
        return 130
    except EXPECTED as error:
        print(f"error: {as_flags(with_cure(error), command)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
