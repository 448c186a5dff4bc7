"""Gives an export to others: a plan of what would be uploaded, the upload, and the proof that what arrived is what was sent.

Nothing leaves this machine unless `push` is called, and the notebook calls it only where PUSH is set.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

import httpx
from huggingface_hub import HfApi, get_token, set_client_factory
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils._http import default_client_factory
from huggingface_hub.utils.sha import git_hash
from safetensors import SafetensorError, safe_open
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from helpers.machine import file_hash, place
from helpers.settings import check_repo

TRIES, LONGEST_WAIT, SILENCE = (
    5,
    30,
    60,
)  # uploads are tried so often; seconds between; seconds without a byte that end a try
PASSING = (408, 409, 412, 429, 500, 502, 503, 504)  # what may be different a moment later
NETWORK = (HfHubHTTPError, httpx.TransportError, ConnectionError, TimeoutError)
MEANING = {
    401: "the token is not valid",
    403: "the token may not write there",
    404: "there is no such user or organisation, or the token may not see it",
    409: "something else is changing the repository",
    413: "a file is too large",
    429: "too many requests; the Hub asks to wait",
    500: "the Hub has a fault",
    503: "the Hub is overloaded",
}


@dataclass(frozen=True)
class PlannedFile:
    """new: whether a push would send it; None where nobody asked the Hub."""

    path: str
    megabytes: float
    new: bool | None = None


@dataclass(frozen=True)
class Plan:
    """What a push would do. removed: weights in the repository that would mix with these, and would be deleted."""

    repo: str | None
    private: bool
    files: tuple[PlannedFile, ...]
    removed: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        words = {True: "new", False: "there already", None: ""}
        lines = [
            f"repository  {self.repo or '(set REPO)'}, {'private' if self.private else 'PUBLIC: everybody can see it'}"
        ]
        lines += [
            f"{file.megabytes:12.3f} MB  {file.path:32}{words[file.new]}".rstrip()
            for file in self.files
        ]
        lines += [f"{'delete':>15}  {path}" for path in self.removed]
        return "\n".join(
            [
                *lines,
                f"{sum(file.megabytes for file in self.files):12.3f} MB  in {len(self.files)} files",
            ]
        )


def plan_push(
    folder: str | Path,
    repo: str | None,
    private: bool = True,
    endpoint: str | None = None,
    ask: bool = False,
) -> Plan:
    """Everything that a push of this folder would do. Uploads nothing; without `ask` it needs no network and no token.

    ask: also compare with what the repository holds. Raises FileNotFoundError or ValueError for what cannot be pushed.
    """
    folder = Path(folder)
    check_repo(repo)
    paths = check_folder(folder)
    there = listing(HfApi(endpoint=endpoint, token=token()), repo) if ask and repo else None
    files = tuple(
        PlannedFile(
            name,
            path.stat().st_size / 1e6,
            None if there is None else name not in there or differs(path, there[name]),
        )
        for path in paths
        for name in [path.relative_to(folder).as_posix()]
    )
    return Plan(repo, private, files, stale(files, there or {}))


def check_folder(folder: Path) -> list[Path]:
    """The files that a push would send. Raises FileNotFoundError or ValueError for a folder that is no export and no adapter."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no folder {folder} to push.\nExport first: notebook 04, or python -m helpers export."
        )
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if not ignored(path.relative_to(folder)) and (path.is_symlink() or path.is_file())
    ]
    if odd := [path for path in paths if path.is_symlink() or not path.name.isprintable()]:
        raise ValueError(
            f"{folder} holds links, or names with control characters: {odd[0].name!r}.\nPush a folder of plain files, such as an export."
        )
    weights = [
        path for path in paths if path.parent == folder and path.suffix in (".safetensors", ".gguf")
    ]
    if not weights:
        raise ValueError(
            f"{folder} holds no weights (.safetensors or .gguf).\nGive the folder of an export or an adapter itself."
        )
    for path in weights:
        try:
            with open(path, "rb") as file:
                start = file.read(4)
            if path.suffix == ".safetensors":
                with safe_open(path, "np"):
                    continue
            if start != b"GGUF":
                raise ValueError("its first bytes")
        except (SafetensorError, ValueError, OSError) as error:
            raise ValueError(
                f"{path} is damaged ({type(error).__name__}).\nExport it again."
            ) from error
    check_base(folder / "adapter_config.json")
    return paths


def check_base(config: Path) -> None:
    """Raises ValueError if an adapter names a folder of this machine as its base: nobody else could load it, and all could read where it lies."""
    try:
        base = (
            str(json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"])
            if config.is_file()
            else ""
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{config} is no adapter's configuration ({type(error).__name__}).\nExport it again."
        ) from error
    if Path(base).is_absolute() or PureWindowsPath(base).is_absolute():
        raise ValueError(
            f"{config} names a folder of this machine as its base ({base}).\n"
            "Push the copy that notebook 04 makes, …/export/adapter, or the merged model that python -m helpers export makes."
        )


def check_card(folder: Path) -> None:
    """Raises ValueError if the card names nobody's repository: its examples would not load."""
    path = folder / "README.md"
    if path.is_file() and b"your-name/" in path.read_bytes():
        raise ValueError(
            f'The card {path} says "your-name/…", and not whose the model is.\n'
            "Set REPO and run notebook 04 again from the model card on, or export again with --repo."
        )


def ignored(path: Path) -> bool:
    """Hidden files and unfinished ones stay here."""
    return any(part.startswith(".") or part.endswith((".part", ".tmp")) for part in path.parts)


def stale(files: tuple[PlannedFile, ...], there: dict) -> tuple[str, ...]:
    """What a loader would mix with these files: weights of the kind that the push brings, and, beside whole or adapter weights, other forms' settings."""
    names, kinds = {file.path for file in files}, (".gguf",)
    if any(name.endswith(".safetensors") for name in names):
        kinds = (
            ".safetensors",
            ".safetensors.index.json",
            ".bin",
            ".bin.index.json",
            ".pt",
            ".pth",
        )
    elif not any(name.endswith(".gguf") for name in names):
        return ()
    settings = (
        ("config.json", "generation_config.json", "adapter_config.json") if ".bin" in kinds else ()
    )
    return tuple(
        sorted(
            path
            for path in there
            if "/" not in path and path not in names and (path.endswith(kinds) or path in settings)
        )
    )


def push(
    folder: str | Path,
    repo: str,
    private: bool = True,
    endpoint: str | None = None,
    tag: str | None = None,
    tries: int = TRIES,
    silence: float = SILENCE,
    read_back: bool = True,
) -> str:
    """Uploads a folder as a model repository, checks what arrived, and returns its address.

    What is there already is not sent again, so that a push that was cut off goes on. Every file is compared with what the Hub lists and, with
    read_back=True, downloaded once and hashed. tag: a name for this state; by default `run-` and the run's hash, from `export.json`.
    tries: how often an upload is tried while the network or the Hub fails; silence: seconds without a byte that end a try.

    Raises PermissionError (no token), FileNotFoundError or ValueError (what cannot be pushed), Refused, a RuntimeError, when it failed.
    """
    folder = Path(folder)
    check_repo(repo)
    check_folder(folder)
    check_card(folder)
    name, problem = checked_tag(tag or tag_of(folder)), ""
    api = HfApi(endpoint=endpoint, token=token())
    try:
        with patient(silence):
            url = retried(tries, lambda: create(api, repo, private))
            plan = retried(tries, lambda: plan_push(folder, repo, private, endpoint, ask=True))
            commit = retried(tries, lambda: upload(api, folder, plan))
            check_arrival(api, folder, plan, commit, tries, read_back)
            if name:
                retried(tries, lambda: set_tag(api, repo, name, commit))
    except Refused:
        raise
    except (
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        httpx.HTTPError,
    ) as error:
        problem = told(error, repo)
    if problem:  # outside the except, so that the client's error, which holds the request and its token, does not hang on to it
        raise Refused(f"{problem}, and run it again: what arrived is not sent twice.")
    return url


def create(api: HfApi, repo: str, private: bool) -> str:
    """The repository's address; it is created if it is not there. Raises Refused if it is seen by others than this push says."""
    url = api.create_repo(repo, private=private, exist_ok=True)
    if api.repo_info(repo).private is not private:
        is_, wanted = ("public", "private") if private else ("private", "public")
        raise Refused(
            f"{repo} is {is_} on the Hub, and this push is {wanted}.\nSet private={not private}, change it on the Hub, or choose another REPO."
        )
    return str(url)


def upload(api: HfApi, folder: Path, plan: Plan) -> str:
    """One commit with all that is new; returns its hash. Without anything new there is no commit, and the last one is returned."""
    files = [file.path for file in plan.files]
    info = api.upload_folder(
        repo_id=plan.repo,
        folder_path=str(folder),
        allow_patterns=[literal(path) for path in files],
        delete_patterns=[literal(path) for path in plan.removed] or None,
        commit_message="Upload the trained model",
    )
    return info.oid


def literal(path: str) -> str:
    """A file's name as a pattern that matches nothing else."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)


def check_arrival(
    api: HfApi, folder: Path, plan: Plan, commit: str, tries: int, read_back: bool
) -> None:
    """Raises Refused unless the commit holds every file as it is here: by its listing and, with read_back, by what it sends back."""
    there = retried(tries, lambda: listing(api, plan.repo, commit))
    if left := [path for path in plan.removed if path in there]:
        raise Refused(
            f"The Hub did not delete {', '.join(left[:3])}, which would be mixed with what was sent.\nDelete them there, and run it again."
        )
    wrong = [
        file.path
        for file in plan.files
        if file.path not in there or differs(folder / file.path, there[file.path])
    ]
    if not wrong and read_back:
        wrong = [
            file.path
            for file in plan.files
            if not retried(
                tries, lambda name=file.path: comes_back(api, folder, plan.repo, name, commit)
            )
        ]
    if wrong:
        raise Refused(
            f"{len(wrong)} of {len(plan.files)} files did not arrive whole: {', '.join(wrong[:3])}.\n"
            "Delete them on the Hub and run it again: what is there under the same hash is not sent twice."
        )


def comes_back(api: HfApi, folder: Path, repo: str, name: str, commit: str) -> bool:
    """Whether the Hub sends back the file that lies here. The client checks sizes only; this compares SHA-256."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as place_:
        path = api.hf_hub_download(
            repo, name, revision=commit, local_dir=place_, force_download=True
        )
        return file_hash(path) == file_hash(folder / name)


def listing(api: HfApi, repo: str, revision: str | None = None) -> dict:
    """What the repository holds, by path; nothing where there is none."""
    try:
        return {
            entry.path: entry
            for entry in api.list_repo_tree(repo, recursive=True, revision=revision)
            if hasattr(entry, "size")
        }
    except RepositoryNotFoundError:
        return {}


def differs(file: Path, remote) -> bool:
    """Whether the Hub's entry is not this file: by SHA-256 for large files, by git's own hash for the others."""
    lfs = getattr(remote, "lfs", None)
    return file_hash(file) != lfs.sha256 if lfs else git_hash(file.read_bytes()) != remote.blob_id


def tag_of(folder: Path) -> str | None:
    """The name of the run in `export.json`, if it has one. Raises ValueError if that file is damaged."""
    mark = folder / "export.json"
    try:
        run = json.loads(mark.read_text(encoding="utf-8")).get("run") if mark.is_file() else None
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{mark} is damaged ({type(error).__name__}).\nExport again.") from error
    return f"run-{run}" if run else None


def checked_tag(name: str | None) -> str | None:
    """Raises ValueError for what is no tag's name."""
    if name is not None and (
        re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", name) is None or ".." in name or name == "main"
    ):
        raise ValueError(f"{name!r} is no name for a tag.\nUse letters, digits, '-', '_' and '.'.")
    return name


def set_tag(api: HfApi, repo: str, name: str, commit: str) -> None:
    """Names this commit; a tag of that name that was on another commit moves. Raises Refused if it is not there afterwards."""

    def found() -> str | None:
        return next(
            (tag.target_commit for tag in api.list_repo_refs(repo).tags if tag.name == name), None
        )

    if found() not in (None, commit):
        api.delete_tag(repo, tag=name)
    if found() != commit:
        api.create_tag(repo, tag=name, revision=commit, exist_ok=True)
    if found() != commit:
        raise Refused(
            f"All files arrived at {repo}, but the Hub did not take the tag {name}.\nRun it again: what arrived is not sent twice."
        )


class Refused(RuntimeError):
    """An upload that did not end well, in words for the person who waits for it."""


@contextlib.contextmanager
def patient(silence: float) -> Iterator[None]:
    """The Hub's client waits for ever by default; within this, a connection that is silent for so many seconds is given up."""

    def client() -> httpx.Client:
        made = default_client_factory()
        made.timeout = httpx.Timeout(silence)
        return made

    set_client_factory(client)
    try:
        yield
    finally:
        set_client_factory(default_client_factory)


def retried(tries: int, work: Callable):
    """Does the work again, after a growing pause, while it fails for a reason that may pass."""

    def waiting(state) -> float:
        error = state.outcome.exception()
        asked = (
            error.response.headers.get("Retry-After", "")
            if isinstance(error, HfHubHTTPError) and error.response is not None
            else ""
        )
        return (
            min(float(asked), LONGEST_WAIT)
            if asked.isdigit()
            else wait_exponential(max=LONGEST_WAIT)(state)
        )

    return Retrying(
        stop=stop_after_attempt(tries),
        wait=waiting,
        retry=retry_if_exception(passing),
        reraise=True,
    )(work)


def passing(error: BaseException) -> bool:
    """Whether the next try may end otherwise."""
    error = root(error)
    if isinstance(error, HfHubHTTPError):
        return error.response is not None and error.response.status_code in PASSING
    return isinstance(error, NETWORK) and not isinstance(error, OfflineModeIsEnabled)


def root(error: BaseException) -> BaseException:
    """What made the client fail: it wraps what happens to a file in errors of its own."""
    found: BaseException | None = error
    while found is not None and (
        type(found) is LocalEntryNotFoundError or not isinstance(found, NETWORK)
    ):
        found = found.__cause__
    return found or error


def told(error: BaseException, repo: str) -> str:
    """What went wrong, in words, and half of what to do. What the client's error holds besides is left out: no header is ever shown."""
    error = root(error)
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code if error.response is not None else "no answer"
        cure = (
            "Make a token with write access to it (huggingface.co/settings/tokens)"
            if status in (401, 403, 404)
            else "Wait a little"
        )
        return f"The Hub refused the upload to {repo} ({status}: {MEANING.get(status, 'see the status')}).\n{cure}"
    if isinstance(error, OfflineModeIsEnabled):
        return f"The Hub was not asked for {repo}: HF_HUB_OFFLINE is set, or nothing answered when this kernel began.\nCheck the network, restart the kernel"
    if isinstance(error, NETWORK):
        return (
            f"The Hub could not be reached for {repo} ({type(error).__name__}).\nCheck the network"
        )
    return f"The upload to {repo} ended early ({type(error).__name__}).\nLook whether the card's metadata and the folder are whole"


def token() -> str:
    """The Hub token from HF_TOKEN, the stored login, Colab's or Kaggle's secrets. Never printed. Raises PermissionError for none."""
    found = (
        os.environ.get("HF_TOKEN")
        or (kaggle_token() if place() == "kaggle" else None)
        or get_token()
    )
    if not found:
        raise PermissionError(
            "There is no Hub token.\nSet HF_TOKEN (Colab, Kaggle: as a secret of that name), run `hf auth login` in a terminal, or "
            "`huggingface_hub.notebook_login()` in a cell of its own."
        )
    return found


def kaggle_token() -> str | None:
    """The secret HF_TOKEN of a Kaggle notebook, if it is attached. Without a network it is not asked for: that would take 40 seconds."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return None
    from kaggle_secrets import BackendError, CredentialError, UserSecretsClient

    try:
        return UserSecretsClient().get_secret("HF_TOKEN")
    except (BackendError, CredentialError, ConnectionError):
        return None
