"""Stories with letters in the answer, for the recipe with formulas: `17 m v`, `12 m g h + 5 Q`."""

from __future__ import annotations

import random
from typing import NamedTuple

BODIES = ("cart", "ball", "stone", "box", "sled", "disc", "block", "wheel")


class Story(NamedTuple):
    """A story's texts; in the table below with names for what is drawn and worked out."""

    letters: dict[str, str]  # each stands for a unit, and is one of two
    question: str
    known: str
    law: str
    working: tuple[str, ...]  # three or four lines; those with "=" are the arithmetic
    answer: str
    most_b: int = 9
    most_c: int = 20  # 0: less than a * b


STORIES = (
    Story(
        {"m": "mM", "v": "vu"},
        "A {body} of mass {a} {m} moves at the speed {b} {v}. "
        "It gains the momentum {c} {m} {v}. What is its momentum now?",
        "mass {a} {m}, speed {b} {v}",
        "Momentum is mass times speed.",
        ("{a} * {b} = {ab}", "That is {ab} {m} {v}.", "{ab} + {c} = {more}"),
        "{more} {m} {v}",
    ),
    Story(
        {"f": "FP", "d": "dx"},
        "A force {a} {f} pulls a {body} over the way {b} {d}. "
        "Friction takes the energy {c} {f} {d}. What energy is left?",
        "force {a} {f}, way {b} {d}",
        "Energy is force times way.",
        ("{a} * {b} = {ab}", "That is {ab} {f} {d}.", "{ab} - {c} = {less}"),
        "{less} {f} {d}",
        most_c=0,
    ),
    Story(
        {"i": "IJ", "t": "tT"},
        "A {body} holds the charge {c} {i} {t}. "
        "A current {a} {i} flows onto it for the time {b} {t}. What is its charge now?",
        "current {a} {i}, time {b} {t}",
        "Charge is current times time.",
        ("{a} * {b} = {ab}", "That is {ab} {i} {t}.", "{c} + {ab} = {more}"),
        "{more} {i} {t}",
    ),
    Story(
        {"m": "mM", "h": "hz"},
        "A {body} of mass {a} {m} is lifted from the height {b} {h} to the height {top} {h}. "
        "What energy does it gain?",
        "mass {a} {m}, heights {b} {h} and {top} {h}",
        "Energy is mass times g times height.",
        ("{top} - {b} = {c}", "The rise is {c} {h}.", "{a} * {c} = {ac}"),
        "{ac} {m} g {h}",
        most_c=9,
    ),
    Story(
        {"m": "mM", "h": "hz", "q": "QE"},
        "A {body} of mass {a} {m} is at the height {b} {h} and holds the heat {c} {q}. "
        "What is its energy?",
        "mass {a} {m}, height {b} {h}",
        "Energy is mass times g times height.",
        ("{a} * {b} = {ab}", "That is {ab} {m} g {h}.", "Add {c} {q}."),
        "{ab} {m} g {h} + {c} {q}",
    ),
    Story(
        {"m": "mM", "v": "vu", "q": "QE"},
        "A thin ring of mass {a} {m} rolls at the speed {b} {v} and holds the heat {c} {q}. "
        "What is its energy?",
        "mass {a} {m}, speed {b} {v}",
        "A rolling ring has mass times speed squared.",
        ("{b} * {b} = {bb}", "{a} * {bb} = {abb}", "That is {abb} {m} {v}^{{2}}.", "Add {c} {q}."),
        "{abb} {m} {v}^{{2}} + {c} {q}",
        most_b=5,
    ),
)


def draw(rng: random.Random) -> Story:
    """A story with its numbers and letters; the products are such as a small model can know."""
    story = rng.choice(STORIES)
    values = {"body": rng.choice(BODIES)}
    a = rng.randint(2, 4)
    b = rng.randint(2, story.most_b)
    c = rng.randint(2, story.most_c) if story.most_c else 0
    for letter, either in story.letters.items():
        values[letter] = rng.choice(either)
    if not c:
        c = rng.randint(2, min(20, a * b - 2))
    values |= {"a": a, "b": b, "c": c, "top": b + c}
    values |= {"ab": a * b, "ac": a * c, "bb": b * b, "abb": a * b * b}
    values |= {"more": a * b + c, "less": a * b - c}
    return story._replace(
        question=story.question.format(**values),
        known=story.known.format(**values),
        working=tuple(line.format(**values) for line in story.working),
        answer=story.answer.format(**values),
    )
