"""What this computer is found to be, its random numbers, and its folders."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch

from helpers import machine as machines
from helpers.machine import computer, folders
from tests.conftest import ROOT


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


class Answers(BaseHTTPRequestHandler):
    """A Hub, or a proxy: it has nothing, and says so."""

    def do_HEAD(self):
        self.send_error(404)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def places():
    """Addresses that answer, that accept and then say nothing, and that refuse."""
    with HTTPServer(("127.0.0.1", 0), Answers) as server, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ports = {"answers": server.server_port, "silent": silent.getsockname()[1], "refuses": 9}
        yield {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        server.shutdown()


HUBS = [
    ({"HF_ENDPOINT": "answers"}, None),
    ({"HF_ENDPOINT": "silent"}, "1"),
    ({"HF_ENDPOINT": "refuses"}, "1"),
    ({"HF_ENDPOINT": "http://hub.invalid"}, "1"),
    ({"HF_ENDPOINT": "hub.invalid"}, "1"),
    ({"HF_ENDPOINT": "http://hub.invalid", "HTTP_PROXY": "answers"}, None),
    ({"HF_ENDPOINT": "https://hub.invalid", "HTTPS_PROXY": "refuses"}, "1"),
    ({"HF_ENDPOINT": "https://hub.invalid", "HTTPS_PROXY": "answers"}, "1"),  # no way through
    ({"HF_ENDPOINT": "refuses", "ALL_PROXY": "answers"}, None),
    ({"HF_ENDPOINT": "refuses", "HTTPS_PROXY": "socks5://127.0.0.1:9"}, None),
    ({"HF_ENDPOINT": "refuses", "HF_HUB_OFFLINE": "0"}, "0"),
]


@pytest.mark.parametrize(("given", "offline"), HUBS)
def test_without_the_hub_nothing_waits_for_it(given, offline, places, monkeypatch):
    for name in [*os.environ]:
        if name == "HF_HUB_OFFLINE" or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, places.get(value, value))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(computer, "PATIENCE", 0.5)
    begun = time.perf_counter()
    computer.go_offline_without_hub.__wrapped__()
    assert time.perf_counter() - begun < 2
    found = os.environ.pop("HF_HUB_OFFLINE", None)
    assert found == offline
    assert huggingface_hub.is_offline_mode() == (offline == "1")  # though it was imported before


def test_the_hub_is_asked_before_its_client_is_imported():
    """By all that imports it; what is light asks nobody and imports no client."""
    script = (
        "import sys; from helpers.machine import computer\n"
        "def asked(): print('huggingface_hub' in sys.modules)\n"
        "computer.go_offline_without_hub = asked\n"
        "from helpers.__main__ import main; main(['recipes']); print('light')\n"
        "import helpers.training"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.endswith("light\nFalse\n"), done.stdout + done.stderr


PATHS = "/x ./x ../x ~/x ~me x/ x/y/ x/y/z outputs/x x\\y C:\\x C:/x/y x.csv x/y.JSONL x.json.gz"
NAMES = "gpt2 me/model me/model.v1 me/data:config embedded me/x-csv output/x there/rows.csv"


@pytest.mark.parametrize("name", [*PATHS.split(), *NAMES.split()])
def test_a_path_at_which_nothing_is_is_no_name_of_the_hub(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "rows.csv").touch()
    refused = contextlib.nullcontext()
    if name in PATHS.split():
        refused = pytest.raises(FileNotFoundError, match="^There is no x at .*\nGive one that is")
    with refused:
        machines.check_path(name, "x")


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
