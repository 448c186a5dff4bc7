"""Pushes by the real client to a Hub on this machine: no false success, always clear words."""

import itertools
import json
import shutil
import sys
import time
import types
from dataclasses import replace

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file

from helpers import sharing
from helpers.sharing import hub
from helpers.sharing.export import staged
from tests.sharing.hub_server import TOKEN, Fault, Hub

REPO = "me/model"
ADAPTER = '{"base_model_name_or_path": "%s"}'
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
TEXTS = {
    "config.json": "{}",
    "README.md": "---\nlicense: mit\n---\n# A model\n",
    "export.json": '{"form": "merged", "run": "0123456789ab"}',
    "images/rewards.png": "a picture",
}
FILES = {*SHARDS, *TEXTS}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "SILENCE", 5)
    sleep = time.sleep
    monkeypatch.setattr("time.sleep", lambda seconds: sleep(min(seconds, 0.02)))
    with Hub() as running:
        yield running


@pytest.fixture
def folder(tmp_path):
    """An export of two shards, with a hidden file that stays here."""
    place = tmp_path / "export"
    (place / "images").mkdir(parents=True)
    (place / ".cache").mkdir()
    for number, name in enumerate(SHARDS):
        save_file({f"w{number}": torch.full((100, 100), float(number))}, place / name)
    for name, text in {**TEXTS, ".cache/secret": "stays here", "half.part": "here, too"}.items():
        (place / name).write_text(text)
    return place


def push(server, folder, **more):
    return sharing.push(folder, REPO, endpoint=server.url, **more)


def check_arrived(server, folder):
    """The repository holds exactly what lies here, and the tag is on it."""
    repo = server.repos[REPO]
    assert set(repo.files) - {".gitattributes"} == FILES
    for name in FILES:
        assert repo.files[name][0] == (folder / name).read_bytes(), name
    assert repo.tags == {"run-0123456789ab": repo.commits[-1][0]}


def test_a_push_arrives_private_whole_and_tagged(server, folder):
    assert push(server, folder) == f"{server.url}/{REPO}"
    check_arrived(server, folder)
    assert server.repos[REPO].private
    assert huggingface_hub.get_session().timeout.read is None  # as it was before
    for path in folder.parent.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


def test_only_what_changed_is_sent_and_the_tag_moves(server, folder, capsys):
    push(server, folder)
    sent = server.sent
    assert "nothing is new" not in capsys.readouterr().out
    push(server, folder)
    assert "nothing is new: all of it is there\n" in capsys.readouterr().out
    assert (server.sent, len(server.repos[REPO].commits)) == (sent, 2)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Another\n")
    push(server, folder)
    assert server.sent - sent == (folder / "README.md").stat().st_size
    check_arrived(server, folder)


def test_another_form_leaves_nothing_that_would_be_loaded_instead(server, folder, capsys):
    mixed = ("adapter_config.json", "model.safetensors", "pytorch_model.bin", *SHARDS)
    server.add(REPO, dict.fromkeys((*mixed, "notes.txt", "sub/x.bin"), b"0"), private=True)
    push(server, folder)
    assert set(server.repos[REPO].files) == FILES | {"notes.txt", "sub/x.bin"}
    said = "stays on the Hub, and is not in this folder: notes.txt, sub/x.bin\n"
    assert said in capsys.readouterr().out


def test_a_gguf_file_replaces_gguf_files_only(server, tmp_path):
    (tmp_path / "q8_0.gguf").write_bytes(b"GGUF" + bytes(10))
    server.add(REPO, {"f16.gguf": b"0", "model.safetensors": b"0"}, private=True)
    push(server, tmp_path)
    assert set(server.repos[REPO].files) == {"q8_0.gguf", "model.safetensors"}


def test_after_a_cut_in_the_middle_only_the_rest_is_sent(server, folder):
    server.faults.append(Fault("PUT /lfs", cut=True, after=1))
    with pytest.raises(RuntimeError, match="failed .*\n.*run it again: what arrived is not sent"):
        push(server, folder)
    assert len(server.blobs) == 1 and len(server.repos[REPO].commits) == 1
    server.faults.clear()
    before = len(server.asked("PUT /lfs"))
    push(server, folder)
    assert len(server.asked("PUT /lfs")) == before + 1
    check_arrived(server, folder)


def test_another_push_in_between_stays_and_is_planned_around(server, folder):
    """It comes with a file of its own, while this one's weights are on their way."""
    server.add(REPO, {"old.safetensors": b"0"}, private=True)
    repo = server.repos[REPO]

    def store(data):
        if "theirs.txt" not in repo.files:
            repo.commit(repo.files | {"theirs.txt": (b"theirs", False)})
        return data

    server.store = store
    push(server, folder)
    assert len(server.asked("/commit/")) == 2 and len(repo.commits) == 3
    assert set(repo.files) == FILES | {"theirs.txt"}


def test_a_push_goes_as_git_lfs_also_with_hf_xet_on(server, folder):
    push(server, folder)
    assert server.asked("PUT /lfs") and not server.asked("xet")
    with pytest.raises(Exception, match="xet"):  # the library's own way, which this Hub lacks
        huggingface_hub.HfApi(server.url, TOKEN).upload_folder(
            repo_id=REPO, folder_path=folder, allow_patterns="*.safetensors", path_in_repo="again"
        )
    assert server.asked("xet-write-token")


UPLOADING = ("repos/create", "preupload", "objects/batch", "PUT /lfs", "/commit/")
STEPS = (*UPLOADING, "/tag/", "resolve", "/tree/")


PASSING = [{"cut": True}, {"status": 500}, {"status": 503}, {"status": 429}]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_tried_again(server, folder, step, fault):
    server.faults.append(Fault(step, times=1, **fault))
    push(server, folder)
    check_arrived(server, folder)


LOST = {"cut": True, "done": True}
BAD_DAYS = {  # of a push of 27 files that replaces weights: faults one after the other
    "none": [],
    "503 twice": [Fault("/commit/", times=2, status=503)],
    "503 while uploading": [Fault("PUT /lfs", times=4, after=3, status=503)],
    "lost": [Fault("/commit/", times=1, **LOST)],
    "500, lost": [Fault("/commit/", times=1, status=500), Fault("/commit/", times=1, **LOST)],
    "lost, 500": [Fault("/commit/", times=1, **LOST), Fault("/tree/", times=1, status=500)],
    "lost while made": [Fault("repos/create", times=1, **LOST)],
    "tag lost": [Fault("POST .*/tag/", times=1, **LOST)],
    "silent, but done": [Fault("/commit/", times=1, pause=0.4, done=True)],
}


@pytest.mark.parametrize("day", BAD_DAYS)
def test_a_push_is_one_commit_and_there_are_weights_at_any_time(server, folder, monkeypatch, day):
    monkeypatch.setattr(hub, "SILENCE", 0.3)
    if day != "lost while made":
        server.add(REPO, {"old.safetensors": b"0", "old.bin": b"0"}, private=True)
    for number in range(21):
        (folder / f"shard-{number}.safetensors").write_bytes(b"%d" % number)
    server.faults = [replace(fault) for fault in BAD_DAYS[day]]
    push(server, folder)
    repo = server.repos[REPO]
    assert len(repo.commits) == 2 and repo.tags == {"run-0123456789ab": repo.commits[-1][0]}
    assert len(set(repo.files) - {".gitattributes"}) == 27 and "old.bin" not in repo.files


TOKEN_CURE = "Make a token with write access"
LASTING = {
    401: f"401 Unauthorized.*\n{TOKEN_CURE}",
    403: f"403 Forbidden.*\n{TOKEN_CURE}",
    409: "409 Conflict.*\nWait until nothing else changes it",
    412: "412 Precondition Failed.*\nAnother push came in between",
    413: "413 Request Entity Too Large.*\nA file is larger than the Hub takes",
    500: "500 Internal Server Error.*\nWait a little",
}
SURE = (401, 403, 413)  # what is not asked twice


@pytest.mark.parametrize(("step", "status"), itertools.product(STEPS, LASTING))
def test_what_stays_wrong_ends_in_two_lines(server, folder, step, status):
    """Nothing of the request, which holds the token, is shown."""
    server.faults.append(Fault(step, status=status))
    what = f"The upload to {REPO} failed .{LASTING[status]}.*again"
    with pytest.raises(RuntimeError, match=what) as caught:
        push(server, folder)
    said = str(caught.value)
    assert len(said.split("\n")) == 2 and TOKEN not in said
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    if step in UPLOADING:
        assert REPO not in server.repos or len(server.repos[REPO].commits) == 1
    if status in SURE and step != "PUT /lfs":  # which goes on with the other files
        assert len(server.asked(step.replace("/tag/", "POST .*/tag/"))) == 1


# Asked once, in pieces, by calls that ask for no limit, and with tries of the library's own
@pytest.mark.parametrize("step", ["/commit/", "resolve", "/tree/", "PUT /lfs"])
def test_a_hub_that_is_silent_ends_after_five_tries_and_says_so(
    server, folder, monkeypatch, capsys, step
):
    monkeypatch.setattr(hub, "SILENCE", 0.3)
    server.faults.append(Fault(step, pause=30))
    started = time.perf_counter()
    with pytest.raises(RuntimeError, match="ReadTimeout.*\nCheck the network"):
        push(server, folder)
    assert time.perf_counter() - started < hub.TRIES * 0.3 + 3
    assert capsys.readouterr().out.count("ReadTimeout: try ") == hub.TRIES - 1


@pytest.mark.parametrize("way", ["store", "give"])
def test_a_server_that_corrupts_is_found_out(server, folder, way):
    setattr(server, way, lambda data: bytes([data[0] ^ 1]) + data[1:] if data else data)
    with pytest.raises(RuntimeError, match="did not arrive whole: .*\n.*again"):
        push(server, folder)
    assert not server.repos[REPO].tags


def test_a_public_repository_is_not_taken_for_private(server, folder):
    server.add(REPO, {"README.md": b"public"})
    with pytest.raises(RuntimeError, match="not private as this push is.*\n.*--public"):
        push(server, folder)
    assert len(server.repos[REPO].commits) == 1
    push(server, folder, private=False)
    assert set(server.repos[REPO].files) >= FILES
    server.repos[REPO].private = True
    with pytest.raises(RuntimeError, match="not public as this push is"):
        push(server, folder, private=False)


UNSOUND = [  # a file, what it holds, and what is said of it
    ("export.json", "{", "export.json is damaged"),
    ("export.json", '{"form": "merged", "proved": false}', "never proved .*\nRun that export"),
    ("README.md", "your-name/m", "whose the model is.\nSet"),
    ("adapter_config.json", ADAPTER % "/home/me/base", "of this machine as its .*\nPush the copy"),
]


@pytest.mark.parametrize(("name", "text", "said"), UNSOUND)
def test_what_is_not_sound_is_refused_before_anything_is_sent(name, text, said, server, folder):
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        push(server, folder)
    assert not server.requests and len(str(caught.value).split("\n")) == 2


def test_the_plan_lists_every_file_and_asks_nobody(server, folder):
    found = sharing.plan_push(folder, None)
    assert set(found.files) == FILES and not server.requests
    said = str(found)
    assert "repository  (set REPO), private" in said and "MB  in 6 files" in said
    assert "       0.040 MB  model-00001-of-00002.safetensors\n" in said
    assert "PUBLIC" in str(sharing.plan_push(folder, REPO, private=False))
    with pytest.raises(FileNotFoundError, match="no folder .*\nExport first"):
        sharing.plan_push(folder / "none", None)
    (folder / "export.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=f"Name one of the exports in it: {folder}\\.$"):
        sharing.plan_push(folder.parent, None)
    assert "no card: " not in said
    bare = shutil.copytree(
        folder, folder.with_name("bare"), ignore=lambda *_: ["README.md", "export.json"]
    )
    assert "no card: one that lies there stays" in str(sharing.plan_push(bare, None))
    unproved = shutil.copytree(folder, folder.with_name("merged-unproved-2"))
    with pytest.raises(ValueError, match="merged-unproved-2 was not proved"):
        sharing.plan_push(unproved, REPO)
    export = {"form": "merged", "sha256": dict.fromkeys(FILES)}
    (folder / "export.json").write_text(json.dumps(export))
    (folder / "notes.txt").touch()
    said = str(sharing.plan_push(folder, None))
    assert said.count("(not from the export)") == 1 and "notes.txt  (not from" in said
    (folder / "notes.txt").unlink()
    (folder / "adapter_config.json").write_text(ADAPTER % "helpers/tiny/model")
    assert set(sharing.plan_push(folder, None).files) == FILES | {"adapter_config.json"}
    with pytest.raises(ValueError, match="your-name/m is an example.\nGive your own name"):
        sharing.push(folder, "your-name/m")


@pytest.mark.parametrize("change", [b"swapped", None])
def test_what_changed_since_the_export_is_not_sent(change, server, folder):
    made = folder.with_name("made")
    with staged(made, folder, 0) as new:
        shutil.copytree(folder, new, dirs_exist_ok=True)
    push(server, made)
    requests = len(server.requests)
    weights = made / "model-00001-of-00002.safetensors"
    weights.unlink()
    if change:
        weights.write_bytes(change)
    for work in (lambda: sharing.plan_push(made, REPO), lambda: push(server, made)):
        with pytest.raises(ValueError, match=f"{weights.name} is not what the export wrote.\nExp"):
            work()
    assert len(server.requests) == requests


@pytest.mark.parametrize("repo", ["model", "a/b/c", "me/mo del", "me/../x", ""])
def test_a_name_that_is_none_is_refused(repo, folder):
    with pytest.raises(ValueError, match="your-name/model-name"):
        sharing.plan_push(folder, repo)


KEPT = {"HF_TOKEN": "kept"}
SECRETS = [("local", KEPT, False, None), ("kaggle", {}, False, None)]
SECRETS += [("kaggle", KEPT, True, None), ("kaggle", KEPT, False, "kept")]


@pytest.mark.parametrize(("where", "secrets", "offline", "found"), SECRETS)
def test_the_token_can_be_a_secret_of_kaggle(where, secrets, offline, found, folder, monkeypatch):
    """A stand-in for Kaggle's module: it raises where no secret is attached, or gives it."""
    module = types.ModuleType("kaggle_secrets")
    module.UserSecretsClient = lambda: types.SimpleNamespace(get_secret=secrets.__getitem__)
    monkeypatch.setitem(sys.modules, "kaggle_secrets", module)
    monkeypatch.setattr(hub, "place", lambda: where)
    monkeypatch.setattr(hub, "get_token", lambda: None)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", offline)
    if found:
        assert hub.token() == found
        return
    with pytest.raises(PermissionError, match="no Hub token.\nSet HF_TOKEN"):
        sharing.push(folder, REPO)
