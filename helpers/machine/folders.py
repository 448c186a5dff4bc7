"""Files and folders, here and on the services: where to write, what is attached."""

import contextlib
import hashlib
import re
import tempfile
from pathlib import Path

# What is attached to a Kaggle notebook: read-only, and mounted in more than one layout.
INPUT = Path("/kaggle/input")
DRIVE = Path("/content/drive")
# What no id of the Hub looks like: it has at most one slash, which is within it.
PATH = re.compile(
    r"[./~].*|outputs/.*|.*\\.*|.*/.*/.*|.*/|.*\.(csv|tsv|txt|jsonl?|parquet)(\.gz)?", re.IGNORECASE
)


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_readable(folder: Path) -> None:
    """Lets others read a folder, with its files: safetensors makes files for their owner alone."""
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(OSError):  # some disks, such as Google Drive, know no rights
            path.chmod(0o755 if path.is_dir() else 0o644)


def writable_folder(path: str | Path) -> Path:
    """Creates a folder and proves that it can be written to. Raises PermissionError with a cure."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise PermissionError(
            f"Cannot write to {path} ({error.strerror}).\nSet OUTPUT to a folder you can write to."
        ) from error
    return path


def attached(*patterns: str) -> list[Path]:
    """The folders attached on Kaggle, at any depth, that hold files of such names."""
    return sorted({file.parent for pattern in patterns for file in INPUT.rglob(pattern)})


def hint(*patterns: str) -> str:
    """Where folders with such files are attached, for the end of an error's second line."""
    found = ", ".join(map(str, attached(*patterns)[:3]))
    return f" Attached are: {found}." if found else ""


def missing(name: str) -> bool:
    """Whether a name is that of a path, and nothing is there."""
    return PATH.fullmatch(name) is not None and not Path(name).exists()


def check_path(name: str, what: str, *patterns: str, cure: str = "Give one that is here") -> None:
    """Raises FileNotFoundError for a path at which nothing is: the Hub is not asked for it.

    patterns: of files that such a thing has, to say where some are attached.
    """
    if missing(name):
        cure += ", or an id of the Hub." + hint(*patterns)
        raise FileNotFoundError(f"There is no {what} at {name}.\n{cure}")


def check_mirror(mirror: str | Path) -> None:
    """Raises FileNotFoundError for a Drive that is not mounted: a copy there would be lost."""
    on_drive = Path(mirror).absolute().is_relative_to(DRIVE)
    if on_drive and not (DRIVE / "MyDrive").is_dir():
        raise FileNotFoundError(
            f"MIRROR is {mirror}, but Google Drive is not mounted.\n"
            f'Run `from google.colab import drive; drive.mount("{DRIVE}")` in a cell of its own, '
            'or set MIRROR = "".'
        )
