"""Generation by vLLM, where it is installed and asked for: base and adapters with one load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from safetensors.torch import load_file
from transformers import AutoTokenizer

from helpers.machine import Machine
from helpers.recipes import Recipe
from helpers.training import END_OF_TURN, Adapter, Completion, adapter_identity

CHUNK = 8  # batches given to vLLM at once: it fills its own, and what is done is kept in between


class Engine:
    """A base in vLLM, and the adapter that answers (None for none), which has its own number."""

    adapter: Adapter | None = None
    number = 0

    def __init__(self, first: Adapter | str, base: str, recipe: Recipe, machine: Machine):
        """first: the adapter whose tokenizer is used, or the base."""
        try:
            import vllm.lora.request
        except ImportError as error:
            what = "vLLM is not installed, or does not fit this machine."
            cure = "pip install vllm (Linux with a GPU), or leave --vllm out."
            raise ImportError(f"{what}\n{cure}") from error
        self.vllm = vllm
        self.base = base
        self.tokenizer = AutoTokenizer.from_pretrained(getattr(first, "folder", first))
        vocabulary = self.tokenizer.get_vocab()
        self.ends = [vocabulary[token] for token in [END_OF_TURN] if token in vocabulary]
        self.model = vllm.LLM(
            model=base,
            dtype=machine.dtype,
            enable_lora=True,
            max_lora_rank=max(8, recipe.lora.r),
            seed=0,
            max_model_len=recipe.grpo.max_prompt + recipe.grpo.max_completion,
            quantization="bitsandbytes" if recipe.lora.load_in_4bit else None,
        )

    @property
    def identity(self) -> dict:
        """What stands for the weights in what an evaluation is made of."""
        values = ""
        if self.adapter:
            values = adapter_identity(load_file(self.adapter.weights).items())
        return {"weights": f"vllm {self.base}", "adapter": values, "scale": []}

    def in_batches(
        self, prompts: Sequence[str], limit: int, temperature: float, batch: int, label: str, done=0
    ) -> Iterator[tuple[Sequence[int], list[Completion]]]:
        """As `training.in_batches`; each reply has a seed of its own, wherever it was cut off."""
        request = None
        if self.adapter:
            folder = str(self.adapter.folder)
            request = self.vllm.lora.request.LoRARequest(folder, self.number, folder)
        settings = {"temperature": temperature, "top_p": 1.0, "max_tokens": limit}
        settings["stop_token_ids"] = self.ends
        for start in range(done, len(prompts), CHUNK * batch):
            texts = prompts[start : start + CHUNK * batch]
            places = range(start, start + len(texts))
            sampling = [self.vllm.SamplingParams(**settings, seed=place) for place in places]
            completions = []
            for output in self.model.generate(texts, sampling, lora_request=request):
                reply = output.outputs[0]
                ended = reply.finish_reason == "stop"
                completions.append(Completion(reply.text, len(reply.token_ids), ended))
            yield places, completions
