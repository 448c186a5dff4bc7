"""Reads exports back in a fresh process, with plain transformers and PEFT, as others will.

    python -P reader.py REQUEST.json ANSWER.json

It imports nothing of this project, so that no Unsloth is loaded; `proof.py` judges what it finds.
One model at a time: first the base with the adapter on it, not merged; then each export, which gets
the same tokens to read. A 16-bit export cannot equal the first: it is compared with a reference
that is merged in memory and rounded in the same way.
"""

import gc
import json
import sys
from pathlib import Path

import psutil
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

KEPT = 500_000_000  # bytes of logits of one model: of each reply as many last tokens as fit
# In what an export's configuration may differ from the base's
FREE = ("dtype", "torch_dtype", "transformers_version", "_name_or_path")


class Reader:
    """What the trained model replies, and how an export differs from it."""

    def __init__(self, base: str, adapter: str, prompts: list[str], max_new_tokens: int):
        self.base = base  # Hub id or folder
        self.adapter = adapter
        self.prompts = prompts
        self.limit = max_new_tokens
        self.tokenizer = AutoTokenizer.from_pretrained(adapter)
        self.end = self.tokenizer.eos_token_id
        self.device, self.dtype = work_place(base)
        model = self.load(base, adapter)
        self.rows, self.texts = self.replies(model, self.end)
        self.kept = max(1, KEPT // (4 * model.config.vocab_size * len(prompts)))
        self.trained = self.logits(model)
        with model.disable_adapter():
            self.untrained = self.logits(model)

    def measure(self, folder: str) -> dict:
        """The figures of an export. Raises ValueError if it is not asked or told as trained."""
        model, stored = self.open(folder)
        logits = self.logits(model)
        texts = self.replies(model, model.generation_config.eos_token_id)[1]
        del model
        rounded, rounded_texts = self.rounded_to(stored)
        largest = self.trained.abs().max().item()
        difference = apart(logits, self.trained)
        return {
            "same_text": same(texts, self.texts),
            "same_rounded": same(texts, rounded_texts),
            "prompts": len(texts),
            "logit_difference": difference,
            "relative": difference / largest,
            "beyond_rounding": apart(logits, rounded) / largest,
            "logit_difference_from_base": apart(logits, self.untrained),
            "change": apart(self.trained, self.untrained) / largest,
            "computed_in": str(self.dtype).removeprefix("torch."),
            "texts": texts,
        }

    def open(self, folder: str):
        """An export's model, and the type of its weights."""
        tokenizer = AutoTokenizer.from_pretrained(folder)
        check_same("tokenizer", self.facts(tokenizer), self.facts(self.tokenizer))
        if Path(folder, "adapter_config.json").is_file():
            model = self.load(self.base, folder)
            # It has no settings of its own; its card says this one
            model.generation_config.eos_token_id = self.end
            return model, self.dtype
        config = AutoConfig.from_pretrained(folder)
        base = AutoConfig.from_pretrained(self.base)
        check_same("configuration", config.to_dict(), base.to_dict())
        return self.load(folder), config.dtype

    def load(self, folder: str, adapter: str = ""):
        """A model, with the adapter on it, not merged."""
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=self.dtype)
        if adapter:
            model = PeftModel.from_pretrained(model, adapter)
        return model.to(self.device).eval()

    def facts(self, tokenizer) -> dict:
        """What a prompt and a reply become by a tokenizer."""
        return {
            "chat template": tokenizer.chat_template,
            "special tokens": tokenizer.special_tokens_map,
            "tokens": (tokenizer.get_vocab(), tokenizer(self.prompts)["input_ids"]),
        }

    def rounded_to(self, dtype: torch.dtype):
        """Logits and replies of the trained model, merged, with every weight rounded."""
        if dtype == self.dtype:
            return self.trained, self.texts
        model = self.load(self.base, self.adapter).merge_and_unload()
        for parameter in model.parameters():  # it still computes in its own type
            parameter.data = parameter.data.to(dtype).to(self.dtype)
        return self.logits(model), self.replies(model, self.end)[1]

    def replies(self, model, ends: int | list[int]):
        """Greedy replies, as one batch: tokens of prompt and reply, each (1, tokens), and texts."""
        ends = torch.tensor(ends, device=self.device).flatten()
        if self.end not in ends:
            raise ValueError("its generation settings do not end a reply at the end of a chat turn")
        options = {"padding": True, "padding_side": "left", "add_special_tokens": False}
        asked = self.tokenizer(self.prompts, return_tensors="pt", **options).to(self.device)
        stop = {"eos_token_id": ends.tolist(), "pad_token_id": self.tokenizer.pad_token_id}
        output = model.generate(**asked, max_new_tokens=self.limit, do_sample=False, **stop)
        width = asked["input_ids"].shape[1]
        rows, texts = [], []
        for tokens, mask in zip(output, asked["attention_mask"], strict=True):
            reply = tokens[width:]
            ended = torch.isin(reply, ends).nonzero()
            if len(ended):
                reply = reply[: ended[0] + 1]
            rows.append(tokens[None, width - mask.sum() : width + len(reply)])
            texts.append(self.tokenizer.decode(reply, skip_special_tokens=True))
        return rows, texts

    def logits(self, model) -> torch.Tensor:
        """The logits (tokens, vocabulary) at each row's last tokens, in FP32 on the CPU."""
        found = [model(row, logits_to_keep=self.kept).logits[0].float().cpu() for row in self.rows]
        return torch.cat(found)


def work_place(base: str) -> tuple[str, torch.dtype]:
    """Where to compute and in what: on a GPU before the CPU, in FP32 before 16 bits, as it fits."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    needed = 1.2 * model.num_parameters()
    choices = [("cpu", torch.float32, psutil.virtual_memory().available - 6 * KEPT)]
    if torch.cuda.is_available():
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        short = torch.bfloat16 if bf16 else torch.float16
        free = torch.cuda.mem_get_info()[0]
        choices = [("cuda", torch.float32, free), ("cuda", short, free), *choices]
    for device, dtype, free in choices:
        if free > needed * dtype.itemsize:
            return device, dtype
    return "cpu", torch.bfloat16


def check_same(what: str, found: dict, wanted: dict) -> None:
    """Raises ValueError where an export is not what it was made from."""
    for name in wanted:
        if name not in FREE and found.get(name) != wanted[name]:
            raise ValueError(f"its {what} has another {name}")


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference of two models' logits; NaN where one is not a number."""
    return (one - other).abs().max().item()


def same(texts: list[str], others: list[str]) -> int:
    """How many texts are those of the others."""
    return sum(map(str.__eq__, texts, others))


def main(request: str, answer: str) -> None:
    """Measures every export of the request; what is wrong with one is told in words."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    asked = json.loads(Path(request).read_text(encoding="utf-8"))
    reader = Reader(**asked["trained"])
    found: dict[str, dict | str] = {}
    for name, folder in asked["folders"].items():
        gc.collect()  # the model before
        try:
            found[name] = reader.measure(folder)
        except Exception as error:
            found[name] = str(error).split("\n")[0][:300]
    Path(answer).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
