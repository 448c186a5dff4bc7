"""Which heavy library each part of the package asks for first: prints it as JSON.

`python -m tests.training.first_imports`. Each is imported in a process of its own, forked before
anything heavy is there, up to the first request for such a library. A room's modules are looked at
where the room's own face does not settle it.
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
    """What a module asks for first, "" for none, or its error; found in a forked process."""
    reader, writer = os.pipe()
    if not os.fork():
        sys.meta_path.insert(0, Gate())
        said = ""
        try:
            importlib.import_module(module)
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


if __name__ == "__main__":
    # Else loaded anew for each module; they ask for none of the heavy ones.
    for shared in ("torch", "pandas", "sympy", "matplotlib.pyplot"):
        importlib.import_module(shared)
    found = {}
    for path in sorted(PACKAGE.rglob("*.py"), key=lambda path: (len(path.parts), path)):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = ".".join(parts).removesuffix(".__init__")
        room = ".".join(parts[:2])
        if module == room or not found.get(room):
            found[module] = first(module)
    print(json.dumps(found))
