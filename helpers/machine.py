"""What this computer is, and the profile that follows from it: the one place where that is decided."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import random
import socket
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

# Read by the libraries when they are imported, so they are set when this module is.
os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")  # else every load calls out
os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(Path(tempfile.gettempdir()) / "unsloth_compiled_cache"))
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

warnings.filterwarnings("ignore", message="IProgress not found")  # progress bars are text here, in notebooks too

STACK = ("torch", "transformers", "trl", "peft", "unsloth", "unsloth_zoo", "accelerate", "bitsandbytes", "datasets", "sympy")


@dataclass(frozen=True)
class Machine:
    """profile: "tiny" without a GPU, "gpu" with one. dtype: what weights that are not in 4-bit are held in."""

    profile: str
    device: str
    name: str
    memory_gb: float
    cores: int
    place: str
    dtype: str


def place() -> str:
    """"kaggle", "colab" or "local". Kaggle first: its images are built on Colab's and carry Colab's variables."""
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE") and Path("/kaggle/working").is_dir():
        return "kaggle"
    try:
        return "colab" if "google.colab" in str(get_ipython()) else "local"  # type: ignore[name-defined]
    except NameError:
        return "local"


def go_offline_without_hub(seconds: float = 3.0) -> None:
    """Sets HF_HUB_OFFLINE when nothing answers at the Hub's address: what is cached still loads, the rest fails at once.

    Otherwise the client retries for minutes. Must run before huggingface_hub is imported. Behind a proxy nothing is tried.
    """
    if "HF_HUB_OFFLINE" in os.environ or any(name.lower() in ("https_proxy", "all_proxy") for name in os.environ):
        return
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        socket.create_connection((address.hostname, address.port or (80 if address.scheme == "http" else 443)), seconds).close()
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"


def detect() -> Machine:
    """Looks at this computer and settles the libraries on it: one torch thread on the CPU, TF32 products on a GPU, offline without the Hub.

    A second thread on the CPU gains little when the machine is idle and costs many times the step when it is not.
    """
    go_offline_without_hub()
    import torch

    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        torch.backends.cuda.matmul.allow_tf32 = True
        dtype = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
        return Machine("gpu", "cuda", card.name, card.total_memory / 2**30, os.cpu_count() or 1, place(), dtype)
    torch.set_num_threads(1)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else 0.0
    return Machine("tiny", "cpu", platform.machine(), memory, os.cpu_count() or 1, place(), "float32")


def set_seed(seed: int) -> None:
    """Seeds Python, NumPy and torch."""
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state() -> dict[str, str]:
    """Where torch's random numbers stand, in hex, on the CPU and on a GPU."""
    import torch

    state = {"cpu": torch.get_rng_state().numpy().tobytes().hex()}
    return state | ({"cuda": torch.cuda.get_rng_state().numpy().tobytes().hex()} if torch.cuda.is_available() else {})


def set_random_state(state: Mapping[str, str]) -> None:
    """Sets torch's random numbers to where `random_state` found them."""
    import torch

    for device, put in (("cpu", torch.set_rng_state), ("cuda", torch.cuda.set_rng_state)):
        if device in state:
            put(torch.frombuffer(bytearray.fromhex(state[device]), dtype=torch.uint8))


def versions() -> dict[str, str]:
    """The installed version of each library of the stack; one that is absent is left out."""
    found = {}
    for name in STACK:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe(machine: Machine) -> str:
    """Three lines for the top of a notebook."""
    what = {"tiny": "the embedded tiny Qwen3 and generated problems; a few minutes in all",
            "gpu": "the recipe's own model and data"}[machine.profile]
    return (f"machine   {machine.device} ({machine.name}), {machine.cores} cores, {machine.memory_gb:.0f} GB, {machine.place}\n"
            f"profile   {machine.profile}: {what}\n"
            f"versions  " + ", ".join(f"{name} {version}" for name, version in versions().items()))


def writable_folder(path: str | Path) -> Path:
    """Creates a folder and proves that it can be written to. Raises PermissionError that says what to set instead."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise PermissionError(f"Cannot write to {path} ({error.strerror}).\nSet OUTPUT to a folder you can write to.") from error
    return path


def peak_memory() -> float:
    """The most memory that this process has held, in GiB. Works on Linux and macOS."""
    import resource
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_dict(machine: Machine) -> dict:
    return asdict(machine) | {"memory_gb": round(machine.memory_gb, 1)}
