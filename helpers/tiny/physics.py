"""Stories with letters in the answer, for the recipe whose golds are formulas: `17 m v`, `12 m g h + 5 Q`.

Each story gives its question, its three numbers, what is known, the law, the lines of working, and the answer in LaTeX.
"""

from __future__ import annotations

import random
from typing import NamedTuple

BODIES = ("cart", "ball", "stone", "box", "sled", "disc", "block", "wheel")
MASSES, SPEEDS, HEIGHTS, FORCES, DISTANCES, CURRENTS, TIMES, HEATS = (
    "mM",
    "vu",
    "hz",
    "FP",
    "dx",
    "IJ",
    "tT",
    "QE",
)


class Story(NamedTuple):
    question: str
    numbers: tuple[int, int, int]
    known: str
    law: str
    working: tuple[str, ...]  # three or four lines; those with "=" are the arithmetic
    answer: str


def product(rng: random.Random) -> tuple[int, int]:
    """Two factors whose product a small model can know."""
    return rng.randint(2, 4), rng.randint(2, 9)


def pushed(rng: random.Random, body: str) -> Story:
    (a, b), c, m, v = product(rng), rng.randint(2, 20), rng.choice(MASSES), rng.choice(SPEEDS)
    return Story(
        f"A {body} of mass {a} {m} moves at the speed {b} {v}. It gains the momentum {c} {m} {v}. What is its momentum now?",
        (a, b, c),
        f"mass {a} {m}, speed {b} {v}",
        "Momentum is mass times speed.",
        (f"{a} * {b} = {a * b}", f"That is {a * b} {m} {v}.", f"{a * b} + {c} = {a * b + c}"),
        f"{a * b + c} {m} {v}",
    )


def rubbed(rng: random.Random, body: str) -> Story:
    (a, b), f, d = product(rng), rng.choice(FORCES), rng.choice(DISTANCES)
    c = rng.randint(2, min(20, a * b - 2))
    return Story(
        f"A force {a} {f} pulls a {body} over the way {b} {d}. Friction takes the energy {c} {f} {d}. What energy is left?",
        (a, b, c),
        f"force {a} {f}, way {b} {d}",
        "Energy is force times way.",
        (f"{a} * {b} = {a * b}", f"That is {a * b} {f} {d}.", f"{a * b} - {c} = {a * b - c}"),
        f"{a * b - c} {f} {d}",
    )


def charged(rng: random.Random, body: str) -> Story:
    (a, b), c, i, t = product(rng), rng.randint(2, 20), rng.choice(CURRENTS), rng.choice(TIMES)
    return Story(
        f"A {body} holds the charge {c} {i} {t}. A current {a} {i} flows onto it for the time {b} {t}. What is its charge now?",
        (c, a, b),
        f"current {a} {i}, time {b} {t}",
        "Charge is current times time.",
        (f"{a} * {b} = {a * b}", f"That is {a * b} {i} {t}.", f"{c} + {a * b} = {a * b + c}"),
        f"{a * b + c} {i} {t}",
    )


def lifted(rng: random.Random, body: str) -> Story:
    a, b, rise, m, h = (
        rng.randint(2, 4),
        rng.randint(2, 9),
        rng.randint(2, 9),
        rng.choice(MASSES),
        rng.choice(HEIGHTS),
    )
    c = b + rise
    return Story(
        f"A {body} of mass {a} {m} is lifted from the height {b} {h} to the height {c} {h}. What energy does it gain?",
        (a, b, c),
        f"mass {a} {m}, heights {b} {h} and {c} {h}",
        "Energy is mass times g times height.",
        (f"{c} - {b} = {rise}", f"The rise is {rise} {h}.", f"{a} * {rise} = {a * rise}"),
        f"{a * rise} {m} g {h}",
    )


def heated(rng: random.Random, body: str) -> Story:
    (a, b), c, m, h, q = (
        product(rng),
        rng.randint(2, 20),
        rng.choice(MASSES),
        rng.choice(HEIGHTS),
        rng.choice(HEATS),
    )
    return Story(
        f"A {body} of mass {a} {m} is at the height {b} {h} and holds the heat {c} {q}. What is its energy?",
        (a, b, c),
        f"mass {a} {m}, height {b} {h}",
        "Energy is mass times g times height.",
        (f"{a} * {b} = {a * b}", f"That is {a * b} {m} g {h}.", f"Add {c} {q}."),
        f"{a * b} {m} g {h} + {c} {q}",
    )


def rolling(rng: random.Random, body: str) -> Story:
    a, b, c, m, v, q = (
        rng.randint(2, 4),
        rng.randint(2, 5),
        rng.randint(2, 20),
        rng.choice(MASSES),
        rng.choice(SPEEDS),
        rng.choice(HEATS),
    )
    return Story(
        f"A thin ring of mass {a} {m} rolls at the speed {b} {v} and holds the heat {c} {q}. What is its energy?",
        (a, b, c),
        f"mass {a} {m}, speed {b} {v}",
        "A rolling ring has mass times speed squared.",
        (
            f"{b} * {b} = {b * b}",
            f"{a} * {b * b} = {a * b * b}",
            f"That is {a * b * b} {m} {v}^{{2}}.",
            f"Add {c} {q}.",
        ),
        f"{a * b * b} {m} {v}^{{2}} + {c} {q}",
    )


STORIES = (pushed, rubbed, charged, lifted, heated, rolling)


def draw(rng: random.Random) -> Story:
    return rng.choice(STORIES)(rng, rng.choice(BODIES))
