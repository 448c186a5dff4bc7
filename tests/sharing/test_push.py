"""Pushes to a Hub on this machine, by the real client: each ends in the right state or in a clear message, never in a false success."""

import json
import os

import huggingface_hub
import pytest
from safetensors.torch import save_file

from helpers.sharing import hub
from tests.sharing.hub_server import TOKEN, Fault, Hub

REPO = "me/model"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(
        "time.sleep", lambda seconds, sleep=__import__("time").sleep: sleep(min(seconds, 0.2))
    )  # the client's pauses
    with Hub() as running:
        yield running


@pytest.fixture
def folder(tmp_path):
    import torch

    place = tmp_path / "export"
    place.mkdir()
    for number in (1, 2):
        save_file(
            {f"w{number}": torch.full((100, 100), float(number))},
            place / f"model-0000{number}-of-00002.safetensors",
        )
    (place / "config.json").write_text("{}")
    (place / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    (place / "images").mkdir()
    (place / "images" / "rewards.png").write_bytes(b"\x89PNG" + bytes(100))
    (place / "export.json").write_text(json.dumps({"run": "0123456789ab"}))
    (place / ".cache").mkdir()
    (place / ".cache" / "secret").write_text("stays here")
    return place


FILES = {
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "config.json",
    "README.md",
    "images/rewards.png",
    "export.json",
}


def push(server, folder, **more):
    return hub.push(folder, REPO, endpoint=server.url, **{"silence": 5, "tries": 3} | more)


def arrived(server, folder) -> bool:
    """Whether the repository holds exactly what lies here, beside what the Hub puts there."""
    there = server.repos[REPO].files
    return set(there) - {".gitattributes"} == FILES and all(
        there[name][0] == (folder / name).read_bytes() for name in FILES
    )


def test_a_push_arrives_private_whole_and_tagged(server, folder):
    assert push(server, folder) == f"{server.url}/{REPO}"
    assert arrived(server, folder) and server.repos[REPO].private
    assert server.repos[REPO].tags == {"run-0123456789ab": server.repos[REPO].commits[-1][0]}


def test_a_second_push_sends_nothing(server, folder):
    push(server, folder)
    sent, commits = server.sent, len(server.repos[REPO].commits)
    assert not any(
        file.new for file in hub.plan_push(folder, REPO, endpoint=server.url, ask=True).files
    )
    push(server, folder)
    assert (server.sent, len(server.repos[REPO].commits)) == (sent, commits)


def test_only_what_changed_is_sent_and_the_tag_moves(server, folder):
    push(server, folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Another\n")
    plan, sent = hub.plan_push(folder, REPO, endpoint=server.url, ask=True), server.sent
    assert [file.path for file in plan.files if file.new] == ["README.md"]
    push(server, folder)
    assert server.sent - sent == (folder / "README.md").stat().st_size and arrived(server, folder)
    assert server.repos[REPO].tags == {"run-0123456789ab": server.repos[REPO].commits[-1][0]}


def test_old_weights_do_not_stay_beside_new_ones(server, folder):
    push(server, folder)
    (folder / "model-00002-of-00002.safetensors").rename(folder / "model.safetensors")
    (folder / "model-00001-of-00002.safetensors").unlink()
    plan = hub.plan_push(folder, REPO, endpoint=server.url, ask=True)
    assert plan.removed == (
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ) and "delete" in str(plan)
    push(server, folder)
    assert {path for path in server.repos[REPO].files if path.endswith("safetensors")} == {
        "model.safetensors"
    } and "config.json" in server.repos[REPO].files


def test_after_a_cut_in_the_middle_only_the_rest_is_sent(server, folder):
    server.faults.append(Fault("PUT /lfs", cut=True, after=1))
    with pytest.raises(
        RuntimeError, match="could not be reached.*\n.*run it again: what arrived is not sent twice"
    ):
        push(server, folder)
    assert (
        len(server.blobs) == 1
        and len(server.repos[REPO].commits) == 1
        and not server.repos[REPO].tags
    )
    server.faults.clear()
    before = len(server.asked("PUT /lfs"))
    push(server, folder)
    assert len(server.asked("PUT /lfs")) == before + 1 and arrived(server, folder)


@pytest.mark.parametrize(
    "pattern",
    [
        "repos/create",
        "preupload",
        "objects/batch",
        "PUT /lfs",
        "/commit/",
        "/tree/",
        "/tag/",
        "resolve",
        "/refs",
    ],
)
@pytest.mark.parametrize(
    "fault",
    [
        {"cut": True},
        {"status": 500},
        {"status": 503},
        {"status": 429, "headers": {"Retry-After": "1"}},
    ],
    ids=["cut", "500", "503", "429"],
)
def test_what_passes_is_tried_again(server, folder, pattern, fault):
    server.faults.append(Fault(pattern, times=1, **fault))
    push(server, folder)
    assert arrived(server, folder) and server.repos[REPO].tags


@pytest.mark.parametrize("pattern", ["/commit/", "/tag/", "PUT /lfs", "repos/create"])
def test_an_answer_that_is_lost_is_no_failure(server, folder, pattern):
    server.faults.append(Fault(pattern, times=1, cut=True, done=True))
    push(server, folder)
    assert (
        arrived(server, folder) and len(server.repos[REPO].commits) == 2 and server.repos[REPO].tags
    )


WORDS = {
    401: "401: the token is not valid",
    403: "403: the token may not write",
    409: "409: something else is changing",
    429: "429: too many requests",
    500: "500: the Hub has a fault",
}
PLACES = ["repos/create", "preupload", "objects/batch", "PUT /lfs", "/commit/", "/tag/", "resolve"]
SAYS_THERE = [
    ("repos/create", 409),
    ("/tag/", 409),
]  # there 409 says that it is there already, which is no error


@pytest.mark.parametrize(
    ("pattern", "status"), [(p, s) for p in PLACES for s in WORDS if (p, s) not in SAYS_THERE]
)
def test_what_stays_wrong_ends_in_a_message(server, folder, pattern, status):
    server.faults.append(Fault(pattern, status=status))
    with pytest.raises(RuntimeError, match=WORDS[status]) as caught:
        push(server, folder, tries=2)
    said = str(caught.value)
    assert (
        len(said.split("\n")) == 2
        and "again" in said
        and TOKEN not in said
        and caught.value.__cause__ is None
    )
    if pattern in ("repos/create", "preupload", "objects/batch", "PUT /lfs", "/commit/"):
        assert REPO not in server.repos or len(server.repos[REPO].commits) == 1


@pytest.mark.parametrize("pattern", ["repos/create", "PUT /lfs", "/commit/", "/tag/"])
def test_a_server_that_is_silent_ends_in_a_message(server, folder, pattern):
    server.faults.append(Fault(pattern, pause=2, cut=True))
    with pytest.raises(RuntimeError, match="could not be reached.*Timeout"):
        push(server, folder, silence=0.3, tries=2)


def test_a_slow_server_is_waited_for(server, folder):
    server.faults.append(Fault(".", pause=0.15))
    push(server, folder, silence=5)
    assert arrived(server, folder)


@pytest.mark.parametrize("way", ["store", "give"])
def test_a_server_that_corrupts_is_found_out(server, folder, way):
    setattr(server, way, lambda data: bytes([data[0] ^ 1]) + data[1:] if data else data)
    with pytest.raises(RuntimeError, match="did not arrive whole: .*\n.*again"):
        push(server, folder)
    assert not server.repos[REPO].tags


def test_a_listing_that_lacks_a_file_is_no_success(server, folder):
    push(server, folder)
    server.repos[REPO].files.pop("config.json")
    hub.push(folder, REPO, endpoint=server.url)  # sends it again
    assert arrived(server, folder)


def test_a_public_repository_is_not_taken_for_private(server, folder):
    server.add(REPO, {"README.md": b"public"})
    with pytest.raises(RuntimeError, match="is public.*\n.*private=False"):
        push(server, folder)
    assert len(server.repos[REPO].commits) == 1
    push(server, folder, private=False)
    assert FILES <= set(server.repos[REPO].files)
    server.repos[REPO].private = True
    with pytest.raises(RuntimeError, match="is private on the Hub, and this push is public"):
        push(server, folder, private=False)


@pytest.mark.parametrize(
    "there",
    [
        {
            "adapter_config.json": b"{}",
            "adapter_model.safetensors": b"0",
            "pytorch_model.bin": b"0",
            "notes.txt": b"mine",
        }
    ],
)
def test_another_form_leaves_nothing_that_would_be_loaded_instead(there, server, folder):
    server.add(REPO, there, private=True)
    assert set(hub.plan_push(folder, REPO, endpoint=server.url, ask=True).removed) == set(there) - {
        "notes.txt"
    }
    push(server, folder)
    assert set(server.repos[REPO].files) == FILES | {"notes.txt"}


@pytest.mark.parametrize(
    ("pattern", "words"), [("deletedFile", "did not delete"), ("tag", "did not take the tag")]
)
def test_what_the_server_does_not_do_is_found_out(pattern, words, server, folder, monkeypatch):
    server.add(REPO, {"old.safetensors": b"0"}, private=True)
    handler = server.server.RequestHandlerClass
    if pattern == "tag":
        server.faults.append(Fault("POST .*/tag/", status=200))
    else:
        real = handler.commit
        monkeypatch.setattr(
            handler,
            "commit",
            lambda self, name, repo, body: real(
                self,
                name,
                repo,
                b"\n".join(line for line in body.split(b"\n") if b"deletedFile" not in line),
            ),
        )
    with pytest.raises(RuntimeError, match=words):
        push(server, folder)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f: (f / "export.json").write_text("[]"),
        lambda f: (f / "export.json").write_text("{"),
        lambda f: (f / "model.safetensors").write_bytes(b""),
        lambda f: (f / "x.txt").symlink_to("/etc/hostname"),
        lambda f: (f / "a\nb.txt").write_text("x"),
        lambda f: (f / "x.gguf").write_bytes(b"half"),
        lambda f: (f / "export.json").write_text('{"run": "../x"}'),
        lambda f: (f / "README.md").write_text("your-name/model"),
    ],
)
def test_a_folder_that_is_not_sound_is_refused_before_anything_is_sent(spoil, server, folder):
    spoil(folder)
    with pytest.raises(ValueError, match="\n"):
        push(server, folder)
    assert not server.requests


@pytest.mark.parametrize("tag", ["main", "..", "a b", "../x", ""])
def test_odd_tags_are_refused(tag, server, folder):
    if tag:
        with pytest.raises(ValueError, match="no name for a tag"):
            push(server, folder, tag=tag)
    else:
        push(server, folder, tag=tag)
        assert list(server.repos[REPO].tags) == ["run-0123456789ab"]


@pytest.mark.parametrize("pattern", ["repos/create", "/commit/", "/tree/", "preupload"])
def test_answers_that_make_no_sense_end_in_a_message(pattern, server, folder):
    server.faults.append(Fault(pattern, status=200))  # answers {"error": …}
    with pytest.raises(RuntimeError, match="ended early.*\n.*again"):
        push(server, folder)


def test_nothing_of_the_request_hangs_on_the_error(server, folder):
    server.faults.append(Fault("/commit/", status=403))
    with pytest.raises(RuntimeError) as caught:
        push(server, folder, tries=1)
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_another_persons_repository_is_refused(server, folder):
    with pytest.raises(RuntimeError, match="403: the token may not write there"):
        hub.push(folder, "somebody/model", endpoint=server.url)
    assert "somebody/model" not in server.repos


def test_a_wrong_token_is_refused_and_not_shown(server, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", secret := "hf_" + "not" + "right")
    with pytest.raises(RuntimeError, match="401") as caught:
        push(server, folder)
    assert secret not in str(caught.value) and not server.repos


def test_planning_asks_nobody(server, folder):
    plan = hub.plan_push(folder, REPO, endpoint=server.url)
    assert (
        not server.requests
        and {file.path for file in plan.files} == FILES
        and all(file.new is None for file in plan.files)
    )


def test_nothing_of_the_token_lies_in_the_folder(server, folder):
    push(server, folder)
    assert not any(
        TOKEN.encode() in path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()
    )
    assert os.environ["HF_TOKEN"] == TOKEN
