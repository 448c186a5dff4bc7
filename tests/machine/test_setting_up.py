"""The first cell of the notebooks and what it calls, on Colab, on Kaggle and elsewhere.

The cell and the package are the real ones, in a process without any package (see bare_service.py).
"""

import ast
import importlib
import sys

import pytest

from helpers.machine import setup as setting_up
from tests.conftest import ROOT
from tests.machine.bare_service import COLAB, KAGGLE, TAG, Service

HELD = """
import sys, types
held = sys.modules["{0}"] = types.ModuleType("{0}")
held.__version__ = "{1}"
"""


@pytest.fixture
def service(tmp_path):
    return Service(tmp_path)


def test_a_fresh_colab(service):
    line, after = service.said(COLAB, CARDS="Tesla T4", COLAB_RELEASE_TAG="x")
    assert line.startswith("Colab, 1 × Tesla T4, packages ready in ")
    assert len(service.git) == 1 and f"--depth 1 -b {TAG} https://" in service.git[0]
    assert after["home"].endswith(f"/qwen3-{TAG}") and not after["torch"]
    read_at_import = ("UNSLOTH_DISABLE_STATISTICS", "TOKENIZERS_PARALLELISM")
    assert [after["set"][name] for name in read_at_import] == ["1", "false"]
    assert not after["set"]["UNSLOTH_COMPILE_LOCATION"].startswith(str(service.root / "beside"))
    (removed, _), (stack, keep), (alone, _) = service.pip
    assert removed[:3] == ["uninstall", "-y", "torchao"]
    assert stack[:3] == ["install", "-r", f"{after['home']}/requirements-colab.txt"]
    assert alone[:2] == ["install", "--no-deps"] and "--no-index" not in stack + alone
    kept = "torch==2.10.0+cu128\nnumpy==2.0.2\nmatplotlib==3.10.0\npillow==11.3.0\n"
    assert keep == kept


def test_run_again_it_finds_everything(service):
    service.said(CARDS="A100")
    before = sorted(service.site.iterdir())
    line, _ = service.said(CARDS="A100", COLAB_RELEASE_TAG="x")  # as images built on Colab's have
    assert line.startswith("this computer, 1 × A100, packages ready in ")
    assert len(service.git) == 1 and sorted(service.site.iterdir()) == before


def test_kaggle_is_told_from_colab_and_one_of_its_cards_is_used(service):
    here = {"KAGGLE_KERNEL_RUN_TYPE": "Batch", "COLAB_RELEASE_TAG": "x", "CARDS": "T4\nT4"}
    line, after = service.said(COLAB + KAGGLE, **here)
    assert line.startswith("Kaggle, 2 × T4 (the first is used), packages ready in ")
    assert after["set"]["CUDA_VISIBLE_DEVICES"] == "0" and "/kaggle/working" not in after["home"]


@pytest.mark.parametrize("chosen", [{"CUDA_VISIBLE_DEVICES": "2"}, {"WORLD_SIZE": "2"}, {}])
def test_cards_that_are_chosen_or_seen_stay(chosen, service):
    before = "" if chosen else HELD.format("torch", "2.10.0")
    line, after = service.said(before, CARDS="T4\nT4", **chosen)
    assert line.startswith("this computer, 2 × T4, packages")
    assert after["set"].get("CUDA_VISIBLE_DEVICES") == chosen.get("CUDA_VISIBLE_DEVICES")


def test_beside_the_notebook_it_does_nothing(service):
    (service.root / "beside" / "helpers").mkdir()
    (service.root / "beside" / "helpers" / "recipes.py").touch()
    done = service.run()
    assert (done.returncode, done.stdout, service.git, service.pip) == (0, "", [], [])


def test_a_clone_that_fails(service):
    error = service.error(GIT_FAILS="fatal: unable to access 'https://x/': Could not resolve host")
    assert "unable to access 'https://x/': Could not resolve host" in error
    assert "Internet" in error and "attach" in error
    assert not list((service.root / "tmp").glob("qwen3-*")) and not service.pip
    assert "packages ready" in service.said()[0]


@pytest.mark.parametrize("layout", ["my-copy", "datasets/me/my-copy", "notebooks/me/fetch/my-copy"])
def test_offline_with_the_project_and_wheels_attached(service, layout):
    attached = service.root / "kaggle" / "input"
    wheels = attached / "datasets" / "me" / "wheels"
    service.put_project(attached / layout)
    wheels.mkdir(parents=True)
    (wheels / "unsloth-2026.10.9-py3-none-any.whl").touch()
    _, after = service.said(KAGGLE, KAGGLE_KERNEL_RUN_TYPE="Interactive")
    assert after["home"] == str(attached / layout) and not service.git
    for words, _ in service.pip[1:]:
        place = words.index("--no-index")
        assert words[place : place + 3] == ["--no-index", "--find-links", str(wheels)]


def test_what_pip_refuses_is_said_in_two_lines(service):
    conflict = "ERROR: Cannot install numpy==3."
    refusal = f"WARNING: x\n{conflict}\nERROR: ResolutionImpossible: see https://x\n"
    first, second = service.error(PIP_FAILS=refusal).splitlines()
    assert first == "pip uninstall failed: Cannot install numpy==3." and "Internet" in second
    assert "failed: No module named pip\n" in service.error(PIP_FAILS="No module named pip")


@pytest.mark.parametrize("held", ["numpy 2.1.3", "PIL 10.0", "transformers 5.0.0"])
def test_a_loaded_package_of_another_version_asks_for_a_restart(held, service):
    cause, cure = service.error(HELD.format(*held.split())).splitlines()
    assert cause.startswith(f"{held.replace('PIL', 'pillow')} is loaded, and ")
    assert cure.startswith("Restart the kernel") and cure.endswith("then Run all again.")


@pytest.mark.parametrize("held", ["numpy 2.0.2", "torch 2.10.0+cu128"])
def test_a_loaded_package_of_the_installed_version_stays(held, service):
    assert "packages ready" in service.said(HELD.format(*held.split()))[0]


def test_the_libraries_here_say_the_versions_that_are_installed():
    for name in ("pandas", "PIL", "tokenizers", "torch"):
        importlib.import_module(name)
    setting_up.check_loaded()


VERSIONS = [("0.15.1+cu128", True), ("0.16.0", False), ("1.0", False)]


@pytest.mark.parametrize(("version", "old"), VERSIONS)
def test_only_an_old_torchao_is_removed(version, old, service):
    metadata = service.site / "torchao-0.10.0.dist-info" / "METADATA"
    metadata.write_text(f"Name: torchao\nVersion: {version}\n")
    service.said()
    assert (service.pip[0][0][0] == "uninstall") is old


def test_requirements_agree_and_cover_what_is_imported():
    pinned = (ROOT / "requirements.txt").read_text().splitlines()
    colab = setting_up.STACK.read_text().splitlines()
    assert {line for line in colab if "==" in line} <= set(pinned)
    found = set()
    for file in (ROOT / "helpers").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.partition(".")[0])
    brought = {"httpx", "safetensors", "tokenizers"}  # by the stack
    elsewhere = {"papermill", "nbclient", "nbformat", "vllm", "kaggle_secrets", "IPython"}
    elsewhere |= {"jupyter_client", "ipykernel"}  # in make run alone
    known = {*sys.stdlib_module_names, "helpers", *brought, *elsewhere, *setting_up.KEPT}
    wanted = [*colab, *setting_up.ALONE.read_text().splitlines()]
    assert found - known - {line.partition("==")[0] for line in wanted} == set()
