"""What this computer is, and the profile that follows from it: decided here and nowhere else."""

from __future__ import annotations

import hashlib
import importlib.metadata
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
STACK = "torch transformers trl peft unsloth unsloth_zoo".split()  # noqa: SIM905
STACK += "accelerate bitsandbytes datasets sympy".split()  # noqa: SIM905
PROFILES = {
    "tiny": "the embedded tiny Qwen3 and, unless you name others, generated problems; "
    "a few minutes",
    "gpu": "the recipe's own model and data",
}


@dataclass(frozen=True)
class Machine:
    """What was found. Of several processes, each with a card of its own, this is `process`."""

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
    """Sets HF_HUB_OFFLINE, before huggingface_hub is imported, when nothing answers at the Hub.

    What is cached still loads; otherwise the client retries for minutes.
    """
    names = {name.lower() for name in os.environ}
    if names & {"hf_hub_offline", "https_proxy", "all_proxy"}:  # decided, or behind a proxy
        return
    hub = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    port = hub.port or {"http": 80}.get(hub.scheme, 443)
    try:
        socket.create_connection((hub.hostname, port), seconds).close()
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"


def detect() -> Machine:
    """Looks at this computer and settles the libraries on it."""
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
        four_bit=bool(version_of("bitsandbytes")),
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
    # A second thread gains little on an idle machine, and costs many times the step on a busy one.
    torch.set_num_threads(1)
    return machine


def with_card(machine: Machine, card) -> Machine:
    """The machine with this process's card."""
    import torch

    gpus = torch.cuda.device_count()
    cards = [card]
    if machine.processes > 1:  # all plan alike, for the weakest
        cards = [torch.cuda.get_device_properties(i) for i in range(gpus)]
    memory = min(each.total_memory for each in cards)
    major = min(each.major for each in cards)
    attention = "sdpa"
    if card.major >= 8 and version_of("flash_attn"):  # as Unsloth chooses
        attention = "flash_attn"
    elif card.major >= 7 and version_of("xformers"):
        attention = "xformers"
    return replace(
        machine,
        profile="gpu",
        device="cuda",
        name=card.name,
        memory_gb=round(memory / GIB, 1),
        dtype="bfloat16" if major >= 8 else "float16",  # older cards only emulate bfloat16
        gpus=gpus,
        capability=f"{card.major}.{card.minor}",
        attention=attention,
        vllm=bool(version_of("vllm")),
    )


def runs_on(compiled: Sequence[str], major: int, minor: int) -> bool:
    """Whether torch has code for a card: of its major and a minor no higher, or PTX of any older.

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

    torch.set_rng_state(torch.ByteTensor(state["cpu"]))
    if "cuda" in state:
        torch.cuda.set_rng_state(torch.ByteTensor(state["cuda"]))


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
    return {name: version_of(name) for name in STACK if version_of(name)}


def describe(machine: Machine) -> str:
    """Some lines for the top of a notebook."""
    card, disk = machine.name, f"{machine.disk_gb:.0f} GB of disk free"
    if machine.gpus:
        card += f", compute capability {machine.capability}"
    if machine.gpus > 1:
        card = f"{machine.gpus} × {card}"
    if machine.processes > 1:
        disk += f", {machine.processes} processes"
    numbers = "4-bit" if machine.four_bit else "no 4-bit (bitsandbytes is not installed)"
    if machine.vllm:
        numbers += ", vLLM"
    stack = ", ".join(f"{name} {version}" for name, version in versions().items())
    return (
        f"machine   {machine.device} ({card}), {machine.cores} cores, {machine.memory_gb:.0f} GB, "
        f"{machine.place}, {disk}\n"
        f"computes  in {machine.dtype}, {machine.attention} attention, {numbers}\n"
        f"profile   {machine.profile}: {PROFILES[machine.profile]}\n"
        + textwrap.fill(f"versions  {stack}", 78, subsequent_indent=" " * 10)
    )


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
