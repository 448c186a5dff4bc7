"""A machine made of folders, for the notebooks' first cell: Colab, Kaggle or neither, with what they bring and nothing else.

`git`, `pip` and `nvidia-smi` are stand-ins that do the least of what the real ones do, and tell what they were asked.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

CELL = next(
    "".join(cell["source"])
    for cell in json.loads((ROOT / "01_sft.ipynb").read_text())["cells"]
    if cell["cell_type"] == "code"
)
TAG = "v0.1.0"
HOME = f"qwen3-{TAG}"
PATHS = (
    "/content",
    "/tmp",
    "/kaggle/input",
)  # as the code names them; here they are below a test's folder
IMAGE = {
    "torch": "2.10.0+cu128",
    "numpy": "2.0.2",
    "pillow": "11.3.0",
    "transformers": "5.0.0",
    "datasets": "4.0.0",
    "torchao": "0.10.0",
    "matplotlib": "3.10.0",
    "tokenizers": "0.22.2",
}  # some of what the services bring
T4 = "Tesla T4, 15360 MiB"

GIT = """#!/bin/sh
echo "$@" >> "$ASKED/git"
for last; do :; done
mkdir -p "$last" && cp -r "$PROJECT/." "$last"
if [ -n "$GIT_FAILS" ]; then echo "$GIT_FAILS" >&2; exit 128; fi
"""
NVIDIA = """#!/bin/sh
[ "$*" = "--query-gpu=name,memory.total --format=csv,noheader" ] && [ -n "$CARDS" ] && printf '%s\\n' "$CARDS"
"""
PIP = """
import json, os, pathlib, re, shutil, sys

asked, site, words = pathlib.Path(os.environ["ASKED"], "pip"), pathlib.Path(__file__).parent.parent, sys.argv[1:]
files = {flag: pathlib.Path(words[words.index(flag) + 1]).read_text() for flag in ("-r", "-c") if flag in words}
with asked.open("a") as log:
    log.write(json.dumps([words, files.get("-c", "")]) + "\\n")
if os.environ.get("PIP_FAILS"):
    sys.exit(os.environ["PIP_FAILS"])
wanted = dict(re.findall(r"^([\\w-]+)(?:==(.*))?$", files.get("-r", ""), re.MULTILINE))
for name in [*wanted, *(words[-1:] if words[0] == "uninstall" else [])]:
    there = list(site.glob(f"{name}-*.dist-info"))
    if wanted.get(name) or not wanted or not there:
        [shutil.rmtree(folder) for folder in there]
        if wanted:
            new = site / f"{name}-{wanted[name] or '1.0'}.dist-info"
            new.mkdir()
            (new / "METADATA").write_text(f"Name: {name}\\nVersion: {wanted[name] or '1.0'}\\n")
"""
COLAB = "import builtins; builtins.get_ipython = lambda: '<google.colab._shell.Shell object>'\n"
KAGGLE = "import pathlib; real = pathlib.Path.is_dir; pathlib.Path.is_dir = lambda self, **how: str(self) == '/kaggle/working' or real(self, **how)\n"
REPORT = """
import helpers, json, os, sys
print(json.dumps({"helpers": helpers.__file__, "path": sys.path, "torch": "torch" in sys.modules,
                  "set": {k: v for k, v in os.environ.items() if k.startswith(("CUDA_", "UNSLOTH_", "TOKENIZERS_"))}}))
"""


class Service:
    """A machine below a folder. `run` executes the cell there, in a new process in which only IMAGE is installed."""

    def __init__(self, root: Path):
        self.root, self.site, self.asked = root, root / "site", root / "asked"
        for folder in (self.asked, root / "tmp", root / "beside", root / "bin", self.site / "pip"):
            folder.mkdir(parents=True)
        (self.site / "pip" / "__init__.py").touch()
        (self.site / "pip" / "__main__.py").write_text(PIP)
        for name, version in IMAGE.items():
            (self.site / f"{name}-{version}.dist-info").mkdir()
            (self.site / f"{name}-{version}.dist-info" / "METADATA").write_text(
                f"Name: {name}\nVersion: {version}\n"
            )
        for name, text in (("git", GIT), ("nvidia-smi", NVIDIA)):
            (root / "bin" / name).write_text(text)
            (root / "bin" / name).chmod(0o755)
        self.put_project(root / "project")

    def put_project(self, folder: Path) -> None:
        for path in (ROOT / "helpers").rglob("*.py"):
            copy = folder / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(self.moved(path.read_text()))
        for file in ROOT.glob("requirements*.txt"):
            shutil.copy(file, folder)

    def moved(self, text: str) -> str:
        for path in PATHS:
            text = text.replace(f'"{path}"', f'"{self.root}{path}"')
        return text

    def run(
        self, before: str = "", cell: str = CELL, **environment: str
    ) -> subprocess.CompletedProcess:
        kept = {
            "PATH": f"{self.root / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.site),
            "ASKED": str(self.asked),
            "PROJECT": str(self.root / "project"),
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "HOME": str(self.root),
        }
        return subprocess.run(
            [sys.executable, "-S", "-c", before + self.moved(cell)],
            cwd=self.root / "beside",
            env=kept | environment,
            capture_output=True,
            text=True,
        )

    def said(self, *words: str, **environment: str) -> tuple[str, dict]:
        """The line that the cell prints, and what REPORT saw afterwards."""
        done = self.run("".join(words), CELL + REPORT, **environment)
        assert done.returncode == 0, done.stderr
        *lines, report = done.stdout.splitlines()
        return "\n".join(lines), json.loads(report)

    def error(self, **environment: str) -> list[str]:
        """The lines of the RuntimeError that the cell ends with."""
        done = self.run(**environment)
        assert done.returncode == 1
        return done.stderr.rpartition("RuntimeError: ")[2].splitlines()

    @property
    def git(self) -> list[str]:
        return (
            (self.asked / "git").read_text().splitlines() if (self.asked / "git").exists() else []
        )

    @property
    def pip(self) -> list[tuple[list[str], str]]:
        return (
            [json.loads(line) for line in (self.asked / "pip").read_text().splitlines()]
            if (self.asked / "pip").exists()
            else []
        )
