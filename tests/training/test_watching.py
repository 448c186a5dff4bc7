"""What is seen while a run goes on: in a notebook a picture that is drawn anew and taken away, elsewhere a line a step."""

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

CODE = """
import time
from types import SimpleNamespace
from helpers.recipes import get_recipe
from helpers.watching import LiveCurves, in_notebook

print(in_notebook())
log = [{"step": k, "reward_mean": k / 9, "learning_rate": 1e-3, "time_per_step_s": 6.0, "zero_std_groups": 0.1, "truncated": 0.0} for k in range(1, 5)]
live = LiveCurves(SimpleNamespace(recipe=get_recipe("gsm8k_xml")))
live.draw(log, 20)
early = live.next
live.next = time.perf_counter()
live.draw(log, 20)
print(live.next > early)
"""


@pytest.fixture(scope="module")
def outputs():
    cells = [
        nbformat.v4.new_code_cell(CODE),
        nbformat.v4.new_code_cell("pass"),
        nbformat.v4.new_code_cell(CODE + "live.clear()"),
    ]
    book = nbformat.v4.new_notebook(
        cells=cells,
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
    )
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute()
    return [cell["outputs"] for cell in book["cells"]]


def test_curves_are_drawn_while_it_trains_and_gone_when_it_is_over(outputs):
    shown, _, cleared = outputs
    pictures = [output["data"] for output in shown if output["output_type"] == "display_data"]
    assert len(pictures) == 1 and set(pictures[0]) == {
        "image/png",
        "text/plain",
    }  # one place, drawn again; no widget
    assert [output["text"] for output in shown if output["output_type"] == "stream"] == [
        "True\n",
        "True\n",
    ]
    assert not any(
        "image/png" in output["data"]
        for output in cleared
        if output["output_type"] == "display_data"
    )


def test_a_terminal_is_no_notebook():
    from helpers.training.watching import in_notebook

    assert not in_notebook()
