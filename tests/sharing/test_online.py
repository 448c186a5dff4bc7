"""The online path, with real Hub ids, against a Hub on this machine: all four notebooks, a push, and the card's snippets as a stranger runs them."""

import json
import os
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from helpers.recipes import RECIPES
from helpers.tiny.schemas import embedded_rows
from helpers.training.models import TINY_MODEL
from tests.conftest import ROOT
from tests.sharing.hub_server import TOKEN, Hub

MODEL = {path.name: path.read_bytes() for path in TINY_MODEL.iterdir() if path.is_file()}


def parquet(rows) -> bytes:
    """Rows as the Hub stores them."""
    import io

    import pandas as pd

    buffer = io.BytesIO()
    pd.DataFrame(list(rows)).to_parquet(buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def gsm8k():
    """The files of a dataset repository with a card that names its configurations, as openai/gsm8k has."""
    rows = embedded_rows("openai/gsm8k")
    readme = "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: train\n    path: main/train.parquet\n  - split: test\n    path: main/test.parquet\n---\n"
    return {
        "README.md": readme.encode(),
        "main/train.parquet": parquet(list(rows["train"])[:1200]),
        "main/test.parquet": parquet(list(rows["test"])[:60]),
    }


def environment(server, home):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return kept | {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(home),
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "NO_PROXY": "127.0.0.1,localhost",
        "PYTHONPATH": str(ROOT),
    }


@pytest.fixture(scope="module")
def pushed(gsm8k, tmp_path_factory):
    """`make run` with Hub ids for model and data, two steps a stage, and PUSH: the server, what was printed, and the output folder."""
    folder = tmp_path_factory.mktemp("online")
    with Hub() as server:
        server.add("Qwen/Qwen3-4B", MODEL)
        server.add("datasets/openai/gsm8k", gsm8k)
        flags = [
            part
            for setting in (
                "MODEL=Qwen/Qwen3-4B",
                "DATASET=openai/gsm8k",
                "MAX_STEPS=2",
                "PROBLEMS=6",
                f"OUTPUT={folder / 'out'}",
                "FORCE=true",
                "PUSH=true",
                "REPO=me/taught",
            )
            for part in ("--set", setting)
        ]
        done = subprocess.run(
            [sys.executable, "-m", "helpers", "run", *flags],
            cwd=ROOT,
            env=environment(server, folder / "home"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (
            done.stdout[-2000:] + done.stderr[-4000:] + "\n".join(server.requests[-20:])
        )
        yield server, folder


def test_model_and_data_come_from_the_hub_and_the_result_goes_there(pushed):
    server, folder = pushed
    assert server.asked("GET /Qwen/Qwen3-4B/resolve/.*safetensors") and server.asked(
        "GET /datasets/openai/gsm8k/resolve/.*main/train.parquet"
    )
    repo, here = server.repos["me/taught"], folder / "out/gsm8k_xml/export/merged-bf16"
    assert repo.private and len(repo.commits) == 2
    local = {
        path.relative_to(here).as_posix(): path.read_bytes()
        for path in here.rglob("*")
        if path.is_file()
    }
    assert {
        name: data for name, (data, _) in repo.files.items() if name != ".gitattributes"
    } == local
    [(tag, commit)] = repo.tags.items()
    run = json.loads(local["export.json"])["run"]
    assert (
        tag == f"run-{run}"
        and commit == repo.commits[-1][0]
        and f"run_hash: {run}".encode() in local["README.md"]
    )
    assert (
        b"base_model: Qwen/Qwen3-4B" in local["README.md"] and b"openai/gsm8k" in local["README.md"]
    )


def test_a_token_is_in_nothing_that_was_written(pushed):
    for path in (pushed[1] / "out").rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("form", ["merged-bf16", "adapter"])
def test_the_snippets_of_the_card_run_as_they_stand(pushed, form, tmp_path):
    """Against the Hub, with nothing of this project on the path; each prints what the trained model answers."""
    server, folder = pushed
    here = folder / "out/gsm8k_xml/export" / form
    server.add(
        "me/taught",
        {
            path.relative_to(here).as_posix(): path.read_bytes()
            for path in here.rglob("*")
            if path.is_file()
        },
        private=True,
    )
    card = (here / "README.md").read_text()
    snippets = [part.split("```")[0] for part in card.split("```python\n")[1:]]
    assert len(snippets) == (1 if form == "adapter" else 2)
    printed = []
    for snippet in snippets:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", snippet],
            cwd=tmp_path,
            env=environment(server, tmp_path / "home") | {"PYTHONPATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        printed.append(done.stdout.strip())
    assert all(printed) and len(set(printed)) == 1


def test_rows_and_weights_of_hub_ids_are_those_served(pushed, gsm8k, tmp_path):
    """`load_dataset("openai/gsm8k", "main")` and `from_pretrained("Qwen/Qwen3-4B")`, by the libraries alone."""
    code = (
        "from datasets import load_dataset; from transformers import AutoModelForCausalLM; rows = load_dataset('openai/gsm8k', 'main');"
        "model = AutoModelForCausalLM.from_pretrained('Qwen/Qwen3-4B'); print(len(rows['train']), len(rows['test']), model.model.norm.weight.sum().item())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment(pushed[0], tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    train, test, total = done.stdout.split()
    assert (train, test) == ("1200", "60") and float(total) == pytest.approx(
        load_file(TINY_MODEL / "model.safetensors")["model.norm.weight"].float().sum().item()
    )
    assert (
        RECIPES["gsm8k_xml"].model == "Qwen/Qwen3-4B"
        and RECIPES["gsm8k_xml"].source.path == "openai/gsm8k"
    )
