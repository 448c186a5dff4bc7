"""What this computer is, and the profile that follows from it: decided here and nowhere else."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import tempfile
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

# Read by the libraries when they are imported, so they are set when this module is.
COMPILED = Path(tempfile.gettempdir(), "unsloth_compiled_cache")
os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")  # else every load calls out
os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(COMPILED))
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

# Progress bars are text here, in notebooks too.
warnings.filterwarnings("ignore", message="IProgress not found")

GIB = 2**30
STACK = "torch transformers trl peft unsloth unsloth_zoo accelerate bitsandbytes datasets sympy"
PROFILES = {
    "tiny": "the embedded tiny Qwen3 and, unless you name others, generated problems; "
    "a few minutes",
    "gpu": "the recipe's own model and data",
}


@dataclass(frozen=True)
class Machine:
    """What was found.

    `process` of `processes`: which one this is under `accelerate launch` or torchrun; each has a
    card of its own.
    """

    profile: str  # "tiny" without a GPU, "gpu" with one
    device: str
    name: str
    memory_gb: float  # of one card, or of this computer
    cores: int
    place: str
    dtype: str  # what weights that are not in 4-bit are held in, and what is computed in
    gpus: int = 0
    capability: str = ""  # of the card, such as "7.5"
    attention: str = "sdpa"  # whose kernels: "flash_attn", "xformers" or torch's own, "sdpa"
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
    """ "kaggle", "colab" or "local".

    Kaggle first: its images are built on Colab's and carry Colab's variables.
    """
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ and Path("/kaggle/working").is_dir():
        return "kaggle"
    try:
        shell = str(get_ipython())  # type: ignore[name-defined]
    except NameError:
        return "local"
    return "colab" if "google.colab" in shell else "local"


def go_offline_without_hub(seconds: float = 3.0) -> None:
    """Sets HF_HUB_OFFLINE when nothing answers at the Hub's address: what is cached still loads.

    Otherwise the client retries for minutes. Must run before huggingface_hub is imported. Behind a
    proxy nothing is tried.
    """
    names = {name.lower() for name in os.environ}
    if names & {"hf_hub_offline", "https_proxy", "all_proxy"}:
        return
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname, port), seconds).close()
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"


def detect() -> Machine:
    """Looks at this computer and settles the libraries on it.

    One torch thread on the CPU: a second gains little when the machine is idle and costs many times
    the step when it is not. TF32 products on a GPU. Offline where nothing answers at the Hub's
    address.
    """
    go_offline_without_hub()
    import psutil
    import torch

    machine = Machine(
        profile="tiny",
        device="cpu",
        name=platform.machine(),
        memory_gb=round(psutil.virtual_memory().total / GIB, 1),
        cores=os.cpu_count(),
        place=place(),
        dtype="float32",
        four_bit=installed("bitsandbytes"),
        disk_gb=round(shutil.disk_usage(".").free / GIB, 1),
        process=int(os.environ.get("RANK", 0)),
        processes=int(os.environ.get("WORLD_SIZE", 1)),
    )
    cpu_only = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    if torch.cuda.is_available() and not cpu_only:
        card = torch.cuda.get_device_properties(int(os.environ.get("LOCAL_RANK", 0)))
        if runs_on(torch.cuda.get_arch_list(), card.major, card.minor):
            torch.backends.cuda.matmul.allow_tf32 = True
            return with_card(machine, card)
        print(
            f"{card.name} is too old or too new for torch {torch.__version__}, "
            f"which has no code for sm_{card.major}{card.minor}.\n"
            "The CPU is used; take another card, or a torch that knows this one."
        )
    torch.set_num_threads(1)
    return machine


def with_card(machine: Machine, card) -> Machine:
    """The machine with this process's card.

    Processes that work together take the memory and the number type of the weakest card, so that
    all plan alike.
    """
    import torch

    gpus = torch.cuda.device_count()
    cards = [card]
    if machine.processes > 1:
        cards = [torch.cuda.get_device_properties(i) for i in range(gpus)]
    weakest = min(each.major for each in cards)
    attention = "sdpa"
    if card.major >= 8 and installed("flash_attn"):  # as Unsloth chooses
        attention = "flash_attn"
    elif card.major >= 7 and installed("xformers"):
        attention = "xformers"
    return replace(
        machine,
        profile="gpu",
        device="cuda",
        name=card.name,
        memory_gb=round(min(each.total_memory for each in cards) / GIB, 1),
        dtype="bfloat16" if weakest >= 8 else "float16",  # older cards only emulate bfloat16
        gpus=gpus,
        capability=f"{card.major}.{card.minor}",
        attention=attention,
        vllm=installed("vllm"),
    )


def runs_on(compiled: Sequence[str], major: int, minor: int) -> bool:
    """Whether a torch compiled for these architectures has code for a card.

    That is the same major version with a minor no higher, or PTX of any older.
    torch.cuda.is_available() says yes to any card, and the first product dies.

    >>> compiled = ["sm_75", "sm_80", "sm_90a", "compute_120"]
    >>> [runs_on(compiled, *card) for card in ((8, 9), (6, 0), (9, 0), (10, 0), (12, 1))]
    [True, False, True, False, True]
    """
    for name in compiled:
        kind, _, digits = name.partition("_")
        known = divmod(int(digits.rstrip("af")), 10)
        oldest = (major, 0) if kind == "sm" else (0, 0)
        if oldest <= known <= (major, minor):
            return True
    return False


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def set_seed(seed: int) -> None:
    """Seeds Python, NumPy and torch."""
    from accelerate import utils

    utils.set_seed(seed)


def random_state() -> dict[str, list[int]]:
    """Where torch's random numbers stand, on the CPU and on a GPU, as bytes."""
    import torch

    state = {"cpu": torch.get_rng_state().tolist()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state().tolist()
    return state


def set_random_state(state: Mapping[str, list[int]]) -> None:
    """Sets torch's random numbers to where `random_state` found them."""
    import torch

    torch.set_rng_state(torch.tensor(state["cpu"], dtype=torch.uint8))
    if "cuda" in state:
        torch.cuda.set_rng_state(torch.tensor(state["cuda"], dtype=torch.uint8))


def peak_memory() -> float:
    """The most memory that this process has held, in GiB. Works on Linux and macOS."""
    import resource

    unit = GIB if platform.system() == "Darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def version_of(name: str) -> str:
    """The installed version of a package; "" for none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def versions() -> dict[str, str]:
    """The installed version of each library of the stack; one that is absent is left out."""
    return {name: version_of(name) for name in STACK.split() if version_of(name)}


def describe(machine: Machine) -> str:
    """Some lines for the top of a notebook."""
    card, processes, four_bit = machine.name, "", "no 4-bit (bitsandbytes is not installed)"
    if machine.gpus > 1:
        card = f"{machine.gpus} × {card}"
    if machine.capability:
        card += f", compute capability {machine.capability}"
    if machine.processes > 1:
        processes = f", {machine.processes} processes"
    if machine.four_bit:
        four_bit = "4-bit"
    vllm = ", vLLM" * machine.vllm
    stack = ", ".join(f"{name} {version}" for name, version in versions().items())
    return (
        f"machine   {machine.device} ({card}), {machine.cores} cores, {machine.memory_gb:.0f} GB, "
        f"{machine.place}, {machine.disk_gb:.0f} GB of disk free{processes}\n"
        f"computes  in {machine.dtype}, {machine.attention} attention, {four_bit}{vllm}\n"
        f"profile   {machine.profile}: {PROFILES[machine.profile]}\n"
        + textwrap.fill(f"versions  {stack}", 78, subsequent_indent=" " * 10)
    )


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
