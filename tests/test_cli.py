"""`python -m helpers`: every command, what it prints, and what it says when something is off."""

import errno
import json
import random
import shutil
import time

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from helpers.__main__ import COMMANDS, as_flags, build_parser, main, with_cure, with_switches
from helpers.commands import check_place
from helpers.drawing import recipe_of
from helpers.recipes import RECIPES, for_model
from helpers.runs import write_json, write_lines
from helpers.settings import AFRESH, Settings
from helpers.tiny import TINY_MODEL
from helpers.tiny.schemas import rows_for
from helpers.training.stages import changed
from tests.conftest import ROOT, fails, works
from tests.sharing.test_export import make_adapter

from safetensors.torch import load_file, save_file  # isort: skip  (after Unsloth)


STEP = {"grpo_loss": 0.0, "reward_std": 0.1, "adv_mean": 0.0, "adv_std": 1.0, "grad_norm": 0.1}
STEP |= {"learning_rate": 1e-3, "time_per_step_s": 1.0, "generation_time_s": 0.6}
STEP |= {"tokens_generated": 90}


def a_run(folder, name="log.jsonl"):
    folder.mkdir(parents=True)
    lines = [{"step": k, "reward_mean": k / 9, **STEP} for k in range(1, 9)]
    write_lines(folder / name, lines)
    return folder


@pytest.mark.parametrize("name", ["log.jsonl", "grpo_training_logs.jsonl"])
def test_plot_draws_any_log_and_prints_its_summary(name, tmp_path):
    run = a_run(tmp_path / "run", name)
    shown = works("plot", run)
    assert "8 steps, 8 s" in shown and "reward_mean" in shown and "NaN: no\n" in shown
    figures = {"losses", "rewards", "timing", "tokens", "spread", "replies"}
    assert {path.stem for path in (run / "plots").iterdir()} == figures


def test_plot_compares_runs(tmp_path):
    runs = [a_run(tmp_path / name) for name in "ab"]
    works("plot", *runs, "--out", tmp_path / "pictures")
    assert (tmp_path / "pictures" / "compare.png").stat().st_size > 5000
    fails(str(runs[1]), "plot", runs[0], "--out", runs[1] / "log.jsonl")


NO_LOGS = [(None, "There is no log"), ('{"st\n{}\n', "Line 1")]
NO_LOGS += [("", "holds no steps"), ('{"a": 1}\n', "holds no steps")]


@pytest.mark.parametrize(("content", "said"), NO_LOGS)
def test_plot_of_no_log_says_so(content, said, tmp_path):
    if content is not None:
        (tmp_path / "log.jsonl").write_text(content)
    fails(said, "plot", tmp_path)


ANY_KEYS = [*STEP, "loss", "reward_mean", "entropy", "distinct", "follows", "reward_gap", "score"]


@pytest.mark.parametrize("seed", range(6))
def test_plot_draws_logs_with_anything_missing(seed, tmp_path):
    """Hand-made and published logs: keys that are missing, null, or text, in some lines or all."""
    rng = random.Random(seed)
    chosen = rng.sample(ANY_KEYS, rng.randint(0, len(ANY_KEYS)))
    lines = []
    for step in range(1, 25):
        values = {k: rng.choice([0.1, 0.5, 2, None, "text", 0.0]) for k in chosen}
        lines.append({"step": step} | {k: v for k, v in values.items() if rng.random() < 0.8})
    write_lines(tmp_path / "log.jsonl", lines)
    (tmp_path / "run.json").write_text('{"recipe": "my_own", "status": "running"}')
    works("plot", tmp_path)
    assert (tmp_path / "plots" / "losses.png").is_file()


@pytest.mark.parametrize("number", ["null", "NaN", "-Infinity"])
def test_plot_sees_what_is_no_number_however_it_is_written(number, tmp_path):
    line = f'{{"step": 1, "reward_mean": 0.5, "grpo_loss": {number}}}\n'
    (tmp_path / "grpo_training_logs.jsonl").write_text(line)
    assert "NaN: step 1: grpo_loss not finite" in works("plot", tmp_path)


@pytest.mark.parametrize("manifest", ["[1]", '{"status": 1}', "{"])
def test_plot_of_a_damaged_run_says_so(manifest, tmp_path):
    (a_run(tmp_path / "run") / "run.json").write_text(manifest)
    fails("is damaged", "plot", tmp_path / "run")


def test_plot_judges_with_the_settings_of_the_run():
    grpo = {"batch": 64, "generations": 8, "learning_rate": 1.0}
    grpo |= {"max_prompt": 1, "max_completion": 9}
    found = recipe_of({"recipe": "gsm8k_hash", "settings": {"grpo": grpo}})
    assert (found.name, found.grpo.generations) == ("gsm8k_hash", 8)


def test_export_proves_what_it_wrote_and_push_only_plans(tmp_path, recipe, machine):
    adapter, merged = tmp_path / "grpo" / "adapter", tmp_path / "merged"
    make_adapter(str(TINY_MODEL), adapter, recipe, machine, 0.02)
    (tmp_path / "eval").mkdir()
    part = {"grpo": {}}
    others = {"greedy": part, "sampled": part, "weights": {"grpo": "another's"}}
    write_json(tmp_path / "eval" / "summary.json", others)
    run = {"status": "finished", "stage": "grpo", "recipe": "gsm8k_xml", "adapter_hash": "its own"}
    write_json(tmp_path / "grpo" / "run.json", run)

    shown = works("export", adapter, "--precision", "bf16", "--out", merged)
    assert "beyond rounding 0.0e+00" in shown and "of 16 greedy replies" in shown
    assert "no card  The evaluation is of another grpo adapter than this run's.\nRun 03" in shown
    assert not (merged / "README.md").exists()

    shown = works("push", merged, "me/model")
    assert "nothing was uploaded; add --push" in shown and "model.safetensors" in shown
    (merged / "README.md").write_text("your-name/model")
    shown = works("push", merged, "me/model")
    assert "nothing was uploaded; add --push" in shown
    assert (merged / "README.md").read_text() == "your-name/model"


def test_stages_from_the_command_line(tmp_path):
    """Published flags and own rows; adapters also where they are asked for; again, from disk."""
    out, runs = tmp_path / "out", {}
    rows = tmp_path / "rows.jsonl"
    write_lines(rows, rows_for("openai/gsm8k", "train", 60))
    words = ["both", "--recipe", "gsm8k_xml", "--output_dir", out, "--mirror", tmp_path / "mirror"]
    words += ["--max_samples", 16, "--batch_size", 8, "--num_epochs", 1, "--use_4bit"]
    words += ["--sft_output", tmp_path / "sft", "--grpo_output", tmp_path / "grpo"]
    words += ["--learning_rate", "1e-3", "--dataset_name", rows, "--lora_r", 8]
    words += ["--num_generations", 4, "--max_completion_length", 64, "--temperature", 0.9]
    shown = works(*words)
    assert "54 to learn from (left out: none), 6 to measure with (left out: none)" in shown
    assert shown.count(f"the embedded model knows its own few stories: of {rows} it will get") == 1
    for stage in ("sft", "grpo"):
        assert f"16 for {stage} (left out: 38 beyond the 16 that {stage} takes)" in shown
    assert "\nfinished  " not in shown
    assert f"-m helpers plot {out / 'gsm8k_xml/sft'}\n" in shown
    for stage in ("sft", "grpo"):
        runs[stage] = json.loads((out / "gsm8k_xml" / stage / "run.json").read_text())
        assert (tmp_path / stage / "adapter_model.safetensors").is_file()
    # 16 rows: 8 a step; for GRPO two groups of 4 a step
    steps = [(run["status"], run["steps"]) for run in runs.values()]
    assert steps == [("finished", 2), ("finished", 8)]
    held = runs["grpo"]["settings"]["grpo"]
    names = ("batch", "generations", "max_completion", "temperature")
    assert [held[name] for name in names] == [8, 4, 64, 0.9]
    assert (
        runs["grpo"]["settings"]["lora"] | {"r": 8, "alpha": 8} == runs["sft"]["settings"]["lora"]
    )
    assert runs["sft"]["settings"]["sft"]["learning_rate"] == 1e-3
    assert runs["sft"]["settings"]["lora"]["load_in_4bit"]

    asked = ["--model_path", tmp_path / "out/gsm8k_xml/grpo", "--problems", 2, "--samples", 1]
    shown = works("evaluate", *asked)  # its results lie beside the run, where export looks
    assert f"{rows}: 6 to measure with, 2 asked (left out: none)\n" in shown
    assert "asked     2 problems (left out: none)" in shown and shown.count(f"n of {rows}") == 2
    results = out / "gsm8k_xml" / "evaluate" / "grpo_sampled.json"
    settings = json.loads(results.read_text())["settings"]
    assert settings[0] == 0.9 and settings[3] == 64  # the temperature and the limit of the run

    rows.rename(rows.with_name("moved.jsonl"))  # an export needs none
    shown = works("export", out / "gsm8k_xml" / "grpo")
    assert f"merged   {out / 'gsm8k_xml/export/merged-fp32'}, " in shown
    assert f", of what is in {out / 'gsm8k_xml/evaluate'}" in shown
    rows.with_name("moved.jsonl").rename(rows)

    shown = works(*words)
    assert shown.count("finished before") == 2
    assert f"\nfinished  sft, grpo in {out / 'gsm8k_xml'}: read, not trained" in shown
    assert "again: RESUME = False in 01 and 02 (in a terminal --no-resume)" in shown
    words[words.index(out)] = tmp_path / "there"  # another machine, the same mirror
    shown = works(*words)
    assert "from the mirror: ['grpo', 'sft']" in shown and shown.count("finished before") == 2


def test_what_the_settings_change():
    boxed, physics = RECIPES["openr1_boxed"], RECIPES["phybench_eed"]
    given = Settings(batch=32, rows=5000, use_4bit=False)
    recipe = changed(boxed, given)
    assert (recipe.priming.rows, recipe.sft.rows, recipe.sft.batch) == (60, 5000, 32)
    assert not recipe.lora.load_in_4bit
    tiny = changed(for_model(boxed, True, "cpu"), given)
    assert (tiny.priming.rows, tiny.sft.rows) == (60, 5000)
    assert changed(physics, Settings(epochs=2.0)).grpo.steps is None
    assert changed(physics, Settings()) == physics
    given = Settings(lora_rank=8, generations=2, max_prompt=99, max_completion=50, max_length=70)
    recipe = changed(boxed, given)
    assert (recipe.lora.r, recipe.lora.alpha) == (8, 8)
    assert (recipe.grpo.generations, recipe.grpo.max_prompt) == (2, 99)
    assert (recipe.grpo.max_completion, recipe.sft.max_length) == (50, 70)
    assert changed(physics, Settings(file="some.json")).source.files == "some.json"


def test_an_adapter_goes_into_an_empty_folder_or_one_of_an_adapter(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").touch()
    for free in ("", "new", "empty", "adapter"):
        check_place(free and str(tmp_path / free))
    for taken in (tmp_path, tmp_path / "adapter" / "adapter_config.json"):
        with pytest.raises(FileExistsError, match="holds something that is no adapter.\nName an"):
            check_place(str(taken))


DAPO = ["grpo", "--recipe", "dapo_think"]
WRONG = [
    (["export", "nowhere"], "There is no adapter and no model in 'nowhere'.\nName an adapter"),
    (["export", "nowhere", "--repo", "x"], "your-name/model-name"),
    (["push", "nowhere", "me/model"], "no folder nowhere"),
    (["evaluate", "cut/sft"], "The run cut/sft is running.\nRun its training again"),
    (["evaluate", "cut/sft/adapter"], "The run cut/sft is running.\nRun its training again"),
    (["export", "cut/sft"], "The run cut/sft is running.\nRun its training again"),
    (["push", TINY_MODEL, "model"], "your-name/model-name"),
    (["sft", "--recipe", "gsm9k"], "Unknown recipe 'gsm9k'"),
    (["sft", "--recipe", "dapo_think"], "has no SFT"),
    (["grpo"], "Run 01_sft.ipynb first, or set --adapter (in a terminal: python -m helpers sft)"),
    (["both", "--batch_size", "12"], "does not divide into groups of 8"),
    ([*DAPO, "--vllm", "colocate"], "vLLM is not installed"),
    (["sft", "--vllm", "server"], "vLLM is not installed"),
    (["sft", "--model_name", "./nothing"], "no adapter at ./nothing"),
    (
        ["sft", "--dataset_name", "./nothing"],
        "no folder at ./nothing.\nSet --dataset to rows that are here, or an id",
    ),
    ([*DAPO, "--max_samples", "1"], "takes 8 questions a step, and there are 1"),
    (["sft", "--sft_output", ROOT / "tests"], "holds something that is no adapter"),
    (["both", "--sft_output", "x", "--grpo_output", "./x"], "are one folder"),
    (["sft", "--report_to", "trackio"], "which is not installed"),
    (["sft", "--learning_rate", "inf"], "--learning_rate is 'inf'"),
    (["grpo", "--temperature", "0"], "is '0'.\nGive a number, more than 0 and at most 1e+30."),
    (["grpo", "--seed", "-1"], "is '-1'.\nGive a whole number, 0 or more and at most 1000000000."),
    (["both", "--generations", "1"], "nothing to be compared with.\nSet --generations to one of"),
    (["sft", "--lora_rank", "1000000"], "sft: This needs "),
    (["plan", "gsm9k"], "Unknown recipe 'gsm9k'.\nSet RECIPE to one of"),
    (["both", *DAPO[1:], "--sft_output", "x"], "no SFT here"),
]


@pytest.mark.parametrize(("words", "said"), WRONG)
def test_what_is_wrong_is_said_before_anything_is_trained(words, said, tmp_path, monkeypatch):
    cut = tmp_path / "cut" / "sft"
    cut.mkdir(parents=True)
    (cut / "run.json").write_text('{"status": "running"}')
    monkeypatch.chdir(tmp_path)
    fails(said, *words)
    assert not list(tmp_path.rglob("adapter"))


MESSAGES = [
    ("sft", "Set MODEL to it, a smaller MODEL.", "Set --model to it, a smaller --model."),
    ("grpo", "Set MODEL=a/b.c-1, or KEEP_BEST.", "Set --model a/b.c-1, or --keep_best."),
    ("sft", "start afresh: RESUME = False.", "start afresh: --no-resume."),
    ("sft", f"afresh: {AFRESH}, too", "afresh: --no-resume, too"),
    ("sft", 'or set MIRROR = "".', 'or set --mirror "".'),
    ("sft", "FORCE = True trains", "--force trains"),
    ("export", "set OUTPUT to a larger disk", "set --out to a larger disk"),
    ("sft", "set OUTPUT elsewhere", "set --output elsewhere"),
    ("export", "or set ADAPTER to a folder", "or set ADAPTER to a folder"),  # it is no flag there
    ("sft", "/x/MODEL/SEED-1 and MY_MODEL", "/x/MODEL/SEED-1 and MY_MODEL"),
    ("run", "Set MODEL, RESUME = False", "Set MODEL, RESUME = False"),
    ("run", f"afresh: {AFRESH}.", "afresh: RESUME=False."),
]


@pytest.mark.parametrize(("command", "said", "shown"), MESSAGES)
def test_messages_of_the_command_line_name_flags(command, said, shown):
    assert as_flags(said, command) == shown


def test_an_error_without_a_cure_gets_one():
    full = OSError(errno.ENOSPC, "No space left on device", "x/log.jsonl")
    assert with_cure(full).endswith(
        "'x/log.jsonl'\nSee that there is room and that you may write there, or set OUTPUT anew."
    )
    assert "\nUse `.venv/bin/python`" in with_cure(ModuleNotFoundError("No module named 'trl'"))
    assert with_cure(OSError("This.\nDo that.")) == "This.\nDo that."


SWITCHES = [
    ("sft --resume false", False),
    ("sft --resume=False --seed 1", False),
    ("sft --no-resume", False),
    ("sft --resume on", True),
    ("sft --resume", True),
    ("sft", None),
    ("evaluate --resume true x", True),
    ("evaluate x --resume OFF", False),
    ("evaluate --resume x", True),
]


@pytest.mark.parametrize(("words", "resume"), SWITCHES)
def test_a_switch_takes_a_word_and_no_argument_of_the_command(words, resume):
    given = build_parser().parse_args(with_switches(words.split()))
    assert given.resume is resume
    assert getattr(given, "candidate", ["x"]) == ["x"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_every_name_and_choice_within_80_columns(command, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for flag in COMMANDS[command][1].split():
        metadata = Settings.__dataclass_fields__[flag].metadata
        for name in (*metadata["flags"], flag, "|".join(metadata["choices"])):
            assert name in shown


def test_a_model_of_the_hub_that_does_not_answer(tmp_path, recipe, machine, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for module in ("huggingface_hub.constants", "datasets.config"):
        monkeypatch.setattr(f"{module}.HF_HUB_OFFLINE", True)
    name = "Qwen/Qwen3-0.6B"
    make_adapter(str(TINY_MODEL), tmp_path / "run" / "adapter", recipe, machine, 0.02)
    settings = tmp_path / "run" / "adapter" / "adapter_config.json"
    write_json(settings, json.loads(settings.read_text()) | {"base_model_name_or_path": name})
    of_adapters = [[command, "run"] for command in ("ask", "evaluate", "export")]
    for words in (["sft", "--model", name], ["ask", name], ["evaluate", name], *of_adapters):
        begun = time.monotonic()
        fails("Check the network and the id, or set ", *words)
        assert time.monotonic() - begun < 10


TOO_FEW = [
    (5, "GRPO takes 8 questions a step, and there are 4.\nAdd rows"),
    (6, "or set --batch to 40 or less"),  # one of six is held out
]


@pytest.mark.parametrize(("rows", "said"), TOO_FEW)
def test_too_few_questions_are_named_before_anything_is_trained(rows, said, tmp_path):
    write_lines(tmp_path / "rows.jsonl", rows_for("openai/gsm8k", "train", rows))
    words = ["--dataset", tmp_path / "rows.jsonl", "--output_dir", tmp_path / "out"]
    fails(said, "both", *words)
    assert not list((tmp_path / "out").iterdir())


def test_weights_that_are_no_numbers_end_in_words(tmp_path):
    """Training that blows up, and a model that is spoiled: it loads, and fails where it draws."""
    words = ["sft", "--learning_rate", "1e30", "--max_steps", "3", "--output_dir", tmp_path]
    fails("not finite.\nLower the learning rate", *words)
    spoiled = shutil.copytree(TINY_MODEL, tmp_path / "nan") / "model.safetensors"
    weights = load_file(spoiled)
    weights["model.norm.weight"] *= float("nan")
    save_file(weights, spoiled, {"format": "pt"})
    words = ["evaluate", spoiled.parent, "--max_samples", "2", "--samples", "2"]
    fails("probability tensor contains", *words, "--output_dir", tmp_path / "out")


@pytest.mark.parametrize(
    ("command", "flag", "meant"),
    [
        ("sft", "--grpo_output", " Did you mean --output?"),
        ("both", "--problems", ""),
        ("sft", "--max_step", " Did you mean --max_steps?"),
        ("both", "--models", " Did you mean --model?"),
        ("export", "--adapter", " Name it without --adapter."),
    ],
)
def test_a_flag_that_a_command_has_not_is_named(command, flag, meant, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, flag, "7"])
    rest = "" if command == "export" else " 7"  # which takes the word as its adapter
    said = f"error: {command} has no {flag}{rest}.{meant}\n"
    said += f"See its flags: python -m helpers {command} --help\n"
    assert ended.value.code == 2 and capsys.readouterr().err == said


CARDS = "T4 16 GB, 2 × T4, L4 24 GB, A100 40 GB, A100 80 GB, H100 80 GB, this computer"


@pytest.mark.parametrize("name", ["gsm8k_xml", "openr1_boxed", "dapo_think"])
def test_plan_prints_every_card(name):
    shown = works("plan", name)
    lines = shown.partition("\n\n")[0].splitlines()
    assert max(map(len, lines)) <= 100 and "measured yet" in shown
    for card in CARDS.split(", "):
        rows = [line for line in lines if line.strip().startswith(card)]
        stages = [row.strip().removeprefix(card).split()[0] for row in rows]
        assert stages == list(RECIPES[name].stages), card


def test_the_readme_shows_the_recipes_as_they_are():
    text = (ROOT / "README.md").read_text().partition("## The five recipes")[2]
    part = text.partition("\n## ")[0]
    rows = [line for line in part.splitlines() if line.startswith("|")]
    assert len(rows) == 7 and set(rows) <= set(works("recipes").splitlines())


def test_the_accelerate_configurations_are_read_as_they_are_meant():
    switches = ("multi_gpu", "use_fsdp", "use_deepspeed", "use_cpu")
    found = {}
    for path in sorted((ROOT / "helpers" / "accelerate").glob("*.yaml")):
        words = ["--config_file", str(path), "--num_processes", "4", "-m", "helpers", "grpo"]
        settled, *_ = _validate_launch_command(launch_command_parser().parse_args(words))
        assert load_config_from_file(str(path)).num_machines == 1
        assert settled.num_processes == 4 and settled.main_process_port == 0
        found[path.stem] = [name for name in switches if getattr(settled, name)]
    alone = {"ddp": ["multi_gpu"], "deepspeed": ["use_deepspeed"], "fsdp": ["use_fsdp"]}
    assert found == alone | {"cpu": ["multi_gpu", "use_cpu"]}
    assert settled.fsdp_version == 2
