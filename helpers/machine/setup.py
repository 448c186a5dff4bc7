"""Makes a bare Colab or Kaggle session ready for the notebooks: their packages, one card, and nothing that would need a restart.

Uses the standard library only: it runs before anything is installed, and before torch, which reads the environment when it is imported.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from helpers.machine import computer  # sets what torch's companions read while they are imported

ROOT = Path(__file__).parents[2]
STACK, ALONE = ROOT / "requirements-colab.txt", ROOT / "requirements-unsloth.txt"
INPUT = Path(
    "/kaggle/input"
)  # what is attached to a Kaggle notebook: read-only, and mounted in more than one layout
DRIVE = Path("/content/drive")
PLACES = {"kaggle": "Kaggle", "colab": "Colab", "local": "this computer"}
KEPT = (
    "torch",
    "torchvision",
    "torchaudio",
    "triton",
    "numpy",
    "pandas",
    "scipy",
    "matplotlib",
    "pillow",
    "psutil",
    "packaging",
    "protobuf",
    "ipython",
    "ipykernel",
    "tornado",
)  # a fresh kernel holds some of them already, and the others are built for each other
CHANGED = (
    "tokenizers",
    "safetensors",
    "pyarrow",
    "fsspec",
    "dill",
    "multiprocess",
)  # by what the stack depends on
MODULES = {"pillow": "PIL", "protobuf": "google.protobuf", "ipython": "IPython"}


def prepare() -> None:
    """Installs what is missing and leaves one card visible, and says so in one line. Run again, it finds everything there.

    Raises RuntimeError for a Python that is too old, for what pip refuses, and where the kernel must be restarted.
    """
    check_python(sys.version_info[:3])
    begun, names = time.monotonic(), cards()
    show_one_card(len(names))
    print(", ".join([PLACES[computer.place()], described(names)]), end=", ", flush=True)
    work = missing() or torchao_in_the_way()
    if work:
        install()
    check_loaded()
    print(
        f"packages installed in {time.monotonic() - begun:.0f} s" if work else "everything is there"
    )


def check_python(version: tuple[int, ...]) -> None:
    """Raises RuntimeError for a Python older than 3.11."""
    if version < (3, 11):
        raise RuntimeError(
            f"Python 3.11 or newer is needed; this is {'.'.join(map(str, version))}.\n"
            "Take a newer runtime (Colab: Runtime > Change runtime type; Kaggle: Environment > latest)."
        )


def cards() -> list[str]:
    """The name of each NVIDIA card, by the driver; none where there is no driver."""
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return (
        [line.rpartition(",")[0].strip() for line in asked.stdout.splitlines() if "," in line]
        if asked.returncode == 0
        else []
    )


def show_one_card(count: int) -> None:
    """Lets torch see the first of several cards: the notebooks train on one, and Kaggle lends two.

    Not where the user or a launcher has chosen, and not after torch, which has looked already.
    """
    if (
        count > 1
        and "torch" not in sys.modules
        and not os.environ.keys() & {"CUDA_VISIBLE_DEVICES", "WORLD_SIZE"}
    ):
        os.environ["CUDA_VISIBLE_DEVICES"] = "0"


def described(names: list[str]) -> str:
    """The cards in words.

    >>> described([]), described(["Tesla T4"])
    ('no GPU', 'Tesla T4')
    """
    first = (
        " (the first is used)"
        if len(names) > 1 and os.environ.get("CUDA_VISIBLE_DEVICES") == "0"
        else ""
    )
    return (
        " and ".join(f"{n} × {name}" if n > 1 else name for name, n in Counter(names).items())
        + first
        if names
        else "no GPU"
    )


def version_of(name: str) -> str | None:
    """The installed version of a package; None for none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def requirements(file: Path) -> dict[str, str]:
    """The packages that a file asks for, with the version where one is pinned, else ""."""
    lines = [
        line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()
    ]
    return {
        name.strip(): version.strip()
        for name, _, version in (line.partition("==") for line in lines if line)
    }


def missing() -> list[str]:
    """The packages that are not installed, or not in the version that is asked for."""
    wanted = requirements(STACK) | requirements(ALONE)
    return [
        name
        for name, version in wanted.items()
        if version_of(name) is None or version not in ("", version_of(name))
    ]


def torchao_in_the_way() -> bool:
    """Whether torchao is so old that peft refuses to make an adapter beside it. Both services bring 0.10; nothing here needs it."""
    return tuple(map(int, re.findall(r"\d+", version_of("torchao") or "99")))[:2] < (0, 16)


def install() -> None:
    """Installs both files; the packages of KEPT stay as they are, or pip fails and says what stands against it."""
    if torchao_in_the_way():
        pip("uninstall", "-y", "torchao")
    with tempfile.TemporaryDirectory() as folder:
        keep = Path(folder, "keep.txt")
        keep.write_text(
            "".join(f"{name}=={version}\n" for name in KEPT if (version := version_of(name))),
            encoding="utf-8",
        )
        pip("install", "-r", str(STACK), "-c", str(keep), *wheels())
        pip("install", "--no-deps", "-r", str(ALONE), *wheels())
    importlib.invalidate_caches()


def wheels() -> list[str]:
    """pip's options where a folder of wheels is attached: look there too, and, without a network, only there."""
    folders = attached("unsloth-*.whl")
    if not folders:
        return []
    computer.go_offline_without_hub()
    offline = ["--no-index"] if os.environ.get("HF_HUB_OFFLINE") == "1" else []
    return offline + [word for folder in folders for word in ("--find-links", str(folder))]


def pip(*words: str) -> None:
    """Runs pip. Raises RuntimeError with the last thing it says that is a cause."""
    command = [
        sys.executable,
        "-m",
        "pip",
        words[0],
        "-q",
        "--disable-pip-version-check",
        "--no-input",
        *words[1:],
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        lines = [
            line
            for line in done.stderr.splitlines()
            if line.strip() and "ResolutionImpossible" not in line
        ]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        raise RuntimeError(
            f"pip {words[0]} failed: {(errors or lines or ['it says nothing'])[-1].strip()[:300]}\n"
            "Check the network (Kaggle: Internet on, or attach a folder of wheels), or take a fresh session, and run it again."
        )


def check_loaded() -> None:
    """Raises RuntimeError if this kernel holds another version of a package than what is installed: it would go on with the old one."""
    for name in (*KEPT, *requirements(STACK), *requirements(ALONE), *CHANGED):
        loaded, installed = (
            getattr(sys.modules.get(MODULES.get(name, name)), "__version__", None),
            version_of(name),
        )
        if loaded and installed and loaded.partition("+")[0] != installed.partition("+")[0]:
            raise RuntimeError(
                f"{name} {loaded} is loaded, and {installed} is installed.\n"
                "Restart the kernel (Colab: Runtime > Restart session; Kaggle: Run > Restart & clear), then Run all again."
            )


def attached(marker: str, below: Path = INPUT) -> list[Path]:
    """The folders below one, at any depth, that hold a file of this name or pattern, such as "config.json"."""
    return sorted({file.parent for file in below.rglob(marker)})


def hint(*markers: str) -> str:
    """Where folders with such files are attached, for the end of an error's second line; nothing where none are.

    >>> hint("config.json")
    ''
    """
    found = sorted({folder for marker in markers for folder in attached(marker)})
    return f" Attached are: {', '.join(map(str, found[:3]))}." if found else ""


def check_mirror(mirror: str | Path) -> None:
    """Raises FileNotFoundError for a folder on a Drive that is not mounted: it would be made on this machine, and be gone with it."""
    if (
        Path(mirror).expanduser().absolute().is_relative_to(DRIVE)
        and not (DRIVE / "MyDrive").is_dir()
    ):
        raise FileNotFoundError(
            f"MIRROR is {mirror}, but Google Drive is not mounted.\n"
            f'Run `from google.colab import drive; drive.mount("{DRIVE}")` in a cell of its own, or set MIRROR = "".'
        )


def check_room(output: str | Path, here: computer.Machine) -> None:
    """Warns, in one line, if OUTPUT's disk has no room for a run and what is exported from it: 10 GB with the recipes' models."""
    free, needed = shutil.disk_usage(output).free / 1e9, 10 if here.profile == "gpu" else 1
    if free < needed:
        print(
            f"{free:.1f} GB are free for OUTPUT, and {needed} may be needed: give export.merge a `staging` folder elsewhere (Kaggle: /tmp)."
        )
