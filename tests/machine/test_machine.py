"""Where the notebooks think they are."""

import pytest

from helpers.machine import computer as machines


def test_kaggle_is_told_from_colab(monkeypatch, tmp_path):
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    assert machines.place() == "local"
    import builtins

    monkeypatch.setattr(
        builtins, "get_ipython", lambda: "<google.colab._shell.Shell object>", raising=False
    )
    assert machines.place() == "colab"
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    monkeypatch.setattr(machines.Path, "is_dir", lambda self: str(self) == "/kaggle/working")
    assert machines.place() == "kaggle"


def test_here(machine):
    import torch

    assert (machine.profile == "gpu") == torch.cuda.is_available()
    assert machine.memory_gb > 0.5 and "torch" in machines.describe(machine)


def test_seeds():
    import torch

    machines.set_seed(3)
    one = torch.rand(3)
    machines.set_seed(3)
    assert torch.equal(one, torch.rand(3))


def test_hash(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert (
        machines.file_hash(tmp_path / "x")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_an_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match="Set OUTPUT"):
        machines.writable_folder(tmp_path / "file" / "below")


def test_without_the_hub_nothing_waits_for_it(monkeypatch):
    import os
    import socket
    import time

    for name in ("HF_HUB_OFFLINE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        machines.go_offline_without_hub()
        assert "HF_HUB_OFFLINE" not in os.environ
    begun = time.perf_counter()
    machines.go_offline_without_hub()
    assert os.environ["HF_HUB_OFFLINE"] == "1" and time.perf_counter() - begun < 3.5
    del os.environ["HF_HUB_OFFLINE"]
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    machines.go_offline_without_hub()
    assert "HF_HUB_OFFLINE" not in os.environ
