"""Reads exports back in a fresh process, with plain transformers and PEFT, as others will.

    python -P reader.py PARENT < REQUEST, in JSON; the answer, in JSON, is the last line it prints

It imports nothing of this project, so that no Unsloth is loaded; `proof.py` judges what it finds.
One model at a time: first the base with the adapter on it, not merged; then each export, which gets
the same tokens to read. A 16-bit export cannot equal the first: it is compared with a reference
that is merged in memory and rounded in the same way.
"""

import gc
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

KEPT = 500_000_000  # bytes of logits of one model: of each reply as many last tokens as fit
# In what an export's configuration may differ from the base's
FREE = ("dtype", "torch_dtype", "transformers_version", "_name_or_path", "auto_map")


class Reader:
    """What the trained model replies, and how an export differs from it."""

    def __init__(
        self,
        base: str,
        adapter: str,
        generation: dict,
        model_max_length: int,
        prompts: list[str],
        max_new_tokens: int,
    ):
        self.base = base  # Hub id or folder
        self.adapter = adapter
        self.generation = GenerationConfig(**generation)  # of evaluation, and of each export
        self.prompts = prompts
        self.limit = max_new_tokens
        self.tokenizer = AutoTokenizer.from_pretrained(adapter)
        self.facts, _ = self.look_at(adapter)
        self.facts["model_max_length"] = model_max_length  # the adapter's own is that of training
        self.device, self.dtype = work_place(base)
        model = self.load(base, adapter)
        self.rows, self.texts = self.replies(model)
        self.kept = max(1, KEPT // (4 * model.config.vocab_size * len(prompts)))
        self.trained = self.logits(model)
        with model.disable_adapter():
            self.untrained = self.logits(model)

    def measure(self, folder: str) -> dict:
        """The figures of an export. Raises ValueError if it is not asked or told as trained."""
        facts, precision = self.look_at(folder)
        for name, value in self.facts.items():
            if facts.get(name) != value:
                raise ValueError(f"it has another {name}")
        if Path(folder, "config.json").is_file():
            model = self.load(folder)
        else:
            model, precision = self.load(self.base, folder), self.dtype
        logits = self.logits(model)
        _, texts = self.replies(model)
        del model
        rounded, rounded_texts = self.rounded_to(precision)
        largest = self.trained.abs().max().item()
        difference = apart(logits, self.trained)
        return {
            "same_text": sum(a == b for a, b in zip(texts, self.texts, strict=True)),
            "same_rounded": sum(a == b for a, b in zip(texts, rounded_texts, strict=True)),
            "prompts": len(texts),
            "logit_difference": difference,
            "relative": difference / largest,
            "beyond_rounding": apart(logits, rounded) / largest,
            "logit_difference_from_base": apart(logits, self.untrained),
            "change": apart(self.trained, self.untrained) / largest,
            "computed_in": str(self.dtype).removeprefix("torch."),
            "texts": texts,
        }

    def look_at(self, folder: str) -> tuple[dict, torch.dtype]:
        """What a prompt and a reply become by what lies there, and the type of the weights."""
        tokenizer = AutoTokenizer.from_pretrained(folder)
        is_adapter = Path(folder, "adapter_config.json").is_file()
        config = AutoConfig.from_pretrained(self.base if is_adapter else folder)
        facts = config.to_dict()
        for name in FREE:
            facts.pop(name, None)
        facts["model_max_length"] = tokenizer.model_max_length
        facts["chat template"] = tokenizer.chat_template
        facts["special tokens"] = tokenizer.special_tokens_map
        facts["vocabulary"] = tokenizer.get_vocab()
        facts["tokens"] = tokenizer(self.prompts)["input_ids"]
        return facts, config.dtype

    def load(self, folder: str, adapter: str = ""):
        """A model, with the adapter on it, not merged."""
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=self.dtype)
        if adapter:
            model.generation_config = self.generation  # not the base's own
            model = PeftModel.from_pretrained(model, adapter)
        return model.to(self.device).eval()

    def rounded_to(self, dtype: torch.dtype):
        """Logits and replies of the trained model, merged, with every weight rounded."""
        if dtype == self.dtype:
            return self.trained, self.texts
        model = self.load(self.base, self.adapter).merge_and_unload()
        for parameter in model.parameters():  # it still computes in its own type
            parameter.data = parameter.data.to(dtype).to(self.dtype)
        return self.logits(model), self.replies(model)[1]

    def replies(self, model):
        """Greedy replies, as one batch: tokens of prompt and reply, each (1, tokens), and texts."""
        padding = self.tokenizer.pad_token_id
        self.tokenizer.padding_side = "left"
        asked = self.tokenizer(
            self.prompts, padding=True, add_special_tokens=False, return_tensors="pt"
        ).to(self.device)
        output = model.generate(
            **asked, max_new_tokens=self.limit, do_sample=False, pad_token_id=padding
        )
        rows = [tokens[tokens != padding][None] for tokens in output]
        replies = output[:, asked["input_ids"].shape[1] :]
        return rows, self.tokenizer.batch_decode(replies, skip_special_tokens=True)

    def logits(self, model) -> torch.Tensor:
        """The logits (tokens, vocabulary) at each row's last tokens, in FP32 on the CPU."""
        found = [model(row, logits_to_keep=self.kept).logits[0].float().cpu() for row in self.rows]
        return torch.cat(found)


def work_place(base: str) -> tuple[str, torch.dtype]:
    """Where to compute and in what: on a GPU before the CPU, in FP32 before 16 bits, as it fits."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    needed = 1.2 * 4 * model.num_parameters()  # bytes, in FP32
    if torch.cuda.is_available():
        free = torch.cuda.mem_get_info()[0]
        if free > needed:
            return "cuda", torch.float32
        if free > needed / 2:
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
            return "cuda", torch.bfloat16 if bf16 else torch.float16
    if psutil.virtual_memory().available > needed + 6 * KEPT:
        return "cpu", torch.float32
    return "cpu", torch.bfloat16


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference of two models' logits; NaN where one is not a number."""
    return (one - other).abs().max().item()


def end_with(parent: int) -> None:
    """Ends this process, whatever it does, when the one that asked is gone, as after a kill.

    parent: its number, which `getppid` no longer gives if it was killed while this one started.
    """
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Measures every export of the request; what is wrong with one is told in words."""
    threading.Thread(target=end_with, args=[int(sys.argv[1])], daemon=True).start()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    asked = json.load(sys.stdin)
    reader = Reader(**asked["trained"])
    found: dict[str, dict | str] = {}
    for name, folder in asked["folders"].items():
        gc.collect()  # the model before
        try:
            found[name] = reader.measure(folder)
        except Exception as error:
            found[name] = str(error).split("\n")[0][:300]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
