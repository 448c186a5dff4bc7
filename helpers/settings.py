"""What a user can set: the one list behind notebook parameters, make's variables and flags.

A field `max_steps` is the parameter MAX_STEPS of notebooks and make, and the flag --max_steps.
`python -m helpers.settings` prints the parameters' names, for the Makefile.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields

AFRESH = "RESUME = False (in a terminal --no-resume)"  # in messages
DEFAULT_RECIPE = "gsm8k_xml"
TRACKERS = ("wandb", "tensorboard", "trackio")
YES = ("1", "true", "yes", "on")
NO = ("0", "false", "no", "off")
NUMBERS = {"int": (int, "whole number", 10**9), "float": (float, "number", 1e30)}  # and the largest


def setting(default, help: str, flags: str = "", choices: str = ""):
    """A field with other spellings of its flag, and the words that it can be."""
    metadata = {"help": help, "flags": flags.split(), "choices": choices.split()}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Parameters:
    """What notebooks, make and flags set. A number that is None leaves it to the recipe."""

    recipe: str = setting("", "which system to teach: gsm8k_xml, or that of the adapter's run")
    model: str = setting("", "a Hub id or a local folder; of an adapter, its base", "model_name")
    dataset: str = setting("", "a Hub id, a local folder or file, or embedded", "dataset_name")
    output: str = setting("outputs", "where logs, adapters, pictures and models go", "output_dir")
    seed: int = setting(0, "of everything random")
    max_steps: int = setting(0, "at most so many training steps a stage; 0: the recipe's")
    problems: int = setting(0, "how many test problems to evaluate", "max_samples")
    budget: str = setting(
        "quick", "quick, about an hour, or published, in full", choices="quick published"
    )
    adapter: str = setting("", "another adapter to go on from")
    keep_best: bool = setting(False, "GRPO's best adapter on held-out problems, not its last")
    repo: str = setting("", "your-name/model-name on the Hub")
    push: bool = setting(False, "upload; nothing is uploaded otherwise")
    form: str = setting(
        "merged-bf16", "which export is uploaded", choices="adapter merged-fp32 merged-bf16 gguf"
    )
    resume: bool = setting(True, "go on where a run was cut off; else start afresh")
    mirror: str = setting("", "a folder that gets a copy of every run after each checkpoint")
    vllm: str = setting(
        "", "vLLM generates, where it is installed: colocate or server", choices="colocate server"
    )
    report_to: str = setting(
        "none", "who gets the figures too, if installed", choices=f"none {' '.join(TRACKERS)}"
    )
    force: bool = setting(False, "train although the pre-flight sees no use in it")
    epochs: float | None = setting(None, "passes over the rows", "num_epochs")
    batch: int | None = setting(
        None, "the effective batch: rows, for GRPO completions, a step", "batch_size"
    )
    learning_rate: float | None = setting(None, "of all stages")
    rows: int | None = setting(None, "train on at most so many rows", "max_samples")
    use_4bit: bool | None = setting(None, "the base in 4-bit; by default as the recipe says")
    generations: int | None = setting(
        None, "GRPO's group: completions for one question", "num_generations"
    )
    max_prompt: int | None = setting(
        None, "tokens; GRPO leaves out longer prompts", "max_prompt_length"
    )
    max_completion: int | None = setting(
        None, "tokens of a reply, in GRPO and evaluation", "max_completion_length"
    )
    max_length: int | None = setting(
        None, "tokens; SFT leaves out rows that are longer", "max_seq_length"
    )
    temperature: float | None = setting(None, "of replies drawn by GRPO and evaluation")
    lora_rank: int | None = setting(
        None, "of the LoRA matrices; alpha keeps its proportion", "lora_r"
    )


@dataclass(frozen=True)
class Settings(Parameters):
    """Every setting with its default: the parameters, and from here on what is a flag only."""

    write: bool = setting(False, "store the executed notebooks in their place")
    precision: str = setting("fp32", "of the merged model", choices="fp32 bf16 fp16")
    out: str = setting(
        "",
        "where results go; by default beside the run, or below outputs/RECIPE",
        "output output_dir",
    )
    staging: str = setting("", "where an export is made before it appears, say on a larger disk")
    gguf: str = setting("", "also a GGUF file, by llama.cpp", choices="f16 q8_0 q4_k_m")
    file: str = setting("", "one file of the dataset", "split_full")
    model_path: str = setting("", "another candidate")
    samples: int = setting(0, "drawn answers a problem; by default as the recipe says")
    base: bool = setting(False, "also the base of the first adapter")
    control: bool = setting(False, "also twins with new numbers and fresh problems: is it memory?")
    public: bool = setting(False, "everybody may see the repository")
    sft_output: str = setting("", "where the adapter of SFT goes too, and where grpo finds it")
    grpo_output: str = setting("", "where the adapter of GRPO goes too")

    @classmethod
    def read(cls, given: Mapping, spell: Callable[[str], str] = str.upper) -> Settings:
        """The settings among `given`, such as a notebook's globals(); the others have defaults.

        spell: how a field's name is spelled there. Raises ValueError, in two lines, for a value
        that stands for nothing, and for PUSH without REPO.
        """
        found = {}
        for each in fields(cls):
            name = spell(each.name)
            if name in given:
                found[each.name] = read_value(each, name, given[name])
        settings = cls(**found)
        check_repo(settings.repo or None)
        if settings.push and not settings.repo:
            cure = 'Set REPO to "your-name/model-name", or PUSH to false.'
            raise ValueError(f"PUSH is set, and REPO is not.\n{cure}")
        return settings


def names() -> list[str]:
    """The parameters' names."""
    return [each.name.upper() for each in fields(Parameters)]


def read_value(field: Field, name: str, value):
    """What a value stands for: a number, a switch, one of some words, or a text."""
    text = "" if value is None else str(value).strip()
    kind = field.type.removesuffix(" | None")
    if not text and (kind == "str" or field.default is None):
        return field.default
    if kind == "bool":
        if text.lower() not in YES + NO:
            raise ValueError(f"{name} is {text!r}.\nSet it to true or false.")
        return text.lower() in YES
    if kind in NUMBERS:
        read, noun, largest = NUMBERS[kind]
        number = -1
        with contextlib.suppress(ValueError):  # no number, or one of over 4,300 digits
            number = read(text)
        nothing = field.default is None and number == 0  # no rows, no steps, no learning
        if nothing or not 0 <= number <= largest:
            least = "more than 0" if field.default is None else "0 or more"
            cure = f"Give a {noun}, {least} and at most {largest}."
            raise ValueError(f"{name} is {text[:80]!r}.\n{cure}")
        return number
    choices = field.metadata["choices"]
    if choices and text not in choices:
        words = ", ".join(map(repr, choices))
        raise ValueError(f"{name} is {text!r}.\nUse one of: {words}.")
    return os.path.expanduser(text)


def check_repo(repo: str | None) -> None:
    """Raises ValueError for what is no repository's name on the Hub; None is none yet."""
    if repo is None:
        return
    from huggingface_hub.utils import validate_repo_id

    valid = False
    with contextlib.suppress(ValueError):
        validate_repo_id(repo)
        valid = repo.count("/") == 1
    if not valid:
        raise ValueError(f'REPO is {repo!r}.\nGive it as "your-name/model-name".')


if __name__ == "__main__":
    print(*names())
