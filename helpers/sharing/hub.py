"""Gives an export to others: a plan, the upload, and the proof that what arrived is what was sent.

Nothing leaves this machine unless `push` is called.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

import httpx
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    get_session,
    get_token,
    hf_hub_url,
    set_client_factory,
)
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, filter_repo_objects, hf_raise_for_status
from huggingface_hub.utils._http import default_client_factory
from safetensors import SafetensorError, safe_open
from tenacity import RetryCallState, retry, retry_if_exception, stop_after_attempt
from tenacity import wait_exponential as growing_wait

from helpers.machine import file_hash, place
from helpers.runs import read_object
from helpers.settings import check_repo
from helpers.sharing.card import OWNER
from helpers.sharing.export import MARK

STAYS_HERE = (".*", "*/.*", "*.part", "*.part/*", "*.tmp", "*.tmp/*")  # hidden and unfinished
# What a loader would mix with new weights, or read beside them
WEIGHTS = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth")
SETTINGS = ("config.json", "generation_config.json", "adapter_config.json")
AGAIN = "Export it again."
TRIES = 5
LONGEST_WAIT = 30  # seconds between two tries
SILENCE = 60  # seconds without a byte that end a try
PASSING = (408, 409, 412, 429, 500, 502, 503, 504)  # what may be different a moment later
NETWORK = (HfHubHTTPError, httpx.TransportError, ConnectionError, TimeoutError)


@dataclass(frozen=True)
class Plan:
    """What a push would do; new and removed are None where nobody asked the Hub."""

    repo: str | None
    private: bool
    files: dict[str, float]  # size in MB
    new: list[str] | None = None  # those of them that would be sent
    removed: list[str] | None = None  # in the repository; a loader would mix them with these

    def __str__(self) -> str:
        seen_by = "private" if self.private else "PUBLIC: everybody can see it"
        lines = [f"repository  {self.repo or '(set REPO)'}, {seen_by}"]
        for name, megabytes in self.files.items():
            line = f"{megabytes:12.3f} MB  {name:32}"
            if self.new is not None:
                line += "new" if name in self.new else "there already"
            lines.append(line.rstrip())
        for name in self.removed or ():
            lines.append(f"{'delete':>15}  {name}")
        lines.append(f"{sum(self.files.values()):12.3f} MB  in {len(self.files)} files")
        return "\n".join(lines)


def plan_push(
    folder: str | Path,
    repo: str | None,
    private: bool = True,
    endpoint: str | None = None,
    ask: bool = False,
) -> Plan:
    """What a push of this folder would do; ask: compared with what is in the repository.

    Without `ask` it needs no network. Raises FileNotFoundError or ValueError for what cannot be
    pushed.
    """
    folder = Path(folder)
    check_repo(repo)
    if not folder.is_dir():
        cure = "Export first: notebook 04, or python -m helpers export."
        raise FileNotFoundError(f"There is no folder {folder} to push.\n{cure}")
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    files = {}
    for name in filter_repo_objects(names, ignore_patterns=STAYS_HERE):
        files[name] = check_file(folder / name).stat().st_size / 1e6
    if not any("/" not in name and name.endswith((".safetensors", ".gguf")) for name in files):
        cure = "Give the folder of an export or an adapter itself."
        raise ValueError(f"{folder} holds no weights (.safetensors or .gguf).\n{cure}")
    plan = Plan(repo, private, files)
    if ask:
        return compared(HfApi(endpoint, token()), folder, plan)
    return plan


def check_file(path: Path) -> Path:
    """Raises ValueError for what others should not get, or could not load."""
    if path.is_symlink():
        raise ValueError(f"{path} is a link.\nPush a folder of plain files, such as an export.")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "np"):
                pass
        if path.suffix == ".gguf" and path.open("rb").read(4) != b"GGUF":
            raise ValueError("its first bytes")
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}).\n{AGAIN}") from error
    if path.name == "adapter_config.json":
        base = read_object(path, {"base_model_name_or_path": str}, AGAIN)["base_model_name_or_path"]
        if Path(base).is_absolute() or PureWindowsPath(base).is_absolute():
            raise ValueError(
                f"{path} names a folder of this machine as its base ({base}).\n"
                "Push the copy that notebook 04 makes, …/export/adapter, "
                "or the merged model that python -m helpers export makes."
            )
    return path


def check_card(folder: str | Path) -> None:
    """Raises ValueError if the card names nobody's repository: its examples would not load."""
    path = Path(folder) / "README.md"
    if path.is_file() and OWNER.encode() in path.read_bytes():
        raise ValueError(
            f'The card {path} says "{OWNER}…", and not whose the model is.\n'
            "Set REPO and run notebook 04 again from the model card on, "
            "or export again with --repo."
        )


def push(folder: str | Path, repo: str, private: bool = True, endpoint: str | None = None) -> str:
    """Uploads a folder as a model repository, checks what arrived, and returns its address.

    What is there already is not sent again, so that a push that was cut off goes on. Every file is
    compared with what the Hub lists, and read back. The commit is named after the run.
    Raises PermissionError (no token), FileNotFoundError or ValueError (what cannot be pushed), or
    Refused, a RuntimeError, when it failed.
    """
    folder = Path(folder)
    plan = plan_push(folder, repo, private)
    check_card(folder)
    origin = read_object(folder / MARK, {}, AGAIN) or {}
    api = HfApi(endpoint, token())
    with impatience():
        try:
            url = create(api, plan)
            commit = upload(api, folder, plan)
            check_arrival(api, folder, plan, commit)
            if origin.get("run"):
                set_tag(api, repo, f"run-{origin['run']}", commit)
            return url
        except Refused:
            raise
        except Exception as error:  # of many kinds, where an answer makes no sense
            problem = explain(error, repo)
    # Out here the client's error, which holds the request and its token, does not hang on to it
    raise Refused(problem)


class Refused(RuntimeError):
    """An upload that did not end well, in words for the person who waits for it."""


@contextlib.contextmanager
def impatience() -> Iterator[None]:
    """Within this, a silent connection is given up; the Hub's client itself waits for ever."""

    def client() -> httpx.Client:
        made = default_client_factory()
        made.timeout = httpx.Timeout(SILENCE)
        return made

    set_client_factory(client)
    try:
        yield
    finally:
        set_client_factory(default_client_factory)


def may_pass(error: BaseException) -> bool:
    """Whether the next try may end otherwise."""
    error = network_cause(error)
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in PASSING
    return isinstance(error, NETWORK) and not isinstance(error, OfflineModeIsEnabled)


def pause(state: RetryCallState) -> float:
    """Seconds until the next try: what the Hub asks for, else growing ones."""
    error = state.outcome.exception()
    asked = ""
    if isinstance(error, HfHubHTTPError):
        asked = error.response.headers.get("Retry-After", "")
    if asked.isdigit():
        return min(float(asked), LONGEST_WAIT)
    return growing_wait(max=LONGEST_WAIT)(state)


# Does a call again while it fails for a reason that may pass
retried = retry(
    stop=stop_after_attempt(TRIES), wait=pause, retry=retry_if_exception(may_pass), reraise=True
)


def network_cause(error: BaseException) -> BaseException:
    """What made the client fail: it wraps what happens to a file in errors of its own."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, NETWORK):
        cause = cause.__cause__
    return cause or error


@retried
def create(api: HfApi, plan: Plan) -> str:
    """The repository's address. Raises Refused if others see it than this push says."""
    url = api.create_repo(plan.repo, private=plan.private, exist_ok=True)
    if api.repo_info(plan.repo).private is not plan.private:
        found, wanted = ("public", "private") if plan.private else ("private", "public")
        raise Refused(
            f"{plan.repo} is {found} on the Hub, and this push is {wanted}.\n"
            f"Set private={not plan.private}, change it on the Hub, or choose another REPO."
        )
    return str(url)


@retried
def compared(api: HfApi, folder: Path, plan: Plan, commit: str | None = None) -> Plan:
    """The plan with what is new, and what would be mixed, by the hashes that the Hub lists."""
    found = api.verify_repo_checksums(plan.repo, local_dir=folder, revision=commit)
    changed = {mismatch["path"] for mismatch in found.mismatches} | set(found.extra_paths)
    new = [name for name in plan.files if name in changed]
    gguf = not any(name.endswith(".safetensors") for name in plan.files)
    removed = []
    for name in found.missing_paths:
        mixed = name.endswith(".gguf") if gguf else name.endswith(WEIGHTS) or name in SETTINGS
        if mixed and "/" not in name:
            removed.append(name)
    return replace(plan, new=new, removed=removed)


@retried
def upload(api: HfApi, folder: Path, plan: Plan) -> str:
    """One commit with all that is new; returns its hash, or the last one's if nothing is new."""
    plan = compared(api, folder, plan)  # anew at each try: only the answer may have been lost
    operations: list = [CommitOperationDelete(name) for name in plan.removed]
    for name in plan.files:  # all: the client leaves out what is there
        operations.append(CommitOperationAdd(name, folder / name))
    return api.create_commit(plan.repo, operations, commit_message="Upload the trained model").oid


def check_arrival(api: HfApi, folder: Path, plan: Plan, commit: str) -> None:
    """Raises Refused unless the commit holds every file as it is here, listed and sent back."""
    arrived = compared(api, folder, plan, commit)
    if arrived.removed:
        what = ", ".join(arrived.removed[:3])
        raise Refused(f"The Hub did not delete {what}.\nDelete them there, and run it again.")
    lost = arrived.new
    if not lost:
        for name in plan.files:
            if hash_there(api, plan.repo, name, commit) != file_hash(folder / name):
                lost.append(name)
    if lost:
        raise Refused(
            f"{len(lost)} of {len(plan.files)} files did not arrive whole: {', '.join(lost[:3])}.\n"
            "Delete them on the Hub and run it again: what has the same hash is not sent twice."
        )


@retried
def hash_there(api: HfApi, repo: str, name: str, commit: str) -> str:
    """SHA-256 of what the Hub sends back; the library's downloads compare sizes only."""
    url = hf_hub_url(repo, name, revision=commit, endpoint=api.endpoint)
    digest = hashlib.sha256()
    with get_session().stream("GET", url, headers=build_hf_headers(token=api.token)) as response:
        hf_raise_for_status(response)
        for part in response.iter_bytes():
            digest.update(part)
    return digest.hexdigest()


@retried
def set_tag(api: HfApi, repo: str, name: str, commit: str) -> None:
    """Names this commit; moves a tag of that name. Raises Refused if it is not there then."""
    before = tags(api, repo)
    if before.get(name) != commit:
        if name in before:
            api.delete_tag(repo, tag=name)
        api.create_tag(repo, tag=name, revision=commit)
    if tags(api, repo).get(name) != commit:
        what = f"All files arrived at {repo}, but the Hub did not take the tag {name}"
        raise Refused(f"{what}.\nRun it again: what arrived is not sent twice.")


def tags(api: HfApi, repo: str) -> dict[str, str]:
    return {tag.name: tag.target_commit for tag in api.list_repo_refs(repo).tags}


def explain(error: BaseException, repo: str) -> str:
    """What went wrong, and what to do, in two lines. No header is ever shown."""
    error = network_cause(error)
    what = type(error).__name__
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        what = f"{status} {error.response.reason_phrase}"
        cure = "Wait a little"
        if status in (401, 403, 404):
            cure = "Make a token with write access to it (huggingface.co/settings/tokens)"
    elif isinstance(error, OfflineModeIsEnabled):
        cure = "Unset HF_HUB_OFFLINE, check the network, restart the kernel"
    elif isinstance(error, NETWORK):
        cure = "Check the network"
    else:
        cure = "Look whether the card's metadata and the folder are whole"
    again = "and run it again: what arrived is not sent twice"
    return f"The upload to {repo} failed ({what}).\n{cure}, {again}."


def token() -> str:
    """The token from HF_TOKEN, a Colab or Kaggle secret, or the stored login; never printed."""
    found = os.environ.get("HF_TOKEN")
    if not found and place() == "kaggle":
        found = kaggle_token()
    found = found or get_token()
    if not found:
        raise PermissionError(
            "There is no Hub token.\nSet HF_TOKEN (Colab, Kaggle: as a secret of that name), run "
            "`hf auth login` in a terminal, or `huggingface_hub.notebook_login()` in a cell."
        )
    return found


def kaggle_token() -> str | None:
    """The secret HF_TOKEN of a Kaggle notebook, if it is attached."""
    # Without a network it is not asked for, which would take 40 seconds
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return None
    from kaggle_secrets import BackendError, CredentialError, UserSecretsClient

    try:
        return UserSecretsClient().get_secret("HF_TOKEN")
    except (BackendError, CredentialError, ConnectionError):
        return None
