"""The one-page report: opened in headless Chromium, filtered, safe against a model's text."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from helpers import evaluation
from helpers.rows import Example

FOUND = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
CHROMIUM = next((path for path in FOUND if path), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
THEFT = "document.title='stolen'"
HOSTILE = f'</script><script>{THEFT}</script><img src=x onerror="{THEFT}">'
HOSTILE += "<!--<script>\u2028 & \x00 </pre>"
FILES = {"accuracy.png", "outcomes.png", "scores.png", "tokens.png", "agreement.png"}
FILES |= {"report.html", "summary.json"}


def concluded(recipe, texts, folder):
    """The page of models that answered ten problems so."""
    found = {}
    for name, lines in texts.items():
        graded = []
        for i, text in enumerate(lines):
            problem = Example(f"p{i}", f"Question {i}: 3 and 4?", "", "7")
            graded.append(evaluation.grade(recipe, problem, text, 9, True))
        found[name] = (graded, [replace(record, sample=0) for record in graded])
    results = evaluation.results(found, recipe)
    evaluation.draw(found, results, folder)
    evaluation.conclude(found, results, recipe, folder, "my <i>data</i>", {})
    return folder / "report.html"


@pytest.fixture(scope="module")
def page(recipe, tmp_path_factory):
    """`old` is right on 3, says nothing on 2, something hostile on one; `new` is always right."""
    right = recipe.format.write("3 + 4 = 7", "7")
    old = [right] * 3 + [""] * 2 + [HOSTILE] + [right.replace("7.\n", "8.\n")] * 4
    texts = {"old": old, "new <b>model</b>": [right] * 10}
    return concluded(recipe, texts, tmp_path_factory.mktemp("report"))


def opened(page, where=""):
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000"]
    command = [CHROMIUM, *options, "--dump-dom", f"{page.as_uri()}{where}"]
    return subprocess.check_output(command, text=True, timeout=120)


@needs_chromium
@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("", 10),
        ("#outcome=no_answer", 3),
        ("#model=old&outcome=correct", 3),
        ("#outcome=correct", 10),
        ("#model=old&outcome=wrong", 4),
        ("#outcome=truncated", 0),
        ("#words=question+7", 1),
        ("#model=old&words=onerror", 1),
    ],
)
def test_problems_are_filtered(page, where, count):
    dom = opened(page, where)
    assert dom.count('<tr class="row"') == count and f">{count} of 10 problems<" in dom


@needs_chromium
def test_nothing_from_a_model_is_executed_and_a_row_opens(page, tmp_path):
    dom = opened(page)
    assert "<title>GSM8K with XML tags: old, new &lt;b&gt;model" in dom
    assert "stolen'</script>" not in dom and "10 of 10 problems" in dom
    assert not re.search(r"<(img src=.?x|b>model|i>data)", dom)
    click = "document.querySelectorAll('tr.row')[5].click();\n</script>"
    copy = tmp_path / "copy.html"
    copy.write_text(page.read_text().replace("\ndraw();\n</script>", f"\ndraw();\n{click}"))
    dom = opened(copy)
    assert dom.count('<tr class="open"') == 1 and "old: no answer, 9 tokens, score 0" in dom
    assert "&lt;/script&gt;&lt;script&gt;document.title" in dom


def test_the_page_stands_alone(page):
    text = page.read_text()
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", text)
    assert "http" not in re.sub(r"data:image[^\"]*", "", text)
    assert text.count("data:image/png;base64,") == 5 and len(text) < 1_000_000
    inside = r'<script type="application/json" id="answers">(.*?)</script>'
    answers = json.loads(re.search(inside, text, re.DOTALL).group(1))
    assert list(answers) == ["old", "new <b>model</b>"] and len(answers["old"]) == 10
    assert answers["old"][5]["completion"] == HOSTILE
    assert "<i>data" not in text and "<b>model" not in text and "10 problems of my" in text
    assert "100.0% [72.2%, 100.0%]" in text and "p</th>" in text
    assert {path.name for path in page.parent.iterdir()} == FILES


def test_one_model_without_any_answer_can_be_drawn(recipe, tmp_path):
    """An outcome that never occurs, no agreement, nothing to compare with."""
    text = concluded(recipe, {"one": [""] * 10}, tmp_path).read_text()
    assert text.count("data:image/png;base64,") == 5 and "Each against" not in text
