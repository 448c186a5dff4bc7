"""Gives a model to others: a card with the measured numbers, a plan of what would be uploaded, and the upload itself.

Nothing leaves this machine unless `push` is called, and the notebook calls it only where PUSH is set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from huggingface_hub import EvalResult, HfApi, ModelCard, ModelCardData, get_token
from huggingface_hub.errors import HfHubHTTPError

from helpers.answers.formats import last_box_or_number
from helpers.answers.grading import last_number
from helpers.machine import file_hash, place
from helpers.recipes import Recipe

CARD = """\
---
{{ card_data }}
---

# {{ title }}

{{ base }} after {{ stages }} with the recipe `{{ recipe }}`: {{ summary }}

## How to ask

System prompt:

```text
{{ system }}
```

The chat template is called with `enable_thinking={{ thinking }}`, as in training.

## Results

{{ results }}

Measured on {{ n }} held-out problems ({{ data }}); greedy decoding, at most {{ limit }} new tokens; intervals are 95 %.
One seed ({{ seed }}). Measured with the adapter on {{ base_as }}, as in training. Strict: the right answer in the format asked for.
Flexible: {{ flexible }} is right.

## Limits

Trained on {{ data }} and measured on problems like them; nothing is known about other tasks. A reply can state false steps.

## How it was made

Versions: {{ versions }}. Commit: {{ commit }}.
"""


LAST = {last_number: "the last number anywhere", last_box_or_number: "the last box, else the last number, anywhere"}


@dataclass(frozen=True)
class PlannedFile:
    path: str
    megabytes: float


def model_card(recipe: Recipe, manifest: Mapping, summaries: Mapping[str, Mapping], data: str, repo: str) -> ModelCard:
    """A model card with the measured results, for the last model in `summaries`.

    manifest: a finished run's run.json. data: what it was trained and measured on, in words.
    """
    last = list(summaries.values())[-1]
    embedded = data == "embedded"
    name = "generated problems" if embedded else data
    card_data = ModelCardData(
        base_model=None if Path(manifest["model"]).exists() else manifest["model"], library_name="transformers", license="apache-2.0",
        datasets=None if embedded or Path(data).exists() else [data], tags=["grpo", "lora", recipe.name], model_name=repo.rpartition("/")[2],
        eval_results=[EvalResult(task_type="text-generation", dataset_type="generated" if embedded else data, dataset_name=name,
                                 metric_type="accuracy", metric_name=f"strict accuracy, n={last['n']}", metric_value=round(last["strict"]["value"], 4))])
    rows = ["| model | strict | flexible | format |", "|---|---|---|---|"]
    for model, s in summaries.items():
        cells = (f"{s[key]['value']:.1%} [{s[key]['low']:.1%}, {s[key]['high']:.1%}]" for key in ("strict", "flexible", "format"))
        rows.append(f"| {model} | " + " | ".join(cells) + " |")
    return ModelCard.from_template(
        card_data, template_str=CARD, title=repo.rpartition("/")[2], base=display_name(manifest["model"]), stages=", ".join(recipe.stages).upper(),
        recipe=recipe.name, summary=recipe.title + ".", system=recipe.system, thinking=recipe.thinking, results="\n".join(rows), n=last["n"],
        data=name, base_as="the base in 4-bit" if recipe.lora.load_in_4bit else "the base",
        flexible=LAST.get(recipe.format.extract_flexible, "the last answer anywhere"), limit=recipe.grpo.max_completion,
        seed=manifest["seed"], commit=manifest["commit"] or "not recorded",
        versions=", ".join(f"{k} {v}" for k, v in manifest["versions"].items()))


def display_name(model: str) -> str:
    """A Hub id as it is; the last part of a local folder, which means nothing elsewhere."""
    if Path(model).exists():
        return "the embedded tiny Qwen3" if Path(model).parent.name == "tiny" else Path(model).name
    return model


def plan_push(folder: str | Path, repo: str | None) -> list[PlannedFile]:
    """Every file that a push of this folder would upload. Uploads nothing, needs no network and no token."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder} to push.\nRun the cells above, which export it.")
    if repo is not None and repo.count("/") != 1:
        raise ValueError(f"REPO is {repo!r}.\nGive it as \"your-name/model-name\".")
    return [PlannedFile(str(file.relative_to(folder)), file.stat().st_size / 1e6) for file in sorted(folder.rglob("*")) if file.is_file()]


def token() -> str:
    """The Hub token from HF_TOKEN, the stored login, Colab's or Kaggle's secrets. Never printed. Raises PermissionError for none."""
    found = os.environ.get("HF_TOKEN") or (kaggle_token() if place() == "kaggle" else None) or get_token()
    if not found:
        raise PermissionError("There is no Hub token.\nSet HF_TOKEN (Colab, Kaggle: as a secret of that name), or run `hf auth login` in a terminal.")
    return found


def kaggle_token() -> str | None:
    """The secret HF_TOKEN of a Kaggle notebook, if it is attached."""
    from kaggle_secrets import BackendError, CredentialError, UserSecretsClient

    try:
        return UserSecretsClient().get_secret("HF_TOKEN")
    except (BackendError, CredentialError, ConnectionError):
        return None


def push(folder: str | Path, repo: str, private: bool = True, endpoint: str | None = None) -> str:
    """Uploads a folder as a model repository (private unless said otherwise), then checks what arrived. Returns its address.

    Raises RuntimeError, in two lines, when the upload failed or what is there is not what was sent.
    """
    planned = {file.path for file in plan_push(folder, repo)}
    api = HfApi(endpoint=endpoint, token=token())
    try:
        url = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=str(folder), commit_message="Upload the trained model")
        there = {entry.path: entry for entry in api.list_repo_tree(repo, recursive=True) if hasattr(entry, "size")}
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        raise RuntimeError(f"The Hub refused the upload to {repo} ({status}).\nCheck that the token may write there, and run the cell again.") from None
    except (httpx.TransportError, ConnectionError) as error:
        raise RuntimeError(f"The Hub could not be reached for {repo} ({type(error).__name__}).\nCheck the network, and run the cell again.") from None
    wrong = [path for path in planned if path not in there or differs(Path(folder) / path, there[path])]
    if wrong:
        raise RuntimeError(f"{len(wrong)} of {len(planned)} files did not arrive whole: {', '.join(wrong[:3])}.\nRun the cell again; what is there is kept.")
    return str(url)


def differs(file: Path, remote) -> bool:
    """Whether the Hub's entry is not this file: by SHA-256 where the Hub has one, else by size."""
    lfs = getattr(remote, "lfs", None)
    return file_hash(file) != lfs.sha256 if lfs else file.stat().st_size != remote.size
