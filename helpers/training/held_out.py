"""Accuracy on held-out problems while GRPO trains: every few steps, greedily, on the same problems.

Greedy replies draw no random numbers, so a run that is watched is, to the bit, the one that is not,
also after a kill. TRL's own evaluation draws, and gives rewards where this gives what 03 calls
strict accuracy.
"""

import math
from collections.abc import Sequence

from peft import get_peft_model_state_dict
from safetensors.torch import save_file

from helpers import data
from helpers.rows import Example
from helpers.training.replies import in_batches
from helpers.training.training_run import TrainingRun
from helpers.training.unsloth_first import FastLanguageModel, quiet

SHARE = 1 / 8  # of the replies that the steps between two looks draw; of the time less than a tenth
LOOKS = 20  # at most so many in a run, besides those after its first and last step
NO_BEST = (
    "KEEP_BEST needs held-out problems within MAX_PROMPT, and neither vLLM nor a divided model.\n"
    "Leave KEEP_BEST out."
)


class HeldOut:
    """Problems that a trainer's model is asked; keep: store the best adapter so far."""

    def __init__(self, trainer, run: TrainingRun, examples: Sequence[Example], keep: bool):
        self.trainer = trainer
        self.run = run
        self.examples = examples
        self.keep = keep
        own_batch = run.recipe.grpo.batch / run.machine.processes
        self.every = math.ceil(len(examples) / (SHARE * own_batch))

    def due(self, step: int, steps: int) -> bool:
        """After the first step and the last, and every few between them."""
        return step in (1, steps) or step % max(self.every, steps // LOOKS) == 0

    def accuracy(self) -> float:
        """The share of the problems that are answered right, in the format, to the end."""
        model, tokenizer = self.trainer.model, self.trainer.processing_class
        recipe = self.run.recipe
        prompts = [data.prompt_text(recipe, tokenizer, e.question) for e in self.examples]
        how = {"max_new_tokens": recipe.grpo.max_completion, "temperature": 0.0}
        how |= {"batch": recipe.evaluation.batch, "label": "held-out"}
        right = 0
        with quiet():
            for places, completions in in_batches(model, tokenizer, prompts, **how):
                for place, completion in zip(places, completions, strict=True):
                    text = recipe.with_opening(completion.text)
                    score = recipe.score(recipe.format.extract(text), self.examples[place].answer)
                    right += completion.finished and recipe.format.follows(text) and score == 1.0
        FastLanguageModel.for_training(model)
        return right / len(self.examples)

    def keep_if_best(self, step: int, accuracy: float) -> None:
        """Stores the adapter where none before it was as good, and says so in the manifest."""
        best = self.run.manifest.get("best")
        if not self.keep or (best and best["held_out"] >= accuracy):
            return
        self.run.best.mkdir(exist_ok=True)
        weights = get_peft_model_state_dict(self.trainer.model, adapter_name="default")
        save_file(weights, self.run.best / "adapter_model.safetensors")
        self.run.manifest["best"] = {"step": step, "held_out": accuracy}
        self.run.write_manifest()


def watch_held_out(
    trainer, run: TrainingRun, examples: Sequence[Example], keep: bool
) -> HeldOut | None:
    """The problems to ask; None where vLLM generates, or each process has a part of the model.

    Raises ValueError if the best adapter is to be kept there.
    """
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    if examples and not sharded and not getattr(trainer.args, "use_vllm", False):
        return HeldOut(trainer, run, examples, keep)
    if keep:
        raise ValueError(NO_BEST)
    return None
