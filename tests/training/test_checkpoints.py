"""What a run goes on from: whole checkpoints only, of the same making; after an interrupt, a full disk, or on another machine."""

import json
import os
import resource
import shutil
import signal

import pytest

from helpers import data
from helpers import runs as runlog
from helpers.machine.computer import file_hash
from helpers.runs import Run
from helpers.training import checkpoints, models, watching
from helpers.training import trainers as training
from helpers.training.training_run import TrainingRun
from tests.conftest import held_by_another
from tests.learning import BASE

from transformers import TrainerCallback  # isort: skip  (after Unsloth)
from trl import SFTTrainer  # isort: skip

STEPS = 5


def a_checkpoint(folder, step, whole=True):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "optimizer.pt").write_bytes(b"x" * step)
    if whole:
        checkpoints.mark_whole(path)
    return path


def test_half_written_and_half_deleted_checkpoints_are_passed_over(tmp_path):
    assert checkpoints.last_checkpoint(tmp_path) is None
    old, good, half, cut, torn = (
        a_checkpoint(tmp_path, step, step != 20) for step in (1, 9, 20, 30, 40)
    )
    (cut / "optimizer.pt").write_bytes(b"x")
    (torn / checkpoints.MARKER).write_text('{"files": ')
    assert checkpoints.last_checkpoint(tmp_path) == good
    checkpoints.rotate(tmp_path)
    assert sorted(tmp_path.iterdir()) == [old, good]


def test_old_checkpoints_go(tmp_path):
    for step in (1, 2, 10):
        a_checkpoint(tmp_path, step)
    checkpoints.rotate(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-2"]


@pytest.fixture(scope="module")
def rows(recipe):
    return data.load(recipe, None, "tiny")["train"].examples[:80]


@pytest.fixture
def trainer_of(recipe, machine, rows, monkeypatch):
    """Builds an SFT trainer and its run; every step is saved."""
    monkeypatch.setitem(watching.SAVE_SECONDS, "tiny", 0.0)

    def build(out, seed=0, mirror="", callbacks=(), rows=rows):
        model, tokenizer = models.load(BASE, recipe, machine)
        run = TrainingRun(out, recipe, "sft", machine, seed, BASE, mirror=mirror)
        return SFTTrainer(
            model=models.add_lora(model, recipe, machine, 0),
            args=training.sft_config(recipe, run, machine, STEPS),
            callbacks=list(callbacks),
            train_dataset=data.sft_dataset(recipe, rows),
            processing_class=tokenizer,
        ), run

    return build


class At(TrainerCallback):
    """Does something at the end of a step, once."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step and self.action:
            action, self.action = self.action, None
            action()


def weights(run):
    return file_hash(run.adapter / "adapter_model.safetensors")


def plain(run):
    return [
        {k: v for k, v in line.items() if k not in runlog.TIMES}
        for line in runlog.read_lines(run.log)
    ]


@pytest.fixture(scope="module")
def undisturbed(recipe, machine, rows, tmp_path_factory):
    model, tokenizer = models.load(BASE, recipe, machine)
    run = TrainingRun(tmp_path_factory.mktemp("undisturbed"), recipe, "sft", machine, 0, BASE)
    training.train(
        SFTTrainer(
            model=models.add_lora(model, recipe, machine, 0),
            args=training.sft_config(recipe, run, machine, STEPS),
            train_dataset=data.sft_dataset(recipe, rows),
            processing_class=tokenizer,
        ),
        run,
    )
    return run


def test_an_interrupt_saves_and_the_same_cell_goes_on(trainer_of, undisturbed, tmp_path, capsys):
    trainer, run = trainer_of(
        tmp_path, callbacks=[At(2, lambda: os.kill(os.getpid(), signal.SIGINT))]
    )
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(
        KeyboardInterrupt, match=r"stopped and saved at step [23]; run it again to go on"
    ):
        training.train(trainer, run)
    assert (
        signal.getsignal(signal.SIGINT) is before
        and "stopping after this step" in capsys.readouterr().out
    )
    assert Run.read(run.folder).manifest["status"] == "interrupted" and checkpoints.last_checkpoint(
        run.checkpoints
    )
    assert len(list(run.checkpoints.glob("checkpoint-*"))) <= checkpoints.KEPT
    training.train(trainer, run)  # the cell once more, with everything still in memory
    assert "going on from step" in capsys.readouterr().out
    assert (
        weights(run) == weights(undisturbed)
        and plain(run) == plain(undisturbed)
        and not run.checkpoints.exists()
    )
    training.train(trainer, run)
    assert "finished before" in capsys.readouterr().out and weights(run) == weights(undisturbed)


def test_a_full_disk_keeps_what_was_saved(trainer_of, undisturbed, tmp_path):
    """The limit on a file's size stands in for the full disk: the log still fits, a checkpoint does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    trainer, run = trainer_of(
        tmp_path,
        callbacks=[At(3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard)))],
    )
    try:
        with pytest.raises(
            OSError,
            match=r"The checkpoint .*checkpoint-[34] could not be written .*\nMake room and run it again",
        ):
            training.train(trainer, run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept = checkpoints.last_checkpoint(run.checkpoints)
    assert (
        checkpoints.step_of(kept) in (2, 3) and Run.read(run.folder).manifest["status"] == "failed"
    )
    again, run = trainer_of(tmp_path)
    training.train(again, run)
    assert weights(run) == weights(undisturbed) and plain(run) == plain(undisturbed)


def stopped(trainer_of, out, **more):
    """A run that was interrupted at its third step."""
    trainer, run = trainer_of(
        out, callbacks=[At(3, lambda: os.kill(os.getpid(), signal.SIGINT))], **more
    )
    with pytest.raises(KeyboardInterrupt):
        training.train(trainer, run)
    return run


def test_a_run_made_otherwise_is_named_not_mixed(trainer_of, rows, tmp_path):
    run = stopped(trainer_of, tmp_path)
    other, run = trainer_of(tmp_path, seed=1, rows=rows[:-1])
    with pytest.raises(
        ValueError,
        match=r"(?s)unfinished run, at step \d.*data: .*seed: 0 → 1.*\nSet this back .* RESUME = False",
    ):
        training.train(other, run)
    assert (
        checkpoints.last_checkpoint(run.checkpoints) and Run.read(run.folder).manifest["seed"] == 0
    )
    training.train(other, run, resume=False)
    assert run.finished and run.manifest["seed"] == 1


def test_a_half_line_is_mended_on_the_way(trainer_of, undisturbed, tmp_path):
    run = stopped(trainer_of, tmp_path)
    with open(run.log, "a") as file:
        file.write('{"step": 5, "lo')
    trainer, run = trainer_of(tmp_path)
    training.train(trainer, run)
    assert plain(run) == plain(undisturbed) and weights(run) == weights(undisturbed)


def test_a_mirror_carries_a_run_to_another_machine(trainer_of, undisturbed, recipe, tmp_path):
    here, there, mirror = tmp_path / "here", tmp_path / "there", tmp_path / "mirror"
    run = stopped(trainer_of, here, mirror=mirror)
    assert (
        len(list((mirror / recipe.name / "sft/checkpoints").glob("checkpoint-*")))
        <= checkpoints.KEPT
    )
    shutil.rmtree(here)  # the machine is gone
    assert (
        checkpoints.restore(there, recipe.name, mirror) == ["sft"]
        and checkpoints.restore(there, recipe.name, mirror) == []
    )
    trainer, run = trainer_of(there, mirror=mirror)
    training.train(trainer, run)
    assert (
        run.manifest["resumed"]
        and weights(run) == weights(undisturbed)
        and plain(run) == plain(undisturbed)
    )
    copied = {
        path.relative_to(mirror / recipe.name / "sft"): path.read_bytes()
        for path in (mirror / recipe.name / "sft").rglob("*")
        if path.is_file()
    }
    assert copied == {
        path.relative_to(run.folder): path.read_bytes()
        for path in run.folder.rglob("*")
        if path.is_file()
    }


def test_a_mirror_that_cannot_be_written_stops_nothing(trainer_of, undisturbed, tmp_path, capsys):
    (tmp_path / "file").write_text("a file where a folder should be")
    trainer, run = trainer_of(tmp_path / "out", mirror=tmp_path / "file")
    training.train(trainer, run)
    printed = capsys.readouterr().out
    assert (
        printed.count("could not be written") == 1
        and "set MIRROR to a folder" in printed
        and weights(run) == weights(undisturbed)
    )


def test_the_fingerprint_holds_what_matters(trainer_of, rows, tmp_path):
    from dataclasses import replace

    (one, run), (same, _) = trainer_of(tmp_path / "a"), trainer_of(tmp_path / "b")
    found = checkpoints.fingerprint(one, run, "quick", "")
    assert found == checkpoints.fingerprint(same, run, "quick", "") == json.loads(json.dumps(found))
    other, _ = trainer_of(
        tmp_path / "c", rows=[replace(rows[0], solution=rows[0].solution + "!"), *rows[1:]]
    )
    assert [
        line.split(":")[0]
        for line in checkpoints.differences(found, checkpoints.fingerprint(other, run, "quick", ""))
    ] == ["data"]
    assert {
        "learning_rate",
        "max_steps",
        "lora.r",
        "version.torch",
        "code",
        "seed",
        "parent adapter",
        "base weights",
        "score",
    } <= set(found)
    assert not {"beta", "output_dir", "per_device_train_batch_size"} & set(
        found
    )  # another stage's, a place, and how the batch is cut
    changed = one.args.learning_rate
    one.args.learning_rate = 2 * changed
    assert checkpoints.differences(found, checkpoints.fingerprint(one, run, "quick", "")) == [
        f"learning_rate: {changed} → {2 * changed}"
    ]


def test_a_reward_changed_in_a_notebook_is_noticed():
    def paid(completions, **_):
        return [1.0 for _ in completions]

    before = checkpoints.source_hash(paid)

    def paid(completions, **_):  # noqa: F811
        return [2.0 for _ in completions]

    assert before and before != checkpoints.source_hash(paid)


def test_an_interrupt_in_the_last_step_ends_the_run(trainer_of, undisturbed, tmp_path):
    trainer, run = trainer_of(
        tmp_path, callbacks=[At(STEPS, lambda: os.kill(os.getpid(), signal.SIGINT))]
    )
    training.train(trainer, run)
    assert run.finished and weights(run) == weights(undisturbed)


def test_a_run_cut_off_after_its_last_step_takes_no_further_one(
    trainer_of, undisturbed, tmp_path, monkeypatch
):
    """Killed between the last checkpoint and the adapter: the checkpoint is the end."""
    trainer, run = trainer_of(tmp_path, callbacks=[At(STEPS, None)])
    monkeypatch.setattr(training, "save_adapter", lambda *_: (_ for _ in ()).throw(OSError("gone")))
    with pytest.raises(OSError, match="The adapter .* could not be written .*gone"):
        training.train(trainer, run)
    monkeypatch.undo()
    assert (
        checkpoints.step_of(checkpoints.last_checkpoint(run.checkpoints)) == STEPS
        and run.manifest["status"] == "failed"
    )
    again, run = trainer_of(tmp_path)
    training.train(again, run)
    assert (
        run.manifest["steps"] == STEPS
        and weights(run) == weights(undisturbed)
        and plain(run) == plain(undisturbed)
    )


def again_on(trainer, run, recipe, machine, rows):
    """A new trainer on the same model, as when a notebook's cells are run again in the same kernel."""
    return SFTTrainer(
        model=trainer.model,
        args=training.sft_config(recipe, run, machine, STEPS),
        train_dataset=data.sft_dataset(recipe, rows),
        processing_class=trainer.processing_class,
    )


def test_run_again_in_the_same_kernel_it_starts_from_the_same_weights(
    trainer_of, undisturbed, recipe, machine, rows, tmp_path
):
    """Stopped without a checkpoint; then to its end; then anew; and with a new trainer, or the same one: the weights that moved are put back."""

    class Stop(TrainerCallback):
        def on_step_end(self, *_, **__):
            raise KeyboardInterrupt

    trainer, run = trainer_of(tmp_path, callbacks=[Stop()])
    with pytest.raises(KeyboardInterrupt):
        training.train(trainer, run)
    again = again_on(trainer, run, recipe, machine, rows)
    for trainer in (again, again, again_on(again, run, recipe, machine, rows)):
        training.train(trainer, run, resume=False)
        assert weights(run) == weights(undisturbed) and plain(run) == plain(undisturbed)


def test_a_later_stage_begins_where_the_earlier_one_ended(trainer_of, tmp_path):
    """priming, then SFT; and priming once more: SFT's old start is forgotten."""
    trainer, _ = trainer_of(tmp_path)
    training.starting_adapter(trainer.model, "priming")
    parameter = next(p for p in trainer.model.parameters() if p.requires_grad)
    starts = []
    for stage, moved in (("sft", 1.0), ("sft", 5.0), ("priming", 0.0), ("sft", 2.0)):
        parameter.data += moved
        starts.append(training.hash_of(training.starting_adapter(trainer.model, stage)))
    assert starts[0] == starts[1] != starts[3] and starts[2] not in (starts[0], starts[3])


def test_two_processes_do_not_train_in_one_folder(recipe, machine, tmp_path):
    folder = TrainingRun(tmp_path, recipe, "sft", machine, 0, BASE).folder
    with held_by_another(folder):
        with (
            pytest.raises(
                RuntimeError, match="Another process is training in .*\nStop it .* or set OUTPUT"
            ),
            checkpoints.alone(folder, "training in"),
        ):
            pass
    for _ in range(2):  # also again, and nothing stays
        with checkpoints.alone(folder, "training in"):
            pass
    assert list(folder.parent.iterdir()) == [folder]


def test_nothing_is_brought_back_over_a_run_that_is_being_trained(recipe, machine, tmp_path):
    """Trained anew, it is behind its mirror until its first checkpoint."""
    a_run(tmp_path / "mirror", recipe, machine, {}, "finished", 3)
    folder = a_run(tmp_path / "here", recipe, machine, {}, "running", 1)
    with (
        held_by_another(folder),
        pytest.raises(RuntimeError, match="Another process is training in"),
    ):
        checkpoints.restore(tmp_path / "here", recipe.name, tmp_path / "mirror")
    assert Run.read(folder).manifest["status"] == "running"
    assert checkpoints.restore(tmp_path / "here", recipe.name, tmp_path / "mirror") == ["sft"]


def test_what_is_no_run_is_never_deleted(recipe, machine, tmp_path, capsys):
    """A stranger's file where a run would be brought back to, or mirrored to; and a mirror with a damaged manifest."""
    a_run(tmp_path / "mirror", recipe, machine, {}, "running", 3)
    mine, theirs = (
        tmp_path / "here" / recipe.name / "sft" / "mine.txt",
        tmp_path / "drive" / recipe.name / "sft" / "theirs.txt",
    )
    for path in (mine, theirs):
        path.parent.mkdir(parents=True)
        path.write_text("keep me")
    with pytest.raises(FileExistsError, match="not from a run"):
        checkpoints.restore(tmp_path / "here", recipe.name, tmp_path / "mirror")
    run = TrainingRun(tmp_path / "out", recipe, "sft", machine, 0, BASE, mirror=tmp_path / "drive")
    checkpoints.begin(run, {})
    checkpoints.mirror(run)
    checkpoints.mirror(run)
    assert (
        mine.read_text() == theirs.read_text() == "keep me"
        and capsys.readouterr().out.count("could not be written (") == 1
    )
    theirs.unlink()
    (theirs.parent / "run.json").write_text('{"x": 1}')
    checkpoints.mirror(run)
    assert Run.read(theirs.parent).manifest["status"] == "running"
    (theirs.parent / "run.json").write_text('{"x')
    assert (
        checkpoints.restore(tmp_path / "new", recipe.name, tmp_path / "drive") == []
        and "damaged run.json" in capsys.readouterr().out
    )


@pytest.mark.parametrize("way", ["to the mirror", "back"])
def test_a_copy_that_was_killed_is_made_again(way, recipe, machine, tmp_path, monkeypatch):
    """The first one, of which nothing else is there yet: neither direction takes it for a stranger's."""

    class Killed(BaseException):
        pass

    def killed(_, place, real=os.replace):
        if place.name == checkpoints.MARKER:
            raise Killed
        real(_, place)

    run = TrainingRun(tmp_path / "out", recipe, "sft", machine, 0, BASE, mirror=tmp_path / "drive")
    checkpoints.begin(run, {})
    run.record({"step": 1, "loss": 1.0})
    a_checkpoint(run.checkpoints, 1)
    copy = {
        "to the mirror": lambda: checkpoints.mirror(run),
        "back": lambda: checkpoints.restore(tmp_path / "new", recipe.name, tmp_path / "drive"),
    }[way]
    if way == "back":
        checkpoints.mirror(run)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(os, "replace", killed)
        copy()
    copy()
    there = (
        (tmp_path / "drive" if way == "to the mirror" else tmp_path / "new") / recipe.name / "sft"
    )
    assert checkpoints.progress(there, Run.read(there).manifest) == (False, 1) and not list(
        there.rglob("*.part")
    )


def test_a_mirror_within_the_run_is_refused(recipe, machine, tmp_path):
    for mirror in (tmp_path, tmp_path / recipe.name / "sft"):
        with pytest.raises(ValueError, match="MIRROR leads into the run's own folder"):
            TrainingRun(tmp_path, recipe, "sft", machine, 0, BASE, mirror=mirror)


@pytest.mark.parametrize("marker", ["[]", "null", "3", '{"files": null}', '{"files": {}}', "{"])
def test_a_marker_of_any_other_shape_is_not_whole(marker, tmp_path):
    good, bad = a_checkpoint(tmp_path, 1), a_checkpoint(tmp_path, 2)
    (bad / checkpoints.MARKER).write_text(marker)
    assert checkpoints.last_checkpoint(tmp_path) == good


def test_a_beginning_that_was_killed_is_no_strangers_folder(recipe, machine, tmp_path):
    folder = tmp_path / recipe.name / "sft"
    (folder / "checkpoints").mkdir(parents=True)  # a trainer was built
    (folder / "run.json.part").write_text("{")  # and the manifest half written
    run = TrainingRun(tmp_path, recipe, "sft", machine, 0, BASE)
    assert checkpoints.begin(run, {}) is None and Run.read(folder).manifest["status"] == "running"
    for damaged in ("{", "[]", '"x"', "{}", "[" * 100_000):
        (folder / "run.json").write_text(damaged)
        with pytest.raises(ValueError, match="run.json is damaged .*\nMove the run's folder away"):
            checkpoints.begin(run, {})


def a_run(output, recipe, machine, made_of, status, step, start="2026-01-01"):
    """A run's folder without a training: a manifest and a checkpoint."""
    run = TrainingRun(output, recipe, "sft", machine, 0, BASE)
    checkpoints.begin(run, made_of, resume=False)
    run.manifest["start"] = start
    a_checkpoint(run.checkpoints, step)
    run.finish(status)
    return run.folder


@pytest.mark.parametrize("content", [None, "", "\n", '{"step": 1, "lo'])
def test_a_finished_run_without_its_log_says_so(content, recipe, machine, tmp_path):
    run = TrainingRun(tmp_path, recipe, "sft", machine, 0, BASE)
    checkpoints.begin(run, {"seed": 0})
    run.adapter.mkdir()
    (run.adapter / "adapter_model.safetensors").write_bytes(b"weights")
    run.record({"step": 1, "loss": 1.0})
    run.finish(
        "finished", steps=1, adapter_hash=file_hash(run.adapter / "adapter_model.safetensors")
    )
    assert checkpoints.begin(run, {"seed": 0}) is None and run.finished
    run.log.unlink()
    if content is not None:
        run.log.write_text(content)
    with pytest.raises(
        ValueError,
        match=f"^{run.log} holds no steps\\.\nStart afresh: RESUME = False .*--no-resume",
    ):
        checkpoints.begin(run, {"seed": 0})
    assert checkpoints.begin(run, {"seed": 0}, resume=False) is None and not run.finished


def test_the_mirror_gives_what_is_further_and_keeps_what_is_another(recipe, machine, tmp_path):
    here, mirror = tmp_path / "here", tmp_path / "mirror"
    local, far = (
        a_run(here, recipe, machine, {"seed": 0}, "running", 3),
        a_run(mirror, recipe, machine, {"seed": 0}, "finished", 9, "2026-02-02"),
    )
    assert checkpoints.restore(here, recipe.name, mirror) == ["sft"]
    assert (
        Run.read(local).manifest["status"] == "finished"
        and checkpoints.last_checkpoint(local / "checkpoints").name == "checkpoint-9"
    )
    other = a_run(tmp_path / "other", recipe, machine, {"seed": 1}, "running", 4, "2026-03-03")
    assert (
        checkpoints.restore(tmp_path / "other", recipe.name, mirror) == []
    )  # another run lies here
    checkpoints.copy_run(other, far)
    assert Run.read(far).manifest["fingerprint"] == {"seed": 1} and [
        p.name for p in checkpoints.found_in(far / "checkpoints")
    ] == ["checkpoint-4"]
    assert Run.read(far.with_name("sft-before")).manifest["status"] == "finished"
    checkpoints.copy_run(
        a_run(tmp_path / "third", recipe, machine, {"seed": 2}, "running", 5, "2026-04-04"), far
    )
    assert [
        Run.read(far.with_name(name)).manifest["fingerprint"]
        for name in ("sft-before", "sft-before-2")
    ] == [{"seed": 0}, {"seed": 1}]
