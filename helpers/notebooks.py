"""Runs the notebooks from outside, as `make run` does, and stores them executed, without what a run leaves behind."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ("01_sft.ipynb", "02_grpo.ipynb", "03_eval.ipynb", "04_export_push.ipynb")


class NotebookError(RuntimeError):
    """A notebook that did not run to its end; its text says where it stopped and what to do."""


def fingerprint(name: str) -> str:
    """Of all that a notebook's outputs come from: the package, and the cells of this notebook and of those before it, but their set-up cells, which
    show nothing, and text. The run stamps it into the notebook's metadata; a test compares, so that no stored output is of other code than is shown."""
    found = hashlib.sha256()
    for path in sorted(
        path
        for path in (ROOT / "helpers").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ):
        found.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    for book in NOTEBOOKS[: NOTEBOOKS.index(name) + 1]:
        cells = json.loads((ROOT / book).read_text(encoding="utf-8"))["cells"]
        for cell in [cell for cell in cells if cell["cell_type"] == "code"][1:]:
            found.update("".join(cell["source"]).encode() + b"\0")
    return found.hexdigest()


def execute(name: str, copy: Path, parameters: dict, write: bool) -> None:
    """Runs one notebook with papermill; its progress bars appear as they come."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    stamp = fingerprint(name) if write else ""
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotebookError(
            f"Cannot write to {copy.parent} ({error.strerror}).\nSet OUTPUT to a folder you can write to."
        ) from error
    try:
        with without_kernel_log():
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
        raise NotebookError(
            f"{name}, cell {error.exec_count}: {error.ename}: {error.evalue}\n(the whole notebook: {copy})"
        ) from error
    except DeadKernelError as error:
        raise NotebookError(
            f"{name}: the kernel died, most likely for lack of memory.\nClose other programs, or take a smaller MODEL."
        ) from error
    except OSError as error:
        raise NotebookError(
            f"{copy} could not be written ({error.strerror}).\nMake room and run the same command again."
        ) from error
    if write:
        store(copy, ROOT / name, stamp)


@contextlib.contextmanager
def without_kernel_log():
    """Keeps the kernels' start-up notices off the terminal. Errors of the notebooks do not go this way: papermill raises them."""
    sys.stderr.flush()
    ours, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)
        os.close(nowhere)


class ProgressOnly:
    """Shows the notebooks' progress bars on one line of the terminal, and leaves their other prints to the notebooks."""

    def write(self, text: str) -> None:
        if "\r" in text:
            sys.stdout.write("\r   " + text.rstrip("\r\n").rpartition("\r")[2][:76].ljust(76))

    def flush(self) -> None:
        sys.stdout.flush()


def tidy(path: Path) -> None:
    """Joins what was printed in pieces and resolves carriage returns, so that a progress bar that is over leaves nothing behind."""
    book = json.loads(path.read_text())
    for cell in (cell for cell in book["cells"] if cell["cell_type"] == "code"):
        joined: list[dict] = []
        for output in cell["outputs"]:
            if (
                output["output_type"] == "stream"
                and joined
                and joined[-1].get("name") == output["name"]
            ):
                joined[-1]["text"] = "".join(joined[-1]["text"]) + "".join(output["text"])
            else:
                joined.append(output)
        for output in (output for output in joined if output["output_type"] == "stream"):
            output["text"] = "\n".join(
                overwritten(line) for line in "".join(output["text"]).split("\n")
            )
        cell["outputs"] = [output for output in joined if shows(output)]
    path.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n")


def shows(output: dict) -> bool:
    """Whether an output has anything in it; live curves that are over have not."""
    return bool("".join(output.get("text", "x")).strip()) and output.get("data", {"": "x"}) not in (
        {"text/plain": ""},
        {"text/plain": []},
    )


def overwritten(line: str) -> str:
    """What a terminal shows of a line with carriage returns: later text over earlier text."""
    shown = ""
    for part in line.split("\r"):
        shown = part + shown[len(part) :]
    return shown.rstrip(" ") if "\r" in line else line


def store(copy: Path, place: Path, stamp: str) -> None:
    """Puts an executed copy in the notebook's place, without what papermill added, and with the fingerprint of what it was run with."""
    book = json.loads(copy.read_text())
    book["metadata"]["fingerprint"] = stamp
    book["metadata"].pop("papermill", None)
    book["metadata"].pop("widgets", None)
    book["cells"] = [
        cell
        for cell in book["cells"]
        if "injected-parameters" not in cell["metadata"].get("tags", [])
    ]
    for count, cell in enumerate((c for c in book["cells"] if c["cell_type"] == "code"), 1):
        cell["execution_count"] = count
        for output in cell["outputs"]:
            if "execution_count" in output:
                output["execution_count"] = count
    for cell in book["cells"]:
        for key in ("papermill", "execution"):
            cell["metadata"].pop(key, None)
        if not cell["metadata"].get("tags", True):
            del cell["metadata"]["tags"]
    place.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n")
