r"""Near misses: a gold with one slip, as models make them, which must not be paid as the gold.

A slip works on the text of the gold at one place; of several places each gold takes another one.
What a slip leaves as it was (0 → −0, 1 → 1/1, two numbers exchanged in a set) is left out: by
fractions where both texts are plain numbers, else by SymPy with the reader of math-verify. The
code under test is not asked.
"""

import functools
import json
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import pandas
import sympy
from latex2sympy2_extended import latex2sympy

from tests.conftest import SHARED

DIGITS = r"(?:\d{1,3}(?:,(?:\\!\s?)?\d{3})+|\d*\.\d+|\d+)"
NUMBER = rf"(?<![\d.]){DIGITS}(?![\d.])"
LETTER = r"(?<![A-Za-z\\])(?<!\\begin\{)(?<!\\end\{)[A-Za-z](?![A-Za-z])"
FIRST = rf"\\\$|\\[dt]?frac|\\sqrt|\\pi|(?!0){NUMBER}|{LETTER}"
BEHIND = r"(?!\s*[\^_!'}\\(,\d=])"  # what would make a square of something else
PAIR = r"([(\[])([^()\[\]]*,[^()\[\]]*)([)\]])"
NO_FORMULA = r"[,=]|\\(begin|in|text|mbox|pm|cup|circ|\$)|\d_"
NO_ORDER = r"^[-\d, ]+$|^\\\{"
OTHER = dict(zip("+-()[]", "-+[]()", strict=True))


def one_more(match: re.Match) -> str:
    whole, dot, digits = match[0].partition(".")
    number = re.sub(r"\D", "", whole) + digits
    text = str(int(number) + 1).zfill(len(number))
    return text[: len(text) - len(digits)] + dot + text[len(text) - len(digits) :]


def next_letter(match: re.Match) -> str:
    last = match[0][-1]
    return match[0][:-1] + ("a" if last in "zZ" else chr(ord(last) + 1))


# name: the places, the first kind of place that there is, and what comes there
SLIPS = {
    "number": [(NUMBER, one_more)],
    "sign": [
        (r"[-+](?!\\infty)", lambda match: OTHER[match[0]]),
        (rf"^(?!0$|\\begin|\\text|.*\\infty)(.*?)({FIRST})", r"\1-\2"),
    ],
    "square": [
        (rf"(?<=(?:frac|sqrt)\{{)(?![01]\}}){DIGITS}(?=\}})", r"\g<0>^2"),
        (rf"(?<![\^_.\d{{])(?:(?![01]\b){NUMBER}|{LETTER}){BEHIND}", r"\g<0>^2"),
    ],
    "inverse": [
        (r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}", r"\\frac{\2}{\1}"),
        (rf"^(?!.*(?:{NO_FORMULA})).*[\w}})]$", r"\\frac{1}{\g<0>}"),
    ],
    "lost root": [(r"\\sqrt\s*(\d)", r"{\1}"), (r"\\sqrt\s*(?=\{)", "")],
    "lost digit": [(r"(?<=[1-9])\d(?![\d,.])", "")],
    "exchange": [(rf"(?<![\d.])({DIGITS})(?![\d.])(\D+?)({NUMBER})", r"\3\2\1")],
    "bracket": [
        (r"\(([^()]*[^()+\-\s,])\s*([+-][^()+,\-]+?)(\\right)?\)", r"(\1\3) \2"),
        (r"(?<=\d)([a-z]\s?[-+]\s?[\w^]+)", r"(\1)"),
    ],
    "unit": [(r"(?<=[a-z]\}\^)2", "3")],
    "opener": [(PAIR, lambda match: OTHER[match[1]] + match[2] + match[3])],
    "closer": [(PAIR, lambda match: match[1] + match[2] + OTHER[match[3]])],
    "letter": [(r"(?<=^\\text\{)\(?[A-Za-z]+", next_letter), (LETTER, next_letter)],
}
FIVE = ("number", "sign", "square", "inverse", "lost root")


class NearMiss(NamedTuple):
    slip: str
    predicted: str
    gold: str


def slipped(slip: str, gold: str, turn: int) -> str | None:
    """The gold with a slip; None where there is no place for it."""
    if slip == "exchange" and re.search(NO_ORDER, gold):
        return None
    for place, change in SLIPS[slip]:
        places = list(re.finditer(place, gold))
        if places:
            match = places[turn % len(places)]
            new = match.expand(change) if isinstance(change, str) else change(match)
            return gold[: match.start()] + new + gold[match.end() :]
    return None


def unchanged(predicted: str, gold: str) -> bool:
    """Whether both say the same; of equations with one left side the right ones are compared."""
    (name, _, answer), (other, _, truth) = predicted.rpartition("="), gold.rpartition("=")
    if name != other or predicted == gold:
        return name == other
    try:
        return plain(answer) == plain(truth)
    except ZeroDivisionError:
        return False
    except ValueError:
        pass
    try:
        return vanishes(formula(answer) - formula(truth))
    except Exception:  # no formula, or more than this reader knows: then a slip is one
        return False


def plain(text: str) -> Fraction:
    r"""The value of a number, of `\frac{1}{2}` and of `2^2`. Raises ValueError for more."""
    text = re.sub(r",\\!\s?|,|\\\$|\s", "", text)
    text = re.sub(r"\\frac\{(-?\d+)\}\{(\d+)\}", r"\1/\2", text)
    power = re.fullmatch(r"([\d.]+)\^2", text)
    return Fraction(power[1]) ** 2 if power else Fraction(text)


@functools.cache
def formula(text: str) -> sympy.Expr:
    if re.search(r"\d_", text):
        raise ValueError("a number in another base is no formula")
    return latex2sympy(re.sub(r"\\left|\\right|\\displaystyle", "", text).strip(" ."))


def vanishes(difference: sympy.Expr) -> bool:
    """Whether it is 0 at two points."""
    letters = sorted(difference.free_symbols, key=str)
    for turn in (3, 7):
        point = {name: sympy.Rational(17 + turn * at, 10 + at) for at, name in enumerate(letters)}
        if abs(difference.evalf(20, subs=point)) > 1e-15:
            return False
    return True


def near_misses(golds: list[str]) -> Iterator[NearMiss]:
    for turn, gold in enumerate(dict.fromkeys(golds)):
        for slip in SLIPS:
            predicted = slipped(slip, gold, turn)
            if predicted is not None and not unchanged(predicted, gold):
                yield NearMiss(slip, predicted, gold)


def rows(path: str) -> list[dict]:
    return [json.loads(line) for line in (SHARED / "data" / path).open()]


def gsm8k() -> list[str]:
    solved = rows("gsm8k/main/train.jsonl") + rows("gsm8k/main/test.jsonl")
    return [row["answer"].rpartition("####")[2].strip() for row in solved]


def math500() -> list[str]:
    return [row["answer"] for row in rows("math500/test.jsonl")]


def dapo() -> list[str]:
    """Of the excerpt of DAPO-Math-17k, and of AIME 2024 in its form."""
    found = [row["reward_model"] for row in rows("dapo_math_17k/processed_schema_14.jsonl")]
    found += pandas.read_parquet(
        SHARED / "data/aime24/aime-2024_dapo.parquet"
    ).reward_model.tolist()
    return [row["ground_truth"] for row in found]


def phybench() -> list[str]:
    """Of each gold the formula, which is what EED compares: without dress and left side."""
    golds = []
    for row in json.loads((SHARED / "data/phybench/PHYBench-fullques_v1.json").read_text()):
        gold = re.sub(r"\$|\\\[|\\\]", "", row["answer"]).strip()
        boxed = re.fullmatch(r"\\boxed\{(.*)\}", gold, re.DOTALL)
        if gold:
            golds.append((boxed[1] if boxed else gold).rpartition("=")[2].strip())
    return golds
