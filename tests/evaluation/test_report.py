"""The one-page report: opened in headless Chromium, filtered, and safe against what a model may write."""

import json
import re
import shutil
import subprocess

import matplotlib.pyplot as plt
import pytest

from helpers import evaluation
from helpers.evaluation import candidates, report
from helpers.rows import Example

CHROMIUM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium to open the report with"
)
HOSTILE = "</script><script>document.title='stolen'</script><img src=x onerror=\"document.title='stolen'\"><!--<script>\u2028 & \x00 </pre>"


@pytest.fixture(scope="module")
def page(recipe, tmp_path_factory):
    """Ten problems and two models: `old` is right on 3, says nothing on 2 and something hostile on one; `new` is right on all."""

    def record(i, text, sample=None):
        return evaluation.grade(
            recipe, Example(f"p{i}", f"Question {i}: 3 and 4?", "", "7"), text, 9, True
        ) | ({} if sample is None else {"sample": sample})

    right = recipe.format.write("3 + 4 = 7", "7")
    old = [right] * 3 + [""] * 2 + [HOSTILE] + [right.replace("7.\n", "8.\n")] * 4
    texts = {"old": old, "new <b>model</b>": [right] * 10}
    found = {
        name: (
            [record(i, text) for i, text in enumerate(lines)],
            [record(i, text, 0) for i, text in enumerate(lines)],
        )
        for name, lines in texts.items()
    }
    folder = tmp_path_factory.mktemp("report")
    candidates.conclude(found, recipe, folder, "my <i>data</i>", {})
    return folder / "report.html"


def opened(page, where="", tmp=None):
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=3000",
            "--dump-dom",
            f"{page.as_uri()}{where}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def rows(dom):
    return re.findall(r'<tr class="row".*?</tr>', dom, re.DOTALL)


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
    assert len(rows(dom)) == count and f">{count} of 10 problems<" in dom


@needs_chromium
def test_nothing_from_a_model_is_executed(page):
    dom = opened(page)
    assert (
        "<title>GSM8K with XML tags: old, new &lt;b&gt;model" in dom
        and "stolen'</script>" not in dom
    )
    assert not re.search(r"<(img src=.?x|b>model|i>data)", dom) and "10 of 10 problems" in dom


@needs_chromium
def test_a_row_opens_with_its_replies(page, tmp_path):
    """A click, as a script in a copy of the page does it."""
    copy = tmp_path / "copy.html"
    copy.write_text(
        page.read_text().replace(
            "\ndraw();\n</script>",
            "\ndraw();\ndocument.querySelectorAll('tr.row')[5].click();\n</script>",
        )
    )
    dom = opened(copy)
    assert (
        dom.count('<tr class="open"') == 1
        and "&lt;/script&gt;&lt;script&gt;document.title" in dom
        and "old: no answer, 9 tokens, score 0" in dom
    )


def test_the_page_stands_alone(page):
    text = page.read_text()
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", text) and "http" not in re.sub(
        r"data:image[^\"]*", "", text
    )
    assert text.count("data:image/png;base64,") == 5 and len(text) < 1_000_000
    data = json.loads(
        re.search(
            r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL
        ).group(1)
    )
    assert (
        len(data["problems"]) == 10
        and data["problems"][5]["replies"]["old"]["completion"] == HOSTILE
    )
    assert "100.0% [72.2%, 100.0%]" in text and "p</th>" in text
    assert {path.name for path in page.parent.iterdir()} == {
        "report.html",
        "summary.json",
        "accuracy.png",
        "outcomes.png",
        "scores.png",
        "tokens.png",
        "agreement.png",
    }


def test_all_that_a_recipe_may_have_can_be_drawn(recipe):
    """Partial credit, one model, an outcome that never occurs, no agreement at all."""
    lines = [
        evaluation.grade(recipe, Example(f"p{i}", "q", "", "7"), "", 3, True)
        | {"sample": 0, "score": i / 10}
        for i in range(10)
    ]
    found = {"one": (lines, lines)}
    results = evaluation.results(found, recipe.score)
    figures = candidates.figures(results, {"one": lines})
    assert len(figures) == 5 and all(len(report.png(figure)) > 1000 for figure in figures.values())
    plt.close("all")
