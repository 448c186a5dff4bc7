"""Makes a bare Colab or Kaggle session ready for the notebooks: packages, one card, no restart.

Uses the standard library only: it runs before anything is installed, and before torch, which reads
the environment when it is imported.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Importing computer sets what torch's companions read while they are imported.
from helpers.machine.computer import go_offline_without_hub, place, version_of
from helpers.machine.folders import attached

ROOT = Path(__file__).parents[2]
STACK, ALONE = ROOT / "requirements-colab.txt", ROOT / "requirements-unsloth.txt"
PLACES = {"kaggle": "Kaggle", "colab": "Colab", "local": "this computer"}
# A fresh kernel holds some of these already, and the others are built for each other.
KEPT = "torch torchvision torchaudio triton numpy pandas scipy matplotlib".split()  # noqa: SIM905
KEPT += "pillow psutil packaging protobuf ipython ipykernel tornado".split()  # noqa: SIM905
# By what the stack needs:
CHANGED = "tokenizers safetensors pyarrow fsspec dill multiprocess".split()  # noqa: SIM905
MODULES = {"pillow": "PIL", "protobuf": "google.protobuf", "ipython": "IPython"}


def prepare() -> None:
    """Installs what is missing and leaves one card visible, and says so in one line.

    Raises RuntimeError for an old Python, what pip refuses, and a kernel that must be restarted.
    """
    if sys.version_info < (3, 11):  # noqa: UP036
        raise RuntimeError(
            "Python 3.11 or newer is needed.\nTake a newer runtime "
            "(Colab: Runtime > Change runtime type; Kaggle: Environment > latest)."
        )
    begun = time.monotonic()
    print(f"{PLACES[place()]}, {show_one_card()}", end=", ", flush=True)
    outcome = "everything is there"
    if missing() or torchao_in_the_way():
        install()
        outcome = f"packages installed in {time.monotonic() - begun:.0f} s"
    check_loaded()
    print(outcome)


def show_one_card() -> str:
    """Lets torch see the first of several cards, as Kaggle lends them; says what there is.

    Not where the user or a launcher has chosen, and not after torch, which has looked already.
    """
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        asked = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True)
        cards = asked.stdout.splitlines()
    except (OSError, subprocess.SubprocessError):  # no driver
        cards = []
    if not cards:
        return "no GPU"
    if len(cards) == 1:
        return cards[0]
    chosen = os.environ.keys() & {"CUDA_VISIBLE_DEVICES", "WORLD_SIZE"}
    if not chosen and "torch" not in sys.modules:
        os.environ["CUDA_VISIBLE_DEVICES"] = "0"
    first = os.environ.get("CUDA_VISIBLE_DEVICES") == "0"
    return f"{len(cards)} × {cards[0]}" + " (the first is used)" * first


def wanted() -> dict[str, str]:
    """The packages that both files ask for, with the version where one is pinned, else ""."""
    found = {}
    for line in (STACK.read_text() + ALONE.read_text()).splitlines():
        if line and not line.startswith("#"):
            found[line.partition("==")[0]] = line.partition("==")[2]
    return found


def missing() -> list[str]:
    """The packages that are not installed, or not in the version that is asked for."""
    found = []
    for name, pin in wanted().items():
        installed = version_of(name)
        if not installed or pin not in ("", installed):
            found.append(name)
    return found


def torchao_in_the_way() -> bool:
    """Whether torchao is too old for peft to make an adapter; both services bring 0.10."""
    major, minor = (version_of("torchao") or "99.0").split(".")[:2]
    return (int(major), int(minor)) < (0, 16)


def install() -> None:
    """Installs both files; the packages of KEPT stay as they are, or pip fails and says why."""
    if torchao_in_the_way():
        pip("uninstall", "-y", "torchao")
    kept = [f"{name}=={version_of(name)}\n" for name in KEPT if version_of(name)]
    places = []  # attached wheels are looked at too; without a network nothing else is
    for folder in attached("unsloth-*.whl"):
        go_offline_without_hub()
        places += ["--find-links", str(folder)]
        if os.environ.get("HF_HUB_OFFLINE") == "1":
            places.append("--no-index")
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder, "keep.txt")
        constraints.write_text("".join(kept), encoding="utf-8")
        pip("install", "-r", str(STACK), "-c", str(constraints), *places)
    pip("install", "--no-deps", "-r", str(ALONE), *places)
    importlib.invalidate_caches()


def pip(*words: str) -> None:
    """Runs pip. Raises RuntimeError with the cause that it states."""
    quietly = ["-q", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", *words, *quietly]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        error = re.search("^ERROR: (.*)", done.stderr, re.MULTILINE)
        cause = error[1] if error else done.stderr.strip()
        raise RuntimeError(
            f"pip {words[0]} failed: {cause[:300]}\nCheck the network (Kaggle: Internet on, or "
            "attach a folder of wheels), or take a fresh session, and run it again."
        )


def check_loaded() -> None:
    """Raises RuntimeError if this kernel would go on with an older version than the installed."""
    for name in [*KEPT, *CHANGED, *wanted()]:
        module = sys.modules.get(MODULES.get(name, name))
        loaded = getattr(module, "__version__", "").partition("+")[0]
        installed = version_of(name).partition("+")[0]
        if loaded and installed and loaded != installed:
            raise RuntimeError(
                f"{name} {loaded} is loaded, and {installed} is installed.\n"
                "Restart the kernel (Colab: Runtime > Restart session; "
                "Kaggle: Run > Restart & clear), then Run all again."
            )
