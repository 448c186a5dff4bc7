"""`python -m helpers`: every command, what it prints, and what it says when something is off."""

import json
import random
import shutil

import pytest

from tests.conftest import ROOT, command


@pytest.fixture
def cli():
    """Runs a command: (exit status, what it printed on both streams)."""

    def run(*words):
        status, out, err = command(*words)
        return status, out + err

    return run


def fails(result, said):
    status, shown = result
    assert status == 1 and said in shown and "Traceback" not in shown, shown
    error = shown[shown.index("error: ") :]
    assert len(error.strip().split("\n")) <= 3, error  # cause and cure
    return shown


# plot

STEP = {
    "grpo_loss": 0.0,
    "reward_std": 0.1,
    "adv_mean": 0.0,
    "adv_std": 1.0,
    "grad_norm": 0.1,
    "learning_rate": 1e-3,
    "time_per_step_s": 1.0,
    "generation_time_s": 0.6,
    "tokens_generated": 90,
}


def a_run(folder, name="log.jsonl"):
    folder.mkdir(parents=True)
    lines = [{"step": k, "reward_mean": k / 9, **STEP} for k in range(1, 9)]
    (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize("name", ["log.jsonl", "grpo_training_logs.jsonl"])
def test_plot_draws_any_log_and_prints_its_summary(name, tmp_path, cli):
    run = a_run(tmp_path / "run", name)
    status, shown = cli("plot", run)
    assert status == 0, shown
    assert "8 steps, 8 s" in shown and "reward_mean" in shown and "NaN: no\n" in shown
    figures = {"losses", "rewards", "timing", "tokens", "spread", "replies"}
    assert {path.stem for path in (run / "plots").iterdir()} == figures


def test_plot_compares_runs(tmp_path, cli):
    runs = [a_run(tmp_path / name) for name in "ab"]
    status, _ = cli("plot", *runs, "--out", tmp_path / "pictures")
    assert status == 0 and (tmp_path / "pictures" / "compare.png").stat().st_size > 5000


NO_LOGS = [
    (None, "There is no log"),
    ("", "holds no steps"),
    ('{"a": 1}\n', "holds no steps"),
    ('{"st\n{}\n', "Line 1"),
]


@pytest.mark.parametrize(("content", "said"), NO_LOGS)
def test_plot_of_no_log_says_so(content, said, tmp_path, cli):
    if content is not None:
        (tmp_path / "log.jsonl").write_text(content)
    fails(cli("plot", tmp_path), said)


ANY_KEYS = [*STEP, "loss", "reward_mean", "entropy", "distinct", "follows", "reward_gap", "score"]


@pytest.mark.parametrize("seed", range(6))
def test_plot_draws_logs_with_anything_missing(seed, tmp_path, cli):
    """Hand-made and published logs: keys that are missing, null, or text, in some lines or all."""
    rng = random.Random(seed)
    chosen = rng.sample(ANY_KEYS, rng.randint(0, len(ANY_KEYS)))
    lines = []
    for step in range(1, 25):
        values = {k: rng.choice([0.1, 0.5, 2, None, "text", 0.0]) for k in chosen}
        lines.append({"step": step} | {k: v for k, v in values.items() if rng.random() < 0.8})
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    (tmp_path / "run.json").write_text('{"recipe": "my_own", "status": "running"}')
    status, shown = cli("plot", tmp_path)
    assert status == 0 and (tmp_path / "plots" / "losses.png").is_file(), shown


@pytest.mark.parametrize("number", ["null", "NaN", "-Infinity"])
def test_plot_sees_what_is_no_number_however_it_is_written(number, tmp_path, cli):
    line = f'{{"step": 1, "reward_mean": 0.5, "grpo_loss": {number}}}\n'
    (tmp_path / "grpo_training_logs.jsonl").write_text(line)
    status, shown = cli("plot", tmp_path)
    assert status == 0 and "NaN: step 1: grpo_loss not finite" in shown


@pytest.mark.parametrize("manifest", ["[1]", '{"status": 1}', "{"])
def test_plot_of_a_damaged_run_says_so(manifest, tmp_path, cli):
    (a_run(tmp_path / "run") / "run.json").write_text(manifest)
    fails(cli("plot", tmp_path / "run"), "is damaged")


GRPO = {
    "batch": 64,
    "generations": 8,
    "learning_rate": 1.0,
    "max_prompt": 1,
    "max_completion": 9,
}


def test_plot_judges_with_the_settings_of_the_run():
    from helpers.drawing import recipe_of

    found = recipe_of({"recipe": "gsm8k_hash", "settings": {"grpo": GRPO}})
    assert (found.name, found.grpo.generations) == ("gsm8k_hash", 8)


def test_plot_without_a_common_figure_or_a_place_says_so(tmp_path, cli):
    for name, line in (("a", {"step": 1, "x": 1.0}), ("b", {"step": 1, "y": 1.0})):
        (tmp_path / name).write_text(json.dumps(line) + "\n")
    fails(cli("plot", tmp_path / "a", tmp_path / "b", "--out", tmp_path), "no figure in common")
    fails(cli("plot", tmp_path / "a", "--out", tmp_path / "b"), str(tmp_path / "b"))


# export and push


def test_export_proves_what_it_wrote_and_push_only_plans(tmp_path, recipe, machine, cli):
    from helpers import training
    from helpers.tiny import TINY_MODEL

    model, tokenizer = training.load(str(TINY_MODEL), recipe, machine)
    model = training.add_lora(model, recipe, machine, 0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.02)
    adapter, merged = tmp_path / "grpo" / "adapter", tmp_path / "merged"
    training.save_adapter(model, tokenizer, adapter)
    summary = tmp_path / "eval" / "summary.json"
    summary.parent.mkdir()
    part = {"grpo": {}}
    others = {"greedy": part, "sampled": part, "weights": {"grpo": "another's"}}
    summary.write_text(json.dumps(others))
    run = {"status": "finished", "stage": "grpo", "recipe": "gsm8k_xml", "adapter_hash": "its own"}
    (tmp_path / "grpo" / "run.json").write_text(json.dumps(run))

    status, shown = cli("export", adapter, "--precision", "bf16", "--out", merged)
    assert status == 0, shown
    assert "beyond rounding 0.0e+00" in shown and "of 16 greedy replies" in shown
    assert "no card  The evaluation is of another grpo adapter than this run's.\nRun 03" in shown
    assert not (merged / "README.md").exists()

    status, shown = cli("push", merged, "me/model")
    assert status == 0 and "nothing was uploaded; add --push" in shown
    assert "model.safetensors" in shown
    (merged / "README.md").write_text("your-name/model")
    shown = fails(cli("push", merged, "me/model"), "export again with --repo")
    assert "model.safetensors" in shown and "add --push" not in shown


WRONG_SHARING = [
    (["export", "nowhere"], "There is no adapter in nowhere"),
    (["export", "nowhere", "--repo", "x"], "your-name/model-name"),
    (["push", "nowhere", "me/model"], "no folder nowhere"),
    (["push", "helpers/tiny/model", "model"], "your-name/model-name"),
]


@pytest.mark.parametrize(("words", "said"), WRONG_SHARING)
def test_export_and_push_say_what_is_wrong(words, said, cli):
    fails(cli(*words), said)


# sft, grpo, both


def test_stages_from_the_command_line(tmp_path, cli):
    """Published flags, few steps, adapters also where they are asked for; then again, from disk."""
    out, runs = tmp_path / "out", {}
    words = ["both", "--recipe", "gsm8k_xml", "--output_dir", out, "--mirror", tmp_path / "mirror"]
    words += ["--max_samples", 16, "--batch_size", 8, "--num_epochs", 1, "--use_4bit"]
    words += ["--sft_output", tmp_path / "sft", "--grpo_output", tmp_path / "grpo"]
    words += ["--learning_rate", "1e-3"]
    status, shown = cli(*words)
    assert status == 0, shown
    assert "4000 to learn from (left out: none), 2000 to measure with (left out: none)" in shown
    assert f"-m helpers plot {out / 'gsm8k_xml/sft'}\n" in shown
    for stage in ("sft", "grpo"):
        runs[stage] = json.loads((out / "gsm8k_xml" / stage / "run.json").read_text())
        assert (tmp_path / stage / "adapter_model.safetensors").is_file()
    # 16 rows: 8 a step; for GRPO a group of 8 a step
    steps = [(run["status"], run["steps"]) for run in runs.values()]
    assert steps == [("finished", 2), ("finished", 16)]
    assert runs["grpo"]["settings"]["grpo"]["batch"] == 8
    assert runs["sft"]["settings"]["sft"]["learning_rate"] == 1e-3
    assert runs["sft"]["settings"]["lora"]["load_in_4bit"]

    status, shown = cli(*words)
    assert status == 0 and shown.count("finished before") == 2
    words[words.index(out)] = tmp_path / "there"  # another machine, the same mirror
    status, shown = cli(*words)
    assert "from the mirror: ['grpo', 'sft']" in shown and shown.count("finished before") == 2


def test_what_the_settings_change():
    from helpers.recipes import for_profile, get_recipe
    from helpers.settings import Settings
    from helpers.training.stages import changed

    given = Settings(batch=32, rows=5000, use_4bit=False)
    recipe = changed(get_recipe("openr1_boxed"), given)
    assert (recipe.priming.rows, recipe.sft.rows, recipe.sft.batch) == (60, 5000, 32)
    assert not recipe.lora.load_in_4bit
    tiny = changed(for_profile(get_recipe("openr1_boxed"), "tiny"), given)
    assert (tiny.priming.rows, tiny.sft.rows) == (60, 5000)
    assert changed(get_recipe("phybench_eed"), Settings(epochs=2.0)).grpo.steps is None
    assert changed(get_recipe("phybench_eed"), Settings()) == get_recipe("phybench_eed")


def test_an_adapter_goes_into_an_empty_folder_or_one_of_an_adapter(tmp_path):
    from helpers.commands import check_place

    (tmp_path / "empty").mkdir()
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").touch()
    for free in ("", "new", "empty", "adapter"):
        check_place(free and str(tmp_path / free))
    for taken in (tmp_path, tmp_path / "adapter" / "adapter_config.json"):
        with pytest.raises(FileExistsError, match="holds something that is no adapter.\nName an"):
            check_place(str(taken))


def questions(folder, count):
    rows = [
        {"question": f"What is {n} + 4?", "answer": f"{n} + 4 = {n + 4}\n#### {n + 4}"}
        for n in range(count)
    ]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


DAPO = ["grpo", "--recipe", "dapo_think"]
WRONG_TRAINING = [
    (["sft", "--recipe", "gsm9k"], "Unknown recipe 'gsm9k'"),
    (["sft", "--recipe", "dapo_think"], "has no SFT"),
    (["grpo"], "Run 01_sft.ipynb first"),
    ([*DAPO, "--batch_size", "9"], "does not divide into groups of 8"),
    (["both", "--batch_size", "12"], "does not divide into groups of 8"),
    (["both", "--budget", "large"], "--budget is 'large'"),
    ([*DAPO, "--vllm", "colocate"], "vLLM is not installed"),
    ([*DAPO, "--vllm", "often"], "--vllm is 'often'"),
    (["sft", "--model_name", "./nothing"], "no model at ./nothing"),
    (["sft", "--dataset_name", "./nothing"], "./nothing could not be loaded"),
    ([*DAPO, "--max_samples", "1"], "takes 8 questions a step, and there are 1"),
    (["sft", "--sft_output", "tests"], "holds something that is no adapter"),
    (["both", "--sft_output", "x", "--grpo_output", "./x"], "are one folder"),
    (["sft", "--report_to", "abacus"], "--report_to is 'abacus'"),
    (["sft", "--report_to", "trackio"], "which is not installed"),
    (["sft", "--learning_rate", "inf"], "--learning_rate is 'inf'"),
    (["both", *DAPO[1:], "--sft_output", "x"], "no SFT here"),
]


@pytest.mark.parametrize(("words", "said"), WRONG_TRAINING)
def test_stages_say_what_is_wrong(words, said, tmp_path, cli):
    fails(cli(*words, "--output_dir", tmp_path), said)
    assert not list(tmp_path.rglob("adapter"))


@pytest.mark.parametrize(
    ("words", "rows", "said"),
    [
        (["both"], 5, "GRPO takes 8 questions a step, and there are 4.\nAdd rows"),
        (["both"], 6, "(--batch_size 40, or"),  # one of six is held out
    ],
)
def test_too_few_questions_are_named_before_anything_is_trained(words, rows, said, tmp_path, cli):
    dataset = questions(tmp_path, rows)
    fails(cli(*words, "--dataset", dataset, "--output_dir", tmp_path / "out"), said)
    assert not list((tmp_path / "out").iterdir())


def test_weights_that_are_no_numbers_end_in_words(tmp_path, cli):
    """Training that blows up, and a model that is spoiled: it loads, and fails where it draws."""
    from safetensors.torch import load_file, save_file

    from helpers.tiny import TINY_MODEL

    words = ["sft", "--learning_rate", "1e30", "--max_steps", "3", "--output_dir", tmp_path]
    fails(cli(*words), "not finite.\nLower the learning rate")
    spoiled = shutil.copytree(TINY_MODEL, tmp_path / "nan") / "model.safetensors"
    weights = load_file(spoiled)
    weights["model.norm.weight"] *= float("nan")
    save_file(weights, spoiled, {"format": "pt"})
    words = ["evaluate", spoiled.parent, "--max_samples", "2", "--samples", "2"]
    fails(cli(*words, "--output_dir", tmp_path / "out"), "probability tensor contains")


@pytest.mark.parametrize("flag", ["--adapter", "--grpo_output"])
def test_sft_has_no_flags_of_grpo(flag, cli):
    with pytest.raises(SystemExit):
        cli("sft", flag, "x")


# plan, recipes, launching

CARDS = ("T4 16 GB", "2 × T4", "L4 24 GB", "A100 40 GB", "A100 80 GB", "H100 80 GB")


@pytest.mark.parametrize("name", ["gsm8k_xml", "openr1_boxed", "dapo_think"])
def test_plan_prints_every_card(name, cli):
    from helpers.recipes import RECIPES

    status, shown = cli("plan", name)
    lines = shown.partition("\n\n")[0].splitlines()
    assert status == 0 and max(map(len, lines)) <= 100 and "measured yet" in shown
    for card in (*CARDS, "this computer"):
        rows = [line for line in lines if line.strip().startswith(card)]
        stages = [row.strip().removeprefix(card).split()[0] for row in rows]
        assert stages == list(RECIPES[name].stages), card


def test_an_unknown_recipe_is_named(cli):
    fails(cli("plan", "gsm9k"), "Unknown recipe 'gsm9k'")


def test_the_readme_shows_the_recipes_as_they_are(cli):
    status, shown = cli("recipes")
    assert status == 0 and shown.strip() in (ROOT / "README.md").read_text()


def test_the_accelerate_configurations_are_read_as_they_are_meant():
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    switches = ("multi_gpu", "use_fsdp", "use_deepspeed", "use_cpu")
    found = {}
    for path in sorted((ROOT / "helpers" / "accelerate").glob("*.yaml")):
        words = ["--config_file", str(path), "--num_processes", "4", "-m", "helpers", "grpo"]
        settled, *_ = _validate_launch_command(launch_command_parser().parse_args(words))
        assert load_config_from_file(str(path)).num_machines == 1
        assert settled.num_processes == 4 and settled.main_process_port == 0
        found[path.stem] = [name for name in switches if getattr(settled, name)]
    assert found == {
        "cpu": ["multi_gpu", "use_cpu"],
        "ddp": ["multi_gpu"],
        "deepspeed": ["use_deepspeed"],
        "fsdp": ["use_fsdp"],
    }
    assert settled.fsdp_version == 2
