"""The online path with real Hub ids against a Hub on this machine, and what a stranger runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import huggingface_hub
import pandas as pd
import pytest

from helpers.machine import checked_downloads, downloads
from helpers.recipes import RECIPES
from helpers.tiny import TINY_MODEL, embedded_rows
from helpers.training import settings_of
from tests.conftest import ROOT
from tests.sharing.hub_server import TOKEN, Hub
from tests.sharing.test_card import results, snippets
from tests.sharing.test_export import trained, variant  # noqa: F401  (fixtures)

MODEL = {path.name: path.read_bytes() for path in TINY_MODEL.iterdir() if path.is_file()}
EXPORT = """
import json, sys
from pathlib import Path
from helpers import sharing
from helpers.recipes import RECIPES
from helpers.training import Adapter
base, place = "Qwen/Qwen3-4B", Path(sys.argv[1])
recipe, adapter = RECIPES["gsm8k_xml"], Adapter.read(place / "grpo" / "adapter", base)
results = json.loads((place / "summary.json").read_text())
exports = {"adapter": sharing.copy_adapter(base, adapter, place / "adapter")}
exports["merged"] = sharing.merge(base, adapter, place / "merged", "bf16")
sharing.prove_all(exports, base, adapter, ["3 + 4?"], 8)
for export in exports.values():
    sharing.write_card(export, recipe, adapter.run, results, "me/taught")
print(sharing.push(exports["merged"].folder, "me/taught"))
"""


def environment(server, home):
    kept = {}
    for name, value in os.environ.items():
        if not name.startswith("HF_") and name != "TRANSFORMERS_OFFLINE":
            kept[name] = value
    kept |= {"HF_ENDPOINT": server.url, "HF_HOME": str(home), "HF_TOKEN": TOKEN}
    return kept | {"NO_PROXY": "127.0.0.1", "PYTHONPATH": str(ROOT)}


def run(command, env, cwd=ROOT):
    """What it printed, once it ended well."""
    command = [sys.executable, "-W", "ignore", *command]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout.strip()


def content(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def check_repository(repo, folder):
    """It is private and holds this folder, and one tag, the run's, is on its last commit."""
    local = content(folder)
    there = {name: data for name, (data, _) in repo.files.items() if name != ".gitattributes"}
    run_hash = json.loads(local["export.json"])["run"]
    assert there == local and repo.private and len(repo.commits) == 2
    assert repo.tags == {f"run-{run_hash}": repo.commits[-1][0]}
    assert f"run_hash: {run_hash}".encode() in local["README.md"]
    assert b"base_model: Qwen/Qwen3-4B" in local["README.md"]


def check_no_token(folder):
    for name, data in content(folder).items():
        assert TOKEN.encode() not in data, name


LOAD = """
import helpers.training
from helpers.machine import detect
from helpers.recipes import RECIPES
for _ in range(2):
    try:
        helpers.training.load("Qwen/Qwen3-4B", RECIPES["gsm8k_xml"], detect())
        print("loaded")
    except RuntimeError as error:
        print(error)
"""


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.fixture(scope="module")
def pushed(trained, tmp_path_factory):  # noqa: F811
    """An adapter on a base of the Hub is exported and pushed: the server, and the folder."""
    folder = tmp_path_factory.mktemp("online")
    recipe = RECIPES["gsm8k_xml"]
    with Hub() as server:
        server.add("Qwen/Qwen3-4B", MODEL)
        variant(trained, folder / "grpo" / "adapter", "Qwen/Qwen3-4B")
        manifest = {"recipe": recipe.name, "stage": "grpo", "model": "Qwen/Qwen3-4B", "seed": 0}
        manifest |= {"commit": None, "versions": {}, "settings": settings_of(recipe)}
        manifest |= {"fingerprint": {"lr": 1}, "status": "finished"}
        (folder / "grpo" / "run.json").write_text(json.dumps(manifest))
        (folder / "summary.json").write_text(json.dumps(results(recipe, recipe.source.path)))
        said = run(["-c", EXPORT, folder], environment(server, folder / "home"))
        assert said.endswith(f"{server.url}/me/taught")
        yield server, folder


def test_the_base_comes_from_the_hub_and_the_result_goes_there(pushed):
    server, folder = pushed
    assert server.asked("GET /Qwen/Qwen3-4B/resolve/.*safetensors")
    check_repository(server.repos["me/taught"], folder / "merged")
    assert b"openai/gsm8k" in (folder / "merged" / "README.md").read_bytes()
    check_no_token(folder / "merged")


@pytest.mark.soak
@pytest.mark.parametrize("form", ["merged", "adapter"])
def test_the_snippets_of_the_card_run_as_they_stand(pushed, form, tmp_path):
    """With nothing of this project on the path; all print the same answer."""
    server, folder = pushed
    server.add("me/taught", content(folder / form), private=True)
    card = (folder / form / "README.md").read_text()
    env = environment(server, tmp_path / "home") | {"PYTHONPATH": ""}
    printed = {run(["-c", snippet], env, tmp_path) for snippet in snippets(card, form)}
    assert len(printed) == 1 and printed.pop()


def test_a_base_whose_bytes_were_flipped_on_the_way_is_not_trained_on(tmp_path):
    """It has its size and loads; the second time all arrives as it is."""
    weights = [MODEL["model.safetensors"]]

    def give(data):
        if data in weights:
            return flipped(weights.pop())
        return data

    with Hub() as server:
        server.add("Qwen/Qwen3-4B", MODEL)
        server.give = give
        said = run(["-c", LOAD], environment(server, tmp_path))
    message = "names by its hash: model.safetensors of Qwen/Qwen3-4B.\nIt was deleted: load"
    assert message in said and said.endswith("\nloaded") and said.count("loaded") == 1


@pytest.mark.parametrize("damaged", [["config.json"], ["config.json", "model.safetensors"]])
def test_a_file_that_did_not_arrive_whole_is_named_and_fetched_anew(damaged, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    hidden = [MODEL[name] for name in damaged]
    named = sorted(f"{name} of Qwen/Qwen3-4B" for name in damaged)

    def fetch():
        with checked_downloads():
            place = huggingface_hub.snapshot_download("Qwen/Qwen3-4B", endpoint=server.url)
            return Path(place)

    with Hub() as server:
        server.add("Qwen/Qwen3-4B", MODEL)
        server.give = lambda data: flipped(data) if data in hidden else data
        with pytest.raises(RuntimeError, match="by its hash: .*\n") as caught:
            fetch()
        assert sorted(re.findall(r"[^ ]+ of [^ ]+(?=[,.])", str(caught.value))) == named
        hidden.clear()
        assert content(fetch()) == MODEL
        with mock.patch.object(downloads, "is_intact") as again:
            fetch()
        assert not again.called  # each file once


@pytest.mark.soak
def test_all_notebooks_run_with_hub_ids_and_push(tmp_path):
    """`make run` with model and data of the Hub, two steps a stage, and PUSH."""
    rows = embedded_rows("openai/gsm8k")
    data = {"README.md": b"---\nconfigs: [{config_name: main, data_dir: main}]\n---\n"}
    for split, count in (("train", 1200), ("test", 60)):
        table = pd.DataFrame(list(rows[split])[:count])
        data[f"main/{split}.parquet"] = table.to_parquet()
    settings = {"MODEL": "Qwen/Qwen3-4B", "DATASET": "openai/gsm8k", "OUTPUT": tmp_path / "out"}
    settings |= {"MAX_STEPS": 2, "PROBLEMS": 6, "FORCE": "true", "PUSH": "true"}
    settings |= {"REPO": "me/taught"}
    flags = [f"{name}={value}" for name, value in settings.items()]
    with Hub() as server:
        server.add("Qwen/Qwen3-4B", MODEL)
        server.add("datasets/openai/gsm8k", data)
        run(["-m", "helpers", "run", *flags], environment(server, tmp_path / "home"))
    assert server.asked("GET /datasets/openai/gsm8k/resolve/.*main/train.parquet")
    here = tmp_path / "out/gsm8k_xml/export/merged-bf16"
    check_repository(server.repos["me/taught"], here)
    assert b"openai/gsm8k" in (here / "README.md").read_bytes()
    check_no_token(tmp_path / "out")
