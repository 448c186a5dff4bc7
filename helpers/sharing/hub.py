"""Gives an export to others: a plan, the upload, and the proof that what arrived is what was sent.

Nothing leaves this machine unless `push` is called.
"""

import contextlib
import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    close_session,
    constants,
    get_session,
    get_token,
    hf_hub_url,
)
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils import build_hf_headers, filter_repo_objects, hf_raise_for_status, tqdm
from tenacity import RetryCallState, retry, retry_if_exception, stop_after_attempt, wait_exponential

from helpers.machine import file_hash, place
from helpers.runs import read_object
from helpers.settings import check_repo
from helpers.sharing.card import OWNER
from helpers.sharing.export import EXPORT_FILE, check_proved, foreign_files

STAYS_HERE = (".*", "*/.*", "*.part", "*.part/*", "*.tmp", "*.tmp/*")  # hidden and unfinished
GIT_FILE = ".gitattributes"  # the Hub's own
UNPROVED = re.compile(r"-unproved(-[0-9]+)?$")  # what an export is called that failed its proof
GGUF = ("*.gguf",)
# What a loader would mix with new weights, or read beside them
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.index.json")
WEIGHTS += ("config.json", "generation_config.json", "adapter_config.json")
SILENCE = 60  # seconds without a byte that end a try
TRIES = 5  # of each step: the commit, each file that is read back, the tag
PASSING = (408, 409, 412, 429)  # and 5xx: what may be different a moment later
NETWORK = (HfHubHTTPError, httpx.TransportError, ConnectionError)
NO_WRITING = "Make a token with write access to it (huggingface.co/settings/tokens)"
CURES = {
    **dict.fromkeys((401, 403, 404), NO_WRITING),
    409: "Wait until nothing else changes it, or take a token that may read and write it",
    412: "Another push came in between each time: wait until that has ended",
    413: "A file is larger than the Hub takes: take it out of the folder",
}


@dataclass(frozen=True)
class Plan:
    """What a push would do."""

    repo: str | None
    private: bool
    files: dict[str, float]  # size in MB
    foreign: Sequence[str] = ()  # those of them that the export did not write

    def __str__(self) -> str:
        seen_by = "private" if self.private else "PUBLIC: everybody can see it"
        lines = [f"repository  {self.repo or '(set REPO)'}, {seen_by}"]
        for name, megabytes in self.files.items():
            foreign = "  (not from the export)" if name in self.foreign else ""
            lines.append(f"{megabytes:12.3f} MB  {name}{foreign}")
        lines.append(f"{sum(self.files.values()):12.3f} MB  in {len(self.files)} files")
        if "README.md" not in self.files:
            lines.append("no card: one that lies there stays, and tells of what was pushed before")
        return "\n".join(lines)


def plan_push(folder: str | Path, repo: str | None, private: bool = True) -> Plan:
    """What a push of this folder would do; it needs no network.

    Raises FileNotFoundError or ValueError for what cannot be pushed.
    """
    check_repo(repo)
    folder = Path(folder)
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.gguf")):
        inside = sorted(path.parent for path in folder.glob(f"*/{EXPORT_FILE}"))
        exports = [str(path) for path in inside if not UNPROVED.search(path.name)]
        cure = "Export first: notebook 04, or python -m helpers export."
        if exports:
            cure = f"Name one of the exports in it: {', '.join(exports)}."
        what = f"There is no folder {folder} with weights (.safetensors or .gguf) to push"
        raise FileNotFoundError(f"{what}.\n{cure}")
    if UNPROVED.search(folder.resolve().name):
        raise ValueError(f"{folder} was not proved.\nExport again, and push what that makes.")
    config = folder / "adapter_config.json"
    if config.is_file():
        base = json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"]
        if Path(base).is_absolute():
            raise ValueError(
                f"{config} names a folder of this machine as its base ({base}).\n"
                "Push the copy that notebook 04 makes, …/export/adapter, "
                "or the merged model that python -m helpers export makes."
            )
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [path.relative_to(folder).as_posix() for path in paths]
    files = {}
    for name in filter_repo_objects(names, ignore_patterns=STAYS_HERE):
        files[name] = (folder / name).stat().st_size / 1e6
    foreign = []
    if (folder / EXPORT_FILE).is_file():
        check_proved(folder)
        foreign = foreign_files(folder)
    return Plan(repo, private, files, foreign)


def check_card(folder: str | Path) -> None:
    """Raises ValueError if the card names nobody's repository: its examples would not load."""
    card = Path(folder) / "README.md"
    if card.is_file() and OWNER in card.read_text(encoding="utf-8"):
        raise ValueError(
            f'The card {card} says "{OWNER}…", and not whose the model is.\n'
            "Set REPO and run notebook 04 again from the model card on, "
            "or export again with --repo."
        )


def name_card(folder: Path, repo: str) -> None:
    """Puts the repository where the card of an export says nobody's, as long as there was none."""
    card = folder / "README.md"
    if card.is_file():
        text = card.read_text(encoding="utf-8")
        card.write_text(re.sub(rf"{OWNER}[\w.-]+", repo, text), encoding="utf-8")


def push(folder: str | Path, repo: str, private: bool = True, endpoint: str | None = None) -> str:
    """Uploads a folder as a model repository, checks what arrived, and returns its address.

    What is there already is not sent again, so that a push that was cut off goes on. Every file is
    read back. The commit is tagged with the run.
    Raises PermissionError (no token), FileNotFoundError or ValueError (what cannot be pushed), or
    RuntimeError when it failed.
    """
    folder = Path(folder)
    plan = plan_push(folder, repo, private)
    if repo.startswith(OWNER):
        raise ValueError(f"{repo} is an example.\nGive your own name on the Hub in its place.")
    check_card(folder)
    origin = read_object(folder / EXPORT_FILE, {}, "Export it again.") or {}
    api = HfApi(endpoint, token())
    try:
        with limits():
            commit = send(api, folder, plan)
            check_arrived(api, folder, plan, commit)
            if origin.get("run"):
                mark(api, repo, f"run-{origin['run']}", commit)
    except Exception as error:
        cause = network_cause(error)
        if cause is None:
            raise
        cure = "Check the network, and in a notebook restart the kernel"
        if isinstance(cause, HfHubHTTPError):
            cure = CURES.get(cause.response.status_code, "Wait a little")
        # Without the client's own error, which holds the request and its token
        raise RuntimeError(
            f"The upload to {repo} failed ({name_of(cause)}).\n"
            f"{cure}, and run it again: what arrived is not sent twice."
        ) from None
    return f"{api.endpoint}/{repo}"


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """In it, each request ends after SILENCE seconds without a byte, and is made once.

    hf_xet can wait for ever: its last request has no limit. So the files go over the same client
    as all else, as they do where it is not installed.
    """
    disabled = constants.HF_HUB_DISABLE_XET
    constants.HF_HUB_DISABLE_XET = True
    session = get_session()
    session.send = functools.partial(once, session.send)
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = disabled
        close_session()  # the next one is the library's own again


def once(ask: Callable[..., httpx.Response], request: httpx.Request, **more) -> httpx.Response:
    """Makes a request once: what the library would repeat is raised, and `again` repeats it."""
    request.extensions["timeout"] = httpx.Timeout(SILENCE).as_dict()  # some calls ask for none
    try:
        answer = ask(request, **more)
    except httpx.TransportError as error:
        raise RuntimeError("no answer") from error
    if answer.status_code >= 500 or answer.status_code == 409:
        hf_raise_for_status(answer)
    return answer


def network_cause(error: BaseException | None) -> BaseException | None:
    """The failed request behind an error: the client wraps it in errors of its own."""
    while error is not None and not isinstance(error, NETWORK):
        error = error.__cause__
    return error


def name_of(cause: BaseException) -> str:
    """What a failed request is called: its status, or the kind of the network's error."""
    if isinstance(cause, HfHubHTTPError):
        return f"{cause.response.status_code} {cause.response.reason_phrase}"
    return type(cause).__name__


def may_pass(error: BaseException) -> bool:
    """Whether the next try may end otherwise."""
    cause = network_cause(error)
    if isinstance(cause, HfHubHTTPError):
        return cause.response.status_code >= 500 or cause.response.status_code in PASSING
    return isinstance(cause, httpx.TransportError)


def say_again(state: RetryCallState) -> None:
    """Says why there is another try, and when."""
    what = name_of(network_cause(state.outcome.exception()))
    seconds = state.next_action.sleep
    print(f"{what}: try {state.attempt_number + 1} of {TRIES} in {seconds:.0f} s", flush=True)


again = retry(
    stop=stop_after_attempt(TRIES),
    wait=wait_exponential(max=30),
    retry=retry_if_exception(may_pass),
    before_sleep=say_again,
    reraise=True,
)


@again
def send(api: HfApi, folder: Path, plan: Plan) -> str:
    """Makes the repository hold this folder, in one commit or none; returns the commit's hash.

    Each try reads what is there and plans anew, so that a lost answer or another's push does no
    harm. Raises RuntimeError if others see the repository than this push says.
    """
    try:
        there = api.repo_info(plan.repo)
    except RepositoryNotFoundError:
        api.create_repo(plan.repo, private=plan.private)
        there = api.repo_info(plan.repo)
    if there.private != plan.private:
        wanted = "private" if plan.private else "public"
        raise RuntimeError(
            f"{plan.repo} is on the Hub, and not {wanted} as this push is.\n"
            "Push it as it is there (private, or in a terminal --public), change it on the Hub, or "
            "choose another REPO."
        )
    # its missing_paths are on the Hub and not here, its extra_paths here and not on the Hub
    found = api.verify_repo_checksums(plan.repo, local_dir=folder, revision=there.sha)
    stale = GGUF if any(folder.glob("*.gguf")) else WEIGHTS
    operations: list = []
    for name in filter_repo_objects(found.missing_paths, allow_patterns=stale):
        if "/" not in name:
            operations.append(CommitOperationDelete(name))
    staying = {*found.missing_paths} - {each.path_in_repo for each in operations} - {GIT_FILE}
    if staying:
        print(f"stays on the Hub, and is not in this folder: {', '.join(sorted(staying))}")
    new = {*found.extra_paths, *(mismatch["path"] for mismatch in found.mismatches)}
    for name in plan.files:
        if name in new:
            operations.append(CommitOperationAdd(name, folder / name))
    if not operations:
        print("nothing is new: all of it is there")
        return there.sha
    options = {"commit_message": "Upload the trained model", "parent_commit": there.sha}
    return api.create_commit(plan.repo, operations, **options).oid


def check_arrived(api: HfApi, folder: Path, plan: Plan, commit: str) -> None:
    """Reads each file back and compares its SHA-256, for the client's upload compares sizes only.

    Raises RuntimeError that names what did not arrive whole.
    """
    lost = []
    for name in plan.files:
        if hash_there(api, plan.repo, name, commit) != file_hash(folder / name):
            lost.append(name)
    if lost:
        raise RuntimeError(
            f"{len(lost)} of {len(plan.files)} files did not arrive whole: {', '.join(lost[:3])}.\n"
            "Delete them on the Hub and run it again: what has the same hash is not sent twice."
        )


@again
def hash_there(api: HfApi, repo: str, name: str, commit: str) -> str:
    """SHA-256 of a file as the Hub gives it, in hex; shows a bar."""
    url = hf_hub_url(repo, name, revision=commit, endpoint=api.endpoint)
    found = hashlib.sha256()
    headers = build_hf_headers(token=api.token)
    looks = {"unit": "B", "unit_scale": True, "desc": f"reading back {name}"}
    with get_session().stream("GET", url, headers=headers) as answer, tqdm(**looks) as bar:
        hf_raise_for_status(answer)
        for part in answer.iter_bytes():
            found.update(part)
            bar.update(len(part))
    return found.hexdigest()


@again
def mark(api: HfApi, repo: str, tag: str, commit: str) -> None:
    """Puts a tag on a commit; one of that name moves."""
    with contextlib.suppress(HfHubHTTPError):  # there is none; what else is wrong, create_tag says
        api.delete_tag(repo, tag=tag)
    api.create_tag(repo, tag=tag, revision=commit)


def token() -> str:
    """The token from HF_TOKEN, a Colab or Kaggle secret, or the stored login; never printed."""
    found = get_token()
    if not found and place() == "kaggle" and not constants.HF_HUB_OFFLINE:  # it tries for 40 s
        from kaggle_secrets import UserSecretsClient

        with contextlib.suppress(Exception):  # of several kinds: it is not attached, say
            found = UserSecretsClient().get_secret("HF_TOKEN")
    if not found:
        raise PermissionError(
            "There is no Hub token.\nSet HF_TOKEN (Colab, Kaggle: as a secret of that name), run "
            "`hf auth login` in a terminal, or `huggingface_hub.notebook_login()` in a cell."
        )
    return found
