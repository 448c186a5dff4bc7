"""An adapter's folder, read and checked once; whoever takes an `Adapter` trusts it."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers import AutoTokenizer

from helpers.machine import check_path, file_hash
from helpers.runs import Run
from helpers.tiny import TINY_MODEL, is_embedded

# In a tokenizer's settings: where it lay on this machine, and code to run
TRACES = ("is_local", "local_files_only", "name_or_path", "cache_dir", "vocab_file", "auto_map")


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
        """The adapter in a folder or a run's folder; base: what it must belong to, None for any.

        Raises FileNotFoundError (no adapter there, or its base is gone) or ValueError (of another
        base, or damaged).
        """
        folder = Path(folder)
        if (folder / "adapter").is_dir():
            folder = folder / "adapter"
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
        run = Run.read(folder.absolute().parent)
        return cls(folder, base_of(folder, config, run, base), config, run)

    @contextlib.contextmanager
    def on_its_base(self) -> Iterator[Path]:
        """A folder with this adapter whose configuration names the base as it is found here."""
        if self.base == self.config.base_model_name_or_path:
            yield self.folder
            return
        with tempfile.TemporaryDirectory() as place:
            for path in self.folder.absolute().iterdir():
                Path(place, path.name).symlink_to(path)
            Path(place, "adapter_config.json").unlink()
            save_config(self.config, self.base, place)
            yield Path(place)

    @property
    def weights(self) -> Path:
        return self.folder / "adapter_model.safetensors"

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256 of the weights' file."""
        return file_hash(self.weights)

    @functools.cached_property
    def tokenizer(self):
        """The tokenizer that it was trained with, with its chat template. ValueError if not so."""
        try:
            found = AutoTokenizer.from_pretrained(str(self.folder))
            if found.chat_template:
                return found
            cause = "no chat template"
        except (OSError, ValueError, LookupError) as error:
            cause = type(error).__name__
        what = f"The tokenizer beside the adapter in {self.folder} is missing or damaged"
        cure = "Copy the tokenizer that it was trained with into that folder, or train it again"
        raise ValueError(f"{what} ({cause}).\n{cure}.")


def base_of(folder: Path, config: LoraConfig, run: Run | None, wanted: str | None) -> str:
    """Where the base of an adapter is found here: at `wanted`, if given, which must be the same."""
    own = str(config.base_model_name_or_path)
    if is_embedded(own):
        own = str(TINY_MODEL)  # wherever this project lay when it was trained
    trained = f"The adapter in {folder} was trained on {own}"
    elsewhere = "Set MODEL to where that model lies now, or train again."
    # A run says whether its base was a folder; that may have a name as on the Hub.
    was_folder = Path(own).is_absolute() or bool(run and run.manifest.get("base_weights"))
    gone = was_folder and not Path(own).exists()
    if gone and wanted is None:
        raise FileNotFoundError(f"{trained}, which is not here.\n{elsewhere}")
    found = wanted or own
    check_path(found, "model", "config.json")
    if same_model(own, found, run):
        # Of two ids on the Hub the adapter's own: it may be the 4-bit copy.
        return found if gone or Path(found).exists() else own
    if found == own:
        raise ValueError(f"{trained}, which has other weights now.\n{elsewhere}")
    cause = f"{trained}, not on {found}"
    if was_folder and not Path(found).exists():  # nothing to compare
        cause = f"{trained}; whether {found} is the same, a name does not say"
    cure = f"Set MODEL={own}, or set ADAPTER to one that was trained on {found}."
    if gone:
        cure = elsewhere
    raise ValueError(f"{cause}.\n{cure}")


def save_config(config: LoraConfig, base: str, folder: str | Path) -> None:
    """Writes PEFT's configuration for that base, the same byte for byte from run to run."""
    config = copy.copy(config)
    config.base_model_name_or_path = base
    for name in ("target_modules", "exclude_modules"):
        if isinstance(getattr(config, name), set):
            setattr(config, name, sorted(getattr(config, name)))
    config.save_pretrained(folder)


def save_tokenizer(tokenizer, folder: str | Path) -> None:
    """Writes a tokenizer and its chat template, without names of this machine."""
    for trace in TRACES:
        tokenizer.init_kwargs.pop(trace, None)
    tokenizer.save_pretrained(folder)


def is_adapter(folder: str | Path) -> bool:
    """Whether a folder holds an adapter, rather than a whole model."""
    return (Path(folder) / "adapter_config.json").is_file()


def same_model(own: str, other: str, run: Run | None = None) -> bool:
    """Whether two names mean one base: folders with equal weights, or equal Hub ids.

    An id of Unsloth's 4-bit copy equals that of the original. run: what was trained on `own`, and
    knows the weights of its base, which may lie elsewhere now, and what MODEL was then.

    >>> same_model("unsloth/Qwen3-4B-unsloth-bnb-4bit", "Qwen/Qwen3-4B")
    True
    """
    if Path(other).is_dir():
        weights = run.manifest.get("base_weights") if run else None
        if not weights and Path(own).is_dir():
            weights = folder_identity(own)
        if weights:
            return weights == folder_identity(other)
        if Path(own).is_absolute():  # of another machine; its LoRA matrices must fit
            return True
    bare = set()
    for model in (own, other):
        name = model.lower().rpartition("/")[2]
        bare.add(name.removesuffix("-bnb-4bit").removesuffix("-unsloth"))
    return len(bare) == 1 or bool(run and run.manifest.get("model") == other)


def folder_identity(folder: str | Path) -> str:
    """A hash of the weights in a model's folder, as `identity` makes it; "" for none.

    Raises ValueError for a file that is damaged.
    """
    found = {}
    for file in Path(folder).glob("*.safetensors"):
        with whole_weights(file.name, folder), safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118  it is no dictionary
                found[name] = weights.get_slice(name)[:64]  # rows: `identity` needs no more
    return identity(sorted(found.items())) if found else ""


@contextlib.contextmanager
def whole_weights(what: str, base: str | Path) -> Iterator[None]:
    """Turns what goes wrong while a base's weights are read into a ValueError with a cure."""
    try:
        yield
    except Exception as error:  # of many kinds
        cause = f"{what}: {type(error).__name__}: {str(error)[:100]}"
        cure = "Fetch or copy the model again, with each .safetensors file that its index names."
        raise ValueError(f"The weights of {base} are not whole ({cause}).\n{cure}") from error


def identity(weights: Iterable[tuple[str, torch.Tensor]]) -> str:
    """A hash of weights, such as those `at_work`, from 64 values of each."""
    digest = hashlib.sha256()
    for name, tensor in weights:
        values = tensor.flatten()[:64].cpu().to(torch.float64).tolist()
        digest.update(f"{name}{values}".encode())
    return digest.hexdigest()[:16]
