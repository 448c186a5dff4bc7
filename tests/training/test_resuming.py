"""A run that is killed goes on, and ends as if it had never been killed."""

import random

import pytest

from tests.training.resumable import STEPS, kill_when, random_kills, result, whole


def lines(path) -> int:
    return path.read_text().count("\n") if path.is_file() else 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    whole("gsm8k_hash", out)
    return result("gsm8k_hash", out)


def test_killed_in_every_stage_it_ends_as_if_it_had_not_been(undisturbed, tmp_path):
    """gsm8k_hash: SFT, then GRPO with a reference adapter (beta > 0), then records greedy and sampled."""
    run, rng = tmp_path / "gsm8k_hash", random.Random()
    moments = {
        "sft": lambda: lines(run / "sft/log.jsonl") >= STEPS - 3,
        "grpo": lambda: lines(run / "grpo/log.jsonl") >= STEPS - 3,
        "evaluation": lambda: lines(tmp_path / "eval/grpo_4.replies") >= 2,
    }
    for moment, ready in moments.items():
        wait = rng.uniform(0, 0.4)
        print(
            f"killed in {moment} after {wait:.2f} s: {kill_when('gsm8k_hash', tmp_path, ready, wait)}"
        )
    whole("gsm8k_hash", tmp_path)
    assert result("gsm8k_hash", tmp_path) == undisturbed


def test_an_evaluation_of_other_weights_is_not_taken(recipe, machine, tmp_path):
    """Records lie beside a fingerprint of the weights, the problems, the settings and the code."""
    from helpers import data, evaluation
    from helpers.training import models
    from tests.learning import BASE

    problems = data.load(recipe, None, "tiny")["test"].take(6)
    model, tokenizer = models.load(BASE, recipe, machine)
    path = tmp_path / "eval" / "base.jsonl"
    first = evaluation.evaluate(model, tokenizer, recipe, problems, path)
    written = path.stat().st_mtime_ns
    assert (
        evaluation.evaluate(model, tokenizer, recipe, problems, path) == first
        and path.stat().st_mtime_ns == written
    )
    assert len(evaluation.evaluate(model, tokenizer, recipe, problems[:5], path)) == 5
    adapted = models.add_lora(model, recipe, machine, 0)
    same = models.identity(models.at_work(adapted))
    next(p for name, p in adapted.named_parameters() if "lora_B" in name).data += 0.5
    assert models.identity(models.at_work(adapted)) != same
    with adapted.disable_adapter():
        unadapted = models.identity(models.at_work(adapted))
    assert unadapted not in (same, models.identity(models.at_work(adapted)))
    written = path.stat().st_mtime_ns
    evaluation.evaluate(adapted, tokenizer, recipe, problems[:5], path)
    assert path.stat().st_mtime_ns > written
    path.write_text(
        path.read_text().replace('"correct"', '"wrong"', 1) + "\n"
    )  # somebody edits the records
    assert (
        evaluation.evaluate(adapted, tokenizer, recipe, problems[:5], path)[0]["id"]
        == problems[0].id
    )


@pytest.mark.soak
@pytest.mark.parametrize("recipe_name", ["gsm8k_hash", "openr1_boxed"])
def test_twenty_random_kills(recipe_name, tmp_path):
    """Ten for each of two recipes: one with a reference adapter, one with priming. Killed again and again until the run ends; then another run."""
    whole(recipe_name, tmp_path / "undisturbed")
    expected, kills, runs = result(recipe_name, tmp_path / "undisturbed"), 0, 0
    while kills < 10:
        out = tmp_path / str(runs)
        kills += random_kills(recipe_name, out, 12.0, seed=runs)
        runs += 1
        assert result(recipe_name, out) == expected
    print(f"{recipe_name}: {kills} kills over {runs} runs, all equal to the undisturbed one")
