"""A trained adapter in a form that others can load: what an export is, and the plainest one."""

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.machine import file_hash, make_readable, versions, writable_folder
from helpers.runs import read_object, write_json
from helpers.tiny import TINY, is_embedded
from helpers.training import (
    Adapter,
    folder_identity,
    lock_folder,
    neutral_settings,
    save_config,
    save_tokenizer,
)

from transformers import AutoConfig, GenerationConfig  # isort: skip  (after Unsloth)
from transformers.models.auto.tokenization_auto import get_tokenizer_config  # isort: skip
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER  # isort: skip

EXPORT_FILE = "export.json"  # says of a folder that it is an export, of what, and of which files
CARD = ("README.md", "images/rewards.png", "images/losses.png", "images/accuracy.png")


@dataclass(frozen=True)
class Export:
    """A folder that others can load: the noun that travels instead of a path.

    origin: what its export.json says.
    """

    folder: Path
    form: str  # "adapter", "merged" or "gguf"
    precision: str | None  # of its weights; None for an adapter
    origin: dict

    @classmethod
    def read(cls, folder: str | Path) -> "Export":
        """The export in a folder. Raises FileNotFoundError (none) or ValueError (damaged)."""
        cure = "Export first: notebook 04, or python -m helpers export."
        origin = read_object(Path(folder) / EXPORT_FILE, {"form": str}, cure)
        if origin is None:
            raise FileNotFoundError(f"There is no export in {folder}.\n{cure}")
        return cls(Path(folder), origin["form"], origin.get("precision"), origin)

    @property
    def megabytes(self) -> float:
        """The size of all its files, in MB (10⁶ bytes)."""
        sizes = [path.stat().st_size for path in self.folder.rglob("*") if path.is_file()]
        return sum(sizes) / 1e6


def copy_adapter(base: str, adapter: Adapter, folder: str | Path) -> Export:
    """Writes the adapter as others can load it: its configuration names no folder of here."""
    folder = Path(folder)
    origin = origin_of(base, adapter, "adapter", None)
    if not proved_before(folder, origin):
        with staged(folder, adapter.folder, adapter.weights.stat().st_size) as made:
            shutil.copy(adapter.weights, made)
            save_config(adapter.config, public_name(base), made)
            complete(made, base, adapter, origin)
    if note := local_base(base):
        print(note)
    return Export.read(folder)


@contextlib.contextmanager
def staged(
    folder: str | Path, made_from: Path, size: int, staging: str | Path | None = None
) -> Iterator[Path]:
    """Gives a new folder to write into, which takes the place of `folder` if the `with` ends well.

    It is made in `staging`, by default beside `folder`, under a hidden name that nobody else uses:
    what a kill leaves there is thrown away by the next. made_from: a folder that must stay. size:
    bytes that it will need.
    Raises FileExistsError (`folder` holds what no export wrote), RuntimeError (another process
    makes it) or OSError (no room).
    """
    folder = Path(folder).resolve()
    made_from = made_from.resolve()
    new = folder.with_name(f".{folder.name}.export.new")
    old = folder.with_name(f".{folder.name}.export.old")
    made = Path(staging or folder.parent).resolve() / new.name
    if folder.is_relative_to(made_from) or made_from.is_relative_to(folder):
        what = f"{folder} would be written over {made_from}, which it is made from"
        raise FileExistsError(f"{what}.\nChoose another folder.")
    others = foreign_files(folder)
    if others:
        what = f"{folder} holds files that are not from an export ({', '.join(others[:3])})"
        raise FileExistsError(f"{what}.\nMove them, or choose another folder.")
    for place in (folder.parent, made.parent):
        free = shutil.disk_usage(writable_folder(place)).free
        if free < size:
            raise OSError(
                f"This export needs {size / 1e9:.2f} GB; {free / 1e9:.2f} GB are free at {place}.\n"
                "Make room, or set OUTPUT to a larger disk (Kaggle: /kaggle/temp; "
                "in a terminal also --staging)."
            )
    with lock_folder(folder, "exporting to"), lock_folder(made, "exporting to"):
        remove(made, new, old)  # after a kill
        made.mkdir()
        try:
            yield made
            origin = read_object(made / EXPORT_FILE, {}, "")
            write_json(made / EXPORT_FILE, origin | {"sha256": hashes_of(made)})
            make_readable(made)
            if made != new:
                shutil.move(made, new)  # copies, where staging is on another disk
            proof_file(folder).unlink(missing_ok=True)
            if folder.exists():
                tell_replaced(folder, origin)
                folder.rename(old)
            new.rename(folder)
            remove(old)
        finally:
            remove(made, new)


def proof_file(folder: Path) -> Path:
    """Where the proof of an export lies: beside it, so that it is not given away with it."""
    return folder.with_name(f"{folder.name}-proof.json")


def hashes_of(folder: Path) -> dict[str, str | None]:
    """SHA-256 by file, in hex; None for export.json, which will hold them."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            own = path.name == EXPORT_FILE
            found[path.relative_to(folder).as_posix()] = None if own else file_hash(path)
    return found


def check_proved(folder: Path) -> None:
    """Raises ValueError if nobody has proved this export, or a file is not what it wrote."""
    origin = Export.read(folder).origin
    if origin.get("proved") is False:
        cure = "Run that export again, to its end: notebook 04, or the same command."
        raise ValueError(f"{folder} was never proved to be the trained model.\n{cure}")
    for name, written in origin.get("sha256", {}).items():
        file = folder / name
        if written and (not file.is_file() or file_hash(file) != written):
            what = f"{file} is not what the export wrote"
            raise ValueError(f"{what}.\nExport again, or push it from a folder of its own.")


def proved_before(folder: Path, origin: dict) -> bool:
    """Whether the export of just this origin lies there, proved, and each file as it was written.

    It need be neither made nor proved again.
    """
    with contextlib.suppress(FileNotFoundError, ValueError):  # there is none, or another one
        found = Export.read(folder).origin
        check_proved(folder)
        return found.items() >= (origin | {"proved": True}).items() and not foreign_files(folder)
    return False


def tell_replaced(folder: Path, origin: dict) -> None:
    """Says that an export of another adapter than this origin's gives way."""
    before = read_object(folder / EXPORT_FILE, {}, "") or {}
    if before.get("adapter_sha256") not in (None, origin.get("adapter_sha256")):
        print(f"replaced  the export of another adapter in {folder}")


def foreign_files(folder: Path) -> list[str]:
    """What lies there, or is there in place of a folder, that neither export nor card wrote."""
    if folder.is_file():
        return [folder.name]
    found = []
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)  # such as .DS_Store
        if not path.is_dir() and not hidden:
            found.append(inside.as_posix())
    known = set()
    origin = read_object(folder / EXPORT_FILE, {}, "Move that folder away.")
    if origin is not None:
        known = {*origin.get("sha256", found), *CARD}  # an older export names no files
    return sorted(set(found) - known)


def remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def complete(made: Path, base: str, adapter: Adapter, origin: dict) -> None:
    """Adds tokenizer, generation settings and `export.json`, without names of this machine."""
    tokenizer = adapter.tokenizer
    tokenizer.model_max_length = longest_text(base)
    save_tokenizer(tokenizer, made)
    generation_settings(base, adapter).save_pretrained(made)
    write_json(made / EXPORT_FILE, origin)


def origin_of(base: str, adapter: Adapter, form: str, precision: str | None) -> dict:
    """What export.json says of an export that nobody has proved yet."""
    manifest = adapter.run.manifest if adapter.run else {}
    return {
        "form": form,
        "precision": precision,
        "base": public_name(base),
        "base_weights": folder_identity(base) if Path(base).is_dir() else "",
        "adapter_sha256": adapter.hash,
        "recipe": manifest.get("recipe"),
        "stage": manifest.get("stage"),
        "run": adapter.run.hash if adapter.run else None,
        "proved": False,  # until `prove_all` has read it back
        "versions": versions(),
    }


def longest_text(base: str) -> int:
    """The base tokenizer's `model_max_length`, in tokens; that of training can be shorter."""
    return get_tokenizer_config(base).get("model_max_length") or VERY_LARGE_INTEGER


def generation_settings(base: str, adapter: Adapter) -> GenerationConfig:
    """Those of training and evaluation, which of the base's own keep only what ends a reply."""
    try:
        own = GenerationConfig.from_pretrained(base)
    except OSError:
        own = GenerationConfig.from_model_config(AutoConfig.from_pretrained(base))
    return neutral_settings(own, adapter.tokenizer)


def local_base(base: str) -> str:
    """What must be put in where the base is a folder of this machine; "" for another base."""
    name = public_name(base)
    if name == TINY or is_hub_id(name):
        return ""
    return f"{name} is a folder here: put its Hub id in place of that name in what you push"


def public_name(base: str) -> str:
    """A Hub id as it is; the embedded model by its path in this project; else a folder's name."""
    if is_hub_id(base):
        return base
    if is_embedded(base):
        return TINY
    return Path(base).name


def is_hub_id(name: str) -> bool:
    """Whether a name can be one of the Hub's, and is no folder or file here.

    >>> is_hub_id("Qwen/Qwen3-4B"), is_hub_id("/home/me/model"), is_hub_id("../model")
    (True, False, False)
    """
    part = r"[A-Za-z0-9][\w.-]*"
    return re.fullmatch(f"{part}/{part}", name) is not None and not Path(name).exists()


def unquantised_name(base: str) -> str:
    """The id of the weights that a 4-bit copy was made from: Unsloth's names say so.

    >>> unquantised_name("unsloth/Qwen3-4B-unsloth-bnb-4bit")
    'unsloth/Qwen3-4B'
    """
    return base.removesuffix("-bnb-4bit").removesuffix("-unsloth")
