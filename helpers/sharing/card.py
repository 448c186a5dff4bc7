"""Writes the model card of an export: what it is, how to ask and load it, what was measured and how sure that is, and its limits."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from helpers.answers.formats import last_box_or_number
from helpers.answers.grading import last_number
from helpers.data import EMBEDDED
from helpers.recipes import Recipe, Source
from helpers.runs import Run
from helpers.settings import check_repo
from helpers.sharing.export import TINY, is_hub_id, origin_of, public_name
from helpers.training import settings_of

CARD = """\
---
{{ card_data }}
---

# {{ title }}

{{ base }} after {{ stages }} with the recipe `{{ recipe }}` ({{ summary }}), as {{ form }}.{{ where }}

## How to ask

The model was trained with this system prompt, and the chat template was called with `enable_thinking={{ thinking }}`:

````text
{{ system }}
````

## How to load

{{ loading }}

## Results

{{ results }}

Greedy decoding, and sampled at temperature {{ temperature }} with {{ samples }} answers a problem; at most {{ limit }} new tokens; {{ n }} held-out
problems ({{ data }}); 95 % intervals; one seed ({{ seed }}). Measured with the adapter on {{ base_as }}, as in training.
Strict: the right answer in the format asked for. Flexible: {{ flexible }} is right. Reward: what GRPO was paid with, {{ rewards }}; at most {{ most }}.
{{ pictures }}
## Data

{{ datasets }}

## Settings

| | |
|---|---|
{{ settings }}

## Limits

Trained on {{ data }} and measured on problems like them: nothing is known about other tasks. Steps can be false where the
answer is right: {{ hallucination }} of {{ n }} greedy answers state a false equation or a number from nowhere. It was taught a format and to be right, not to be safe.

## How it was made

Run `{{ run }}`, commit {{ commit }}. {{ versions }}.
"""

AUTO = """from transformers import AutoModelForCausalLM, AutoTokenizer

name = "{repo}"
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForCausalLM.from_pretrained(name, dtype="auto")
{ask}"""
PEFT = """from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

name = "{repo}"
tokenizer = AutoTokenizer.from_pretrained(name)
base = AutoModelForCausalLM.from_pretrained("{base}", dtype="auto")
model = PeftModel.from_pretrained(base, name)
{ask}"""
ASK = """messages = [{{"role": "system", "content": {system}}},
            {{"role": "user", "content": {question}}}]
prompt = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt",
    return_dict=True, enable_thinking={thinking})
reply = model.generate(**prompt, max_new_tokens={limit}, do_sample=False,
                       eos_token_id=tokenizer.eos_token_id)
print(tokenizer.decode(reply[0, prompt["input_ids"].shape[1]:],
                       skip_special_tokens=True))"""
PIPE = """from transformers import pipeline

ask = pipeline("text-generation", model="{repo}", dtype="auto")
messages = [{{"role": "system", "content": {system}}},
            {{"role": "user", "content": {question}}}]
prompt = ask.tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, tokenize=False,
    enable_thinking={thinking})
print(ask(prompt, max_new_tokens={limit}, do_sample=False,
          return_full_text=False)[0]["generated_text"])"""
LAST = {
    last_number: "the last number anywhere",
    last_box_or_number: "the last box, else the last number, anywhere",
}
OWNER = "your-name/"  # stands where nobody said whose the repository is
BASES = re.compile(
    r"(qwen|unsloth)/(qwen3-(0\.6|1\.7|4|8|14|32)b(-base)?|qwen2\.5-math-1\.5b)", re.IGNORECASE
)  # their licence: Apache-2.0
QUESTION = (
    "Sam has 25 beads. He sells 4 of them and gets 12 new beads. How many beads does Sam have now?"
)
PICTURES = {
    "rewards.png": "Rewards by step",
    "losses.png": "Losses by step",
    "accuracy.png": "Accuracy by stage",
}


def write_card(
    folder: str | Path,
    recipe: Recipe,
    run: str | Path,
    results: Mapping,
    repo: str,
    own: Mapping | None = None,
) -> ModelCard:
    """Puts README.md and the run's pictures into an export's folder. run: the folder of the run; results: what summary.json holds; own: a
    summary of sampled answers by this very export, if it was measured.

    Raises FileNotFoundError if the run did not finish, and ValueError as `model_card` does.
    """
    folder, run = Path(folder), Path(run)
    manifest = Run.read_finished(
        run, "A card tells how the model was trained: export an adapter in its run's folder."
    ).manifest
    found = {
        name: path
        for name in PICTURES
        for path in (run / "plots" / name, run.parent / "eval" / name)
        if path.is_file()
    }
    card = model_card(recipe, manifest, results, repo, origin_of(folder), tuple(found), own)
    shutil.rmtree(folder / "images", ignore_errors=True)
    for name, path in found.items():
        (folder / "images").mkdir(exist_ok=True)
        shutil.copy(path, folder / "images" / name)
    card.save(folder / "README.md")
    return card


def model_card(
    recipe: Recipe,
    manifest: Mapping,
    results: Mapping,
    repo: str,
    form: Mapping,
    pictures: tuple[str, ...] = (),
    own: Mapping | None = None,
) -> ModelCard:
    """A model card with the measured results of the model that `manifest`, a finished run's run.json, made.

    results: summary.json. form: `export.json` of what it lies beside. pictures: names of files in `images/`.
    Raises ValueError if the results do not hold the run's stage, or are of another adapter.
    """
    stage = manifest["stage"]
    check_repo(repo)
    if any(stage not in results.get(part, {}) for part in ("greedy", "sampled")):
        raise ValueError(
            f"The evaluation has no results of {stage}, only of {', '.join(results.get('greedy', {})) or 'nothing'}.\n"
            "Run 03_eval.ipynb again: it measures every stage there is."
        )
    trained = manifest.get("adapter_hash")
    if results.get("weights", {}).get(stage, trained) != trained:
        raise ValueError(
            f"The evaluation is of another {stage} adapter than this run's.\nRun 03_eval.ipynb again."
        )
    greedy, sampled = results["greedy"][stage], results["sampled"][stage]
    kind, title = form.get("form", "merged"), repo.rpartition("/")[2]
    base = public_name(manifest["model"])
    named, quantised = (
        base if is_hub_id(base) and base != TINY else None,
        "the base in 4-bit" if recipe.lora.load_in_4bit else "the base",
    )
    asks = {
        "repo": repo,
        "base": base,
        "system": literal(recipe.system),
        "thinking": recipe.thinking,
        "limit": recipe.grpo.max_completion,
        "question": literal(QUESTION),
    }
    asks["ask"] = ASK.format(**asks)
    loading = {
        "adapter": f"The adapter, on its base:\n\n```python\n{PEFT.format(**asks)}\n```",
        "gguf": "With Ollama, in this repository's folder; the Modelfile holds the prompt and the end:\n\n```bash\n"
        f"ollama create {title} -f Modelfile && ollama run {title}\n```",
        "merged": f"With transformers alone:\n\n```python\n{AUTO.format(**asks)}\n```\n\nor, shorter:\n\n```python\n{PIPE.format(**asks)}\n```",
    }[kind]
    data = ModelCardData(
        base_model=named,
        base_model_relation={"adapter": "adapter", "gguf": "quantized", "merged": "finetune"}[kind]
        if named
        else None,
        library_name={"adapter": "peft", "gguf": "gguf", "merged": "transformers"}[kind],
        pipeline_tag="text-generation",
        license=licence(named) if named or base == TINY else None,
        datasets=hub_datasets(results["data"]),
        model_name=title,
        tags=["grpo", "lora", "reasoning", recipe.name],
        eval_results=list(measured(recipe, results["data"], quantised, greedy, sampled, own)),
        run_hash=Run(".", manifest).hash,
    )
    return ModelCard.from_template(
        data,
        template_str=CARD,
        title=title,
        base="The embedded tiny Qwen3" if base == TINY else base,
        stages=" and ".join(s.upper() for s in recipe.stages[: recipe.stages.index(stage) + 1]),
        recipe=recipe.name,
        summary=recipe.title,
        form={"adapter": "a LoRA adapter", "gguf": "GGUF files", "merged": "one merged model"}[kind]
        + (f" ({form['precision']})" if form.get("precision") else ""),
        system=recipe.system,
        thinking=recipe.thinking,
        loading=loading,
        where=" That base comes with the project, as the folder `helpers/tiny/model`."
        if base == TINY
        else "",
        results=table(results, own),
        n=greedy["n"],
        data=data_name(results["data"]),
        base_as=quantised,
        flexible=LAST.get(recipe.format.extract_flexible, "the last answer anywhere"),
        limit=recipe.grpo.max_completion,
        seed=manifest["seed"],
        temperature=recipe.grpo.temperature,
        samples=sampled["completions"] // sampled["n"],
        rewards=" + ".join(f"{w:g} × `{n}`" for n, w in recipe.rewards.items()),
        most=f"{sum(recipe.rewards.values()):g}",
        hallucination=f"{greedy['hallucination']:.0%}",
        datasets=data_with_licences(recipe, results["data"]),
        settings=settings_table(recipe, manifest),
        pictures="\n" + "".join(f"![{PICTURES[name]}](images/{name})\n" for name in pictures),
        run=Run(".", manifest).hash or "not recorded",
        commit=manifest["commit"] or "not recorded",
        versions=", ".join(f"{k} {v}" for k, v in manifest["versions"].items()),
    )


def measured(
    recipe: Recipe, data: str, base_as: str, greedy: Mapping, sampled: Mapping, own: Mapping | None
) -> Iterator[EvalResult]:
    """The results for the Hub's evaluation metadata; what was measured, the interval and n stand in the metric's name, where the Hub shows them."""
    found = [
        (f"strict accuracy, greedy, adapter on {base_as}", "accuracy", greedy["strict"]),
        (f"strict accuracy, sampled, adapter on {base_as}", "accuracy", sampled["strict"]),
        (f"total reward, sampled, adapter on {base_as}", "reward", sampled["reward"]),
        (f"mean score, sampled, adapter on {base_as}", "score", sampled["score"]),
    ]
    if own:
        found += [
            ("strict accuracy, sampled, these weights", "accuracy", own["strict"]),
            ("total reward, sampled, these weights", "reward", own["reward"]),
        ]
    for name, kind, part in found:
        yield EvalResult(
            task_type="text-generation",
            dataset_type="generated" if data == EMBEDDED else data_name(data),
            dataset_name=data_name(data),
            dataset_config=recipe.source.config if data == recipe.source.path else None,
            dataset_split="test",
            metric_type=kind,
            metric_name=f"{name} [{part['low']:.3f}, {part['high']:.3f}], n={greedy['n']}",
            metric_value=round(part["value"], 4),
            metric_args={
                "interval_low": round(part["low"], 4),
                "interval_high": round(part["high"], 4),
                "problems": greedy["n"],
            },
        )


def table(results: Mapping, own: Mapping | None) -> str:
    """The results of every stage, and of this export where it was measured itself, as Markdown."""

    def cell(part: Mapping, form: str = "{:.1%}") -> str:
        return f"{form.format(part['value'])} [{form.format(part['low'])}, {form.format(part['high'])}]"

    rows = [
        "| model | strict, greedy | strict, sampled | flexible, greedy | format, greedy | reward, sampled |",
        "|---|---|---|---|---|---|",
    ]
    for name, g in results["greedy"].items():
        s = results["sampled"][name]
        rows.append(
            f"| {name} | {cell(g['strict'])} | {cell(s['strict'])} | {cell(g['flexible'])} | {cell(g['format'])} | {cell(s['reward'], '{:.2f}')} |"
        )
    if own:
        rows.append(
            f"| these weights | | {cell(own['strict'])} | | | {cell(own['reward'], '{:.2f}')} |"
        )
    return "\n".join(rows)


def settings_table(recipe: Recipe, manifest: Mapping) -> str:
    """The settings of LoRA and of the stages, a row a group."""
    found = {**settings_of(recipe), **manifest.get("settings", {})}
    shown = [part for part in ("lora", *recipe.stages) if isinstance(found.get(part), Mapping)]
    return "\n".join(
        f"| {part} | "
        + ", ".join(
            f"{name} {'/'.join(value) if isinstance(value, list | tuple) else value}"
            for name, value in found[part].items()
            if value is not None
        )
        + " |"
        for part in shown
    )


def literal(text: str) -> str:
    """The text as Python writes it: in three quotation marks where that is readable and safe."""
    plain = '"' not in text and "\\" not in text
    return f'"{text}"' if plain and "\n" not in text else f'"""{text}"""' if plain else repr(text)


def licence(base: str | None) -> str | None:
    """The licence of the weights that it comes from, where this project knows it; the embedded model's is this project's."""
    return "mit" if base is None else "apache-2.0" if BASES.fullmatch(base) else None


def data_name(data: str) -> str:
    """Where the problems come from, without a folder of this machine."""
    return (
        "generated problems"
        if data == EMBEDDED
        else data
        if is_hub_id(data.partition(":")[0])
        else Path(data).name
    )


def hub_datasets(data: str) -> list[str] | None:
    """The dataset's id for the Hub's metadata, without a configuration; None for what is not from the Hub."""
    return [data.partition(":")[0]] if is_hub_id(data.partition(":")[0]) else None


def data_with_licences(recipe: Recipe, data: str) -> str:
    """The datasets used, each with its licence where it is known."""
    known: dict[str, Source] = {
        source.path: source for source in (recipe.source, recipe.further) if source
    }
    if data == EMBEDDED:
        return f"Problems that the project generates itself (MIT), in the columns of {recipe.source.path}."
    return f"{data_name(data)} (licence: {known[data].licence if data in known else 'not stated'})."
