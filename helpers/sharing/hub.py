"""Gives an export to others: a plan, the upload, and the proof that what arrived is what was sent.

Nothing leaves this machine unless `push` is called.
"""

import contextlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    close_session,
    get_session,
    get_token,
)
from huggingface_hub.constants import HF_HUB_OFFLINE
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import filter_repo_objects
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_exponential

from helpers.machine import file_hash, place
from helpers.runs import read_object
from helpers.settings import check_repo
from helpers.sharing.card import OWNER
from helpers.sharing.export import EXPORT_FILE

STAYS_HERE = (".*", "*/.*", "*.part", "*.part/*", "*.tmp", "*.tmp/*")  # hidden and unfinished
# What a loader would mix with new weights, or read beside them
GGUF = ("*.gguf",)
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.index.json")
WEIGHTS += ("config.json", "generation_config.json", "adapter_config.json")
SILENCE = 60  # seconds without a byte that end a try
REFUSED = (401, 403, 404)  # what is not different a moment later
NETWORK = (HfHubHTTPError, httpx.TransportError, ConnectionError)


@dataclass(frozen=True)
class Plan:
    """What a push would do."""

    repo: str | None
    private: bool
    files: dict[str, float]  # size in MB

    def __str__(self) -> str:
        seen_by = "private" if self.private else "PUBLIC: everybody can see it"
        lines = [f"repository  {self.repo or '(set REPO)'}, {seen_by}"]
        for name, megabytes in self.files.items():
            lines.append(f"{megabytes:12.3f} MB  {name}")
        lines.append(f"{sum(self.files.values()):12.3f} MB  in {len(self.files)} files")
        return "\n".join(lines)


def plan_push(folder: str | Path, repo: str | None, private: bool = True) -> Plan:
    """What a push of this folder would do; it needs no network.

    Raises FileNotFoundError or ValueError for what cannot be pushed.
    """
    check_repo(repo)
    folder = Path(folder)
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.gguf")):
        raise FileNotFoundError(
            f"There is no folder {folder} with weights (.safetensors or .gguf) to push.\n"
            "Export first: notebook 04, or python -m helpers export."
        )
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
    return Plan(repo, private, files)


def check_card(folder: str | Path) -> None:
    """Raises ValueError if the card names nobody's repository: its examples would not load."""
    card = Path(folder) / "README.md"
    if card.is_file() and OWNER in card.read_text(encoding="utf-8"):
        raise ValueError(
            f'The card {card} says "{OWNER}…", and not whose the model is.\n'
            "Set REPO and run notebook 04 again from the model card on, "
            "or export again with --repo."
        )


def push(folder: str | Path, repo: str, private: bool = True, endpoint: str | None = None) -> str:
    """Uploads a folder as a model repository, checks what arrived, and returns its address.

    What is there already is not sent again, so that a push that was cut off goes on. Every file is
    read back. The commit is tagged with the run.
    Raises PermissionError (no token), FileNotFoundError or ValueError (what cannot be pushed), or
    RuntimeError when it failed.
    """
    folder = Path(folder)
    plan = plan_push(folder, repo, private)
    check_card(folder)
    origin = read_object(folder / EXPORT_FILE, {}, "Export it again.") or {}
    api = HfApi(endpoint, token())
    try:
        return send(api, folder, plan, origin.get("run"))
    except Exception as error:
        cause = network_cause(error)
        if cause is None:
            raise
        what = type(cause).__name__
        cure = "Check the network; unset HF_HUB_OFFLINE and restart the kernel, where it is set"
        if isinstance(cause, HfHubHTTPError):
            what = f"{cause.response.status_code} {cause.response.reason_phrase}"
            cure = "Wait a little"
            if cause.response.status_code in REFUSED:
                cure = "Make a token with write access to it (huggingface.co/settings/tokens)"
        # Without the client's own error, which holds the request and its token
        raise RuntimeError(
            f"The upload to {repo} failed ({what}).\n"
            f"{cure}, and run it again: what arrived is not sent twice."
        ) from None
    finally:
        close_session()  # the next one waits again as long as the library does


def network_cause(error: BaseException | None) -> BaseException | None:
    """The failed request behind an error: the client wraps it in errors of its own."""
    while error is not None and not isinstance(error, NETWORK):
        error = error.__cause__
    return error


def may_pass(error: BaseException) -> bool:
    """Whether the next try may end otherwise."""
    cause = network_cause(error)
    if isinstance(cause, HfHubHTTPError):
        return cause.response.status_code not in REFUSED
    return isinstance(cause, httpx.TransportError)


@retry(
    stop=stop_after_attempt(5),
    wait=wait_exponential(max=30),
    retry=retry_if_exception(may_pass),
    reraise=True,
)
def send(api: HfApi, folder: Path, plan: Plan, run: str | None) -> str:
    """Sends what is new, reads all back, and tags it; returns the repository's address.

    Raises RuntimeError if others see it than this push says, or if a file did not arrive whole.
    """
    get_session().timeout = httpx.Timeout(SILENCE)  # without it, a silent connection lasts for ever
    url = api.create_repo(plan.repo, private=plan.private, exist_ok=True)
    if api.repo_info(plan.repo).private != plan.private:
        wanted = "private" if plan.private else "public"
        raise RuntimeError(
            f"{plan.repo} is on the Hub, and not {wanted} as this push is.\n"
            f"Set private={not plan.private}, change it on the Hub, or choose another REPO."
        )
    stale = GGUF if any(folder.glob("*.gguf")) else WEIGHTS
    operations: list = []
    for name in filter_repo_objects(api.list_repo_files(plan.repo), allow_patterns=stale):
        if name not in plan.files and "/" not in name:
            operations.append(CommitOperationDelete(name))
    for name in plan.files:  # all: the client leaves out what is there
        operations.append(CommitOperationAdd(name, folder / name))
    message = "Upload the trained model"
    commit = api.create_commit(plan.repo, operations, commit_message=message).oid
    lost = []
    for name in plan.files:  # the client compares their sizes only
        with tempfile.TemporaryDirectory() as here:
            arrived = api.hf_hub_download(plan.repo, name, revision=commit, local_dir=here)
            if file_hash(arrived) != file_hash(folder / name):
                lost.append(name)
    if lost:
        raise RuntimeError(
            f"{len(lost)} of {len(plan.files)} files did not arrive whole: {', '.join(lost[:3])}.\n"
            "Delete them on the Hub and run it again: what has the same hash is not sent twice."
        )
    if run:  # a tag of that name moves
        with contextlib.suppress(HfHubHTTPError):  # there is none, or create_tag fails
            api.delete_tag(plan.repo, tag=f"run-{run}")
        api.create_tag(plan.repo, tag=f"run-{run}", revision=commit)
    return str(url)


def token() -> str:
    """The token from HF_TOKEN, a Colab or Kaggle secret, or the stored login; never printed."""
    found = get_token()
    if not found and place() == "kaggle" and not HF_HUB_OFFLINE:  # which would take 40 seconds
        from kaggle_secrets import UserSecretsClient

        with contextlib.suppress(Exception):  # of several kinds: it is not attached, say
            found = UserSecretsClient().get_secret("HF_TOKEN")
    if not found:
        raise PermissionError(
            "There is no Hub token.\nSet HF_TOKEN (Colab, Kaggle: as a secret of that name), run "
            "`hf auth login` in a terminal, or `huggingface_hub.notebook_login()` in a cell."
        )
    return found
