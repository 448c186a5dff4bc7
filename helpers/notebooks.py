"""Runs the notebooks from outside, as `make run` does, and stores them executed."""

import contextlib
import hashlib
import json
import logging
import os
import re
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from helpers.machine import writable_folder
from helpers.recipes import get_recipe
from helpers.settings import DEFAULT_RECIPE, Settings, names

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ("01_sft.ipynb", "02_grpo.ipynb", "03_eval.ipynb", "04_export_push.ipynb")
ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9][\w.-]*/[\w-][\w.-]*?)(?:\.git)?/?")
RESULTS = Path(__file__).with_name("results.jinja")  # what a run ends with


def run(given: Mapping[str, str], write: bool = False) -> None:
    """Runs 01 to 04 top to bottom and prints the table of results.

    given: parameters by name. write: stores the executed notebooks in their place. Without an
    OUTPUT they then run in a new temporary folder, so that they tell of no run before.
    """
    from helpers.kernels import fork_kernels

    settings = Settings.read(given)
    recipe = get_recipe(settings.recipe or DEFAULT_RECIPE)
    check(settings, recipe.name)
    place = ROOT
    if write and "OUTPUT" not in given:
        place = Path(tempfile.mkdtemp(prefix="write-"))
        (place / "helpers").symlink_to(ROOT / "helpers")
        settings = replace(settings, output=str(place / "outputs"))
        print(f"running in {place}")
    parameters = parameters_of(settings, given, place)
    folder = Path(parameters["OUTPUT"], recipe.name)
    executed = writable_folder(folder / "notebooks")
    if place != ROOT:
        parameters["OUTPUT"] = "outputs"  # what the stored notebooks show
    if write:
        parameters["RESUME"] = False  # what is stored comes from a run of its own
    begun = time.time()
    with hidden_stderr():
        fork_kernels()
    for name in NOTEBOOKS:
        print(f"── {name}", flush=True)
        started = time.time()
        stamp = fingerprint(name)
        if name == NOTEBOOKS[-1]:
            parameters["ADAPTER"] = ""  # what is given away is what was trained just now
        book = execute(name, executed / name, parameters, place)
        print(f"\r   done in {time.time() - started:.0f} s".ljust(80))
        print(*runs_kept(book), sep="", end="", flush=True)
        if write:
            store(book, ROOT / name, stamp)
    print_results(folder)
    print(f"all four notebooks took {time.time() - begun:.0f} s")


def check(settings: Settings, recipe: str) -> None:
    """Raises, before anything is trained, what a later notebook would stop at."""
    if settings.push:
        from helpers.sharing import token

        token()
    if not settings.adapter:
        return
    from helpers.runs import check_start

    places = [Path(settings.adapter, inner, "adapter_config.json") for inner in ("", "adapter")]
    if not any(map(Path.is_file, places)):
        cure = "Set ADAPTER to a trained adapter's folder, or leave it out."
        raise FileNotFoundError(f"There is no adapter in {settings.adapter}.\n{cure}")
    check_start(Path(settings.output, recipe, "grpo"), settings.adapter)


def parse(pairs: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE pairs as parameters. Raises ValueError for a name that there is not."""
    given = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair!r} is no parameter.\nGive NAME=VALUE, such as MAX_STEPS=5.")
        if name not in names():
            raise ValueError(f"There is no parameter {name}.\nThere are {', '.join(names())}.")
        given[name] = value
    return given


def parameters_of(settings: Settings, given: Mapping[str, str], place: Path = ROOT) -> dict:
    """What the notebooks get: the given parameters, with paths made absolute.

    place: the folder that the kernels work in. Names of the Hub stay as they are.
    """
    found = {name: getattr(settings, name.lower()) for name in given}
    found["OUTPUT"] = settings.output
    if place == Path.cwd():
        return found
    for name in ("OUTPUT", "MIRROR", "MODEL", "DATASET", "ADAPTER"):
        path = found.get(name)
        if path and (name in ("OUTPUT", "MIRROR") or Path(path).exists()):
            found[name] = os.path.abspath(path)
    return found


def execute(name: str, copy: Path, parameters: Mapping, place: Path = ROOT):
    """Runs one notebook with papermill; its progress bars appear as they come.

    Returns what is in `copy`, too: the executed notebook, without progress bars that are over.
    Raises RuntimeError that says where it stopped.
    """
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    try:
        with hidden_stderr():
            book = papermill.execute_notebook(
                ROOT / name,
                copy,
                parameters=parameters,
                kernel_name="python3",
                start_timeout=300,
                cwd=place,
                progress_bar=False,
                request_save_on_cell_execute=False,
                stdout_file=ProgressOnly() if sys.stdout.isatty() else None,
                record_timing=False,
                coalesce_streams=True,  # as a terminal shows them: joined, bars written over
            )
    except PapermillExecutionError as error:
        where = f"(the whole notebook: {copy})"
        text = f"{name}, cell {error.exec_count}: {error.ename}: {error.evalue}\n{where}"
        raise RuntimeError(text) from error
    except KeyboardInterrupt:
        logging.getLogger("asyncio").disabled = True  # else a kernel that dies of it, too, is told
        raise KeyboardInterrupt(f"stopped in {name}; what was done is saved") from None
    except DeadKernelError as error:
        cure = "Close other programs, or take a smaller MODEL."
        text = f"{name}: the kernel died, most likely for lack of memory.\n{cure}"
        raise RuntimeError(text) from error
    for cell in book.cells:
        if cell.cell_type == "code":
            # bars and live curves that are over show nothing
            outputs = [each for each in cell.outputs if each.get("data") != {"text/plain": ""}]
            cell.outputs = [each for each in outputs if each.get("text", "shown").strip()]
    nbformat.write(book, copy)
    return book


@contextlib.contextmanager
def hidden_stderr() -> Iterator[None]:
    """Keeps the kernels' notices off the terminal; papermill raises a notebook's errors."""
    sys.stderr.flush()
    ours = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)


class ProgressOnly:
    """Shows the notebooks' progress bars on one line of the terminal, and no other prints."""

    def write(self, text: str) -> None:
        if "\r" in text:
            bar = text.rstrip("\r\n").rpartition("\r")[2]
            sys.stdout.write("\r   " + bar[:76].ljust(76))

    def flush(self) -> None:
        sys.stdout.flush()


def store(book, place: Path, stamp: str) -> None:
    """Puts an executed notebook in its place, without what papermill added."""
    import nbformat

    book.metadata.fingerprint = stamp
    for part in (book, *book.cells):
        for key in ("papermill", "widgets"):
            part.metadata.pop(key, None)
        if part.metadata.get("tags") == []:
            del part.metadata["tags"]
    cells = [c for c in book.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    book.cells = cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, start=1):
        for part in (cell, *cell.outputs):
            if "execution_count" in part:
                part.execution_count = count
    nbformat.write(book, place)


def fingerprint(name: str) -> str:
    """Of all that a notebook's outputs come from: the package and the code cells up to its end.

    The set-up cells show nothing and are left out. A stored notebook carries it, and a test
    compares, so that no stored output is of other code than is shown.
    """
    digest = hashlib.sha256()
    for path in sorted((ROOT / "helpers").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    for book in NOTEBOOKS[: NOTEBOOKS.index(name) + 1]:
        cells = json.loads((ROOT / book).read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        for source in code[1:]:
            digest.update(source.encode() + b"\0")
    return digest.hexdigest()


def runs_kept(book) -> list[str]:
    """What an executed notebook said of finished runs that it put aside, line by line."""
    lines = []
    for cell in book.cells:
        for output in cell.get("outputs", ()):
            lines += output.get("text", "").split("\n")
    return [f"   {line}\n" for line in lines if " is kept as " in line]


def print_results(folder: Path) -> None:
    """The table at the end: each model with its accuracies, the proofs, and where all lies."""
    from jinja2 import Template

    from helpers.runs import read_summary

    template = Template(RESULTS.read_text("utf-8"), trim_blocks=True)
    proofs = json.loads((folder / "export" / "proof.json").read_text("utf-8"))
    summary = read_summary(folder / "eval")
    print(template.render(**summary, proofs=proofs, folder=folder, interval=interval))


def interval(part: Mapping, form: str) -> str:
    """A value with its 95 % interval."""
    return f"{part['value']:{form}} [{part['low']:{form}}, {part['high']:{form}}]"


def address(root: Path = ROOT) -> str:
    """The repository's owner and name in pyproject.toml. Raises ValueError if there are none."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    url = project.get("urls", {}).get("Repository", "")
    found = ADDRESS.fullmatch(url)
    if not found:
        raise ValueError(
            f"pyproject.toml has {url!r} for the repository, which is no address on GitHub.\n"
            "Restore it with `git checkout pyproject.toml`, then give yours to `make address`."
        )
    return found[1]


def move(url: str, root: Path = ROOT) -> dict[str, int]:
    """Writes another address wherever the present one stands; how often, by file.

    Raises ValueError for what is no repository on GitHub, the new address or the present one.
    """
    new = ADDRESS.fullmatch(url.strip())
    old = address(root)
    if not new:
        example = f"https://github.com/your-name/{old.partition('/')[2]}"
        raise ValueError(
            f"{url!r} is not the address of a repository.\nGive one such as {example}."
        )
    pattern = re.compile(rf"(github(?:\.com)?/){re.escape(old)}(?![\w-])")
    counts = {}
    for name in ("pyproject.toml", "README.md", *NOTEBOOKS):
        path = root / name
        text, counts[name] = pattern.subn(rf"\g<1>{new[1]}", path.read_text(encoding="utf-8"))
        path.write_text(text, encoding="utf-8")
    return counts
