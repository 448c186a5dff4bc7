"""Which heavy library each module of the package asks for first: `python -m tests.training.first_imports` prints it as JSON.

Each module is imported in a process of its own, forked before anything heavy is there, up to the first request for such a library. Nothing
is loaded, so that all modules together take seconds.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "helpers"
HEAVY = ("unsloth", "unsloth_zoo", "trl", "peft", "transformers", "vllm")


class Asked(BaseException):
    """Not an Exception: no `except ImportError` on the way may take it for an absent library."""


class Gate:
    def find_spec(self, name: str, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise Asked(name.partition(".")[0])


def first(module: str) -> str:
    """The library that a module asks for first, "" if none, or the error that it raised; found in a forked process."""
    reader, writer = os.pipe()
    if not os.fork():
        sys.meta_path.insert(0, Gate())
        try:
            importlib.import_module(module)
            said = ""
        except Asked as asked:
            said = str(asked)
        except BaseException:
            said = traceback.format_exc()
        os.write(writer, said.encode()[-2000:])
        os._exit(0)
    os.close(writer)
    os.wait()
    with os.fdopen(reader) as file:
        return file.read()


def modules() -> list[str]:
    paths = sorted(
        path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.py")
    )
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


if __name__ == "__main__":
    for shared in (
        "torch",
        "pandas",
        "sympy",
        "matplotlib.pyplot",
    ):  # else loaded anew for each module; they ask for none of the heavy ones
        importlib.import_module(shared)

    print(json.dumps({module: first(module) for module in modules()}))
