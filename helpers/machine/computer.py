"""What this computer is, and the profile that follows from it: the one place where that is decided."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import random
import shutil
import socket
import tempfile
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# Read by the libraries when they are imported, so they are set when this module is.
os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")  # else every load calls out
os.environ.setdefault(
    "UNSLOTH_COMPILE_LOCATION", str(Path(tempfile.gettempdir()) / "unsloth_compiled_cache")
)
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

warnings.filterwarnings(
    "ignore", message="IProgress not found"
)  # progress bars are text here, in notebooks too

STACK = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "unsloth",
    "unsloth_zoo",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "sympy",
)


@dataclass(frozen=True)
class Machine:
    """What was found. `process` of `processes`: which one this is under `accelerate launch` or torchrun; each has a card of its own."""

    profile: str  # "tiny" without a GPU, "gpu" with one
    device: str
    name: str
    memory_gb: float  # of one card, or of this computer
    cores: int
    place: str
    dtype: str  # what weights that are not in 4-bit are held in, and what is computed in
    gpus: int = 0
    capability: str = ""  # of the card, such as "7.5"
    attention: str = (
        "sdpa"  # whose kernels compute it: "flash_attn", "xformers" or torch's own, "sdpa"
    )
    four_bit: bool = True
    vllm: bool = False
    disk_gb: float = 0.0  # free, where this was started
    process: int = 0
    processes: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes the log, the checkpoints and the console."""
        return self.process == 0


def place() -> str:
    """ "kaggle", "colab" or "local". Kaggle first: its images are built on Colab's and carry Colab's variables."""
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
    if "HF_HUB_OFFLINE" in os.environ or any(
        name.lower() in ("https_proxy", "all_proxy") for name in os.environ
    ):
        return
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        socket.create_connection(
            (address.hostname, address.port or (80 if address.scheme == "http" else 443)), seconds
        ).close()
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def detect() -> Machine:
    """Looks at this computer and settles the libraries on it: one torch thread on the CPU, TF32 products on a GPU, offline without the Hub.

    A second thread on the CPU gains little when the machine is idle and costs many times the step when it is not.
    """
    go_offline_without_hub()
    import torch

    process, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    shared = {
        "four_bit": installed("bitsandbytes"),
        "disk_gb": shutil.disk_usage(".").free / 2**30,
        "process": process,
        "processes": processes,
    }
    if torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU", "").lower() not in (
        "1",
        "true",
        "yes",
    ):
        card, memory, weakest = cards(int(os.environ.get("LOCAL_RANK", 0)), processes)
        if runs_on(torch.cuda.get_arch_list(), card.major, card.minor):
            torch.backends.cuda.matmul.allow_tf32 = True
            dtype = (
                "bfloat16"
                if torch.cuda.is_bf16_supported(including_emulation=False) and weakest >= 8
                else "float16"
            )
            return Machine(
                "gpu",
                "cuda",
                card.name,
                memory,
                os.cpu_count() or 1,
                place(),
                dtype,
                torch.cuda.device_count(),
                f"{card.major}.{card.minor}",
                attention((card.major, card.minor)),
                vllm=installed("vllm"),
                **shared,
            )
        print(
            f"{card.name} is too old or too new for torch {torch.__version__}, which has no code for sm_{card.major}{card.minor}.\n"
            "The CPU is used; take another card, or a torch that knows this one."
        )
    torch.set_num_threads(1)
    memory = (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        if hasattr(os, "sysconf")
        else 0.0
    )
    return Machine(
        "tiny", "cpu", platform.machine(), memory, os.cpu_count() or 1, place(), "float32", **shared
    )


def cards(mine: int, processes: int) -> tuple[Any, float, int]:
    """The card of this process; the least memory in GiB and the least major capability of those that work together, so that all plan alike.

    Raises RuntimeError if this process has no card.
    """
    import torch

    count = torch.cuda.device_count()
    if mine >= count:
        raise RuntimeError(
            f"Process {mine} has no card: there are {count}.\nStart {count} processes: --num_processes {count}."
        )
    found = [
        torch.cuda.get_device_properties(i) for i in (range(count) if processes > 1 else [mine])
    ]
    return (
        torch.cuda.get_device_properties(mine),
        min(card.total_memory for card in found) / 2**30,
        min(card.major for card in found),
    )


def runs_on(compiled: Sequence[str], major: int, minor: int) -> bool:
    """Whether a torch compiled for these architectures has code for a card: the same major version with a minor no higher, or PTX of any older.

    torch.cuda.is_available() says yes to any card, and the first product dies.

    >>> runs_on(["sm_75", "sm_80", "sm_86"], 8, 9), runs_on(["sm_75", "sm_80"], 6, 0), runs_on(["sm_120"], 12, 0)
    (True, False, True)
    """
    for name in compiled:
        kind, _, digits = name.partition("_")
        version = divmod(int("".join(c for c in digits if c.isdigit())), 10)
        if (kind == "sm" and version[0] == major and version[1] <= minor) or (
            kind == "compute" and version <= (major, minor)
        ):
            return True
    return False


def attention(capability: tuple[int, int]) -> str:
    """Whose attention kernels Unsloth takes on a card: FlashAttention from 8.0 on, else xformers, where they are installed; else torch's."""
    return next(
        (
            name
            for name, least in (("flash_attn", (8, 0)), ("xformers", (7, 0)))
            if capability >= least and installed(name)
        ),
        "sdpa",
    )


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
    return state | (
        {"cuda": torch.cuda.get_rng_state().numpy().tobytes().hex()}
        if torch.cuda.is_available()
        else {}
    )


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
    """Some lines for the top of a notebook."""
    what = {
        "tiny": "the embedded tiny Qwen3 and, unless you name others, generated problems; a few minutes",
        "gpu": "the recipe's own model and data",
    }[machine.profile]
    card = (
        f"{machine.gpus} × " * (machine.gpus > 1)
        + machine.name
        + f", compute capability {machine.capability}" * bool(machine.capability)
    )
    four_bit = "4-bit" if machine.four_bit else "no 4-bit (bitsandbytes is not installed)"
    vllm = ", vLLM" if machine.vllm else ""
    several = f", {machine.processes} processes" if machine.processes > 1 else ""
    return (
        f"machine   {machine.device} ({card}), {machine.cores} cores, {machine.memory_gb:.0f} GB, {machine.place}, "
        f"{machine.disk_gb:.0f} GB of disk free{several}\n"
        f"computes  in {machine.dtype}, {machine.attention} attention, {four_bit}{vllm}\n"
        f"profile   {machine.profile}: {what}\n"
        + textwrap.fill(
            ", ".join(f"{name} {version}" for name, version in versions().items()),
            78,
            initial_indent="versions  ",
            subsequent_indent=" " * 10,
        )
    )


def writable_folder(path: str | Path) -> Path:
    """Creates a folder and proves that it can be written to. Raises PermissionError that says what to set instead."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise PermissionError(
            f"Cannot write to {path} ({error.strerror}).\nSet OUTPUT to a folder you can write to."
        ) from error
    return path


def peak_memory() -> float:
    """The most memory that this process has held, in GiB. Works on Linux and macOS."""
    import resource
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**30 if sys.platform == "darwin" else 2**20
    )


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_dict(machine: Machine) -> dict:
    return asdict(machine) | {
        "memory_gb": round(machine.memory_gb, 1),
        "disk_gb": round(machine.disk_gb, 1),
    }
