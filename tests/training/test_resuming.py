"""A run that is killed goes on, and ends as if it had never been killed."""

import random

import pytest

from tests.training.resumable import RESUMABLE, STEPS, kill_when, main, result, whole


def lines(path) -> int:
    return path.read_text().count("\n") if path.is_file() else 0


def test_killed_in_every_stage_it_ends_as_if_it_had_not_been(tmp_path):
    """gsm8k_hash: SFT, then GRPO with a reference adapter (beta > 0), then records."""
    main("gsm8k_hash", tmp_path / "undisturbed")
    out, rng = tmp_path / "killed", random.Random()
    run = out / "gsm8k_hash"
    moments = {
        "sft": lambda: lines(run / "sft/log.jsonl") >= STEPS - 2,
        "grpo": lambda: lines(run / "grpo/log.jsonl") >= STEPS - 2,
        "evaluation": lambda: lines(out / "eval/grpo_4.replies") >= 2,
    }
    for moment, ready in moments.items():
        wait = rng.uniform(0, 0.4)
        killed = kill_when("gsm8k_hash", out, ready, wait)
        print(f"killed in {moment} after {wait:.2f} s: {killed}")
    main("gsm8k_hash", out)
    assert result("gsm8k_hash", out) == result("gsm8k_hash", tmp_path / "undisturbed")


@pytest.mark.soak
@pytest.mark.parametrize("recipe_name", ["gsm8k_hash", "openr1_boxed"])
def test_twenty_random_kills(recipe_name, tmp_path):
    """Ten for each of two recipes: with a reference adapter, and with priming."""
    whole(tmp_path / "undisturbed", *RESUMABLE, recipe_name)
    expected = result(recipe_name, tmp_path / "undisturbed")
    rng, kills, runs = random.Random(0), 0, 0
    while kills < 10:
        out = tmp_path / str(runs)
        at_work = out / "at-work"  # its imports are done
        while not (out / "done").is_file():
            at_work.unlink(missing_ok=True)
            kills += kill_when(recipe_name, out, at_work.is_file, rng.uniform(0.0, 12.0))
            assert kills < 40, "it does not come to its end"
        runs += 1
        assert result(recipe_name, out) == expected
    print(f"{recipe_name}: {kills} kills over {runs} runs, all equal to the undisturbed one")
