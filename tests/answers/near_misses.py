r"""Near misses: a gold with one slip, as models make them, which must not be paid as the gold.

A slip works on the text of the gold, at one place; the places take turns. What a slip leaves as it
was (0 → −0, 1², numbers exchanged in a set) is left out: by fractions where both texts are plain
numbers, else by SymPy with the reader of math-verify. The code under test is not asked.
"""

import json
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import pandas
import sympy
from latex2sympy2_extended import latex2sympy

from tests.conftest import SHARED

NUMBER = re.compile(r"(?<![\d.])(?:\d{1,3}(?:,\d{3})+|\d*\.\d+|\d+)(?![\d.])")
LETTER = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")
FRACTION = re.compile(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}")
FIRST = re.compile(r"\\\$|\\[dt]?frac|\\sqrt|\\pi|\d|\.\d|(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")
WORD = re.compile(r"(?<=\\text\{)\(?[A-Za-z]+")
TUPLE = re.compile(r"^(\\left\s*)?[(\[][^()\[\]]*,[^()\[\]]*[)\]]$|\\cup")
SINGLE = re.compile(r"(?!.*([,=]|\\begin|\\in|\\text|\\mbox|\\pm|\\cup|\\circ|\\\$|_\{?\d+\}?$))")


class NearMiss(NamedTuple):
    slip: str
    predicted: str
    gold: str


def edited(text: str, match: re.Match | None, new: str) -> str | None:
    return text[: match.start()] + new + text[match.end() :] if match else None


def nth(pattern: str | re.Pattern, text: str, turn: int) -> re.Match | None:
    found = list(re.finditer(pattern, text))
    return found[turn % len(found)] if found else None


# Slips: each gives the text with one, or None where there is no place for it


def number(text: str, turn: int) -> str | None:
    match = nth(NUMBER, text, turn)
    if match is None:
        return None
    whole, dot, digits = match.group().replace(",", "").partition(".")
    more = str(int(whole + digits) + 1).zfill(len(digits))
    at = len(more) - len(digits)
    return edited(text, match, more[:at] + dot + more[at:])


def sign(text: str, turn: int) -> str | None:
    match = nth(r"[-+](?!\\?infty)", text, turn)
    if match:
        return edited(text, match, "+" if match.group() == "-" else "-")
    match = FIRST.search(text)
    zero = match and NUMBER.match(text, match.start()) and text[match.start() :][:1] == "0"
    return None if zero else edited(text, match, f"-{match.group()}" if match else "")


def square(text: str, turn: int) -> str | None:
    """Of a number other than 0 and 1, or a letter, that has no mark."""
    alone = rf"(?<![\^_.\d{{])(?:{NUMBER.pattern}|{LETTER.pattern})(?!\s*[\^_!'}}\\(,\d=])"
    braced = rf"(?<=frac\{{){NUMBER.pattern}(?=\}})|(?<=sqrt\{{){NUMBER.pattern}(?=\}})"
    match = nth(f"{alone}|{braced}", text, turn)
    if match is None or match.group() in "01":
        return None
    return edited(text, match, f"{match.group()}^2")


def inverse(text: str, turn: int) -> str | None:
    match = nth(FRACTION, text, turn)
    if match:
        return edited(text, match, rf"\frac{{{match[2]}}}{{{match[1]}}}")
    return rf"\frac{{1}}{{{text}}}" if SINGLE.match(text) and FIRST.search(text) else None


def lost_root(text: str, turn: int) -> str | None:
    match = nth(r"\\sqrt\s*(\d|(?=\{))", text, turn)
    return edited(text, match, f"{{{match[1]}}}" if match and match[1] else "")


def lost_digit(text: str, turn: int) -> str | None:
    match = nth(r"(?<=[1-9])\d(?![\d,.])", text, turn)
    return edited(text, match, "")


def exchange(text: str, turn: int) -> str | None:
    """Of two neighbouring numbers, where their order says something."""
    found = list(NUMBER.finditer(text))
    if len(found) < 2 or re.fullmatch(r"[-\d, ]+|\\\{.*", text):
        return None
    turn %= len(found) - 1
    first, second = found[turn : turn + 2]
    middle = text[first.end() : second.start()]
    return text[: first.start()] + second[0] + middle + first[0] + text[second.end() :]


def bracket(text: str, turn: int) -> str | None:
    r"""`(a + b)c` becomes `(a) + bc`, and `2k + 2` becomes `2(k + 2)`."""
    match = nth(r"\(([^()]*[^()+\-\s,])\s*([+-][^()+,\-]+?)(\\right)?\)", text, turn)
    if match:
        return edited(text, match, f"({match[1]}{match[3] or ''}) {match[2]}")
    match = re.fullmatch(r"(.*?\d)([a-z]\s?[-+]\s?[\w^]+)(.*)", text)
    return f"{match[1]}({match[2]}){match[3]}" if match else None


def unit(text: str, turn: int) -> str | None:
    match = re.search(r"(?<=[a-z]\}\^)2", text)
    return edited(text, match, "3")


def end(text: str, turn: int) -> str | None:
    """An end of an interval, or a bracket of a pair, is of the other kind."""
    match = nth(r"[()\[\]]", text, turn) if TUPLE.search(text) else None
    return edited(text, match, dict(zip("()[]", "[]()", strict=True))[match[0]]) if match else None


def letter(text: str, turn: int) -> str | None:
    match = nth(WORD, text, turn) if not NUMBER.search(text) else None
    match = match or nth(LETTER, text, turn)
    if match is None:
        return None
    last = match[0][-1]
    return edited(text, match, match[0][:-1] + (chr(ord(last) + 1) if last not in "zZ" else "a"))


SLIPS = (number, sign, square, inverse, lost_root, lost_digit, exchange, bracket, unit, end, letter)
FIVE = ("number", "sign", "square", "inverse", "lost_root")


# What a slip left as it was


def unchanged(predicted: str, gold: str) -> bool:
    """Whether both say the same; of equations with one left side the right ones are compared."""
    (name, _, answer), (other, _, truth) = predicted.rpartition("="), gold.rpartition("=")
    if name != other:
        return False
    try:
        return plain(answer) == plain(truth)
    except ValueError:
        pass
    try:
        return vanishes(formula(answer) - formula(truth))
    except Exception:  # no formula, or more than this reader knows: then a slip is one
        return predicted == gold


def plain(text: str) -> Fraction:
    return Fraction(re.sub(r",\\!\s?|,|\\\$", "", text))


def formula(text: str) -> sympy.Expr:
    if re.search(r"\d_", text):
        raise ValueError("a number in another base is no formula")
    return latex2sympy(re.sub(r"\\left|\\right|\\displaystyle", "", text).strip(" ."))


def vanishes(difference: sympy.Expr) -> bool:
    for turn in (3, 7):
        point = {
            name: sympy.Rational(17 + turn * at, 10 + at)
            for at, name in enumerate(sorted(difference.free_symbols, key=str))
        }
        if abs(sympy.N(difference.subs(point), 30)) > 1e-20:
            return False
    return True


def near_misses(golds: list[str]) -> Iterator[NearMiss]:
    for turn, gold in enumerate(golds):
        for slip in SLIPS:
            predicted = slip(gold, turn)
            if predicted is not None and not unchanged(predicted, gold):
                yield NearMiss(slip.__name__, predicted, gold)


# The golds


def lines(path: str) -> list[dict]:
    return [json.loads(line) for line in (SHARED / "data" / path).open()]


def gsm8k() -> list[str]:
    rows = lines("gsm8k/main/train.jsonl") + lines("gsm8k/main/test.jsonl")
    return [row["answer"].rpartition("####")[2].strip() for row in rows]


def math500() -> list[str]:
    return [row["answer"] for row in lines("math500/test.jsonl")]


def dapo() -> list[str]:
    rows = [row["reward_model"] for row in lines("dapo_math_17k/processed_schema_14.jsonl")]
    rows += list(pandas.read_parquet(SHARED / "data/aime24/aime-2024_dapo.parquet")["reward_model"])
    return [row["ground_truth"] for row in rows]


def phybench() -> list[str]:
    """Of each gold the formula, which is what EED compares: without dress and left side."""
    rows = json.loads((SHARED / "data/phybench/PHYBench-fullques_v1.json").read_text())
    golds = []
    for row in rows:
        gold = re.sub(r"\$|\\\[|\\\]", "", row["answer"]).strip()
        boxed = re.fullmatch(r"\\boxed\{(.*)\}", gold, re.DOTALL)
        if gold:
            golds.append((boxed[1] if boxed else gold).rpartition("=")[2].strip())
    return golds
