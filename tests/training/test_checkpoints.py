"""What a run goes on from: whole checkpoints of the same making, after whatever cut it off."""

import errno
import fcntl
import os
import resource
import shutil
import signal
from functools import partial
from unittest import mock

import pytest

from helpers.runs import Run
from helpers.training import checkpoints, identity, mirroring, watching
from helpers.training import trainers as training
from helpers.training.training_run import TrainingRun
from tests.conftest import held_by_another
from tests.training import building
from tests.training.building import BASE, At, plain, weights

STEPS = 5
interrupt = partial(signal.raise_signal, signal.SIGINT)


@pytest.fixture(scope="module")
def build(recipe, machine):
    """Builds an SFT trainer and its run; every step is saved."""

    def made(out, count=80, **more):
        rows = building.questions(recipe, count)
        return building.build("sft", recipe, machine, out, rows, STEPS, **more)

    with mock.patch.dict(watching.SAVE_SECONDS, cpu=0.0):
        yield made


@pytest.fixture(scope="module")
def undisturbed(build, tmp_path_factory):
    """(weights, log) of the run in one go, without a checkpoint."""
    with mock.patch.dict(watching.SAVE_SECONDS, cpu=600.0):
        return finished(build, tmp_path_factory.mktemp("undisturbed"))


def stopped(build, out, action=interrupt, step=3, **more):
    trainer, run = build(out, callbacks=[At(step, action)], **more)
    with pytest.raises(KeyboardInterrupt):
        training.train(trainer, run)
    return trainer, run


def finished(build, out, **more):
    """What `undisturbed` returns, of the run that the same call goes on with."""
    trainer, run = build(out, **more)
    training.train(trainer, run)
    return weights(run), plain(run)


def test_an_interrupt_saves_and_the_same_cell_goes_on(build, undisturbed, tmp_path, capsys):
    trainer, run = build(tmp_path, callbacks=[At(2, interrupt)])
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"saved at step [23]; run it again to go on"):
        training.train(trainer, run)
    assert signal.getsignal(signal.SIGINT) is before
    assert "stopping after this step" in capsys.readouterr().out
    assert Run.read(run.folder).manifest["status"] == "interrupted"
    assert 1 <= len(list(run.checkpoints.glob("checkpoint-*"))) <= checkpoints.KEPT
    with open(run.log, "a") as file:
        file.write('{"step": 4, "lo')  # as a kill leaves it
    training.train(trainer, run)  # the cell once more, with everything still in memory
    assert "going on from step" in capsys.readouterr().out
    assert (weights(run), plain(run)) == undisturbed and not run.checkpoints.exists()
    training.train(trainer, run)
    assert "finished before" in capsys.readouterr().out and weights(run) == undisturbed[0]


def test_a_full_disk_keeps_what_was_saved(build, undisturbed, tmp_path):
    """A limit on a file's size stands in for it: the log still fits, a checkpoint does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    fill = At(3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard)))
    trainer, run = build(tmp_path, callbacks=[fill])
    said = r"The checkpoint .*checkpoint-[34] could not be written .*\nMake room and run it again"
    try:
        with pytest.raises(OSError, match=said):
            training.train(trainer, run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoints.step_of(checkpoints.last_checkpoint(run.checkpoints)) in (2, 3)
    assert Run.read(run.folder).manifest["status"] == "failed"
    assert finished(build, tmp_path) == undisturbed


def test_a_run_made_otherwise_is_named_not_mixed(build, tmp_path):
    stopped(build, tmp_path)
    other, run = build(tmp_path, seed=1, count=79)
    said = r"(?s)unfinished run, at step \d.*data: .*seed: 0 → 1.*\nSet this back .* RESUME = False"
    with pytest.raises(ValueError, match=said):
        training.train(other, run)
    assert checkpoints.last_checkpoint(run.checkpoints)
    assert Run.read(run.folder).manifest["seed"] == 0
    training.train(other, run, resume=False)
    assert run.finished and run.manifest["seed"] == 1


def test_a_mirror_carries_a_run_to_another_machine(build, undisturbed, recipe, tmp_path):
    here, there, mirror = tmp_path / "here", tmp_path / "there", tmp_path / "mirror"
    stopped(build, here, mirror=mirror)
    copy = mirror / recipe.name / "sft"
    assert len(list(copy.glob("checkpoints/checkpoint-*"))) <= checkpoints.KEPT
    shutil.rmtree(here)  # the machine is gone
    assert mirroring.restore(there, recipe.name, mirror) == ["sft"]
    assert mirroring.restore(there, recipe.name, mirror) == []
    assert finished(build, there, mirror=mirror) == undisturbed
    assert Run.read(copy).manifest["resumed"]
    contents = []
    for folder in (copy, there / recipe.name / "sft"):
        files = [path for path in folder.rglob("*") if path.is_file()]
        contents.append({path.relative_to(folder): path.read_bytes() for path in files})
    assert contents[0] == contents[1]


def test_no_bad_mirror_and_no_late_interrupt_stops_a_run(build, undisturbed, tmp_path, capsys):
    (tmp_path / "file").write_text("a file where a folder should be")
    more = {"mirror": tmp_path / "file", "callbacks": [At(STEPS, interrupt)]}
    assert finished(build, tmp_path / "out", **more) == undisturbed
    printed = capsys.readouterr().out
    assert printed.count("could not be written") == 1 and "set MIRROR to a folder" in printed


def test_a_run_cut_off_after_its_last_step_takes_no_further_one(build, undisturbed, tmp_path):
    """Killed between the last checkpoint and the adapter: the checkpoint is the end."""
    trainer, run = build(tmp_path)
    gone = mock.patch.object(training, "save_adapter", side_effect=OSError("gone"))
    with gone, pytest.raises(OSError, match="The adapter .* could not be written .*gone"):
        training.train(trainer, run)
    assert checkpoints.step_of(checkpoints.last_checkpoint(run.checkpoints)) == STEPS
    assert run.manifest["status"] == "failed" and not run.adapter.exists()
    assert finished(build, tmp_path) == undisturbed
    assert Run.read(run.folder).manifest["steps"] == STEPS


def test_run_again_in_the_same_kernel_it_starts_afresh(build, undisturbed, tmp_path):
    """Stopped without a checkpoint; then with a new trainer on that model, and that once more."""
    trainer, run = stopped(build, tmp_path, mock.Mock(side_effect=KeyboardInterrupt), 1)
    assert Run.read(run.folder).manifest["status"] == "interrupted" and not run.adapter.exists()
    made_of = (trainer.model, trainer.processing_class, run.recipe, "sft", trainer.args)
    again = building.trainer_on(*made_of, trainer.train_dataset)
    for _ in range(2):
        training.train(again, run, resume=False)
        assert (weights(run), plain(run)) == undisturbed


def test_a_later_stage_begins_where_the_earlier_one_ended(build, tmp_path):
    """priming, then SFT; and priming once more: SFT's old start is forgotten."""
    model = build(tmp_path)[0].model
    training.starting_adapter(model, "priming")
    parameter = next(p for p in model.parameters() if p.requires_grad)
    starts = []
    for stage, moved in (("sft", 1.0), ("sft", 5.0), ("priming", 0.0), ("sft", 2.0)):
        parameter.data += moved
        starts.append(identity(training.starting_adapter(model, stage).items()))
    assert starts[0] == starts[1] != starts[3] and starts[2] not in (starts[0], starts[3])


def test_the_fingerprint_holds_what_matters(build, tmp_path):
    trainer, run = build(tmp_path)
    found = set(checkpoints.fingerprint(trainer, run, "quick", {}))
    held = {"learning_rate", "max_steps", "lora.r", "version.torch", "code", "seed", "score"}
    assert held | {"data", "parent adapter", "base weights", "starting adapter"} <= found
    # Another stage's, a place, and how the batch is cut.
    assert not {"beta", "output_dir", "per_device_train_batch_size"} & found
    # A reward that was changed in a notebook.
    before = checkpoints.source_hash(lambda completions, **_: [1.0 for _ in completions])
    after = checkpoints.source_hash(lambda completions, **_: [2.0 for _ in completions])
    assert before and before != after


def a_checkpoint(folder, step):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "optimizer.pt").write_bytes(b"x" * step)
    checkpoints.mark_whole(path)
    return path


def test_half_written_and_half_deleted_checkpoints_are_passed_over(tmp_path):
    """And old ones go; what is no checkpoint stays."""
    assert checkpoints.last_checkpoint(tmp_path) is None
    steps = (1, 2, 10, 20, 30, 40, 50)
    _, old, good, half, cut, torn, other = (a_checkpoint(tmp_path, n) for n in steps)
    (half / checkpoints.MARKER).unlink()
    (cut / "optimizer.pt").write_bytes(b"x")
    (torn / checkpoints.MARKER).write_text('{"files": ')
    (other / checkpoints.MARKER).write_text('{"files": []}')
    (tmp_path / "checkpoint-mine").mkdir()
    assert checkpoints.last_checkpoint(tmp_path) == good
    checkpoints.rotate(tmp_path)
    assert {*tmp_path.iterdir()} == {old, good, tmp_path / "checkpoint-mine"}


def a_run(output, recipe, machine, status, step, seed=0, mirror=""):
    """A run without a training: a manifest with that fingerprint, and a checkpoint."""
    run = TrainingRun(output, recipe, "sft", machine, 0, BASE, mirror=mirror)
    checkpoints.begin(run, {"seed": seed}, resume=False)
    run.manifest["start"] = f"2026-01-0{seed + 1}"
    a_checkpoint(run.checkpoints, step)
    run.finish(status)
    return run


def test_two_processes_do_not_train_in_one_folder(recipe, machine, tmp_path):
    """Nor is anything brought back over it, though it is behind; once one is killed, both go."""
    mirror, out = tmp_path / "mirror", tmp_path / "out"
    a_run(mirror, recipe, machine, "finished", 3)
    folder = a_run(out, recipe, machine, "running", 1).folder
    said = "Another process is training in .*\nStop it .* or set OUTPUT"
    with held_by_another(folder):
        with pytest.raises(RuntimeError, match=said):
            checkpoints.lock_folder(folder, "training in").__enter__()
        with pytest.raises(RuntimeError, match=said):
            mirroring.restore(out, recipe.name, mirror)
        assert Run.read(folder).manifest["status"] == "running"
    assert mirroring.restore(out, recipe.name, mirror) == ["sft"]
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.filterwarnings("ignore:flock not supported")
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_nothing_can_be_locked_it_trains_all_the_same(code, tmp_path):
    with mock.patch.object(fcntl, "flock", side_effect=OSError(code, os.strerror(code))):
        for _ in range(2):
            with checkpoints.lock_folder(tmp_path / "sft", "training in"):
                pass
    assert not list(tmp_path.iterdir())


def test_what_is_no_run_is_never_deleted(recipe, machine, tmp_path, capsys):
    """A stranger's file where a run would be brought back or mirrored to."""
    here, out, drive = tmp_path / "here", tmp_path / "out", tmp_path / "drive"
    run = a_run(out, recipe, machine, "running", 3, mirror=drive)
    mine, theirs = (place / recipe.name / "sft" / "mine.txt" for place in (here, drive))
    for path in (mine, theirs):
        path.parent.mkdir(parents=True)
        path.write_text("keep me")
    with pytest.raises(FileExistsError, match="not from a run"):
        mirroring.restore(here, recipe.name, out)
    mirroring.mirror(run)
    assert mine.read_text() == theirs.read_text() == "keep me"
    assert "could not be written (" in capsys.readouterr().out


def test_a_copy_that_was_killed_is_made_again(recipe, machine, tmp_path):
    """The first one, of which nothing else is there yet: it is not taken for a stranger's."""

    def killed(_, place, real=os.replace):
        if place.name == checkpoints.MARKER:
            raise KeyboardInterrupt
        real(_, place)

    out, drive, back = tmp_path / "out", tmp_path / "drive", tmp_path / "back"
    run = a_run(out, recipe, machine, "running", 1, mirror=drive)
    run.record({"step": 1, "loss": 1.0})
    copies = {drive: lambda: mirroring.mirror(run)}
    copies[back] = lambda: mirroring.restore(back, recipe.name, out)
    for place, copy in copies.items():
        with mock.patch.object(os, "replace", killed), pytest.raises(KeyboardInterrupt):
            copy()
        copy()
        there = Run.read(place / recipe.name / "sft")
        assert mirroring.how_far(there) == (False, 1) and not list(there.folder.rglob("*.part"))


def test_a_mirror_within_the_run_is_refused(recipe, machine, tmp_path):
    for mirror in (tmp_path, tmp_path / recipe.name / "sft"):
        with pytest.raises(ValueError, match="MIRROR leads into the run's own folder"):
            TrainingRun(tmp_path, recipe, "sft", machine, 0, BASE, mirror=mirror)


def test_a_beginning_that_was_killed_is_no_strangers_folder(recipe, machine, tmp_path):
    folder = tmp_path / recipe.name / "sft"
    (folder / "checkpoints").mkdir(parents=True)  # a trainer was built
    (folder / "run.json.part").write_text("{")  # and the manifest half written
    run = TrainingRun(tmp_path, recipe, "sft", machine, 0, BASE)
    assert checkpoints.begin(run, {}) is None
    assert Run.read(folder).manifest["status"] == "running"
    (folder / "run.json").write_text("{")
    with pytest.raises(ValueError, match="run.json is damaged .*\nRestore it, or move the run's"):
        checkpoints.begin(run, {})


def test_the_mirror_gives_what_is_further_and_keeps_what_is_another(recipe, machine, tmp_path):
    here, mirror, other = tmp_path / "here", tmp_path / "mirror", tmp_path / "other"
    local = a_run(here, recipe, machine, "running", 3).folder
    far = a_run(mirror, recipe, machine, "finished", 9).folder
    assert mirroring.restore(here, recipe.name, mirror) == ["sft"]
    assert Run.read(local).manifest["status"] == "finished"
    assert checkpoints.last_checkpoint(local / "checkpoints").name == "checkpoint-9"
    another = a_run(other, recipe, machine, "running", 4, 1).folder
    assert mirroring.restore(other, recipe.name, mirror) == []  # another run lies here
    mirroring.copy_run(another, far)
    assert [path.name for path in (far / "checkpoints").iterdir()] == ["checkpoint-4"]
    third = a_run(tmp_path / "third", recipe, machine, "running", 5, 2).folder
    mirroring.copy_run(third, far)
    for seed, name in enumerate(("sft-before", "sft-before-2", "sft")):
        assert Run.read(far.with_name(name)).manifest["fingerprint"]["seed"] == seed
