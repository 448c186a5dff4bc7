"""What a user can set: the one list behind notebook parameters, make's variables and flags.

A field `max_steps` is the parameter MAX_STEPS of notebooks and make, and the flag --max_steps.
Fields from `Settings.write` on are flags only. `python -m helpers.settings` prints the names, for
the Makefile.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Mapping

AFRESH = "RESUME = False (make: RESUME=false, python -m helpers: --no-resume)"  # in messages
DEFAULT_RECIPE = "gsm8k_xml"
TRACKERS = ("wandb", "tensorboard", "trackio")
YES = ("1", "true", "yes", "on")
NO = ("0", "false", "no", "off")


def setting(default, help_text: str, flags=(), choices=(), most: float = 0, flag_only=False):
    """A field: other spellings of its flag, the words that it can be, and its largest value."""
    metadata = {
        "help": help_text,
        "flags": flags,
        "choices": choices,
        "most": most,
        "flag_only": flag_only,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Every setting with its default. An optional number that is None leaves it to the recipe."""

    recipe: str = setting(
        "",
        "which system to teach: gsm8k_xml, or that of the adapter's run",
    )
    model: str = setting(
        "",
        "a Hub id or a local folder",
        flags=("model_name",),
    )
    dataset: str = setting(
        "",
        "a Hub id, a local folder or file, or embedded",
        flags=("dataset_name",),
    )
    output: str = setting(
        "outputs",
        "where logs, adapters, pictures and models go",
        flags=("output_dir",),
    )
    seed: int = setting(
        0,
        "of everything random",
        most=2**32 - 10**6,  # NumPy stops at 2**32, and stages and processes add to it
    )
    max_steps: int = setting(
        0,
        "at most so many training steps a stage",
        most=10**9,
    )
    problems: int = setting(
        0,
        "how many test problems to evaluate",
        flags=("max_samples",),
        most=10**9,
    )
    budget: str = setting(
        "quick",
        "on a GPU: quick, about an hour, or published, the full length",
        choices=("quick", "published"),
    )
    adapter: str = setting(
        "",
        "another adapter to go on from",
    )
    repo: str = setting(
        "",
        "your-name/model-name on the Hub",
    )
    push: bool = setting(
        False,
        "upload; nothing is uploaded otherwise",
    )
    form: str = setting(
        "merged-bf16",
        "which export is uploaded",
        choices=("adapter", "merged-fp32", "merged-bf16", "gguf"),
    )
    resume: bool = setting(
        True,
        "go on where a run was cut off; else start afresh",
    )
    mirror: str = setting(
        "",
        "a folder that gets a copy of every run after each checkpoint",
    )
    vllm: str = setting(
        "",
        "vLLM generates, where it is installed: colocate or server",
        choices=("", "colocate", "server"),
    )
    report_to: str = setting(
        "none",
        "who gets the figures too, if installed",
        choices=("none", *TRACKERS, ""),
    )
    force: bool = setting(
        False,
        "train although the pre-flight sees no use in it",
    )
    epochs: float | None = setting(
        None,
        "passes over the rows",
        flags=("num_epochs",),
        most=10**4,
    )
    batch: int | None = setting(
        None,
        "the effective batch: rows, for GRPO completions, a step",
        flags=("batch_size",),
        most=10**6,
    )
    learning_rate: float | None = setting(
        None,
        "of all stages",
        most=1e30,
    )
    rows: int | None = setting(
        None,
        "train on at most so many rows",
        flags=("max_samples",),
        most=10**9,
    )
    use_4bit: bool | None = setting(
        None,
        "the base in 4-bit; by default as the recipe says",
    )
    write: bool = setting(
        False,
        "store the executed notebooks in their place",
        flag_only=True,
    )
    precision: str = setting(
        "fp32",
        "of the merged model",
        choices=("fp32", "bf16", "fp16"),
        flag_only=True,
    )
    out: str = setting(
        "",
        "where results go; by default below outputs/RECIPE",
        flags=("output_dir",),
        flag_only=True,
    )
    staging: str = setting(
        "",
        "where an export is made before it appears, say on a larger disk",
        flag_only=True,
    )
    gguf: str = setting(
        "",
        "also a GGUF file, by llama.cpp",
        choices=("", "f16", "q8_0", "q4_k_m"),
        flag_only=True,
    )
    samples: int = setting(
        0,
        "drawn answers a problem; by default as the recipe says",
        most=10**4,
        flag_only=True,
    )
    base: bool = setting(
        False,
        "also the base of the first adapter",
        flag_only=True,
    )
    control: bool = setting(
        False,
        "also twins with other numbers and fresh problems: is it memory?",
        flag_only=True,
    )
    public: bool = setting(
        False,
        "everybody may see the repository",
        flag_only=True,
    )
    sft_output: str = setting(
        "",
        "where the adapter of SFT goes too, and where grpo finds it",
        flag_only=True,
    )
    grpo_output: str = setting(
        "",
        "where the adapter of GRPO goes too",
        flag_only=True,
    )

    @classmethod
    def read(cls, given: Mapping, spell: Callable[[str], str] = str.upper) -> Settings:
        """The settings among `given`, such as a notebook's globals(); the others have defaults.

        spell: how a field's name is spelled there. Raises ValueError, in two lines, for a value
        that stands for nothing, and for PUSH without REPO.
        """
        found = {}
        for field in dataclasses.fields(cls):
            name = spell(field.name)
            if name in given:
                found[field.name] = read_value(field, name, given[name])
        settings = cls(**found)
        check_repo(settings.repo or None)
        if settings.push and not settings.repo:
            cure = 'Set REPO to "your-name/model-name", or PUSH to false.'
            raise ValueError(f"PUSH is set, and REPO is not.\n{cure}")
        return settings


def names() -> list[str]:
    """The parameters' names."""
    fields = dataclasses.fields(Settings)
    return [field.name.upper() for field in fields if not field.metadata["flag_only"]]


def read_value(field: dataclasses.Field, name: str, value):
    """What a value stands for: a number, a switch, one of some words, or a text."""
    text = ""
    if value is not None:
        text = str(value).strip()
    kind = field.type.removesuffix(" | None")
    if kind != field.type and not text:
        return None
    if kind == "bool":
        return read_switch(name, text.lower())
    if kind in ("int", "float"):
        return read_number(name, text, kind, field.metadata["most"])
    choices = field.metadata["choices"]
    if choices and text not in choices:
        words = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} is {text!r}.\nUse one of: {words}.")
    if field.name == "output" and not text:
        raise ValueError(f"{name} is empty.\nSet it to a folder, such as outputs.")
    return os.path.expanduser(text)


def read_switch(name: str, text: str) -> bool:
    if text not in YES + NO:
        raise ValueError(f"{name} is {text!r}.\nSet it to true or false.")
    return text in YES


def read_number(name: str, text: str, kind: str, most: float) -> int | float:
    """A number from 0 to `most`."""
    number = math.nan
    with contextlib.suppress(ValueError):  # no number, or one of over 4,300 digits
        if kind == "float":
            number = float(text)
        elif text.isascii() and text.isdigit():
            number = int(text)
    if not 0 <= number <= most:
        raise ValueError(f"{name} is {text[:80]!r}.\nGive a {NOUNS[kind]} from 0 to {most}.")
    return number


NOUNS = {"int": "whole number", "float": "number"}


def check_repo(repo: str | None) -> None:
    """Raises ValueError for what is no repository's name on the Hub; None is none yet."""
    if repo is None:
        return
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
        valid = repo.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise ValueError(f'REPO is {repo!r}.\nGive it as "your-name/model-name".')


if __name__ == "__main__":
    print(*names())
