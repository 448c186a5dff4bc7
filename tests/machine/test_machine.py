"""What this computer is found to be, its random numbers, and its folders."""

import os
import socket
import time
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch

from helpers import machine as machines
from helpers.machine import computer, folders


def test_here(machine):
    assert (machine.device == "cuda") == torch.cuda.is_available()
    assert machine.memory_gb > 0.5 and "torch" in machines.describe(machine)


DTYPES = [((7, 5), "float16"), ((8, 0), "bfloat16"), ((8, 9), "bfloat16")]
DTYPES += [((6, 0), "float32"), ((12, 0), "float32")]  # which torch does not know


@pytest.mark.parametrize(("version", "dtype"), DTYPES)
def test_what_a_card_computes_in(version, dtype, monkeypatch, capsys):
    card = SimpleNamespace(name="Card", major=version[0], minor=version[1], total_memory=15 << 30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90"])
    monkeypatch.setattr(torch.cuda, "get_device_properties", [card].__getitem__)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = torch.backends.cuda.matmul.allow_tf32
    found = machines.detect()
    tf32, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, before
    said = capsys.readouterr().out
    assert (found.device, found.dtype) == ("cpu" if dtype == "float32" else "cuda", dtype)
    if found.device == "cuda":
        assert found.memory_gb == 15 and said == "" and tf32
        assert f"(Card, compute capability {found.capability})" in machines.describe(found)
    else:
        assert f"sm_{version[0]}0" in said and "The CPU is used" in said
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert machines.detect().device == "cpu"


def test_without_the_hub_nothing_waits_for_it(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        computer.go_offline_without_hub()
        assert "HF_HUB_OFFLINE" not in os.environ
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    begun = time.perf_counter()
    computer.go_offline_without_hub()
    assert os.environ["HF_HUB_OFFLINE"] == "1" and time.perf_counter() - begun < 3.5
    assert huggingface_hub.is_offline_mode()  # though it was imported before
    del os.environ["HF_HUB_OFFLINE"]
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    computer.go_offline_without_hub()
    assert "HF_HUB_OFFLINE" not in os.environ


def test_what_is_attached_is_found_at_any_depth(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "INPUT", tmp_path)
    assert machines.hint("config.json", "*.jsonl") == ""
    files = ("qwen3/transformers/4b/1/config.json", "models/me/qwen3/config.json", "rows/a.jsonl")
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    models = f"{tmp_path}/models/me/qwen3, {tmp_path}/qwen3/transformers/4b/1"
    assert machines.hint("config.json") == f" Attached are: {models}."
    assert machines.hint("config.json", "*.jsonl").endswith(f"/1, {tmp_path}/rows.")


def test_a_mirror_on_a_drive_that_is_not_mounted(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "DRIVE", tmp_path / "drive")
    machines.check_mirror(tmp_path / "drives")
    with pytest.raises(FileNotFoundError, match=r"not mounted\.\n.*drive\.mount"):
        machines.check_mirror(tmp_path / "drive" / "MyDrive" / "runs")
    (tmp_path / "drive" / "MyDrive").mkdir(parents=True)
    machines.check_mirror(tmp_path / "drive" / "MyDrive" / "runs")
