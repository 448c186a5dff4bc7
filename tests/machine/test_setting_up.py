"""The first cell of the notebooks and what it calls, on Colab, on Kaggle and elsewhere, online and not.

The cell and the package are the real ones, run in a process of its own without any package (see bare_service.py).
"""

import ast
import json
import shutil
import sys
import types

import pytest

from helpers.machine import setup as setting_up
from helpers.machine.computer import Machine
from helpers.sharing import hub
from tests.conftest import ROOT
from tests.machine.bare_service import CELL, COLAB, HOME, KAGGLE, REPORT, T4, TAG, Service


@pytest.fixture
def service(tmp_path):
    return Service(tmp_path)


def test_a_fresh_colab(service):
    (service.root / "content").mkdir()
    line, after = service.said(COLAB, CARDS=T4, COLAB_RELEASE_TAG="x")
    home = service.root / "content" / HOME
    assert line.startswith("Colab, Tesla T4, packages installed in ")
    assert (
        len(service.git) == 1
        and f"--depth 1 -b {TAG} https://" in service.git[0]
        and after["helpers"] == str(home / "helpers" / "__init__.py")
    )
    assert after["path"].count(str(home)) == 1 and not after["torch"]
    assert after["set"].keys() == {
        "UNSLOTH_DISABLE_STATISTICS",
        "UNSLOTH_COMPILE_LOCATION",
        "TOKENIZERS_PARALLELISM",
    }
    (removed, _), (stack, keep), (alone, _) = service.pip
    assert removed[0] == "uninstall" and removed[-1] == "torchao"
    assert stack[:2] == ["install", "-q"] and stack[stack.index("-r") + 1] == str(
        home / "requirements-colab.txt"
    )
    assert keep.splitlines() == [
        "torch==2.10.0+cu128",
        "numpy==2.0.2",
        "matplotlib==3.10.0",
        "pillow==11.3.0",
    ]
    assert (
        "--no-deps" in alone
        and alone[-1] == str(home / "requirements-unsloth.txt")
        and "--no-index" not in stack + alone
    )


def test_run_again(service):
    done = service.run(
        cell=f"{CELL}\nfirst = sys.modules['helpers.machine']\n{CELL}\nassert sys.modules['helpers.machine'] is first"
        + REPORT
    )
    assert done.returncode == 0, done.stderr
    one, two, report = done.stdout.splitlines()
    assert "installed in" in one and two == "this computer, no GPU, everything is there"
    assert json.loads(report)["path"].count(str(service.root / "tmp" / HOME)) == 1
    assert service.said()[0] == two and len(service.git) == 1 and len(service.pip) == 3


def test_kaggle_is_told_from_colab_and_one_of_its_cards_is_used(service):
    here = {
        "KAGGLE_KERNEL_RUN_TYPE": "Batch",
        "COLAB_RELEASE_TAG": "x",
        "COLAB_GPU": "1",
        "CARDS": f"{T4}\n{T4}",
    }
    line, after = service.said(COLAB, KAGGLE, **here)
    assert line.startswith("Kaggle, 2 × Tesla T4 (the first is used), packages installed in ")
    assert after["set"]["CUDA_VISIBLE_DEVICES"] == "0" and "/kaggle/working" not in after["helpers"]
    for name, visible in (("CUDA_VISIBLE_DEVICES", "2"), ("WORLD_SIZE", None)):
        line, after = service.said(COLAB, KAGGLE, **here | {name: "2"})
        assert (
            line == "Kaggle, 2 × Tesla T4, everything is there"
            and after["set"].get("CUDA_VISIBLE_DEVICES") == visible
        )
    line, after = service.said(
        "import sys, types; sys.modules['torch'] = types.ModuleType('torch')\n", **here
    )
    assert "CUDA_VISIBLE_DEVICES" not in after["set"]


def test_beside_the_notebook_it_does_nothing(service):
    (service.root / "beside" / "helpers").mkdir()
    (service.root / "beside" / "helpers" / "recipes.py").touch()
    done = service.run()
    assert (done.returncode, done.stdout, service.git, service.pip) == (0, "", [], [])


def test_a_foreign_folder_is_left_alone(service):
    (service.root / "tmp" / HOME).mkdir()
    (service.root / "tmp" / HOME / "thesis.tex").touch()
    cause, cure = service.error()
    assert cause == f"{service.root}/tmp/{HOME} holds other files." and cure.startswith("Move it")
    assert [file.name for file in (service.root / "tmp" / HOME).iterdir()] == [
        "thesis.tex"
    ] and not service.git


def test_a_clone_that_fails_and_one_that_was_cut_off(service):
    cause, cure = service.error(
        GIT_FAILS="Cloning\nfatal: unable to access 'https://x/': Could not resolve host: x"
    )
    assert (
        cause == "unable to access 'https://x/': Could not resolve host: x"
        and "Internet" in cure
        and "attach" in cure
    )
    assert not (service.root / "tmp" / HOME).exists() and not service.pip
    (service.root / "tmp" / f"{HOME}.part" / "half").touch()
    service.said()
    assert (
        not list((service.root / "tmp").rglob("half"))
        and not (service.root / "tmp" / f"{HOME}.part").exists()
    )


@pytest.mark.parametrize(
    "layout", ["my-copy", "datasets/me/my-copy", "notebooks/me/fetch/qwen3-reasoning-notebooks"]
)
def test_offline_with_the_project_and_wheels_attached(service, layout):
    project, wheels = (
        service.root / "kaggle" / "input" / layout,
        service.root / "kaggle" / "input" / "datasets" / "me" / "wheels",
    )
    service.put_project(project)
    wheels.mkdir(parents=True)
    (wheels / "unsloth-2026.10.9-py3-none-any.whl").touch()
    _, after = service.said(KAGGLE, KAGGLE_KERNEL_RUN_TYPE="Interactive")
    assert after["helpers"] == str(project / "helpers" / "__init__.py") and not service.git
    for words, _ in service.pip[1:]:
        assert words[-3:] == ["--no-index", "--find-links", str(wheels)]


def test_other_helpers_are_dropped(service):
    line, after = service.said(
        "import sys, types\nfor name in ('helpers', 'helpers.machine', 'helpers_of_others'):\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
    )
    assert after["helpers"].startswith(str(service.root / "tmp" / HOME))


def test_what_pip_refuses_is_said_in_two_lines(service):
    said = "WARNING: x\nERROR: Cannot install numpy==3 because of conflicts.\nERROR: ResolutionImpossible: see https://x\n"
    cause, cure = service.error(PIP_FAILS=said)
    assert (
        cause == "pip uninstall failed: Cannot install numpy==3 because of conflicts."
        and "Internet" in cure
    )
    assert (
        service.error(PIP_FAILS="No module named pip")[0]
        == "pip uninstall failed: No module named pip"
    )


def test_a_loaded_package_of_another_version_asks_for_a_restart(service):
    held = "import sys, types\nheld = sys.modules[{0!r}] = types.ModuleType({0!r})\nheld.__version__ = {1!r}\n"
    assert (
        "everything"
        not in service.said(held.format("numpy", "2.0.2"), held.format("torch", "2.10.0+cu128"))[0]
    )
    for module, name, version in (
        ("numpy", "numpy", "2.1.3"),
        ("PIL", "pillow", "10.0"),
        ("transformers", "transformers", "5.0.0"),
    ):
        done = service.run(held.format(module, version))
        cause, cure = done.stderr.rpartition("RuntimeError: ")[2].splitlines()
        assert cause.startswith(f"{name} {version} is loaded, and ")
        assert cure.startswith("Restart the kernel") and cure.endswith("then Run all again.")


def test_the_libraries_here_say_the_versions_that_are_installed():
    import pandas  # noqa: F401
    import PIL  # noqa: F401
    import tokenizers  # noqa: F401
    import torch  # noqa: F401

    setting_up.check_loaded()
    assert not setting_up.missing()


@pytest.mark.parametrize(
    ("version", "fits"),
    [((3, 10, 14), False), ((3, 11, 7), True), ((3, 12, 13), True), ((3, 13, 0), True)],
)
def test_python(version, fits):
    if fits:
        setting_up.check_python(version)
    else:
        with pytest.raises(RuntimeError, match=r"this is 3\.10\.14\.\nTake a newer runtime"):
            setting_up.check_python(version)


@pytest.mark.parametrize(
    ("version", "old"),
    [(None, False), ("0.10.0", True), ("0.15.1+cu128", True), ("0.16.0", False), ("1.0", False)],
)
def test_torchao(version, old, monkeypatch):
    monkeypatch.setattr(setting_up, "version_of", {"torchao": version}.get)
    assert setting_up.torchao_in_the_way() is old


def test_requirements_agree_and_cover_what_is_imported():
    here, colab = (
        setting_up.requirements(ROOT / "requirements.txt"),
        setting_up.requirements(setting_up.STACK),
    )
    assert all(version in ("", here.get(name)) for name, version in colab.items())
    found = [
        node
        for file in (ROOT / "helpers").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
    ]
    names = [alias.name for node in found if isinstance(node, ast.Import) for alias in node.names]
    imported = {
        name.partition(".")[0]
        for name in [*names, *(node.module for node in found if isinstance(node, ast.ImportFrom))]
    }
    brought = {"httpx", "safetensors", "tokenizers", "typer", "unsloth"}  # by the stack
    elsewhere = {
        "papermill",
        "nbclient",
        "vllm",
        "kaggle_secrets",
        "IPython",
    }  # `make run` alone, an option, the services'
    assert (
        imported
        - set(sys.stdlib_module_names)
        - {"helpers"}
        - brought
        - elsewhere
        - set(colab)
        - set(setting_up.KEPT)
        == set()
    )


@pytest.mark.parametrize(
    ("name", "version", "compiled", "expected"),
    [
        ("Tesla T4", (7, 5), ["sm_75", "sm_80", "sm_90"], ("gpu", "float16", "7.5")),
        ("NVIDIA A100", (8, 0), ["sm_75", "sm_80", "sm_90"], ("gpu", "bfloat16", "8.0")),
        ("Tesla P100", (6, 0), ["sm_75", "sm_80", "sm_90"], ("tiny", "float32", "")),
    ],
)
def test_what_a_card_computes_in(name, version, compiled, expected, monkeypatch, capsys):
    import torch

    from helpers.machine import computer as machine

    card = types.SimpleNamespace(
        name=name, major=version[0], minor=version[1], total_memory=15 << 30
    )
    for function, answer in {
        "is_available": True,
        "get_device_properties": card,
        "get_arch_list": compiled,
        "device_count": 1,
    }.items():
        monkeypatch.setattr(torch.cuda, function, lambda *_, answer=answer: answer)
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: including_emulation or version >= (8, 0),
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    before = torch.backends.cuda.matmul.allow_tf32
    found = machine.detect()
    torch.backends.cuda.matmul.allow_tf32 = before
    assert (found.profile, found.dtype, found.capability) == expected
    said = capsys.readouterr().out
    assert ("sm_60" in said and "The CPU is used" in said) if name == "Tesla P100" else said == ""


def test_offline_kaggle_s_secrets_are_not_asked(monkeypatch):
    monkeypatch.setitem(sys.modules, "kaggle_secrets", None)  # its import would raise
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub, "place", lambda: "kaggle")
    monkeypatch.setenv("HF_TOKEN", "kept")
    assert hub.kaggle_token() is None and hub.token() == "kept"


def test_what_is_attached_is_found_at_any_depth(tmp_path):
    for folder in (
        "qwen3/transformers/4b/1",
        "models/me/qwen3/transformers/4b/1",
        "datasets/me/rows",
    ):
        (tmp_path / folder).mkdir(parents=True)
        (
            tmp_path / folder / ("train.jsonl" if folder.startswith("datasets") else "config.json")
        ).touch()
    assert setting_up.attached("config.json", tmp_path) == [
        tmp_path / "models/me/qwen3/transformers/4b/1",
        tmp_path / "qwen3/transformers/4b/1",
    ]
    assert (
        setting_up.attached("*.jsonl", tmp_path) == [tmp_path / "datasets/me/rows"]
        and setting_up.attached("config.json", tmp_path / "no") == []
    )


def test_a_mirror_on_a_drive_that_is_not_mounted(tmp_path, monkeypatch):
    monkeypatch.setattr(setting_up, "DRIVE", tmp_path / "drive")
    setting_up.check_mirror(tmp_path / "drives")
    with pytest.raises(FileNotFoundError, match=r"not mounted\.\n.*drive\.mount"):
        setting_up.check_mirror(tmp_path / "drive" / "MyDrive" / "runs")
    (tmp_path / "drive" / "MyDrive").mkdir(parents=True)
    setting_up.check_mirror(tmp_path / "drive" / "MyDrive" / "runs")


@pytest.mark.parametrize(
    ("profile", "free", "warned"),
    [("gpu", 9.9, True), ("gpu", 10.1, False), ("tiny", 9.9, False), ("tiny", 0.9, True)],
)
def test_a_disk_with_little_room(profile, free, warned, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=free * 1e9))
    setting_up.check_room(tmp_path, Machine(profile, "cuda", "T4", 15.0, 4, "kaggle", "float16"))
    said = capsys.readouterr().out
    assert said.count("\n") == warned and ("staging" in said) is warned
