"""Settings as TRL gets them, two short runs on the tiny model, and the look before GRPO."""

import math
import shutil
from dataclasses import replace
from statistics import mean, stdev

import pytest

from helpers import data, notebooks, rewards, runs
from helpers.recipes import RECIPES, for_model
from helpers.runs import Run
from helpers.settings import Settings
from helpers.training import models, stages
from helpers.training import trainers as training
from helpers.training.training_run import TrainingRun
from tests.learning import supervise
from tests.runs import pathologies as lab
from tests.sharing.test_export import make_adapter
from tests.training import building, expected
from tests.training.building import BASE, stored, weights

CASES = [(recipe, stage) for recipe in RECIPES.values() for stage in recipe.stages]


@pytest.mark.parametrize(("recipe", "stage"), CASES)
def test_every_setting_arrives_in_trls_configuration(recipe, stage, tmp_path, machine):
    recipe = for_model(recipe, True, "cpu")
    run = TrainingRun(tmp_path, recipe, stage, machine, 3, BASE)
    built = building.config(run, 100).to_dict()
    wanted = expected.settings(recipe, stage, "cpu")
    assert {name: built[name] for name in wanted} == wanted
    batch = built["per_device_train_batch_size"] * built["gradient_accumulation_steps"]
    assert batch == getattr(recipe, stage).batch
    assert built["output_dir"] == str(run.checkpoints)
    assert not built["fp16"] and not built["bf16"]  # on this machine it is float32


def grouped(recipe, batch, generations):
    return replace(recipe, grpo=replace(recipe.grpo, batch=batch, generations=generations))


def test_steps(recipe):
    sft = round(recipe.sft.epochs * 800 / recipe.sft.batch)
    assert training.steps_of(recipe, "sft", 800, None) == sft
    assert training.steps_of(recipe, "sft", 800, 3) == 3
    assert training.steps_of(recipe, "grpo", 8, 0) == recipe.grpo.steps
    assert training.steps_of(grouped(recipe, 40, 8), "grpo", 5, 3) == 3
    assert training.steps_of(RECIPES["gsm8k_xml"], "grpo", 7473, None) == round(7473 / 4)


@pytest.mark.parametrize(
    ("batch", "generations", "said"),
    [
        (64, 7, "64 completions .*groups of 7.*\n.*63 or 70.*4, 8, 16"),
        (4, 8, "4 completions does .*groups of 8.\nSet BATCH to 8, or GENERATIONS"),
        (64, 1, "nothing to be compared with"),
        (64, 8, r"^GRPO takes 8 questions .* are 5\.\n.*set BATCH to 40 or less\.$"),
    ],
)
def test_a_batch_that_does_not_fit_is_named(batch, generations, said, recipe):
    with pytest.raises(ValueError, match=said):
        training.steps_of(grouped(recipe, batch, generations), "grpo", 5, 3)


def test_grpo_from_an_adapter_of_another_rank_is_refused(recipe, machine, tmp_path):
    small = replace(recipe, lora=replace(recipe.lora, r=2, alpha=2))
    adapter = make_adapter(BASE, tmp_path / "adapter", small, machine, 0.02)
    given = (tmp_path, str(adapter.folder), BASE)
    assert training.start_of_grpo(small, *given).folder == adapter.folder
    with pytest.raises(ValueError, match="rank 2, and the recipe's is 64.\nSet LORA_RANK to 2.$"):
        training.start_of_grpo(recipe, *given)


def test_grpo_does_not_replace_the_run_that_it_goes_on_from(recipe, machine, tmp_path):
    """Cut off, it would find no adapter there to begin from again."""
    folder = make_adapter(BASE, tmp_path / "gsm8k_xml/grpo/adapter", recipe, machine, 0.02).folder
    said = "place of .*from which it is to go on.\nSet OUTPUT to"
    with pytest.raises(ValueError, match=said):
        training.start_of_grpo(recipe, tmp_path, str(folder), BASE)
    with pytest.raises(ValueError, match=said):
        notebooks.run({"ADAPTER": f"{folder}/..", "OUTPUT": str(tmp_path)})
    training.start_of_grpo(recipe, tmp_path / "more", str(folder), BASE)


def test_what_is_shorter_on_a_cpu_than_the_recipe_is_said(tmp_path, capsys):
    base = shutil.copytree(BASE, tmp_path / "base")
    for budget, count in (("published", 0), ("quick", 3)):
        stages.open_job(Settings(output=str(tmp_path), model=str(base), budget=budget))
        assert capsys.readouterr().out.count("on a CPU  ") == count


def test_a_run_tells_the_settings_of_the_stages_before_it(trained, recipe, machine, tmp_path):
    """Not those that this one's flags would have given them."""
    sft = training.Adapter.read(trained[1].adapter)
    other = replace(recipe, sft=replace(recipe.sft, batch=2), grpo=replace(recipe.grpo, batch=8))
    run = TrainingRun(tmp_path, other, "grpo", machine, 0, BASE, sft)
    run.start_afresh({})
    told = run.manifest["settings"]
    assert (told["sft"]["batch"], told["grpo"]["batch"]) == (recipe.sft.batch, 8)


def test_a_run_made_with_other_settings_is_none_to_go_on_with(trained, recipe, machine):
    """GRPO looks before it trains, unless it goes on."""
    output = trained[1].folder.parents[1]
    other = replace(recipe, sft=replace(recipe.sft, batch=2))
    begun = [TrainingRun(output, made, "sft", machine, 0, BASE).begun for made in (recipe, other)]
    assert begun == [True, False]


def test_priming_keeps_to_its_few_rows():
    few = RECIPES["openr1_boxed"]
    all_of_them = replace(few, priming=replace(few.priming, rows=None))
    for recipe, asked, rows in ((few, 10**6, few.priming.rows), (few, 5, 5), (all_of_them, 5, 5)):
        assert stages.changed(recipe, Settings(rows=asked)).priming.rows == rows


def test_who_generates(recipe, machine):
    said = "vLLM is not installed.*\npip install vllm .*leave VLLM empty"
    with pytest.raises(ImportError, match=said):
        training.vllm_settings("colocate", recipe, replace(machine, vllm=False))
    with_it = training.vllm_settings("server", recipe, replace(machine, vllm=True))
    assert with_it["vllm_mode"] == "server" and with_it["use_vllm"]


CANNOT = [
    ({"vllm": "colocate"}, False, ImportError, "vLLM is not installed"),
    ({"report_to": "trackio"}, False, ValueError, "REPORT_TO is 'trackio', which is not installed"),
    ({"vllm": "server", "keep_best": True}, True, ValueError, "KEEP_BEST needs held-out"),
]


@pytest.mark.parametrize(("given", "has", "kind", "said"), CANNOT)
def test_what_this_machine_cannot_do_is_refused_at_the_start(
    given, has, kind, said, machine, tmp_path, monkeypatch
):
    """Also in 01: hours of SFT would come before GRPO needs it."""
    monkeypatch.setattr(stages, "detect", lambda: replace(machine, vllm=has))
    with pytest.raises(kind, match=f"{said}.*\n"):
        stages.open_job(Settings(output=str(tmp_path), **given))


@pytest.fixture(scope="module")
def trained(recipe, machine, tmp_path_factory):
    """Three steps of SFT and two of GRPO: (a row that SFT learned from, its run, GRPO's run)."""
    out, rows = tmp_path_factory.mktemp("trained"), building.questions(recipe, 100)
    trainer, sft = building.build("sft", recipe, machine, out, rows[:60], 3)
    row = trainer.data_collator([trainer.train_dataset[0]])
    adapter = training.train(trainer, sft)
    trainer, grpo = building.build("grpo", recipe, machine, out, rows, 2, adapter)
    training.train(trainer, grpo)
    return row, sft, grpo


def test_only_the_reply_is_learned(trained, recipe):
    row, sft, _ = trained
    tokenizer = training.Adapter.read(sft.adapter).tokenizer
    learned = tokenizer.decode(row["input_ids"][row["labels"] != -100])
    context = tokenizer.decode(row["input_ids"][row["labels"] == -100])
    assert learned.startswith("<reasoning>\n") and learned.endswith("</answer><|im_end|>\n")
    assert context.endswith("</think>\n\n") and recipe.system in context


def test_the_log_holds_what_the_step_did(trained, recipe):
    _, _, run = trained
    for line in run.read_log():
        mine = [s for s in run.read_samples() if s["step"] == line["step"]]
        assert len(mine) == recipe.grpo.batch == line["completions"]
        totals = [sum(w * s[name] for name, w in recipe.rewards.items()) for s in mine]
        advantages, lengths = ([s[name] for s in mine] for name in ("advantage", "tokens"))
        by_hand = rewards.group_advantages(totals, recipe.grpo.generations)
        assert advantages == pytest.approx(by_hand, abs=2e-3)
        right = [
            recipe.format.follows(s["completion"])
            and recipe.score(recipe.format.extract(s["completion"]), s["answer"]) == 1
            for s in mine
        ]
        pushed = sum(a * n for a, n in zip(advantages, lengths, strict=True))
        found = {
            "reward_mean": mean(totals),
            "reward/r_correctness": mean(s["r_correctness"] for s in mine),
            "policy_loss": -pushed / sum(lengths),
            "kl_loss": 0.0,
            "tokens_generated": sum(lengths),
            "completion_max": max(lengths),
            "adv_mean": mean(advantages),
            "adv_std": stdev(advantages),
        }
        assert {name: line[name] for name in found} == pytest.approx(found, abs=1e-5)
        assert line["correct"] == pytest.approx(mean(right), abs=1e-4)
        parts = line["generation_time_s"] + line["backward_time_s"] + line["other_time_s"]
        assert parts == pytest.approx(line["time_per_step_s"], abs=0.01)


def test_the_log_has_the_keys_of_the_contract(trained, recipe):
    _, sft, grpo = trained
    paid = {f"reward/{name}" for name in recipe.rewards}
    assert (expected.GRPO_KEYS | paid).issubset(grpo.read_log()[0])
    assert expected.SFT_KEYS.issubset(sft.read_log()[0])
    assert list(runs.read_lines(grpo.published)[0]) == list(runs.PUBLISHED)


def test_adapters_are_float32_whole_and_hashed(trained):
    _, sft, grpo = trained
    for folder in (sft.folder, grpo.folder):
        run = Run.read_finished(folder, "")
        assert run.manifest["adapter_hash"] == weights(run)
        matrices = stored(run)
        assert {str(matrix.dtype) for matrix in matrices.values()} == {"torch.float32"}
        assert any(matrix.abs().sum() > 0 for name, matrix in matrices.items() if "lora_B" in name)
    assert run.manifest["parent_hash"] == weights(sft)


# Slow steps, of which two tell enough, and quick ones.
@pytest.mark.parametrize(("minutes", "planned", "at", "steps"), [(1e-6, 500, 2, 3), (9, 5, 3, 5)])
def test_a_budget_shortens_a_run_and_a_tracker_sees_it(
    minutes, planned, at, steps, recipe, machine, tmp_path, monkeypatch
):
    monkeypatch.setitem(training.QUICK_MINUTES, "sft", minutes)
    monkeypatch.setattr(training, "MEASURED", 3)
    rows = building.questions(recipe, 100)
    asked = (recipe, machine, tmp_path, rows, planned)
    trainer, run = building.build("sft", *asked, tracker="tensorboard")
    trainer.add_callback(training.FitToBudget(run))
    training.train(trainer, run)
    rates = [line["learning_rate"] for line in run.read_log()]
    cosine = (1 + math.cos(math.pi * (steps - 1) / steps)) / 2
    assert len(rates) == steps and rates[-1] == pytest.approx(recipe.sft.learning_rate * cosine)
    # After the last step.
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)
    # So that a run which goes on keeps to it.
    assert Run.read(run.folder).manifest["fitted"] == {"at": at, "steps": steps}
    assert b"grad_norm" in next((run.folder / "tensorboard").rglob("events*")).read_bytes()


def test_the_pre_flight_refuses_what_cannot_learn(recipe, machine, capsys):
    base = models.load(BASE, recipe, machine)
    examples = building.questions(recipe, 20)
    short = lab.changed(recipe, max_completion=2)
    with pytest.raises(ValueError, match="Nothing could be learned: .*\n.*FORCE = True"):
        stages.preflight(*base, short, examples, 20, "cpu")
    found = stages.preflight(*base, short, examples, 20, "cpu", force=True)
    shown = capsys.readouterr().out
    assert found["truncated"] == 1.0 and "8 questions × 8 replies" in shown
    assert "answers right: 0\n" in shown  # whatever a shaping reward pays


@pytest.mark.soak
def test_the_pre_flight_foretells_the_run(recipe, machine, tmp_path):
    """Its time is an estimate from generating alone: within a factor of two."""
    splits = data.load(recipe, None, "cpu")
    taught = supervise(recipe, machine, 0, tmp_path, splits)
    model = models.load(taught, recipe, machine)
    found = stages.preflight(*model, recipe, splits["train"].examples, 6, machine.device)
    assert found["zero_std_groups"] < 0.5 and found["truncated"] < 0.2
    assert lab.ill(lab.changed(recipe, steps=6), machine, tmp_path, taught, steps=6) == []
    log = Run(tmp_path / recipe.name / "grpo").read_log()
    seconds = sum(line["time_per_step_s"] for line in log)
    assert 0.5 < found["minutes"] * 60 / seconds < 2
