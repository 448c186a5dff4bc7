"""The runner's own parts: parameters, and what is left in stored outputs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import typer
from typer.testing import CliRunner

from helpers import address
from helpers.__main__ import app, kept, parse, places
from helpers.notebooks import NOTEBOOKS, store, tidy
from tests.conftest import ROOT


def test_parameters_get_their_types():
    assert parse(["SEED=3", "PUSH=true", "REPO=me/x", "DATASET=a=b"]) == {
        "SEED": 3,
        "PUSH": True,
        "REPO": "me/x",
        "DATASET": "a=b",
    }
    assert parse(["PUSH=false", "RESUME=on", "FORCE=1"]) == {
        "PUSH": False,
        "RESUME": True,
        "FORCE": True,
    }
    for bad in ("SEED", "MAX_STEPS=-1", "PROBLEMS=some", "MAX_STEP=3", "RESUME=ture"):
        with pytest.raises(typer.Exit):
            parse([bad])


def test_an_interrupt_says_that_the_command_goes_on(tmp_path):
    """Ctrl-C goes to everything that the terminal started, as it does here; programs in the background would be told to ignore it."""
    running = subprocess.Popen(
        [sys.executable, "-m", "helpers", "run", "--set", f"OUTPUT={tmp_path}"],
        cwd=ROOT,
        start_new_session=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert running.stdout.readline() == "── 01_sft.ipynb\n"
    end = time.time() + 180
    while not list(tmp_path.rglob("log.jsonl")) and time.time() < end:
        time.sleep(0.2)
    os.killpg(running.pid, signal.SIGINT)
    shown = running.communicate(timeout=60)[1]
    assert list(tmp_path.rglob("checkpoint-*")), "the step ends and is saved first"
    assert (
        running.returncode == 130
        and "stopped in 01_sft.ipynb" in shown
        and "Run the same command again" in shown
        and "Traceback" not in shown
    )


def test_the_terminal_repeats_which_finished_run_was_put_aside(tmp_path):
    (tmp_path / "book.ipynb").write_text(
        json.dumps(
            book(
                stream("steps\nthe finished run in a/sft is kept as sft-before; new is\n  seed\n"),
                stream("x"),
            )
        )
    )
    assert kept(tmp_path / "book.ipynb") == [
        "   the finished run in a/sft is kept as sft-before; new is"
    ]


def test_paths_are_the_caller_s_and_names_of_the_hub_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").touch()
    here = str(tmp_path)
    assert places({"DATASET": "rows.jsonl", "MODEL": "Qwen/Qwen3-4B", "MIRROR": "copy"}) == {
        "OUTPUT": f"{here}/outputs",
        "DATASET": f"{here}/rows.jsonl",
        "MIRROR": f"{here}/copy",
    }


def test_an_adapter_that_is_not_there_is_named_before_anything_runs(tmp_path):
    done = CliRunner().invoke(app, ["run", "--set", f"ADAPTER={tmp_path}"])
    assert (
        done.exit_code == 1
        and f"There is no adapter in {tmp_path}.\nSet ADAPTER" in done.output
        and "01_sft" not in done.output
    )


def book(*outputs, tags=()):
    return {
        "cells": [
            {
                "cell_type": "code",
                "execution_count": 7,
                "metadata": {"tags": list(tags), "papermill": {}},
                "source": "x",
                "outputs": list(outputs),
            }
        ],
        "metadata": {"papermill": {}},
    }


def stream(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


def test_progress_bars_leave_nothing_behind(tmp_path):
    path = tmp_path / "book.ipynb"
    path.write_text(
        json.dumps(book(stream("bar: 0%"), stream("\rbar: 100%"), stream("\r          \rdone\n")))
    )
    tidy(path)
    assert [o["text"] for o in json.loads(path.read_text())["cells"][0]["outputs"]] == ["done\n"]
    path.write_text(json.dumps(book(stream("bar: 0%"), stream("\r       \r"))))
    tidy(path)
    assert json.loads(path.read_text())["cells"][0]["outputs"] == []


def test_stored_books_hold_nothing_of_the_runner(tmp_path):
    (tmp_path / "copy.ipynb").write_text(json.dumps(book(stream("a\n"))))
    store(tmp_path / "copy.ipynb", tmp_path / "book.ipynb", "stamp")
    stored = json.loads((tmp_path / "book.ipynb").read_text())
    assert stored["cells"][0]["execution_count"] == 1 and "papermill" not in json.dumps(stored)
    (tmp_path / "copy.ipynb").write_text(json.dumps(book(tags=["injected-parameters"])))
    store(tmp_path / "copy.ipynb", tmp_path / "book.ipynb", "stamp")
    assert json.loads((tmp_path / "book.ipynb").read_text())["cells"] == []


def test_a_full_disk_ends_the_run_in_words(tmp_path):
    place = tmp_path / "gsm8k_xml" / "notebooks" / NOTEBOOKS[0]
    place.parent.mkdir(parents=True)
    place.symlink_to("/dev/full")
    done = CliRunner().invoke(app, ["run", "--set", f"OUTPUT={tmp_path}"])
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.exception
    assert done.output.endswith(
        f"error: {place} could not be written (No space left on device).\nMake room and run the same command again.\n"
    )


def test_the_address_is_written_everywhere(tmp_path):
    for name in ("pyproject.toml", "README.md", *NOTEBOOKS):
        shutil.copy(ROOT / name, tmp_path)
    old = address.address(tmp_path)
    counts = address.move("https://github.com/some.one/a-fork.git", tmp_path)
    assert (
        set(counts.values()) == {1, 4, counts["README.md"]}
        and address.address(tmp_path) == "some.one/a-fork"
    )
    assert not [path.name for path in tmp_path.iterdir() if old in path.read_text()]
    assert address.move(f"https://github.com/{old}", tmp_path) == counts
    assert all(
        (tmp_path / name).read_bytes() == (ROOT / name).read_bytes()
        for name in ("README.md", *NOTEBOOKS)
    )
    for wrong in (
        "some.one/a-fork",
        *(
            f"https://github.com/{name}"
            for name in ("../..", "-/.", "-me/fork", "me/.", "me/..", "me/.git", "me/.fork", "me/")
        ),
    ):
        with pytest.raises(ValueError, match="not the address of a repository.\nGive one such as"):
            address.move(wrong, tmp_path)
    assert address.address(tmp_path) == old


def a_run(folder, name="log.jsonl"):
    from helpers import runs as runlog

    folder.mkdir(parents=True)
    runlog.append_lines(
        folder / name,
        [
            {
                "step": k,
                "grpo_loss": 0.0,
                "reward_mean": k / 9,
                "reward_std": 0.1,
                "adv_mean": 0.0,
                "adv_std": 1.0,
                "grad_norm": 0.1,
                "learning_rate": 1e-3,
                "time_per_step_s": 1.0,
                "generation_time_s": 0.6,
                "tokens_generated": 90,
            }
            for k in range(1, 9)
        ],
    )
    return folder


@pytest.mark.parametrize("name", ["log.jsonl", "grpo_training_logs.jsonl"])
def test_plot_draws_any_log_and_prints_its_summary(name, tmp_path):
    run = a_run(tmp_path / "run", name)
    done = CliRunner().invoke(app, ["plot", str(run)])
    assert done.exit_code == 0, done.output
    assert (
        "8 steps, 8 s" in done.output and "reward_mean" in done.output and "healthy" in done.output
    )
    assert {path.name for path in (run / "plots").iterdir()} == {
        "losses.png",
        "rewards.png",
        "timing.png",
        "tokens.png",
        "spread.png",
        "replies.png",
    }


def test_plot_compares_runs(tmp_path):
    runs = [a_run(tmp_path / name) for name in "ab"]
    done = CliRunner().invoke(app, ["plot", *map(str, runs), "--out", str(tmp_path / "pictures")])
    assert done.exit_code == 0 and (tmp_path / "pictures" / "compare.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "There is no log"),
        ("", "holds no steps"),
        ('{"a": 1}\n', "holds no steps"),
        ('{"st\n{}\n', "Line 1"),
        ("7\n", "holds no steps"),
    ],
)
def test_plot_of_no_log_says_so(content, words, tmp_path):
    if content is not None:
        (tmp_path / "log.jsonl").write_text(content)
    done = CliRunner().invoke(app, ["plot", str(tmp_path)])
    assert done.exit_code == 1 and words in done.stderr and "Traceback" not in done.output


@pytest.mark.parametrize("seed", range(12))
def test_plot_draws_logs_with_anything_missing(seed, tmp_path):
    """Hand-made and published logs: keys that are missing, null, or text, in some lines or in all."""
    import random

    rng, keys = (
        random.Random(seed),
        [
            "learning_rate",
            "loss",
            "grpo_loss",
            "reward_mean",
            "reward_std",
            "adv_mean",
            "grad_norm",
            "time_per_step_s",
            "entropy",
            "distinct",
            "follows",
            "reward_gap",
            "correct",
            "score",
            "tokens_per_second",
            "generation_time_s",
            "not_finite",
        ],
    )
    chosen = rng.sample(keys, rng.randint(0, len(keys)))
    lines = [
        {"step": k}
        | {
            key: rng.choice(
                [0.1, 0.5, 2, None, "text", ["grad_norm"] if key == "not_finite" else 0.0]
            )
            for key in chosen
            if rng.random() < 0.8
        }
        for k in range(1, 25)
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    (tmp_path / "run.json").write_text('{"recipe": "my_own", "status": "running"}')
    done = CliRunner().invoke(app, ["plot", str(tmp_path)])
    assert done.exit_code == 0, (done.output, done.exception)
    assert (tmp_path / "plots" / "losses.png").is_file()


def test_plot_sees_what_is_no_number_however_it_is_written(tmp_path):
    """As null in the published log, as NaN or Infinity in one by hand, beside a 400-digit integer and a run.json of another shape."""
    for shown, manifest in (
        ("null", '{"status": "x", "recipe": ["a"], "settings": null}'),
        ("NaN", None),
        ("-Infinity", "[1]"),
        ("1" * 400, None),
    ):
        folder = tmp_path / shown[:5]
        folder.mkdir()
        (folder / "grpo_training_logs.jsonl").write_text(
            '{"step": 1, "reward_mean": 0.5, "grpo_loss": %s, "not_finite": [1, 2]}\n' % shown
        )
        if manifest:
            (folder / "run.json").write_text(manifest)
        done = CliRunner().invoke(app, ["plot", str(folder)])
        if manifest == "[1]":
            assert done.exit_code == 1 and "is damaged" in done.stderr
        else:
            assert done.exit_code == 0 and "NaN, at step 1: grpo_loss not finite" in done.output


def test_plot_judges_with_the_settings_of_the_run(tmp_path):
    from helpers.drawing import recipe_of

    assert (
        recipe_of(
            {
                "recipe": "gsm8k_hash",
                "settings": {
                    "grpo": {
                        "batch": 64,
                        "generations": 8,
                        "learning_rate": 1.0,
                        "max_prompt": 1,
                        "max_completion": 9,
                    }
                },
            }
        ).grpo.generations
        == 8
    )
    assert (
        recipe_of({"recipe": "gsm8k_hash", "settings": {"grpo": {"unknown": 1}}}).name
        == "gsm8k_hash"
    )


def test_plot_without_a_common_figure_or_a_place_says_so(tmp_path):
    for name, line in (("a", {"step": 1, "x": 1.0}), ("b", {"step": 1, "y": 1.0})):
        (tmp_path / name).write_text(json.dumps(line) + "\n")
    done = CliRunner().invoke(
        app, ["plot", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path)]
    )
    assert done.exit_code == 1 and "no figure in common" in done.stderr
    done = CliRunner().invoke(app, ["plot", str(tmp_path / "a"), "--out", str(tmp_path / "b")])
    assert (
        done.exit_code == 1
        and "Traceback" not in done.output
        and str(tmp_path / "b") in done.stderr
    )


def test_export_proves_what_it_wrote_and_push_only_plans(tmp_path, recipe, machine, monkeypatch):
    from helpers.training import models
    from helpers.training.trainers import save_adapter

    model, tokenizer = models.load(str(models.TINY_MODEL), recipe, machine)
    model = models.add_lora(model, recipe, machine, 0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.02)
    save_adapter(model, tokenizer, tmp_path / "grpo" / "adapter")
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "summary.json").write_text(
        json.dumps(
            {"greedy": {"grpo": {}}, "sampled": {"grpo": {}}, "weights": {"grpo": "another's"}}
        )
    )
    (tmp_path / "grpo" / "run.json").write_text(
        json.dumps(
            {
                "status": "finished",
                "stage": "grpo",
                "recipe": "gsm8k_xml",
                "adapter_hash": "its own",
            }
        )
    )
    done = CliRunner().invoke(
        app,
        [
            "export",
            str(tmp_path / "grpo" / "adapter"),
            "--precision",
            "bf16",
            "--out",
            str(tmp_path / "merged"),
        ],
    )
    assert (
        done.exit_code == 0
        and "beyond rounding 0.0e+00" in done.output
        and "of 16 greedy replies" in done.output
    ), done.output
    assert (
        "no card  The evaluation is of another grpo adapter than this run's.\nRun 03_eval"
        in done.output
        and not (tmp_path / "merged" / "README.md").exists()
    )
    (tmp_path / "eval" / "summary.json").write_text("{")
    done = CliRunner().invoke(
        app,
        [
            "export",
            str(tmp_path / "grpo" / "adapter"),
            "--precision",
            "bf16",
            "--out",
            str(tmp_path / "merged"),
        ],
    )
    assert (
        done.exit_code == 0
        and f"no card  {tmp_path / 'eval' / 'summary.json'} is damaged (Expecting" in done.output
    )
    monkeypatch.setenv("HF_TOKEN", "none")
    planned = CliRunner().invoke(app, ["push", str(tmp_path / "merged"), "me/model"])
    assert (
        planned.exit_code == 0
        and "model.safetensors" in planned.output
        and "nothing was uploaded; add --push" in planned.output
    )
    (tmp_path / "merged" / "README.md").write_text("your-name/model")
    planned = CliRunner().invoke(app, ["push", str(tmp_path / "merged"), "me/model"])
    assert (
        planned.exit_code == 1
        and "model.safetensors" in planned.output
        and "export again with --repo" in planned.output
        and "add --push" not in planned.output
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "nowhere"], "is no adapter's folder"),
        (["export", "--precision", "int4", "nowhere"], "nowhere is no adapter's"),
        (["push", "nowhere", "me/model"], "no folder nowhere"),
        (["push", "helpers/tiny/model", "model"], "your-name/model-name"),
    ],
)
def test_export_and_push_say_what_is_wrong(words, said):
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1 and said in done.output and "Traceback" not in done.output


def test_stages_from_the_command_line(tmp_path):
    """Published flags: SFT and GRPO in one call, few steps, the adapters also where they are asked for; then again, which trains nothing."""
    words = [
        "both",
        "--recipe",
        "gsm8k_xml",
        "--output_dir",
        str(tmp_path / "out"),
        "--max_samples",
        "16",
        "--batch_size",
        "8",
        "--num_epochs",
        "1",
        "--use_4bit",
        "--sft_output",
        str(tmp_path / "sft"),
        "--grpo_output",
        str(tmp_path / "grpo"),
        "--learning_rate",
        "1e-3",
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, (done.output, done.exception)
    runs = {
        stage: json.loads((tmp_path / "out/gsm8k_xml" / stage / "run.json").read_text())
        for stage in ("sft", "grpo")
    }
    assert (
        "rows      4000 to learn from (left out: none), 2000 to measure with (left out: none)"
        in done.output
    )
    assert [(run["status"], run["steps"]) for run in runs.values()] == [
        ("finished", 2),
        ("finished", 16),
    ]  # 16 rows: 8 a step; a group of 8 a step
    assert (
        runs["grpo"]["settings"]["grpo"]["batch"] == 8
        and runs["sft"]["settings"]["sft"]["learning_rate"] == 1e-3
        and runs["sft"]["settings"]["lora"]["load_in_4bit"]
    )
    assert all((tmp_path / stage / "adapter_model.safetensors").is_file() for stage in runs)
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 0 and again.output.count("finished before") == 2
    few = [
        "sft",
        "--max_samples",
        "16",
        "--batch_size",
        "8",
        "--num_epochs",
        "1",
        "--mirror",
        str(tmp_path / "mirror"),
        "--output_dir",
    ]
    done = CliRunner().invoke(app, [*few, str(tmp_path / "right here")])
    assert (
        done.exit_code == 0
        and f"-m helpers plot '{tmp_path / 'right here/gsm8k_xml/sft'}'\n" in done.output
    )
    elsewhere = CliRunner().invoke(app, [*few, str(tmp_path / "there")])
    assert "from the mirror: ['sft']" in elsewhere.output and "finished before" in elsewhere.output


def test_both_looks_at_grpo_s_rows_before_it_trains_sft(tmp_path):
    rows = tmp_path / "five.jsonl"
    rows.write_text(
        "".join(
            json.dumps(
                {"question": f"What is {n} + 4?", "answer": f"{n} + 4 = {n + 4}\n#### {n + 4}"}
            )
            + "\n"
            for n in range(5)
        )
    )
    done = CliRunner().invoke(
        app, ["both", "--dataset", str(rows), "--output_dir", str(tmp_path / "out")]
    )
    assert (
        done.exit_code == 1
        and "GRPO takes 8 questions a step, and there are 4.\nAdd rows" in done.output
        and not list((tmp_path / "out").iterdir())
    )


def test_what_the_command_line_changes():
    from helpers.recipes import get_recipe
    from helpers.training.stages import changed

    recipe = changed(
        get_recipe("openr1_boxed"), {"sft": True, "priming": True}, None, 32, None, 5000, False
    )
    assert (recipe.priming.rows, recipe.sft.rows, recipe.sft.batch, recipe.lora.load_in_4bit) == (
        60,
        5000,
        32,
        False,
    )
    assert recipe.grpo == get_recipe("openr1_boxed").grpo
    assert (
        changed(get_recipe("phybench_eed"), {"grpo": True}, 2.0, None, None, None, None).grpo.steps
        is None
    )


def test_an_adapter_is_copied_whole_and_over_nothing_else(tmp_path):
    from helpers.training.stages import copied

    adapter, place = tmp_path / "adapter", tmp_path / "place"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    assert copied(adapter, None) == copied(adapter, adapter) == adapter
    assert (
        copied(adapter, place) == place
        and copied(adapter, place) == place
        and [path.name for path in place.iterdir()] == ["adapter_config.json"]
    )
    (place / "notes.txt").write_text("mine")
    for taken in (place, place / "notes.txt"):
        with pytest.raises(
            FileExistsError, match="holds something that is no adapter.\nName another"
        ):
            copied(adapter, taken)
    assert (place / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sft", "--recipe", "gsm9k"], "Unknown recipe 'gsm9k'"),
        (["sft", "--recipe", "dapo_think"], "has no SFT"),
        (["grpo"], "Run 01_sft.ipynb first"),
        (
            ["grpo", "--recipe", "dapo_think", "--batch_size", "9"],
            "does not divide into groups of 8",
        ),
        (["both", "--budget", "large"], "Unknown budget"),
        (["grpo", "--recipe", "dapo_think", "--vllm", "colocate"], "vLLM is not installed"),
        (["grpo", "--recipe", "dapo_think", "--vllm", "often"], "VLLM is 'often'"),
        (["sft", "--model_name", "./nothing"], "no model at ./nothing"),
        (["sft", "--dataset_name", "./nothing"], "nothing at ./nothing"),
        (["both", "--batch_size", "12"], "does not divide into groups of 8"),
        (["grpo", "--batch_size", "4", "--num_epochs", "1"], "does not divide into groups of 8"),
        (
            ["grpo", "--recipe", "dapo_think", "--max_samples", "1"],
            "takes 8 questions a step, and there are 1",
        ),
        (["sft", "--sft_output", "tests"], "holds something that is no adapter"),
        (["both", "--sft_output", "x", "--grpo_output", "x"], "are one folder"),
        (["sft", "--grpo_output", "x"], "writes no --grpo_output"),
        (["sft", "--report_to", "abacus"], "which is not installed"),
        (["sft", "--learning_rate", "inf"], "--learning_rate is inf"),
        (["sft", "--adapter", "x"], "takes no --adapter"),
    ],
)
def test_stages_say_what_is_wrong(words, said, tmp_path):
    done = CliRunner().invoke(app, [*words, "--output_dir", str(tmp_path)])
    assert (
        done.exit_code == 1
        and said in done.output
        and "Traceback" not in done.output
        and not list(tmp_path.rglob("adapter"))
    )


def test_weights_that_are_no_numbers_end_in_words(tmp_path):
    """Training that blows up, and a whole model that is spoiled: it can be loaded, and fails where answers are drawn."""
    from safetensors.torch import load_file, save_file

    from helpers.training.models import TINY_MODEL

    nan = shutil.copytree(TINY_MODEL, tmp_path / "nan") / "model.safetensors"
    save_file(
        {
            name: w * float("nan") if name == "model.norm.weight" else w
            for name, w in load_file(nan).items()
        },
        nan,
        {"format": "pt"},
    )
    for words, said in (
        (
            ["sft", "--learning_rate", "1e30", "--max_steps", "3"],
            "not finite.\nLower the learning rate",
        ),
        (
            ["evaluate", str(nan.parent), "--max_samples", "2", "--samples", "2"],
            "error: probability tensor contains",
        ),
    ):
        done = CliRunner().invoke(app, [*words, "--output_dir", str(tmp_path / "out")])
        assert (
            done.exit_code == 1 and isinstance(done.exception, SystemExit) and said in done.output
        ), (done.output, done.exception)


def test_too_few_questions_are_named_before_the_model_is_loaded(tmp_path, monkeypatch):
    from helpers.training import models

    monkeypatch.setattr(models, "load", lambda *_: pytest.fail("the model was loaded"))
    rows = [
        {
            "messages": [{"role": "user", "content": f"What is {n} + 2?"}],
            "answer_text": str(n + 2),
            "answer": str(n + 2),
        }
        for n in range(6)
    ]
    (tmp_path / "six.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = CliRunner().invoke(
        app,
        [
            "grpo",
            "--recipe",
            "dapo_think",
            "--dataset",
            str(tmp_path / "six.jsonl"),
            "--output_dir",
            str(tmp_path / "out"),
        ],
    )
    assert (
        done.exit_code == 1
        and "8 questions a step, and there are 5.\nAdd rows" in done.output
        and "(--batch_size 40, or" in done.output
    )  # one is held out


def test_the_accelerate_configurations_are_read_as_they_are_meant():
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    from tests.conftest import ROOT

    found = {}
    for path in sorted((ROOT / "helpers" / "accelerate").glob("*.yaml")):
        arguments = launch_command_parser().parse_args(
            ["--config_file", str(path), "--num_processes", "4", "-m", "helpers", "grpo"]
        )
        settled, *_ = _validate_launch_command(arguments)
        assert (
            load_config_from_file(str(path)).num_machines == 1
            and settled.num_processes == 4
            and settled.main_process_port == 0
        )
        found[path.stem] = [
            name
            for name in ("multi_gpu", "use_fsdp", "use_deepspeed", "use_cpu")
            if getattr(settled, name)
        ]
    assert found == {
        "cpu": ["multi_gpu", "use_cpu"],
        "ddp": ["multi_gpu"],
        "deepspeed": ["use_deepspeed"],
        "fsdp": ["use_fsdp"],
    }
    assert settled.fsdp_version == 2


@pytest.mark.parametrize("name", ["gsm8k_xml", "openr1_boxed", "dapo_think"])
def test_plan_prints_every_card(name):
    from helpers.recipes import RECIPES

    done = CliRunner().invoke(app, ["plan", name])
    lines = done.output.partition("\n\n")[0].splitlines()
    assert (
        done.exit_code == 0
        and all(len(line) <= 100 for line in lines)
        and "not measured yet" in done.output
    )
    for card in (
        "T4 16 GB",
        "2 × T4",
        "L4 24 GB",
        "A100 40 GB",
        "A100 80 GB",
        "H100 80 GB",
        "this computer",
    ):
        assert [
            line.split()[len(card.split())] for line in lines if line.strip().startswith(card)
        ] == list(RECIPES[name].stages), card
    assert CliRunner().invoke(app, ["plan", "gsm9k"]).exit_code == 1
