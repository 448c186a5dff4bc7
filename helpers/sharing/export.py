"""A trained adapter in a form that others can load: what an export is, and the plainest one."""

import contextlib
import copy
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.machine import versions, writable_folder
from helpers.runs import read_object, write_json
from helpers.tiny import TINY, is_embedded
from helpers.training import Adapter, lock_folder

EXPORT_FILE = "export.json"  # says of a folder that it is an export, and of what


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
    with staged(folder, adapter.folder, adapter.weights.stat().st_size) as made:
        shutil.copy(adapter.weights, made)
        config = copy.copy(adapter.config)
        config.base_model_name_or_path = public_name(base)
        config.save_pretrained(made)
        complete(made, base, adapter, "adapter", None)
    return Export.read(folder)


@contextlib.contextmanager
def staged(
    folder: str | Path, made_from: Path, size: int, staging: str | Path | None = None
) -> Iterator[Path]:
    """Gives a new folder to write into, which takes the place of `folder` if the `with` ends well.

    It is made in `staging`, by default beside `folder`, under a hidden name that nobody else uses:
    what a kill leaves there is thrown away by the next. made_from: a folder that must stay. size:
    bytes that it will need.
    Raises FileExistsError (`folder` holds something else), RuntimeError (another process makes
    it) or OSError (no room).
    """
    folder = Path(folder).resolve()
    made_from = made_from.resolve()
    new = folder.with_name(f".{folder.name}.export.new")
    old = folder.with_name(f".{folder.name}.export.old")
    made = Path(staging or folder.parent).resolve() / new.name
    if folder.is_relative_to(made_from) or made_from.is_relative_to(folder):
        what = f"{folder} would be written over {made_from}, which it is made from"
        raise FileExistsError(f"{what}.\nChoose another folder.")
    known = folder.is_dir() and ((folder / EXPORT_FILE).is_file() or not any(folder.iterdir()))
    if folder.exists() and not known:
        cure = "Move them, or choose another folder."
        raise FileExistsError(f"{folder} holds files that are not from an export.\n{cure}")
    for place in (folder.parent, made.parent):
        free = shutil.disk_usage(writable_folder(place)).free
        if free < size:
            raise OSError(
                f"This export needs {size / 1e9:.2f} GB; {free / 1e9:.2f} GB are free at {place}.\n"
                "Make room, or set OUTPUT to a larger disk (Kaggle: /kaggle/temp); "
                "in a terminal --out or --staging."
            )
    with lock_folder(folder, "exporting to"), lock_folder(made, "exporting to"):
        remove(made, new, old)  # after a kill
        made.mkdir()
        try:
            yield made
            if made != new:
                shutil.move(made, new)  # copies, where staging is on another disk
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
            remove(old)
        finally:
            remove(made, new)


def remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def complete(made: Path, base: str, adapter: Adapter, form: str, precision: str | None) -> None:
    """Adds tokenizer, chat template and `export.json`, without names of this machine."""
    for trace in ("is_local", "local_files_only"):
        adapter.tokenizer.init_kwargs.pop(trace, None)
    adapter.tokenizer.save_pretrained(made)
    manifest = adapter.run.manifest if adapter.run else {}
    origin = {
        "form": form,
        "precision": precision,
        "base": public_name(base),
        "adapter_sha256": adapter.hash,
        "recipe": manifest.get("recipe"),
        "stage": manifest.get("stage"),
        "run": adapter.run.hash if adapter.run else None,
        "versions": versions(),
    }
    write_json(made / EXPORT_FILE, origin)


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
