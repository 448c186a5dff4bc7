"""What is seen while a run goes on: in a notebook a picture that is drawn anew and taken away."""

import nbformat
from nbclient import NotebookClient

from tests.conftest import ROOT

CODE = """
import time
from types import SimpleNamespace
from helpers.recipes import get_recipe
from huggingface_hub.utils import is_notebook
from helpers.training.watching import LiveCurves

assert is_notebook()
step = {"reward_mean": 0.4, "learning_rate": 1e-3, "time_per_step_s": 6.0}
log = [{"step": k, "zero_std_groups": 0.1, "truncated": 0.0, **step} for k in range(1, 5)]
live = LiveCurves(SimpleNamespace(recipe=get_recipe("gsm8k_xml")))
live.draw(log, 20)
early = live.next
live.next = time.perf_counter()
live.draw(log, 20)
assert live.next > early
"""


def test_curves_are_drawn_while_it_trains_and_gone_when_it_is_over():
    cells = [nbformat.v4.new_code_cell(code) for code in (CODE, CODE + "live.clear()")]
    book = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(book, kernel_name="python3", timeout=120).execute(cwd=str(ROOT))
    shown, cleared = (cell["outputs"] for cell in book["cells"])
    # One place, drawn again; no widget.
    [picture] = shown
    assert set(picture["data"]) == {"image/png", "text/plain"}
    assert not any("image/png" in output.get("data", {}) for output in cleared)
