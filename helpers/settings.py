"""The notebooks' parameters as they come from outside: text becomes what it stands for, and what makes no sense is refused before anything runs."""

from __future__ import annotations

import os
from collections.abc import Mapping

# Whole, from 0 to this. NumPy's seeds end at 2**32, and processes and stages add a little to SEED.
NUMBERS = {"SEED": 2**32 - 10**6, "MAX_STEPS": 10**9, "PROBLEMS": 10**9}
SWITCHES = ("PUSH", "RESUME", "FORCE")
TRACKERS = ("wandb", "tensorboard", "trackio")
YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
WORDS = {
    "BUDGET": ("quick", "published"),
    "FORM": ("adapter", "merged-fp32", "merged-bf16", "gguf"),
    "VLLM": ("", "colocate", "server"),
    "REPORT_TO": ("none", *TRACKERS, ""),
}
TEXTS = ("RECIPE", "MODEL", "DATASET", "OUTPUT", "ADAPTER", "REPO", "MIRROR")
AFRESH = "RESUME = False (make: RESUME=false, python -m helpers: --no-resume)"  # what messages say
NAMES = (*TEXTS, *NUMBERS, *SWITCHES, *WORDS)


def checked(given: Mapping) -> dict:
    """The parameters among `given`, each as what it stands for: whole numbers, switches, words of their lists, texts with ~ spelled out.

    Raises ValueError, in two lines, for one that stands for nothing, and for PUSH without REPO.
    """
    found = {name: settled(name, given[name]) for name in NAMES if name in given}
    check_repo(found.get("REPO") or None)
    if found.get("PUSH") and not found.get("REPO"):
        raise ValueError(
            'PUSH is set, and REPO is not.\nSet REPO to "your-name/model-name", or PUSH to false.'
        )
    return found


def settled(name: str, value):
    """One parameter as what it stands for."""
    text = "" if value is None else str(value).strip()
    if name in NUMBERS:
        if not (
            text.isascii() and text.isdigit() and len(text) < 1000 and int(text) <= NUMBERS[name]
        ):  # Python reads none of over 4300
            raise ValueError(
                f"{name} is {value!r}.\nGive a whole number from 0 to {NUMBERS[name]}."
            )
        return int(text)
    if name in SWITCHES:
        if text.lower() not in YES + NO:
            raise ValueError(f"{name} is {value!r}.\nSet it to true or false.")
        return text.lower() in YES
    if name in WORDS:
        if text not in WORDS[name]:
            raise ValueError(
                f"{name} is {value!r}.\nUse one of: {', '.join(word or repr(word) for word in WORDS[name])}."
            )
        return text
    if not text and name == "OUTPUT":
        raise ValueError("OUTPUT is empty.\nSet it to a folder, such as outputs.")
    return os.path.expanduser(text)


def check_repo(repo: str | None) -> None:
    """Raises ValueError for what is no repository's name on the Hub."""
    if repo is None:
        return
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
        if repo.count("/") != 1:
            raise HFValidationError("no owner")
    except HFValidationError:
        raise ValueError(f'REPO is {repo!r}.\nGive it as "your-name/model-name".') from None
