"""Makes a bare Colab or Kaggle session ready for the notebooks: packages, one card, no restart.

Uses the standard library only: it runs before anything is installed, and before torch, which reads
the environment when it is imported.
"""

import importlib
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Importing computer sets what torch's companions read while they are imported.
from helpers.machine.computer import place, version_of
from helpers.machine.folders import attached

ROOT = Path(__file__).parents[2]
STACK, ALONE = ROOT / "requirements-colab.txt", ROOT / "requirements-unsloth.txt"
PLACES = {"kaggle": "Kaggle", "colab": "Colab", "local": "this computer"}
# A fresh kernel holds some of these already, and the others are built for each other.
KEPT = "torch torchvision torchaudio triton numpy pandas scipy matplotlib".split()  # noqa: SIM905
KEPT += "pillow psutil packaging protobuf ipython ipykernel tornado".split()  # noqa: SIM905
# Pip may replace these, as the stack needs:
CHANGED = "tokenizers safetensors pyarrow fsspec dill multiprocess".split()  # noqa: SIM905
MODULES = {"pillow": "PIL", "protobuf": "google.protobuf", "ipython": "IPython"}


def prepare() -> None:
    """Installs what is missing and leaves one card visible, and says so in one line.

    Raises RuntimeError for what pip refuses, and for a kernel that must be restarted.
    """
    begun = time.monotonic()
    print(f"{PLACES[place()]}, {show_one_card()}", end=", ", flush=True)
    install()
    check_loaded()
    print(f"packages ready in {time.monotonic() - begun:.0f} s")


def show_one_card() -> str:
    """Lets torch see the first of several cards, as Kaggle lends them; says what there is.

    Not where the user or a launcher has chosen, and not after torch, which has looked already.
    """
    query = "nvidia-smi --query-gpu=name --format=csv,noheader"
    status, answer = subprocess.getstatusoutput(query)
    if status:
        return "no GPU"
    cards = answer.splitlines()
    found = f"{len(cards)} × {cards[0]}"
    chosen = os.environ.keys() & {"CUDA_VISIBLE_DEVICES", "WORLD_SIZE"}
    if len(cards) == 1 or chosen or "torch" in sys.modules:
        return found
    os.environ["CUDA_VISIBLE_DEVICES"] = "0"
    return f"{found} (the first is used)"


def install() -> None:
    """Installs both files; the packages of KEPT stay as they are, or pip fails and says why."""
    # The services bring 0.10; below 0.16 it keeps peft from making an adapter.
    if re.match(r"0\.(\d|1[0-5])\.", version_of("torchao")):
        pip("uninstall", "-y", "torchao")
    wheels = []  # where some are attached, there is no network
    for folder in attached("unsloth-*.whl"):
        wheels += ["--no-index", "--find-links", str(folder)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        for name in KEPT:
            if version_of(name):
                print(f"{name}=={version_of(name)}", file=constraints, flush=True)
        pip("install", "-r", str(STACK), "-c", constraints.name, *wheels)
    pip("install", "--no-deps", "-r", str(ALONE), *wheels)
    importlib.invalidate_caches()


def pip(*words: str) -> None:
    """Runs pip. Raises RuntimeError with the cause that it states."""
    quietly = ["-q", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", *words, *quietly]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        cause = done.stderr.partition("ERROR: ")[2] or done.stderr
        cause = cause.partition("\n")[0]
        raise RuntimeError(
            f"pip {words[0]} failed: {cause}\nCheck the network (Kaggle: Internet on, "
            "or attach all wheels, see README), or take a fresh session, and run it again."
        )


def check_loaded() -> None:
    """Raises RuntimeError if this kernel would go on with an older version than the installed."""
    wanted = re.findall("^[a-z_0-9]+", STACK.read_text() + ALONE.read_text(), re.MULTILINE)
    for name in [*KEPT, *CHANGED, *wanted]:
        module = sys.modules.get(MODULES.get(name, name))
        loaded = getattr(module, "__version__", "").partition("+")[0]
        installed = version_of(name).partition("+")[0]
        if loaded and installed and loaded != installed:
            raise RuntimeError(
                f"{name} {loaded} is loaded, and {installed} is installed.\n"
                "Restart the kernel (Colab: Runtime > Restart session; "
                "Kaggle: Run > Restart & clear), then Run all again."
            )
