"""An adapter's folder, read and checked once; whoever takes an `Adapter` trusts it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from peft import LoraConfig, PeftConfig
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoTokenizer

from helpers.machine import file_hash
from helpers.runs import Run


@dataclass(frozen=True)
class Adapter:
    """A trained adapter: the noun that travels instead of a path.

    base: Hub id or folder of the model that it was trained on. config: PEFT's. run: the run that
    made it; None for one from elsewhere.
    """

    folder: Path
    base: str
    config: LoraConfig
    run: Run | None

    @classmethod
    def read(cls, folder: str | Path, base: str | None = None) -> Adapter:
        """The adapter in a folder, if it is whole and belongs to `base` (None: to whichever).

        Raises FileNotFoundError (no adapter there) or ValueError (of another base, or damaged).
        """
        folder = Path(folder)
        weights = folder / "adapter_model.safetensors"
        settings = folder / "adapter_config.json"
        if not weights.is_file() or not settings.is_file():
            cure = "Run 01_sft.ipynb first, or set ADAPTER to a trained adapter's folder."
            raise FileNotFoundError(f"There is no adapter in {folder}.\n{cure}")
        damage = ""
        try:
            config = PeftConfig.from_pretrained(folder)
            for name, tensor in load_file(weights).items():
                if not tensor.float().isfinite().all():
                    damage = f"{name} holds NaN or infinite numbers"
        except (ValueError, KeyError, TypeError, SafetensorError) as error:
            damage = f"{type(error).__name__}: {str(error)[:100]}"
        if damage:
            cure = "Train it again, or name another one."
            raise ValueError(f"The adapter in {folder} is damaged ({damage}).\n{cure}")
        if not isinstance(config, LoraConfig) or not config.base_model_name_or_path:
            raise ValueError(f"{settings} is not of LoRA on a base.\nName another adapter.")
        own_base = str(config.base_model_name_or_path)
        if base is not None and not same_model(own_base, base):
            raise ValueError(
                f"The adapter in {folder} was trained on {own_base}, not on {base}.\n"
                f"Set MODEL={own_base}, or set ADAPTER to one that was trained on {base}."
            )
        return cls(folder, own_base, config, Run.read(folder.parent))

    @property
    def weights(self) -> Path:
        return self.folder / "adapter_model.safetensors"

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256 of the weights' file."""
        return file_hash(self.weights)

    @functools.cached_property
    def tokenizer(self):
        """The tokenizer that it was trained with. Raises ValueError if there is none."""
        try:
            return AutoTokenizer.from_pretrained(str(self.folder))
        except (OSError, ValueError, LookupError) as error:
            what = f"The tokenizer beside the adapter in {self.folder} is missing or damaged"
            cure = "Copy the tokenizer that it was trained with into that folder, or train it again"
            raise ValueError(f"{what} ({type(error).__name__}).\n{cure}.") from error


def is_adapter(folder: str | Path) -> bool:
    """Whether a folder holds an adapter, rather than a whole model."""
    return (Path(folder) / "adapter_config.json").is_file()


def same_model(one: str, other: str) -> bool:
    """Whether two names mean one base: a folder, or a Hub id, also as Unsloth's 4-bit copy.

    >>> same_model("unsloth/Qwen3-4B-unsloth-bnb-4bit", "Qwen/Qwen3-4B")
    True
    """
    if Path(one).exists() or Path(other).exists():
        return Path(one).resolve() == Path(other).resolve()
    bare = set()
    for model in (one, other):
        name = model.lower().rpartition("/")[2]
        bare.add(name.removesuffix("-bnb-4bit").removesuffix("-unsloth"))
    return len(bare) == 1
