"""A machine made of folders, for the notebooks' first cell: Colab, Kaggle or neither.

It has what they bring and nothing else. `git`, `pip` and `nvidia-smi` are stand-ins that do the
least of what the real ones do, and tell what they were asked.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

CELLS = json.loads((ROOT / "01_sft.ipynb").read_text())["cells"]
CELL = next("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code")
TAG = "v0.1.0"
# As the code names them; here they are below a test's folder.
PATHS = re.compile('"(/content|/tmp|/kaggle/input)"')
IMAGE = """torch 2.10.0+cu128, numpy 2.0.2, pillow 11.3.0, matplotlib 3.10.0, transformers 5.0.0,
 datasets 4.0.0, tokenizers 0.22.2, torchao 0.10.0"""  # some of what the services bring
GIT = """#!/bin/sh
echo "$@" >> "$ASKED/git"
for last; do :; done
if [ -n "$GIT_FAILS" ]; then echo "$GIT_FAILS" >&2; exit 128; fi
mkdir -p "$last" && cp -r "$PROJECT/." "$last"
"""
NVIDIA = """#!/bin/sh
[ -n "$CARDS" ] && printf '%s\\n' "$CARDS"
"""
PIP = """
import json, os, pathlib, re, shutil, sys

asked, site = pathlib.Path(os.environ["ASKED"], "pip"), pathlib.Path(__file__).parent.parent
words = sys.argv[1:]
files = {flag: pathlib.Path(words[words.index(flag) + 1]).read_text()
         for flag in ("-r", "-c") if flag in words}
with asked.open("a") as log:
    log.write(json.dumps([words, files.get("-c", "")]) + "\\n")
if os.environ.get("PIP_FAILS"):
    sys.exit(os.environ["PIP_FAILS"])
if words[0] == "uninstall":
    shutil.rmtree(site / "torchao-0.10.0.dist-info")
for name, version in re.findall(r"^([\\w-]+)(?:==(.*))?$", files.get("-r", ""), re.MULTILINE):
    there = list(site.glob(f"{name}-*.dist-info"))
    if version or not there:
        [shutil.rmtree(folder) for folder in there]
        new = site / f"{name}-{version or '1.0'}.dist-info"
        new.mkdir()
        (new / "METADATA").write_text(f"Name: {name}\\nVersion: {version or '1.0'}\\n")
"""
COLAB = """
import builtins
builtins.get_ipython = lambda: '<google.colab._shell.Shell object>'
"""
KAGGLE = """
import pathlib
real = pathlib.Path.is_dir
pathlib.Path.is_dir = lambda self, **how: str(self) == '/kaggle/working' or real(self, **how)
"""
REPORT = """
import helpers, json, os, sys
print(json.dumps({"home": os.path.dirname(os.path.dirname(helpers.__file__)),
                  "torch": "torch" in sys.modules, "set": dict(os.environ)}))
"""


class Service:
    """A machine below a folder. `run` executes the cell there, in a process with IMAGE alone."""

    def __init__(self, root: Path):
        self.root, self.site, self.asked = root, root / "site", root / "asked"
        for folder in (self.asked, root / "tmp", root / "beside", root / "bin", self.site / "pip"):
            folder.mkdir(parents=True)
        (self.site / "pip" / "__init__.py").touch()
        (self.site / "pip" / "__main__.py").write_text(PIP)
        for name, version in map(str.split, IMAGE.split(",")):
            folder = self.site / f"{name}-{version}.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
        for name, text in (("git", GIT), ("nvidia-smi", NVIDIA)):
            (root / "bin" / name).write_text(text)
            (root / "bin" / name).chmod(0o755)
        (self.asked / "git").touch()
        (self.asked / "pip").touch()
        self.put_project(root / "project")

    def put_project(self, folder: Path) -> None:
        files = (ROOT / "helpers").rglob("*")
        for path in [file for file in files if file.suffix in (".py", ".json", ".toml")]:
            copy = folder / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(self.moved(path.read_text()))
        for file in ROOT.glob("requirements*.txt"):
            shutil.copy(file, folder)

    def moved(self, text: str) -> str:
        return PATHS.sub(rf'"{self.root}\1"', text)

    def run(self, before: str = "", after: str = "", **environment: str):
        kept = {"PATH": f"{self.root / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        kept |= {"PYTHONPATH": str(self.site), "ASKED": str(self.asked), "HOME": str(self.root)}
        kept |= {"PROJECT": str(self.root / "project"), "HF_ENDPOINT": "http://127.0.0.1:9"}
        command = [sys.executable, "-S", "-c", f"{before}\n{self.moved(CELL)}\n{after}"]
        options = {"cwd": self.root / "beside", "capture_output": True, "text": True}
        return subprocess.run(command, env=kept | environment, **options)

    def said(self, before: str = "", **environment: str) -> tuple[str, dict]:
        """The line that the cell prints, and what REPORT saw afterwards."""
        done = self.run(before, REPORT, **environment)
        assert done.returncode == 0, done.stderr
        line, report = done.stdout.splitlines()
        return line, json.loads(report)

    def error(self, before: str = "", **environment: str) -> str:
        """The message of the error that the cell ends with."""
        done = self.run(before, **environment)
        assert done.returncode == 1
        return done.stderr.rpartition("Error: ")[2]

    @property
    def git(self) -> list[str]:
        return (self.asked / "git").read_text().splitlines()

    @property
    def pip(self) -> list[list]:
        return [json.loads(line) for line in (self.asked / "pip").open()]
