"""It learns, on five seeds, measured on 400 held-out problems. Run by `make soak`."""

import pandas as pd
import pytest

from helpers import data, evaluation, models, rewards, runlog, training

PROBLEMS = 400


def train_and_measure(recipe, machine, seed, out):
    """Base, SFT and GRPO of one seed: (greedy records, sampled records) of each."""
    from trl import GRPOTrainer, SFTTrainer

    base, splits = str(models.TINY_MODEL), data.load(recipe, None, "tiny")
    problems = splits["test"].take(PROBLEMS)
    model, tokenizer = models.load(base, recipe, machine)

    def measure(name):
        return tuple(evaluation.evaluate(model, tokenizer, recipe, problems, out / f"{name}_{k}.jsonl", samples=k, seed=seed + 1) for k in (0, 4))

    found = {"base": measure("base")}
    chosen = data.short_enough(recipe, tokenizer, splits["train"].take(recipe.sft.rows, seed=seed), "sft").examples
    model, run = models.add_lora(model, recipe, machine, seed), runlog.Run(out, recipe, "sft", machine, seed, base)
    trainer = SFTTrainer(model=model, args=training.sft_config(recipe, run, machine, training.steps_of(recipe, "sft", len(chosen), None), len(tokenizer)),
                         train_dataset=data.sft_dataset(recipe, chosen), processing_class=tokenizer)
    adapter = training.train(trainer, run)
    found["sft"] = measure("sft")
    model, tokenizer = models.load(str(adapter), recipe, machine)
    prompts = data.short_enough(recipe, tokenizer, splits["train"].examples, "grpo").examples
    run = runlog.Run(out, recipe, "grpo", machine, seed, base, parent=str(adapter))
    trainer = GRPOTrainer(model=model, reward_funcs=rewards.reward_functions(recipe)[0], processing_class=tokenizer,
                          args=training.grpo_config(recipe, run, machine, training.steps_of(recipe, "grpo", len(prompts), None), len(tokenizer)),
                          train_dataset=data.grpo_dataset(recipe, prompts))
    training.train(trainer, run)
    found["grpo"] = measure("grpo")
    return found


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_it_learns(recipe, machine, seed, tmp_path):
    found = train_and_measure(recipe, machine, seed, tmp_path)
    greedy = {name: evaluation.summarise(r[0]) for name, r in found.items()}
    sampled = {name: evaluation.summarise(r[1]) for name, r in found.items()}
    gain = evaluation.compare(found["sft"][1], found["grpo"][1])
    print(f"\nseed {seed}\n" + pd.DataFrame({"sampled": {n: s["strict"]["value"] for n, s in sampled.items()},
                                            "greedy": {n: s["strict"]["value"] for n, s in greedy.items()},
                                            "format, sampled": {n: s["format"]["value"] for n, s in sampled.items()}}).round(3).to_string())
    print(f"GRPO over SFT, sampled: {gain['difference']:+.1%} [{gain['low']:+.1%}, {gain['high']:+.1%}], p = {gain['p']:.2g}, n = {gain['n']}")
    assert sampled["base"]["strict"]["value"] <= 0.05
    assert 0.20 <= sampled["sft"]["strict"]["value"] <= 0.60
    assert sampled["grpo"]["strict"]["value"] >= 0.80 and gain["difference"] >= 0.25 and gain["p"] < 0.001
    assert greedy["grpo"]["strict"]["value"] >= max(0.90, greedy["sft"]["strict"]["value"])
    assert min(sampled["grpo"]["format"]["value"], greedy["grpo"]["format"]["value"]) >= 0.95
