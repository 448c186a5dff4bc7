"""Evaluation's generation by vLLM, where it is installed and asked for: many replies at once on a GPU, base and adapters with one load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from helpers import machine as machines
from helpers.machine import Machine
from helpers.recipes import Recipe
from helpers.training import END_OF_TURN, Completion, progress

CHUNK = 8  # evaluation batches that vLLM gets at once: it fills its own batches, and what is done is kept between chunks


class Engine:
    """A base in vLLM with the adapter that `choose` names. Raises ImportError, with the cure, where vLLM is not installed."""

    def __init__(self, base: str, recipe: Recipe, machine: Machine, tokenizer):
        try:
            import vllm
            from vllm.lora.request import LoRARequest
        except ImportError as error:
            raise ImportError(
                "vLLM is not installed, or does not fit this machine.\npip install vllm (Linux with a GPU), or leave --vllm out."
            ) from error
        self.library, self.request_of, self.base, self.adapter, self.numbers = (
            vllm,
            LoRARequest,
            base,
            None,
            {},
        )
        self.ends = (
            [tokenizer.convert_tokens_to_ids(END_OF_TURN)]
            if END_OF_TURN in tokenizer.get_vocab()
            else []
        )
        self.model = vllm.LLM(
            model=base,
            dtype=machine.dtype,
            enable_lora=True,
            max_lora_rank=max(8, recipe.lora.r),
            seed=0,
            max_model_len=recipe.grpo.max_prompt + recipe.grpo.max_completion,
            quantization="bitsandbytes" if recipe.lora.load_in_4bit else None,
        )

    def choose(self, adapter: str | Path | None) -> None:
        """The adapter that answers from now on; None for the base."""
        self.adapter = str(adapter) if adapter else None

    @property
    def identity(self) -> str:
        """What stands for the weights in an evaluation's fingerprint: the base's name, and the adapter's hash."""
        return f"vllm {self.base} " + (
            machines.file_hash(Path(self.adapter) / "adapter_model.safetensors")
            if self.adapter
            else ""
        )

    def in_batches(
        self,
        prompts: Sequence[str],
        max_new_tokens: int,
        temperature: float,
        batch: int,
        label: str,
        done: int = 0,
    ) -> Iterator[tuple[list[int], list[Completion]]]:
        """As `models.in_batches`; each drawn reply has a seed of its own, so that an interruption changes none."""
        request = None
        if self.adapter:
            request = self.request_of(
                Path(self.adapter).parent.name,
                self.numbers.setdefault(self.adapter, len(self.numbers) + 1),
                self.adapter,
            )
        with progress(len(prompts), label, done) as bar:
            for start in range(done, len(prompts), CHUNK * batch):
                places = list(range(start, min(start + CHUNK * batch, len(prompts))))
                settings = [
                    self.library.SamplingParams(
                        temperature=temperature,
                        top_p=1.0,
                        max_tokens=max_new_tokens,
                        stop_token_ids=self.ends,
                        seed=i,
                    )
                    for i in places
                ]
                replies = self.model.generate(
                    [prompts[i] for i in places], settings, lora_request=request, use_tqdm=False
                )
                yield (
                    places,
                    [
                        Completion(
                            r.outputs[0].text,
                            len(r.outputs[0].token_ids),
                            r.outputs[0].finish_reason == "stop",
                        )
                        for r in replies
                    ],
                )
                bar.update(len(places))
