"""What this computer is, and what follows from it: device, number type, threads."""

import functools
import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
import textwrap
import threading
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

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
PATIENCE = 4  # seconds for the Hub to answer anything
DESCRIPTION = """\
machine   {0.device} ({card}), {0.cores} cores, {0.memory_gb:.0f} GB, {0.place}, \
{0.disk_gb:.0f} GB of disk free
computes  in {0.dtype}{vllm}{threads}
{versions}"""
LARGE = 30_000_000  # parameters, from which on a second thread and bfloat16 can pay
GAIN = 1.2  # times as fast: less is not worth it


@dataclass(frozen=True)
class Machine:
    """What was found. Of several processes, each with a card of its own, this is `process`."""

    device: str  # "cpu" or "cuda"
    name: str
    memory_gb: float  # of one card, or of this computer
    cores: int
    place: str
    dtype: str  # what weights that are not in 4-bit are held in, and what is computed in
    capability: str = ""  # of the card, such as "7.5"
    vllm: bool = False
    disk_gb: float = 0.0  # free, where this was started
    process: int = 0
    processes: int = 1
    threads: int = 1  # of the CPU, for a model on it

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


@functools.cache
def go_offline_without_hub() -> None:
    """Sets HF_HUB_OFFLINE when the Hub does not answer, also for what has read it already.

    What is cached still loads; otherwise the client retries for minutes. Asked once a process, by
    a thread: looking up a name has no time-out.
    """
    from urllib.request import getproxies

    proxies = getproxies()
    # The user has decided, or `ask_hub` does not speak to this kind of proxy.
    if "HF_HUB_OFFLINE" in os.environ or "all" in proxies or "socks" in str(proxies):
        return
    answered = threading.Event()
    asking = threading.Thread(target=ask_hub, args=(answered,), daemon=True)
    asking.start()
    asking.join(PATIENCE)
    if answered.is_set():
        return
    os.environ["HF_HUB_OFFLINE"] = "1"
    for name in {"huggingface_hub.constants", "datasets.config"} & sys.modules.keys():
        sys.modules[name].HF_HUB_OFFLINE = True


def ask_hub(answered: threading.Event) -> None:
    """Sets `answered` if the Hub, or what HF_ENDPOINT names, answers: a refusal is an answer."""
    import ssl
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, build_opener

    hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        build_opener().open(Request(hub, method="HEAD"), timeout=PATIENCE).close()
    except HTTPError:
        pass
    except (OSError, HTTPException, ValueError) as error:
        # The client may know certificates that are unknown here.
        if not isinstance(getattr(error, "reason", None), ssl.SSLError):
            return
    answered.set()


def cores() -> int:
    """How many of the computer's cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def detect() -> Machine:
    """Looks at this computer and settles the libraries on it."""
    go_offline_without_hub()
    import psutil
    import torch

    machine = Machine(
        device="cpu",
        name=platform.machine(),
        memory_gb=round(psutil.virtual_memory().total / GIB, 1),
        cores=cores(),
        place=place(),
        dtype="float32",
        disk_gb=round(shutil.disk_usage(".").free / GIB, 1),
        process=int(os.environ.get("RANK", 0)),
        processes=int(os.environ.get("WORLD_SIZE", 1)),
    )
    if torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU") != "True":
        machine = with_card(machine)
    if machine.device == "cpu":
        torch.set_num_threads(1)
    return machine


def for_size(machine: Machine, parameters: int) -> Machine:
    """The machine with the threads and the number type for a model of that size, set in torch.

    On a GPU as it is. A small model gains little by a second thread on an idle machine, and on a
    busy one it costs many steps. For a large one both are measured: on as many cores as are free,
    unless OMP_NUM_THREADS says how many.
    """
    if machine.device != "cpu" or parameters < LARGE:
        return machine
    import psutil
    import torch

    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    threads = int(asked) if asked.isdigit() else 0
    if not threads:
        busy = round(psutil.cpu_percent(0.5) / 100 * machine.cores)
        free = max(1, machine.cores // machine.processes - busy)
        threads = free if seconds("float32", 1) > GAIN * seconds("float32", free) else 1
    dtype = "float32"
    if seconds("float32", threads) > GAIN * seconds("bfloat16", threads):
        dtype = "bfloat16"
    torch.set_num_threads(threads)
    return replace(machine, threads=threads, dtype=dtype)


def seconds(dtype: str, threads: int) -> float:
    """How long a product of matrices takes on so many threads, at best: a few tries, quickly."""
    import torch

    torch.set_num_threads(threads)
    matrix = torch.ones(1024, 1024, dtype=getattr(torch, dtype))
    taken = []
    while len(taken) < 20 and sum(taken) < 0.3:  # bfloat16 can be a hundred times slower
        begun = time.perf_counter()
        matrix[:256] @ matrix
        taken.append(time.perf_counter() - begun)
    return min(taken)


def with_card(machine: Machine) -> Machine:
    """The machine with its card; as it was if torch cannot use the card."""
    import torch

    card = torch.cuda.get_device_properties(0)
    # torch.cuda.is_available() says yes to any card, and the first product dies.
    if not any(name.startswith(f"sm_{card.major}") for name in torch.cuda.get_arch_list()):
        print(
            f"{card.name} is too old or too new for torch {torch.__version__}, "
            f"which has no code for sm_{card.major}{card.minor}.\n"
            "The CPU is used; take another card, or a torch that knows this one."
        )
        return machine
    torch.backends.cuda.matmul.allow_tf32 = True
    return replace(
        machine,
        device="cuda",
        name=card.name,
        memory_gb=round(card.total_memory / GIB, 1),
        dtype="bfloat16" if card.major >= 8 else "float16",  # older cards only emulate bfloat16
        capability=f"{card.major}.{card.minor}",
        vllm=bool(version_of("vllm")),
    )


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


@functools.cache
def versions() -> dict[str, str]:
    """The installed version of each library of the stack; one that is absent is left out."""
    return {name: version_of(name) for name in STACK if version_of(name)}


def describe(machine: Machine) -> str:
    """Some lines for the top of a notebook."""
    card = machine.name
    if machine.capability:
        card += f", compute capability {machine.capability}"
    stack = ", ".join(f"{name} {version}" for name, version in versions().items())
    return DESCRIPTION.format(
        machine,
        card=card,
        threads=f", threads: {machine.threads}" if machine.device == "cpu" else "",
        vllm=", vLLM" if machine.vllm else "",
        versions=textwrap.fill(f"versions  {stack}", 78, subsequent_indent=" " * 10),
    )


def check_launch() -> None:
    """Raises RuntimeError if accelerate was asked for several processes and quietly started one."""
    if "ACCELERATE_MIXED_PRECISION" not in os.environ or "WORLD_SIZE" in os.environ:
        return
    import psutil

    command = " ".join(psutil.Process().parent().cmdline())
    asked = re.search(r"--num[_-]processes[ =](\d+)", command)
    if asked and int(asked[1]) > 1:
        raise RuntimeError(
            f"accelerate was asked for {asked[1]} processes and started one: "
            "it finds no GPUs, or one.\nWithout GPUs use: accelerate launch "
            f"--config_file helpers/accelerate/cpu.yaml --num_processes {asked[1]} -m helpers …"
        )


@functools.cache  # torch cannot hold two such rules of one rank
def allow_numbered_cpus() -> None:
    """Lets torch.load put tensors on "cpu:0", as trainers ask under several CPU processes."""
    import torch

    def put(storage, location: str):
        return storage if location.startswith("cpu:") else None

    torch.serialization.register_package(5, lambda storage: None, put)
