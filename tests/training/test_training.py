"""Settings as TRL gets them, and two short runs of the real trainers on the tiny model."""

import json
import math
from dataclasses import replace
from statistics import mean, stdev

import pytest
from trl import GRPOConfig, SFTConfig

from helpers import data
from helpers import runs as runlog
from helpers.machine import computer as machines
from helpers.recipes import RECIPES, for_profile
from helpers.runs import Run
from helpers.training import models, rewards
from helpers.training import trainers as training
from helpers.training.training_run import TrainingRun

BASE = str(models.TINY_MODEL)
COMMON_KEYS = {
    "timestamp_iso",
    "step",
    "epoch",
    "device",
    "seed",
    "learning_rate",
    "grad_norm",
    "time_per_step_s",
    "tokens_per_second",
    "memory_gb",
}
SFT_KEYS = COMMON_KEYS | {"loss"}
GRPO_KEYS = COMMON_KEYS | {
    "grpo_loss",
    "policy_loss",
    "kl_loss",
    "reward_mean",
    "reward_std",
    "adv_mean",
    "adv_std",
    "zero_std_groups",
    "entropy",
    "clip_ratio",
    "completion_mean",
    "completion_max",
    "truncated",
    "generation_time_s",
    "backward_time_s",
    "other_time_s",
    "tokens_generated",
}


def test_a_group_that_does_not_divide_names_what_does():
    training.check_group(64, 8)
    with pytest.raises(ValueError, match="64 completions.*groups of 7.*\n.*63 or 70.*4, 8, 16"):
        training.check_group(64, 7)
    with pytest.raises(ValueError, match="groups of 1"):
        training.check_group(64, 1)


@pytest.mark.parametrize(
    ("name", "profile"), [(name, profile) for name in RECIPES for profile in ("gpu", "tiny")]
)
def test_settings_arrive_in_both_configs(name, profile, tmp_path, machine):
    recipe = for_profile(RECIPES[name], profile)
    run = TrainingRun(tmp_path, recipe, "grpo", machine, 3, BASE)
    config = training.grpo_config(recipe, run, machine, 10)
    assert isinstance(config, GRPOConfig)
    for ours, theirs in (
        ("generations", "num_generations"),
        ("learning_rate",) * 2,
        ("beta",) * 2,
        ("epsilon",) * 2,
        ("temperature",) * 2,
        ("max_completion", "max_completion_length"),
        ("loss_type",) * 2,
        ("weight_decay",) * 2,
    ):
        assert getattr(config, theirs) == getattr(recipe.grpo, ours), theirs
    assert (
        config.per_device_train_batch_size * config.gradient_accumulation_steps == recipe.grpo.batch
    )
    assert (
        config.reward_weights == list(recipe.rewards.values())
        and config.seed == 3
        and config.max_steps == 10
    )
    assert config.chat_template_kwargs == {"enable_thinking": recipe.thinking}
    if recipe.sft:
        sft = training.sft_config(
            recipe, TrainingRun(tmp_path, recipe, "sft", machine, 3, BASE), machine, 10
        )
        assert (
            isinstance(sft, SFTConfig)
            and sft.max_length == recipe.sft.max_length
            and sft.learning_rate == recipe.sft.learning_rate
        )
        assert sft.completion_only_loss and not sft.packing and not sft.gradient_checkpointing


def test_steps(recipe):
    assert training.steps_of(recipe, "sft", 800, None) == round(
        recipe.sft.epochs * 800 / recipe.sft.batch
    )
    assert (
        training.steps_of(recipe, "sft", 800, 3) == 3
        and training.steps_of(recipe, "grpo", 10, 0) == recipe.grpo.steps
    )
    assert training.steps_of(RECIPES["gsm8k_xml"], "grpo", 7473, None) == round(7473 / 4)


def test_too_few_questions_for_a_step_are_named(recipe):
    assert training.steps_of(recipe, "grpo", 8, None) == recipe.grpo.steps
    with pytest.raises(
        ValueError,
        match=r"^GRPO takes 8 questions a step, and there are 5\.\nAdd rows, or make the batch smaller \(--batch_size 40, or grpo\.batch\)\.$",
    ):
        training.steps_of(recipe, "grpo", 5, 3)
    smaller = replace(recipe, grpo=replace(recipe.grpo, batch=40))
    assert training.steps_of(smaller, "grpo", 5, 3) == 3
    with pytest.raises(ValueError, match="4 completions does not divide into groups of 8"):
        training.steps_of(
            replace(recipe, grpo=replace(recipe.grpo, batch=4, steps=None)), "grpo", 5, 3
        )


def test_a_run_of_no_step_is_not_finished(recipe, machine, tmp_path):
    """Five questions where a step takes eight: TRL's trainer leaves all of them out, and ends without an error."""
    from trl import GRPOTrainer

    model, tokenizer = models.load(BASE, recipe, machine)
    run = TrainingRun(tmp_path, recipe, "grpo", machine, 0, BASE)
    trainer = GRPOTrainer(
        model=models.add_lora(model, recipe, machine, 0),
        reward_funcs=rewards.reward_functions(recipe)[0],
        args=training.grpo_config(recipe, run, machine, 2),
        processing_class=tokenizer,
        train_dataset=data.grpo_dataset(
            recipe, data.load(recipe, None, "tiny")["train"].examples[:5]
        ),
    )
    with pytest.raises(RuntimeError, match="took no step: .*\nAdd rows, or make the batch smaller"):
        training.train(trainer, run)
    assert Run.read(run.folder).manifest["status"] == "failed" and not run.adapter.exists()


@pytest.fixture(scope="module")
def trained(recipe, machine, tmp_path_factory):
    """Three steps of SFT and two of GRPO, twice with the same seed."""
    runs = []
    for attempt in ("one", "two"):
        out = tmp_path_factory.mktemp(attempt)
        model, tokenizer = models.load(BASE, recipe, machine)
        splits = data.load(recipe, None, "tiny")
        model = models.add_lora(model, recipe, machine, 0)
        run = TrainingRun(out, recipe, "sft", machine, 0, BASE)
        from trl import GRPOTrainer, SFTTrainer

        trainer = SFTTrainer(
            model=model,
            args=training.sft_config(recipe, run, machine, 3),
            processing_class=tokenizer,
            train_dataset=data.sft_dataset(recipe, splits["train"].examples[:60]),
        )
        row = trainer.data_collator([trainer.train_dataset[0]])
        adapter = training.train(trainer, run)
        model, tokenizer = models.load(str(adapter), recipe, machine)
        grpo = TrainingRun(out, recipe, "grpo", machine, 0, BASE, parent=adapter)
        functions, _ = rewards.reward_functions(recipe)
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=functions,
            args=training.grpo_config(recipe, grpo, machine, 2),
            train_dataset=data.grpo_dataset(recipe, splits["train"].examples[:100]),
            processing_class=tokenizer,
        )
        training.train(trainer, grpo)
        runs.append({"sft": run, "grpo": grpo, "row": row, "tokenizer": tokenizer})
    return runs


def test_only_the_reply_is_learned(trained, recipe):
    tokenizer, row = trained[0]["tokenizer"], trained[0]["row"]
    learned = tokenizer.decode(row["input_ids"][row["labels"] != -100])
    context = tokenizer.decode(row["input_ids"][row["labels"] == -100])
    assert learned.startswith("<reasoning>\n") and learned.endswith("</answer><|im_end|>\n")
    assert context.endswith("</think>\n\n") and recipe.system in context


def test_the_same_seed_gives_the_same_log(trained):
    for stage in ("sft", "grpo"):
        lines = [
            [
                {k: v for k, v in line.items() if k not in runlog.TIMES}
                for line in runlog.read_lines(attempt[stage].log)
            ]
            for attempt in trained
        ]
        assert lines[0] == lines[1] and [line["step"] for line in lines[0]] == list(
            range(1, len(lines[0]) + 1)
        )
        assert json.dumps(lines[0]) == json.dumps(lines[1])
    weights = [
        machines.file_hash(attempt["grpo"].adapter / "adapter_model.safetensors")
        for attempt in trained
    ]
    assert weights[0] == weights[1]


def test_the_log_holds_what_the_step_did(trained, recipe):
    run = trained[0]["grpo"]
    samples = runlog.read_lines(run.samples)
    for line in runlog.read_lines(run.log):
        mine = [s for s in samples if s["step"] == line["step"]]
        assert len(mine) == recipe.grpo.batch == line["completions"]
        totals = [sum(w * s[name] for name, w in recipe.rewards.items()) for s in mine]
        assert line["reward_mean"] == pytest.approx(sum(totals) / len(totals), abs=1e-5)
        expected = rewards.group_advantages(totals, recipe.grpo.generations)
        assert [s["advantage"] for s in mine] == pytest.approx(expected, abs=2e-3)
        assert line["reward/r_correctness"] == pytest.approx(
            sum(s["r_correctness"] for s in mine) / len(mine), abs=1e-5
        )
        assert line["policy_loss"] == pytest.approx(
            -sum(s["advantage"] * s["tokens"] for s in mine) / sum(s["tokens"] for s in mine),
            abs=1e-5,
        )
        assert line["tokens_generated"] == sum(s["tokens"] for s in mine) and line[
            "completion_max"
        ] == max(s["tokens"] for s in mine)
        assert (line["adv_mean"], line["adv_std"]) == pytest.approx(
            (mean(s["advantage"] for s in mine), stdev(s["advantage"] for s in mine)), abs=1e-5
        )
        assert line["correct"] == pytest.approx(
            mean(
                recipe.format.follows(s["completion"])
                and recipe.score(recipe.format.extract(s["completion"]), s["answer"]) == 1
                for s in mine
            ),
            abs=1e-4,
        )
        parts = line["generation_time_s"] + line["backward_time_s"] + line["other_time_s"]
        assert parts == pytest.approx(line["time_per_step_s"], abs=0.01) and line["kl_loss"] == 0.0
    assert all(math.isfinite(line["loss"]) for line in runlog.read_lines(trained[0]["sft"].log))


def test_adapters_are_float32_whole_and_hashed(trained):
    from safetensors.torch import load_file

    for stage in ("sft", "grpo"):
        run = trained[0][stage]
        manifest = Run.read_finished(run.folder, "")
        assert manifest["adapter_hash"] == machines.file_hash(
            run.adapter / "adapter_model.safetensors"
        )
        weights = load_file(run.adapter / "adapter_model.safetensors")
        assert {str(w.dtype) for w in weights.values()} == {"torch.float32"} and any(
            w.abs().sum() > 0 for k, w in weights.items() if "lora_B" in k
        )
    assert (
        manifest["parent_hash"]
        == Run.read_finished(trained[0]["sft"].folder, "").manifest["adapter_hash"]
    )


def test_a_run_that_fails_leaves_no_adapter(trained, recipe, machine, tmp_path):
    from transformers import TrainerCallback
    from trl import SFTTrainer

    class Stop(TrainerCallback):
        def on_step_end(self, *_, **__):
            raise KeyboardInterrupt

    model, tokenizer = models.load(BASE, recipe, machine)
    run = TrainingRun(tmp_path, recipe, "sft", machine, 0, BASE)
    trainer = SFTTrainer(
        model=models.add_lora(model, recipe, machine, 0),
        args=training.sft_config(recipe, run, machine, 3),
        callbacks=[Stop()],
        train_dataset=data.sft_dataset(
            recipe, data.load(recipe, None, "tiny")["train"].examples[:60]
        ),
        processing_class=tokenizer,
    )
    with pytest.raises(KeyboardInterrupt):
        training.train(trainer, run)
    assert not run.adapter.exists()
    with pytest.raises(FileNotFoundError, match="is interrupted.\nRun 01"):
        Run.read_finished(run.folder, "Run 01")


def test_a_budget_shortens_the_run_and_its_schedule(recipe, machine, tmp_path):
    from trl import SFTTrainer

    model, tokenizer = models.load(BASE, recipe, machine)
    run = TrainingRun(tmp_path, recipe, "sft", machine, 0, BASE)
    trainer = SFTTrainer(
        model=models.add_lora(model, recipe, machine, 0),
        args=training.sft_config(recipe, run, machine, 500),
        train_dataset=data.sft_dataset(
            recipe, data.load(recipe, None, "tiny")["train"].examples[:100]
        ),
        processing_class=tokenizer,
    )
    trainer.add_callback(training.FitToBudget(run, minutes=1e-6, measured=3))
    training.train(trainer, run)
    rates = [line["learning_rate"] for line in runlog.read_lines(run.log)]
    cosine = (1 + math.cos(math.pi * 3 / 4)) / 2
    assert len(rates) == 4 and rates[-1] == pytest.approx(recipe.sft.learning_rate * cosine)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(
        0.0, abs=1e-9
    )  # after the last step
    assert Run.read(run.folder).manifest["fitted"] == {
        "at": 3,
        "steps": 4,
    }  # so that a run which goes on keeps to it


def test_a_tracker_gets_the_figures_if_it_is_asked_to(recipe, machine, tmp_path):
    from trl import SFTTrainer

    model, tokenizer = models.load(BASE, recipe, machine)
    run = TrainingRun(tmp_path, recipe, "sft", machine, 0, BASE)
    with pytest.raises(
        ValueError,
        match="REPORT_TO is 'abacus', which is not installed.*\nUse one of none, wandb, tensorboard, trackio\\.$",
    ):
        training.sft_config(recipe, run, machine, 2, "abacus")
    assert training.sft_config(recipe, run, machine, 2).report_to in ([], ["none"], "none")
    trainer = SFTTrainer(
        model=models.add_lora(model, recipe, machine, 0),
        args=training.sft_config(recipe, run, machine, 2, "tensorboard"),
        train_dataset=data.sft_dataset(
            recipe, data.load(recipe, None, "tiny")["train"].examples[:20]
        ),
        processing_class=tokenizer,
    )
    training.train(trainer, run)
    assert b"grad_norm" in next((run.folder / "tensorboard").rglob("events*")).read_bytes()


def test_a_tracker_that_can_be_installed_is_offered(monkeypatch):
    monkeypatch.setattr(training, "get_available_reporting_integrations", lambda: ["tensorboard"])
    training.check_report_to("tensorboard")
    for name in ("wandb", "trackio"):
        with pytest.raises(
            ValueError,
            match=f"'{name}', which is not installed \\(there is tensorboard\\)\\.\npip install {name}, or set REPORT_TO",
        ):
            training.check_report_to(name)


def test_trls_log_has_the_keys_of_the_contract(trained, recipe):
    grpo, sft = (runlog.read_lines(trained[0][stage].log)[0] for stage in ("grpo", "sft"))
    assert GRPO_KEYS | {f"reward/{name}" for name in recipe.rewards} <= set(
        grpo
    ) and SFT_KEYS <= set(sft)
    assert list(runlog.read_lines(trained[0]["grpo"].published)[0]) == list(runlog.PUBLISHED)
