"""Proves in a fresh process that an export, read back from disk, is the trained model and not the base.

The process loads plain transformers and PEFT, as others will, and no Unsloth. It takes one model at a time: first the base with the adapter,
not merged, whose greedy replies and logits are kept; then each export, which gets the same tokens to read. A 16-bit export cannot equal them:
it is bounded by a reference that is merged in memory and rounded in the same way.

    python -m helpers.sharing.proof REQUEST.json ANSWER.json
"""

from __future__ import annotations

import gc
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

KEPT = 1_000_000_000  # bytes of logits of one model that are kept: of each reply, as many of its last tokens as fit
# The largest relative difference of two models that are the same: ours; measured on the embedded model, see tests/test_proof.py
TOLERANCE = {"float32": 1e-5, "bfloat16": 0.05, "float16": 0.01}
FREE = (
    "dtype",
    "torch_dtype",
    "transformers_version",
    "_name_or_path",
)  # in which an export's configuration may differ from the base's
LEAST_CHANGE = 1e-4  # an adapter that moves no logit by this share has learned nothing


@dataclass(frozen=True)
class Proof:
    """What a reloaded export was found to be.

    The trained model is the base in full precision with the adapter on it. Differences are the largest of any logit over all prompts and the
    tokens of the replies; `relative` is the one from the trained model as a share of the largest logit. `beyond_rounding` and
    `same_rounded` compare with the trained model that is rounded as the export is. `change` is how far training moved the logits, as
    such a share; `computed_in` is what all ran in; `texts` are the export's greedy replies.
    """

    same_text: int
    same_rounded: int
    prompts: int
    logit_difference: float
    relative: float
    beyond_rounding: float
    logit_difference_from_base: float
    change: float
    computed_in: str
    megabytes: float
    texts: tuple[str, ...]


def prove(
    folder: str | Path, base: str, adapter: str | Path, prompts: Sequence[str], max_new_tokens: int
) -> Proof:
    """`prove_all` of one export."""
    return prove_all({"export": folder}, base, adapter, prompts, max_new_tokens)["export"]


def prove_all(
    folders: Mapping[str, str | Path],
    base: str,
    adapter: str | Path,
    prompts: Sequence[str],
    max_new_tokens: int,
) -> dict[str, Proof]:
    """Reads each export in a fresh process and compares it with base + adapter: greedy texts, logits, tokenizer, chat template, end tokens.

    base: Hub id or folder of unquantised weights. prompts: texts with the chat template applied.
    Raises ValueError, naming the export and what is wrong with it, unless all are the trained model; RuntimeError if it cannot be found out.
    """
    found = look(folders, base, adapter, prompts, max_new_tokens)
    for name, folder in folders.items():
        judge(folder, found[name])
    return found


def look(
    folders: Mapping[str, str | Path],
    base: str,
    adapter: str | Path,
    prompts: Sequence[str],
    max_new_tokens: int,
) -> dict[str, Proof | str]:
    """What the fresh process found of each export; in words where it could not be read, or is not asked or told as the trained model is."""
    with tempfile.TemporaryDirectory() as place:
        request, answer = Path(place) / "request.json", Path(place) / "answer.json"
        request.write_text(
            json.dumps(
                {
                    "folders": {
                        name: str(Path(folder).absolute()) for name, folder in folders.items()
                    },
                    "base": base,
                    "adapter": str(adapter),
                    "prompts": list(prompts),
                    "max_new_tokens": max_new_tokens,
                }
            ),
            encoding="utf-8",
        )
        path = os.pathsep.join(
            filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")])
        )
        done = subprocess.run(
            [sys.executable, "-m", "helpers.sharing.proof", str(request), str(answer)],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if not answer.is_file():
            cause = (
                "it was killed, as for lack of memory"
                if done.returncode < 0
                else (done.stderr.strip().split("\n") or [""])[-1][:300]
            )
            raise RuntimeError(
                f"The fresh process that reads the exports ended ({cause}).\n"
                "Look whether the folders are whole; free memory if it ran out, and run it again."
            )
        return {
            name: part if isinstance(part, str) else Proof(**part)
            for name, part in json.loads(answer.read_text(encoding="utf-8")).items()
        }


def judge(folder: str | Path, proof: Proof | str) -> None:
    """Raises ValueError unless the export is the trained model."""
    if isinstance(proof, str):
        raise ValueError(
            f"{folder} is not what was exported: {proof}.\nExport it again; nothing else should write into that folder."
        )
    if not math.isfinite(proof.logit_difference):
        raise ValueError(
            f"{folder} gives logits that are no numbers.\nExport it again; in fp16 choose bf16 or fp32, which hold larger numbers."
        )
    same = proof.beyond_rounding <= TOLERANCE[proof.computed_in]
    if (
        proof.change < LEAST_CHANGE
        or not same
        and proof.logit_difference_from_base <= proof.logit_difference
    ):
        raise ValueError(
            f"{folder} gives the logits of the base model (difference {proof.logit_difference_from_base:.2g}).\n"
            "The merge did nothing: check that the adapter was trained and belongs to this base."
        )
    if not same:
        raise ValueError(
            f"{folder} differs from base + adapter by {proof.beyond_rounding:.2g} of the largest logit; rounding explains "
            f"{TOLERANCE[proof.computed_in]:.0e}.\nThe merge is wrong or the base is another one: export again, and look at MODEL."
        )
    if (
        proof.computed_in == "float32" and proof.same_rounded < proof.prompts - proof.prompts // 16
    ):  # one in 16 may be a tie of two tokens
        raise ValueError(
            f"{folder} replies otherwise than base + adapter to {proof.prompts - proof.same_rounded} of {proof.prompts} prompts, with the same logits.\n"
            "Look at its generation_config.json: what ends a reply, and penalties; or export it again."
        )


def main(request: Path, answer: Path) -> None:
    """The fresh process: compares all exports of the request and writes the answer."""
    import torch
    import transformers
    from safetensors import SafetensorError

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    asked = json.loads(request.read_text(encoding="utf-8"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(asked["adapter"])
    device, dtype = work_place(asked["base"])
    trained = load_trained(asked["base"], asked["adapter"], device, dtype)
    rows, texts = replies(trained, tokenizer, asked["prompts"], asked["max_new_tokens"])
    kept = max(1, KEPT // (4 * trained.config.vocab_size * len(rows)))
    reference = logits(trained, rows, kept)
    with trained.disable_adapter():
        base = logits(trained, rows, kept)
    largest = max(part.abs().max().item() for part in reference)
    change, rounded = apart(reference, base) / largest, {None: (reference, texts)}
    del trained
    proofs: dict[str, dict | str] = {}
    for name, folder in asked["folders"].items():
        try:
            model, stored = load_export(folder, asked, tokenizer, device, dtype)
            short = None if stored == dtype else stored
            if short not in rounded:
                like = round_to(
                    load_trained(asked["base"], asked["adapter"], device, dtype).merge_and_unload(),
                    short,
                )
                rounded[short] = (
                    logits(like, rows, kept),
                    replies(like, tokenizer, asked["prompts"], asked["max_new_tokens"])[1],
                )
            exported = logits(model, rows, kept)
            said = replies(
                model,
                tokenizer,
                asked["prompts"],
                asked["max_new_tokens"],
                model.generation_config.eos_token_id,
            )[1]
            del model
            gc.collect()
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            proofs[name] = str(error).split("\n")[0][:300]
            continue
        difference = apart(exported, reference)
        proofs[name] = {
            "same_text": equal(said, texts),
            "same_rounded": equal(said, rounded[short][1]),
            "prompts": len(texts),
            "logit_difference": difference,
            "relative": difference / largest,
            "beyond_rounding": apart(exported, rounded[short][0]) / largest,
            "change": change,
            "logit_difference_from_base": apart(exported, base),
            "computed_in": str(dtype).removeprefix("torch."),
            "megabytes": sum(
                file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()
            )
            / 1e6,
            "texts": said,
        }
    answer.write_text(json.dumps(proofs), encoding="utf-8")


def load_export(folder: str, asked: Mapping, tokenizer, device: str, dtype):
    """The export as others load it, and what its weights are stored in. Raises ValueError if it is not asked or told as the trained model is."""
    from transformers import AutoConfig, AutoModelForCausalLM

    check_tokenizer(folder, tokenizer, asked["prompts"])
    if (Path(folder) / "adapter_config.json").is_file():
        if (Path(folder) / "config.json").is_file():
            raise ValueError("it holds an adapter and a whole model, and loaders take the adapter")
        model = load_trained(asked["base"], folder, device, dtype)
        model.generation_config.eos_token_id = (
            tokenizer.eos_token_id
        )  # an adapter has no settings of its own; its card says this one
        return model, dtype
    config = AutoConfig.from_pretrained(folder)
    if wrong := [
        name
        for name, value in AutoConfig.from_pretrained(asked["base"]).to_dict().items()
        if name not in FREE and config.to_dict().get(name) != value
    ]:
        raise ValueError(f"its configuration has another {' and '.join(wrong[:3])} than the base's")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device).eval()
    check_ends(model, tokenizer)
    return model, config.dtype


def work_place(base: str):
    """Where to compute, and in what: on a GPU before the CPU, in FP32 if the model fits into the memory that is free, else in 16 bits."""
    import psutil
    import torch
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    with init_empty_weights():
        size = 4 * sum(
            p.numel()
            for p in AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base)).parameters()
        )
    places = [("cpu", torch.bfloat16, psutil.virtual_memory().available - 3 * KEPT)]
    if torch.cuda.is_available():
        short = (
            torch.bfloat16
            if torch.cuda.is_bf16_supported(including_emulation=False)
            else torch.float16
        )
        places.insert(0, ("cuda", short, torch.cuda.mem_get_info()[0]))
    for device, short, free in places:
        for dtype in (torch.float32, short):
            if free > 1.2 * size * dtype.itemsize / 4:
                return device, dtype
    return "cpu", torch.bfloat16


def load_trained(base: str, adapter: str, device: str, dtype):
    """The base in full with the adapter on it, not merged."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    return (
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=dtype), adapter)
        .to(device)
        .eval()
    )


def round_to(model, dtype):
    """Every weight rounded to `dtype`, still computing in its own."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype).to(parameter.dtype)
    return model


def equal(some: Sequence[str], others: Sequence[str]) -> int:
    return sum(a == b for a, b in zip(some, others, strict=True))


def replies(
    model,
    tokenizer,
    prompts: Sequence[str],
    max_new_tokens: int,
    ends: int | list[int] | None = None,
) -> tuple[list, list[str]]:
    """Greedy replies, as one batch: of each the tokens of prompt and reply without padding, (1, tokens), and the reply's text.

    ends: the tokens that end a reply; by default the end of a chat turn.
    """
    import torch

    ends = [tokenizer.eos_token_id] if ends is None else [ends] if isinstance(ends, int) else ends
    asked = tokenizer(
        list(prompts),
        return_tensors="pt",
        padding=True,
        padding_side="left",
        add_special_tokens=False,
    ).to(model.device)
    output = model.generate(
        **asked,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=ends,
        temperature=None,
        top_p=None,
        top_k=None,
    )
    rows, texts = [], []
    for tokens, mask in zip(output, asked["attention_mask"], strict=True):
        prompt, reply = tokens[: len(mask)][mask.bool()], tokens[len(mask) :]
        ended = torch.isin(reply, torch.tensor(ends, device=reply.device)).nonzero()
        reply = reply[: int(ended[0]) + 1] if len(ended) else reply
        rows.append(torch.cat([prompt, reply])[None])
        texts.append(tokenizer.decode(reply, skip_special_tokens=True))
    return rows, texts


def logits(model, rows: Sequence, kept: int) -> list:
    """Each row's logits (tokens, vocabulary) at its last `kept` tokens, in FP32 on the CPU."""
    return [model(row, logits_to_keep=kept).logits[0].float().cpu() for row in rows]


def apart(one: Sequence, other: Sequence) -> float:
    """The largest difference of two models' logits; infinite where one is not a number."""
    differences = [(a - b).abs().max().item() for a, b in zip(one, other, strict=True)]
    return max(d if d == d else float("inf") for d in differences)


def check_tokenizer(folder: str, tokenizer, prompts: Sequence[str]) -> None:
    """Raises ValueError unless the export reads and writes the same tokens, by the same chat template."""
    from transformers import AutoTokenizer

    stored = AutoTokenizer.from_pretrained(folder)
    same = {
        "chat template": stored.chat_template == tokenizer.chat_template,
        "special tokens": (stored.special_tokens_map, stored.all_special_ids)
        == (tokenizer.special_tokens_map, tokenizer.all_special_ids),
        "length limit": stored.model_max_length == tokenizer.model_max_length,
        "tokens": stored.get_vocab() == tokenizer.get_vocab()
        and all(stored(p)["input_ids"] == tokenizer(p)["input_ids"] for p in prompts),
    }
    if wrong := [what for what, equal in same.items() if not equal]:
        raise ValueError(f"its {' and '.join(wrong)} are not the adapter's")


def check_ends(model, tokenizer) -> None:
    """Raises ValueError unless the export's own generation settings end a reply where a chat turn ends."""
    ends = model.generation_config.eos_token_id
    if tokenizer.eos_token_id not in (ends if isinstance(ends, list) else [ends]):
        raise ValueError("its generation settings do not end a reply at the end of a chat turn")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
