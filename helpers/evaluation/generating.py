"""Answers and grades problems batch by batch; what was cut off goes on as if it had not been.

Beside the records, `<name>.jsonl`, lies `<name>.json`: what they are made of. Until they are there,
`<name>.replies` gets a line a batch.
"""

import hashlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path

import torch
from accelerate.utils import set_seed
from safetensors.torch import load_file

from helpers import runs, training
from helpers.data import load_tokenizer, messages, prompt_text, settle_tokenizer, tokens_of
from helpers.machine import Machine, versions
from helpers.recipes import Recipe
from helpers.rewards import columns
from helpers.rows import Example
from helpers.training import Adapter, Completion, adapter_identity

CODE = (*training.CODE, "evaluation/generating.py")
CHUNK = 8  # batches given to vLLM at once: it fills its own, and what is done is kept in between


@dataclass(frozen=True)
class Record:
    """One graded completion, a line of an evaluation's file.

    extracted: the answer in its place; flexible: the last number or box anywhere; None for none.
    score: of the extracted answer, 0 to 1. follows: it has the whole format. outcome: one of
    OUTCOMES. rewards: what training would have paid, `reward` their weighted sum. lm_eval: whether
    lm-evaluation-harness's strict filter takes it, for `####`.
    sample: its number among a problem's drawn answers; None for a greedy one.
    """

    id: str
    question: str
    gold: str
    completion: str
    tokens: int
    finished: bool
    extracted: str | None
    flexible: str | None
    flexible_right: bool
    score: float
    follows: bool
    outcome: str
    reward: float
    rewards: Mapping[str, float]
    lm_eval: bool | None = None
    sample: int | None = None

    @property
    def line(self) -> dict:
        """As it is written; `sample` and `lm_eval` only where there is one."""
        found = asdict(self)
        for name in ("lm_eval", "sample"):
            if found[name] is None:
                del found[name]
        return found


def grade(recipe: Recipe, example: Example, text: str, tokens: int, finished: bool) -> Record:
    """The record of one completion: read, judged and paid for as in training."""
    prompt = messages(recipe, example.question)
    gold = example.answer
    given = {"prompts": [prompt], **columns([example])}
    paid = training.reward_table(recipe, [text], [gold], **given)
    rewards = {name: values[0] for name, values in paid.items()}
    text = recipe.with_opening(text)
    extracted = recipe.format.extract(text)
    flexible = recipe.format.extract_flexible(text)
    score = recipe.score(extracted, gold) or 0.0
    flexible_right = max(score, recipe.score(flexible, gold) or 0.0) == 1.0
    follows = recipe.format.follows(text)
    if not finished:
        outcome = "truncated"
    elif score == 1.0 and follows:
        outcome = "correct"
    elif flexible_right:
        outcome = "right_wrong_format"
    elif extracted is None:
        outcome = "no_answer"
    else:
        outcome = "wrong"
    return Record(
        id=example.id,
        question=example.question,
        gold=gold,
        completion=text,
        tokens=tokens,
        finished=finished,
        extracted=extracted,
        flexible=flexible,
        flexible_right=flexible_right,
        score=score,
        follows=follows,
        outcome=outcome,
        reward=rewards.pop("total"),
        rewards=rewards,
        lm_eval=recipe.format.lm_eval(text, gold),
    )


def evaluate(
    model,
    tokenizer,
    recipe: Recipe,
    examples: Sequence[Example],
    path: str | Path,
    samples: int = 0,
    seed: int = 0,
    resume: bool = True,
) -> list[Record]:
    """Answers and grades every example; the records are returned, and stand at `path`.

    samples: 0 for one greedy answer a problem, else so many drawn at GRPO's temperature. What was
    evaluated before is read or gone on with if weights, problems, settings, code and versions are
    the same; otherwise it is put aside. Raises RuntimeError if another process is at work here.
    """
    path = Path(path)
    numbers = range(samples) if samples else [None]
    asked = list(itertools.product(examples, numbers))
    prompts = [prompt_text(recipe, tokenizer, example.question) for example, _ in asked]
    temperature = recipe.grpo.temperature if samples else 0.0
    limit, batch = recipe.grpo.max_completion, recipe.evaluation.batch
    problems = repr([prompts, *map(asdict, examples)])
    made_of = {
        **weights_of(model),
        "recipe": recipe.name,
        **training.reading(recipe),
        "rewards": dict(recipe.rewards),
        "problems": hashlib.sha256(problems.encode()).hexdigest()[:16],
        "settings": [temperature, samples, seed, limit, batch],
        "code": training.code_hash(CODE),
        "versions": versions(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with training.lock_folder(path, "evaluating into"):
        keep_only(path, made_of, resume)
        if path.is_file():
            records = [Record(**line) for line in runs.read_lines(path)]
            if len(records) == len(asked):
                return records
            print(f"{path} holds {len(records)} of {len(asked)} records; it is made anew")
        set_seed(seed)
        records = []
        given = (prompts, limit, temperature, batch, path.stem)
        for place, *reply in reply_to(model, tokenizer, given, path):
            example, number = asked[place]
            records.append(replace(grade(recipe, example, *reply), sample=number))
        runs.write_lines(path, [record.line for record in records])
        path.with_suffix(".replies").unlink()
    return records


def weights_of(model) -> dict:
    """What stands for a model's weights in what its records are made of."""
    if isinstance(model, Engine):
        values = ""
        if model.adapter:
            values = adapter_identity(load_file(model.adapter.weights).items())
        return {"weights": f"vllm {model.base}", "adapter": values, "scale": []}
    weights = list(training.at_work(model))
    return {
        "weights": training.identity(weights),
        "adapter": adapter_identity(weights),
        "scale": training.scales(model),
    }


def stored_state(path: Path) -> dict:
    """What the records at `path` are made of; {} for none."""
    cure = "Delete it; the records beside it will be put aside."
    return runs.read_object(path.with_suffix(".json"), {}, cure) or {}


def keep_only(path: Path, made_of: dict, resume: bool) -> None:
    """Records or replies that are made of something else are kept as `<name>-before`."""
    state = stored_state(path)
    if resume and state == made_of:
        return
    replies = path.with_suffix(".replies")
    held = path if path.is_file() else replies
    if resume and held.is_file():
        kept = runs.free_name(held)
        os.replace(held, kept)
        if state:
            os.replace(path.with_suffix(".json"), f"{kept}.json")
        changed = [name for name in made_of if state.get(name) != made_of[name]]
        print(f"{held} held records of other {', '.join(changed)}; kept as {kept.name}")
    path.unlink(missing_ok=True)
    replies.unlink(missing_ok=True)
    runs.write_json(path.with_suffix(".json"), made_of)


def reply_to(model, tokenizer, given: tuple, path: Path) -> list[list]:
    """For each prompt its place, and a `Completion`'s values; those on the disk are not made again.

    given: what `in_batches` takes, but for model and tokenizer and how many are done.
    """
    path = path.with_suffix(".replies")
    batches = runs.read_lines(path) if path.is_file() else []
    runs.write_lines(path, batches)  # without a line that was cut in half
    found = []
    for batch in batches:
        found += batch["replies"]
    if isinstance(model, Engine):
        replying = model.in_batches(*given, len(found))
    else:
        replying = training.in_batches(model, tokenizer, *given, len(found))
    for places, completions in replying:
        new = []
        for place, completion in zip(places, completions, strict=True):
            new.append([place, *astuple(completion)])
        runs.append_lines(path, [{"replies": new}])
        found += new
    return sorted(found)


class Engine:
    """A base in vLLM, and the adapter that answers: None for none."""

    adapter: Adapter | None = None
    number = 0  # by which vLLM tells adapters apart

    def __init__(self, first: Adapter | str, base: str, recipe: Recipe, machine: Machine):
        """first: the adapter whose tokenizer is used, or the base. ImportError without vLLM."""
        settings = training.vllm_settings("colocate", recipe, machine)
        import vllm.lora.request

        self.vllm = vllm
        self.base = base
        self.tokenizer = load_tokenizer(str(getattr(first, "folder", first)))
        settle_tokenizer(self.tokenizer)
        self.model = vllm.LLM(
            model=base,
            dtype=machine.dtype,
            enable_lora=True,
            max_lora_rank=training.rank_in_vllm(recipe.lora.r),
            seed=0,
            max_model_len=settings["vllm_max_model_length"],
            quantization="bitsandbytes" if recipe.lora.load_in_4bit else None,
        )

    def in_batches(
        self, prompts: Sequence[str], limit: int, temperature: float, batch: int, label: str, done=0
    ) -> Iterator[tuple[Sequence[int], list[Completion]]]:
        """As `training.in_batches`; each reply has a seed of its own, wherever it was cut off."""
        request = None
        if self.adapter:
            folder = str(self.adapter.folder)
            request = self.vllm.lora.request.LoRARequest(folder, self.number, folder)
        settings = {"temperature": temperature, "top_p": 1.0, "max_tokens": limit}
        settings["stop_token_ids"] = [self.tokenizer.eos_token_id]
        first_seed = torch.initial_seed() * 1_000_003
        for start in range(done, len(prompts), CHUNK * batch):
            texts = prompts[start : start + CHUNK * batch]
            places = range(start, start + len(texts))
            asked = [{"prompt_token_ids": ids} for ids in tokens_of(self.tokenizer, texts)]
            sampling = []
            for place in places:
                seed = (first_seed + place) % 2**32
                sampling.append(self.vllm.SamplingParams(**settings, seed=seed))
            completions = []
            for output in self.model.generate(asked, sampling, lora_request=request):
                reply = output.outputs[0]
                ended = reply.finish_reason == "stop"
                completions.append(Completion(reply.text, len(reply.token_ids), ended))
            yield places, completions
