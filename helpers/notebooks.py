"""Runs the notebooks from outside, as `make run` does, and stores them executed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from helpers.machine import writable_folder
from helpers.recipes import get_recipe
from helpers.settings import DEFAULT_RECIPE, Settings, names

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ("01_sft.ipynb", "02_grpo.ipynb", "03_eval.ipynb", "04_export_push.ipynb")
ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9][\w.-]*/[\w-][\w.-]*?)(?:\.git)?/?")


class NotebookError(RuntimeError):
    """A notebook that did not run to its end; its text says where it stopped and what to do."""


def run(given: Mapping[str, str], write: bool = False) -> None:
    """Runs 01 to 04 top to bottom and prints the table of results.

    given: parameters by name. write: stores the executed notebooks in their place.
    """
    settings = Settings.read(given)
    recipe = get_recipe(settings.recipe or DEFAULT_RECIPE)
    if settings.adapter and not Path(settings.adapter, "adapter_config.json").is_file():
        cure = "Set ADAPTER to a trained adapter's folder, or leave it out."
        raise FileNotFoundError(f"There is no adapter in {settings.adapter}.\n{cure}")
    parameters = parameters_of(settings, given)
    if write:
        parameters["RESUME"] = False  # what is stored comes from a run of its own
    folder = Path(parameters["OUTPUT"], recipe.name)
    executed = writable_folder(folder / "notebooks")
    begun = time.time()
    for name in NOTEBOOKS:
        print(f"── {name}", flush=True)
        started = time.time()
        if name == NOTEBOOKS[-1]:
            parameters["ADAPTER"] = ""  # what is given away is what was trained just now
        copy = executed / name
        try:
            execute(name, copy, parameters, write)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped in {name}; what was done is saved") from None
        print(f"\r   done in {time.time() - started:.0f} s".ljust(80))
        print(*runs_kept(copy), sep="", end="", flush=True)
    print_results(folder)
    print(f"all four notebooks took {time.time() - begun:.0f} s")


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


def parameters_of(settings: Settings, given: Mapping[str, str]) -> dict:
    """What the notebooks get: the given parameters, with paths made absolute.

    The kernels work in the project's folder; names of the Hub stay as they are.
    """
    found = {name: getattr(settings, name.lower()) for name in given}
    found["OUTPUT"] = settings.output
    if Path.cwd() == ROOT:
        return found
    for name in ("MODEL", "DATASET", "ADAPTER"):
        if found.get(name) and Path(found[name]).exists():
            found[name] = os.path.abspath(found[name])
    for name in ("OUTPUT", "MIRROR"):
        if found.get(name):
            found[name] = os.path.abspath(found[name])
    return found


def execute(name: str, copy: Path, parameters: Mapping, write: bool = False) -> None:
    """Runs one notebook with papermill; its progress bars appear as they come."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    stamp = fingerprint(name) if write else ""
    try:
        with hidden_stderr():
            papermill.execute_notebook(
                ROOT / name,
                copy,
                parameters=parameters,
                kernel_name="python3",
                cwd=ROOT,
                progress_bar=False,
                stdout_file=ProgressOnly() if sys.stdout.isatty() else None,
            )
        tidy(copy)
    except PapermillExecutionError as error:
        where = f"(the whole notebook: {copy})"
        text = f"{name}, cell {error.exec_count}: {error.ename}: {error.evalue}\n{where}"
        raise NotebookError(text) from error
    except DeadKernelError as error:
        cure = "Close other programs, or take a smaller MODEL."
        text = f"{name}: the kernel died, most likely for lack of memory.\n{cure}"
        raise NotebookError(text) from error
    if write:
        store(copy, ROOT / name, stamp)


@contextlib.contextmanager
def hidden_stderr() -> Iterator[None]:
    """Keeps the kernels' notices off the terminal; papermill raises a notebook's errors."""
    sys.stderr.flush()
    ours = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)
        os.close(nowhere)


class ProgressOnly:
    """Shows the notebooks' progress bars on one line of the terminal, and no other prints."""

    def write(self, text: str) -> None:
        if "\r" in text:
            bar = text.rstrip("\r\n").rpartition("\r")[2]
            sys.stdout.write("\r   " + bar[:76].ljust(76))

    def flush(self) -> None:
        sys.stdout.flush()


def tidy(path: Path) -> None:
    """Joins what was printed in pieces, and leaves out progress bars that are over."""
    book = json.loads(path.read_text())
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [output for output in joined(cell["outputs"]) if shows(output)]
    save_book(book, path)


def joined(outputs: Sequence[dict]) -> list[dict]:
    """The outputs with neighbouring prints as one, carriage returns resolved."""
    found: list[dict] = []
    for output in outputs:
        is_print = output["output_type"] == "stream"
        if is_print and found and found[-1].get("name") == output["name"]:
            found[-1]["text"] = "".join(found[-1]["text"]) + "".join(output["text"])
        else:
            found.append(output)
    for output in found:
        if output["output_type"] == "stream":
            lines = "".join(output["text"]).split("\n")
            output["text"] = "\n".join(overwritten(line) for line in lines)
    return found


def shows(output: dict) -> bool:
    """Whether an output has anything in it; live curves that are over have not."""
    if output["output_type"] == "stream":
        return bool("".join(output["text"]).strip())
    return output.get("data") not in ({"text/plain": ""}, {"text/plain": []})


def overwritten(line: str) -> str:
    """What a terminal shows of a line with carriage returns: later text over earlier text."""
    if "\r" not in line:
        return line
    shown = ""
    for part in line.split("\r"):
        shown = part + shown[len(part) :]
    return shown.rstrip(" ")


def store(copy: Path, place: Path, stamp: str) -> None:
    """Puts an executed copy in the notebook's place, without what papermill added."""
    book = json.loads(copy.read_text())
    book["metadata"]["fingerprint"] = stamp
    for key in ("papermill", "widgets"):
        book["metadata"].pop(key, None)
    kept = []
    count = 0
    for cell in book["cells"]:
        if "injected-parameters" in cell["metadata"].get("tags", []):
            continue
        kept.append(cell)
        for key in ("papermill", "execution"):
            cell["metadata"].pop(key, None)
        if not cell["metadata"].get("tags", True):
            del cell["metadata"]["tags"]
        if cell["cell_type"] == "code":
            count += 1
            cell["execution_count"] = count
            for output in cell["outputs"]:
                if "execution_count" in output:
                    output["execution_count"] = count
    book["cells"] = kept
    save_book(book, place)


def save_book(book: dict, path: Path) -> None:
    path.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n")


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


def runs_kept(copy: Path) -> list[str]:
    """What an executed notebook said of finished runs that it put aside, line by line."""
    lines = []
    for cell in json.loads(copy.read_text())["cells"]:
        for output in cell.get("outputs", ()):
            lines += "".join(output.get("text", "")).split("\n")
    return [f"   {line}\n" for line in lines if " is kept as " in line]


def print_results(folder: Path) -> None:
    """The table at the end: each model with its accuracies, the proofs, and where all lies."""
    from helpers.runs import read_summary

    summary = read_summary(folder / "eval")
    sampled = summary["sampled"]
    columns = ("strict, greedy", "strict, sampled", "flexible, greedy")
    print("\n" + " " * 8 + "".join(f"{column:>24}" for column in columns) + f"{'n':>6}")
    for name, greedy in summary["greedy"].items():
        shares = (greedy["strict"], sampled[name]["strict"], greedy["flexible"])
        cells = "".join(f"{interval(part, '.1%'):>24}" for part in shares)
        print(f"{name:8}{cells}{greedy['n']:>6}")
    totals = [f"{name} {interval(part['reward'], '.2f')}" for name, part in sampled.items()]
    print(f"total reward, sampled: {', '.join(totals)}")
    for reward in next(iter(sampled.values()))["rewards"]:
        means = [f"{m} {part['rewards'][reward]['value']:.2f}" for m, part in sampled.items()]
        print(f"  {reward}: {', '.join(means)}")
    print(
        "95 % intervals in brackets; held-out problems;"
        " sampled: mean of the samples of each problem"
    )
    print_proofs(folder / "export" / "proof.json")
    places = {
        "adapter": "grpo/adapter",
        "merged model": "export/merged-fp32",
        "log": "grpo/log.jsonl",
        "pictures": "grpo/plots",
        "records": "eval",
        "executed notebooks": "notebooks",
    }
    for what, where in places.items():
        print(f"{what:20}{folder / where}")


def interval(part: Mapping, form: str) -> str:
    """A value with its 95 % interval."""
    return f"{part['value']:{form}} [{part['low']:{form}}, {part['high']:{form}}]"


def print_proofs(path: Path) -> None:
    """What the proof of the exports found, a line each."""
    if not path.is_file():
        return
    for name, proof in json.loads(path.read_text(encoding="utf-8")).items():
        print(
            f"{name} read back in a fresh process: {proof['same_text']} of {proof['prompts']}"
            f" replies the same, logits within {proof['relative']:.0e} of the largest"
        )


def address(root: Path = ROOT) -> str:
    """The repository's owner and name, as pyproject.toml has them."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return ADDRESS.fullmatch(project["urls"]["Repository"])[1]


def move(url: str, root: Path = ROOT) -> dict[str, int]:
    """Writes another address wherever the present one stands; how often, by file.

    Raises ValueError for what is no repository on GitHub.
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
