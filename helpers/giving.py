"""The work of `python -m helpers export`: an adapter, its base and its recipe are found, then exported, proved and described."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from helpers import data, machine, training
from helpers import (
    runs as runlog,
)
from helpers import (
    sharing as card,
)
from helpers import sharing as exports
from helpers import (
    sharing as gguf,
)
from helpers import (
    sharing as proof,
)
from helpers.recipes import RECIPES, Recipe, for_profile, get_recipe
from helpers.settings import check_repo

ASKED = (
    16  # prompts of the proof, of the generated problems of the recipe's kind: they need no network
)


def export(
    adapter: Path | None,
    precision: str,
    recipe: str | None,
    model: str | None,
    out: Path | None,
    kinds: Sequence[str],
    repo: str | None,
    staging: Path | None,
) -> str:
    """Exports and proves a merged model and, with `kinds`, GGUF files; returns what is printed. Raises OSError, ValueError or RuntimeError."""
    check_repo(repo or None)
    adapter = training.Adapter.read(adapter or last_adapter(recipe), model)
    manifest = adapter.run.manifest if adapter.run else {}
    settled = for_profile(
        get_recipe(recipe or manifest.get("recipe") or "gsm8k_xml"), machine.detect().profile
    )
    base = model or exports.unquantised_name(adapter.base)
    if kinds:
        gguf.check_gguf(kinds)
    folder = out or Path("outputs") / settled.name / "export" / f"merged-{precision}"
    exports.merge(base, adapter, folder, precision, staging)
    shown = proof.prove(
        folder,
        base,
        adapter.folder,
        prompts(settled, adapter.folder),
        min(256, settled.grpo.max_completion),
    )
    nearly = (
        " (rounding turns a reply where two tokens are nearly tied)"
        if shown.same_text < shown.prompts
        else ""
    )
    lines = [
        f"adapter  {adapter.folder}",
        f"merged   {folder}, {exports.megabytes(folder):.2f} MB",
        f"proved   {shown.same_text} of {shown.prompts} greedy replies are those of base + adapter{nearly}; logits within {shown.relative:.1e} of the largest "
        f"(beyond rounding {shown.beyond_rounding:.1e})",
    ]
    runlog.write_json(folder.parent / f"{folder.name}-proof.json", asdict(shown))
    try:
        summary = runlog.read_summary(adapter.folder.parent.parent / "eval")
        if manifest.get("status") == "finished" and summary:
            card.write_card(
                folder,
                settled,
                adapter.folder.parent,
                summary,
                repo or f"{card.OWNER}{settled.name}",
            )
            lines.append(f"card     {folder / 'README.md'}")
    except ValueError as error:
        lines.append(f"no card  {error}")
    lines += [
        f"gguf     {path}"
        for path in (
            gguf.to_gguf(folder, folder.with_name("gguf"), settled, kinds, staging) if kinds else ()
        )
    ]
    return "\n".join(lines)


def last_adapter(recipe: str | None) -> Path:
    """The adapter of the last stage under outputs/. Raises FileNotFoundError if there is none."""
    stages = [
        Path("outputs") / name / stage
        for name in ([recipe] if recipe else RECIPES)
        for stage in ("grpo", "sft")
    ]
    found = next(
        (
            stage / "adapter"
            for stage in stages
            if (stage / "adapter" / "adapter_config.json").is_file()
        ),
        None,
    )
    if found is None:
        raise FileNotFoundError(
            "There is no adapter under outputs/.\nTrain one (make run), or name an adapter's folder."
        )
    return found


def prompts(recipe: Recipe, adapter: Path) -> list[str]:
    """What the proof asks, with the chat template applied."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(adapter))
    examples = data.load(recipe, None, "tiny")["train"].examples[:ASKED]
    return [data.prompt_text(recipe, tokenizer, example.question) for example in examples]
