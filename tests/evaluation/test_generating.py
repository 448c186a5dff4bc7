"""Records on disk: read again, refused for another model, and never mixed by two processes."""

from dataclasses import replace
from unittest.mock import Mock

import pytest

from helpers import data, evaluation, training
from helpers.runs import read_lines
from tests.learning import BASE


def read_records(path):
    return [evaluation.Record(**line) for line in read_lines(path)]


@pytest.fixture
def given(recipe, machine):
    """Model, tokenizer, a recipe with batches of three, and four problems."""
    small = replace(recipe, evaluation=replace(recipe.evaluation, batch=3))
    problems = data.load(recipe, None, "cpu")["test"].take(4)
    return *training.load(BASE, recipe, machine), small, problems


def test_records_of_something_else_are_refused_and_kept(given, machine, tmp_path, capsys):
    path = tmp_path / "mine.jsonl"
    model, tokenizer, recipe, problems = given

    def evaluate(model=model, asked=problems, **settings):
        found = evaluation.evaluate(model, tokenizer, recipe, asked, path, **settings)
        assert read_records(path) == found
        return found, capsys.readouterr().out.partition("mine.jsonl held records of other ")[2]

    first, said = evaluate()
    assert said == "" and [record.id for record in first] == [e.id for e in problems]
    written = path.stat().st_mtime_ns
    assert evaluate() == (first, "") and path.stat().st_mtime_ns == written
    second, said = evaluate(samples=2, seed=3)
    assert said.startswith("problems, settings; kept as mine-before.jsonl\n")
    assert [record.sample for record in second] == [0, 1] * 4
    fewer, said = evaluate(asked=problems[:3])
    assert fewer == first[:3] and "; kept as mine-before-2.jsonl\n" in said
    model = training.add_lora(model, recipe, machine, 0)
    next(p for name, p in model.named_parameters() if "lora_B" in name).data += 0.5
    tuned, said = evaluate(model, problems[:3])
    assert said.startswith("weights, adapter, scale; kept as mine-before-3.jsonl")
    assert tuned != fewer
    path.write_bytes(path.read_bytes().partition(b"\n")[0] + b"\n")  # a copy that broke off
    assert evaluate(model, problems[:3]) == (tuned, "") and len(read_records(path)) == 3
    (tmp_path / "mine.json").unlink()  # nothing says any more whose records these are
    assert evaluate(model, problems[:3])[0] == tuned
    for kept, records in (("", first), ("-2", second), ("-3", fewer), ("-4", tuned)):
        assert read_records(tmp_path / f"mine-before{kept}.jsonl") == records
    assert evaluate(model, problems[:3], resume=False)[0] == tuned
    assert not (tmp_path / "mine-before-5.jsonl").exists()
    (tmp_path / "mine.json").write_text("[]")
    with pytest.raises(ValueError, match="mine.json is damaged .*\nDelete it"):
        evaluate(model, problems[:3])


class Killed(BaseException):
    """As good as kill -9: nothing is tidied up."""


def cut_off(monkeypatch, batches, *given, **settings):
    """An evaluation that is killed after some batches."""
    in_batches = training.in_batches

    def killed(*args):
        for number, batch in enumerate(in_batches(*args)):
            if number == batches:
                raise Killed
            yield batch

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training, "in_batches", killed)
        evaluation.evaluate(*given, **settings)


def test_unfinished_replies_are_kept_when_others_are_asked(given, tmp_path, monkeypatch, capsys):
    path = tmp_path / "mine.jsonl"
    cut_off(monkeypatch, 1, *given, path)
    answered = path.with_suffix(".replies").read_bytes()
    *model, problems = given
    evaluation.evaluate(*model, problems[:2], path)
    said = "mine.replies held records of other problems; kept as mine-before.replies\n"
    assert said in capsys.readouterr().out
    assert (tmp_path / "mine-before.replies").read_bytes() == answered
    evaluation.evaluate(*model, problems[:1], path)
    kept = {file.name.removeprefix("mine-before") for file in tmp_path.glob("mine-before*")}
    assert kept == {".jsonl", ".jsonl.json", ".replies", ".replies.json"}


@pytest.mark.parametrize("batches", [1, 2])
def test_a_cut_off_evaluation_goes_on_bit_for_bit(given, tmp_path, monkeypatch, batches):
    """Cut off after some batches of drawn answers, with half a batch behind them."""
    path = tmp_path / "cut" / "mine.jsonl"
    undisturbed = evaluation.evaluate(*given, tmp_path / "whole.jsonl", samples=2)
    cut_off(monkeypatch, batches, *given, path, samples=2)
    replies = path.with_name("mine.replies")
    assert not path.exists() and len(read_lines(replies)) == batches
    with open(replies, "a") as file:
        file.write('{"replies": [[3, "a batch that was being wr')
    watched = Mock(wraps=training.in_batches)
    monkeypatch.setattr(training, "in_batches", watched)
    assert evaluation.evaluate(*given, path, samples=2) == undisturbed
    assert [call.args[-1] for call in watched.call_args_list] == [3 * batches]
    assert sorted(file.name for file in path.parent.iterdir()) == ["mine.json", "mine.jsonl"]
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_two_processes_do_not_mix_their_records(given, tmp_path):
    path = tmp_path / "mine.jsonl"
    said = "Another process is evaluating into .*mine.jsonl.\nStop it .* or set OUTPUT"
    held = training.lock_folder(path, "evaluating into")  # as another process holds it
    with held, pytest.raises(RuntimeError, match=said):
        evaluation.evaluate(*given, path)
    assert len(evaluation.evaluate(*given, path)) == 4
