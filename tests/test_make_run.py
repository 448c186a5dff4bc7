"""`make run` from outside: parameters, what it repeats, what it stores, how it stops."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from unittest import mock

import nbformat
import pytest

from helpers import machine, notebooks
from helpers.__main__ import main
from helpers.notebooks import NOTEBOOKS, parameters_of, parse
from helpers.settings import Settings
from tests.conftest import ROOT

PYTHON = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


@pytest.fixture(autouse=True)
def no_forks_here(monkeypatch):
    """This process would fork the kernels of all tests after it, too."""
    monkeypatch.setattr("helpers.kernels.fork_kernels", lambda: None)


def test_pairs_become_parameters_of_the_right_kind():
    given = parse(["SEED=3", "PUSH=true", "REPO=me/x", "DATASET=a=b", "RESUME=off"])
    meant = {"SEED": 3, "PUSH": True, "REPO": "me/x", "DATASET": "a=b", "RESUME": False}
    assert parameters_of(Settings.read(given), given) == {**meant, "OUTPUT": "outputs"}


WRONG = [
    (["SEED"], "'SEED' is no parameter.\nGive NAME=VALUE"),
    (["MAX_STEP=3"], "There is no parameter MAX_STEP"),
    (["MAX_STEPS=-1"], "MAX_STEPS is '-1'"),
    (["RECIPE=gsm9k"], "Unknown recipe 'gsm9k'"),
    (["ADAPTER=tests"], "There is no adapter in tests.\nSet ADAPTER"),
    (["PUSH=true", "REPO=me/x"], "There is no Hub token.\nSet HF_TOKEN"),
]


@pytest.mark.parametrize(("pairs", "said"), WRONG)
def test_wrong_parameters_are_named_before_anything_runs(pairs, said, capsys):
    assert main(["run", *pairs]) == 1
    shown = capsys.readouterr()
    assert said in shown.err and "01_sft" not in shown.out


def test_paths_are_the_caller_s_and_names_of_the_hub_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").touch()
    given = {"DATASET": "rows.jsonl", "MODEL": "Qwen/Qwen3-4B", "MIRROR": "copy"}
    meant = {"OUTPUT": "outputs", "DATASET": "rows.jsonl", "MIRROR": "copy"}
    meant = {name: f"{tmp_path}/{path}" for name, path in meant.items()}
    assert parameters_of(Settings.read(given), given) == given | meant


FORKED = """
from pathlib import Path
from helpers import kernels, notebooks
kernels.fork_kernels()
for name in ("1.ipynb", "2.ipynb"):
    book = notebooks.execute(f"{place}/{name}", Path(f"{place}/done-{name}"), {})
    print(book.cells[0].outputs[0].text)
"""
HAS = """
import os, sys
import pandas
print('helpers.training' in sys.modules, os.getsid(0) == os.getpid())
import matplotlib
print(pandas.get_option('display.max_columns'), matplotlib.get_backend()[-6:])
"""


def test_kernels_are_forked_from_one_that_has_imported_the_package(tmp_path):
    if sys.platform != "linux" or shutil.which("nvidia-smi"):
        pytest.skip("kernels are forked on Linux without a GPU")
    for name, last in (("1.ipynb", "7"), ("2.ipynb", "os._exit(1)")):
        cells = [nbformat.v4.new_code_cell(source) for source in (HAS, last)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=PYTHON), tmp_path / name)
    command = [sys.executable, "-c", f"place = {str(tmp_path)!r}{FORKED}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout == "True True\n20 inline\n\n"
    assert "RuntimeError: " in done.stderr and "the kernel died" in done.stderr


def test_an_interrupt_says_that_the_command_goes_on(tmp_path):
    """Ctrl-C goes to everything that the terminal started, as it does here."""
    command = [sys.executable, "-m", "helpers", "run", f"OUTPUT={tmp_path}"]
    streams = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # programs in the background would be told to ignore it
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    running = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **streams, **heard)
    assert running.stdout.readline() == "── 01_sft.ipynb\n"
    end = time.time() + 180
    while not list(tmp_path.rglob("log.jsonl")) and time.time() < end:
        time.sleep(0.2)
    os.killpg(running.pid, signal.SIGINT)
    shown = running.communicate(timeout=60)[1]
    assert list(tmp_path.rglob("checkpoint-*")), "the step ends and is saved first"
    assert running.returncode == 130 and "Traceback" not in shown
    assert "stopped in 01_sft.ipynb" in shown and "Run the same command again" in shown


def test_an_interrupt_without_words_is_told_in_words(monkeypatch, capsys):
    monkeypatch.setattr(machine, "detect", mock.Mock(side_effect=KeyboardInterrupt))
    for words, said in (
        (["evaluate", "me/x"], "stopped; what was done is saved"),
        (["plan"], "stopped"),
    ):
        assert main(words) == 130
        assert capsys.readouterr().err.startswith(f"\n{said}\nRun the same command again")


def test_a_full_disk_ends_the_run_in_words(tmp_path, capsys):
    place = tmp_path / "gsm8k_xml" / "notebooks" / NOTEBOOKS[0]
    place.parent.mkdir(parents=True)
    place.symlink_to("/dev/full")
    assert main(["run", f"OUTPUT={tmp_path}", "MAX_STEPS=1"]) == 1
    said, cure = capsys.readouterr().err.splitlines()
    assert said == "error: [Errno 28] No space left on device" and "there is room" in cure


PRINTS = """
import json, time
from pathlib import Path
from helpers import here

folder = Path(OUTPUT, "gsm8k_xml")
print("steps", "\\nthe finished run in", here, "is kept as sft-before")
for text in ("bar: 0%", "\\rbar: 100%", "\\r          \\rdone"):
    print(text, end="", flush=True)
    time.sleep(0.1)
"""
SAVES = """
number = {"value": 0.5, "low": 0.25, "high": 0.75}
part = dict.fromkeys(("strict", "flexible", "reward"), number)
part |= {"rewards": {"r": number, "s": number}, "n": 9}
for name, found in {
    "eval/summary": dict.fromkeys(("greedy", "sampled"), {"base": part, "grpo": part}),
    "export/proof": {"merged": {"same_text": 7, "prompts": 8, "relative": 1e-6}},
}.items():
    (folder / name).parent.mkdir()
    (folder / f"{name}.json").write_text(json.dumps(found))
print("bar: 0%", end="\\r       \\r")
"""
TABLE = """

                       strict, greedy         strict, sampled        flexible, greedy     n
base             50.0% [25.0%, 75.0%]    50.0% [25.0%, 75.0%]    50.0% [25.0%, 75.0%]     9
grpo             50.0% [25.0%, 75.0%]    50.0% [25.0%, 75.0%]    50.0% [25.0%, 75.0%]     9
total reward, sampled: base 0.50 [0.25, 0.75], grpo 0.50 [0.25, 0.75]
  r: base 0.50, grpo 0.50
  s: base 0.50, grpo 0.50
95 % intervals in brackets; held-out problems; sampled: mean of the samples of each problem
merged read back in a fresh process: 7 of 8 replies the same, logits within 1e-06 of the largest
adapter             {folder}/grpo/adapter
merged model        {folder}/export/merged-fp32
log                 {folder}/grpo/log.jsonl
pictures            {folder}/grpo/plots
records             {folder}/eval
executed notebooks  {folder}/notebooks
all four"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one notebook, and what an earlier run left in its outputs."""
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers" / "__init__.py").write_text("here = __name__")
    (tmp_path / "outputs" / "gsm8k_xml" / "eval").mkdir(parents=True)
    cells = [nbformat.v4.new_code_cell(source) for source in ("OUTPUT = 'x'", PRINTS, SAVES, "9")]
    cells[0].metadata.tags = ["parameters"]
    book = nbformat.v4.new_notebook(cells=cells, metadata=PYTHON)
    nbformat.write(book, tmp_path / NOTEBOOKS[0])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(notebooks, "NOTEBOOKS", NOTEBOOKS[:1])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_notebooks_are_stored_as_of_a_first_run_with_nothing_of_the_runner(project, capsys):
    assert main(["run", "SEED=3", "--write"]) == 0
    printed = capsys.readouterr().out
    place = re.match(r"running in (\S+)\n", printed)[1]
    assert TABLE.format(folder=f"{place}/outputs/gsm8k_xml") in printed
    said = "the finished run in helpers is kept as sft-before\n"
    assert f"\n   {said}" in printed
    assert not list((project / "outputs/gsm8k_xml/eval").iterdir())

    stored = nbformat.read(project / NOTEBOOKS[0], as_version=4)
    assert stored.metadata.pop("fingerprint") == notebooks.fingerprint(NOTEBOOKS[0])
    assert [cell.execution_count for cell in stored.cells] == [1, 2, 3, 4]
    assert [cell.metadata for cell in stored.cells] == [{"tags": ["parameters"]}, {}, {}, {}]
    assert stored.cells[1].outputs[0].text == f"steps \n{said}done"
    assert [len(cell.outputs) for cell in stored.cells] == [0, 1, 0, 1]
    assert stored.cells[3].outputs[0].execution_count == 4
    assert "papermill" not in (project / NOTEBOOKS[0]).read_text()


NO_NAMES = ("../..", "-/.", "-me/fork", "me/.", "me/..", "me/.git", "me/.fork", "me/")
NO_ADDRESS = ["some.one/a-fork", *(f"https://github.com/{name}" for name in NO_NAMES)]


def test_the_address_is_written_everywhere(tmp_path):
    names = ("pyproject.toml", "README.md", *NOTEBOOKS)
    for name in names:
        shutil.copy(ROOT / name, tmp_path)
    old = notebooks.address(tmp_path)
    counts = notebooks.move("https://github.com/some.one/a-fork.git", tmp_path)
    assert set(counts.values()) == {1, 4, counts["README.md"]}
    assert notebooks.address(tmp_path) == "some.one/a-fork"
    assert not [path.name for path in tmp_path.iterdir() if old in path.read_text()]
    assert notebooks.move(f"https://github.com/{old}", tmp_path) == counts
    for name in names:
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes()
    for wrong in NO_ADDRESS:
        with pytest.raises(ValueError, match="not the address of a repository.\nGive one such as"):
            notebooks.move(wrong, tmp_path)
    assert notebooks.address(tmp_path) == old


def test_an_address_that_is_not_on_github_is_not_replaced_by_guess(tmp_path):
    for text in ('urls.Repository = "https://example.org/a/b"', 'name = "mine"'):
        (tmp_path / "pyproject.toml").write_text(f"[project]\n{text}\n")
        with pytest.raises(ValueError, match="no address on GitHub.\nRestore it with"):
            notebooks.move("https://github.com/you/mine", tmp_path)
