"""Answers that are letters: choices such as `(B)`, with or without their text, orders, words."""

from __future__ import annotations

import re

from helpers.answers.vocabulary import words

CHOICE = re.compile(
    r"\s*(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer) )?(?:\\(?:text|mathrm|mathbf)[a-z]*\s*\{\s*)*"
    r"\(?\s*(?P<letter>[A-H])\s*(?P<mark>[).:}]+|\Z)[\s\\,]*(?P<rest>.*)",
    re.DOTALL,
)
SEVERAL = re.compile(r"[A-H](?:\s*(?:,|and|\\text\{ and \})?\s*[A-H])+")
OTHER = re.compile(r"\([A-H]\)|\b[A-H][).:]")
WORD = re.compile(r"[A-Za-z]+")
MANY = re.compile(r"(?=.*[aeiou])[a-z]{4,}")  # letters that are read as a word
SHORT = words("short_words")


def same_in_letters(predicted: str, gold: str) -> bool | None:
    """Whether two answers in letters are the same; None where they are to be read as formulas."""
    predicted, gold = bare(predicted), bare(gold)
    truth, choice = CHOICE.fullmatch(gold), CHOICE.fullmatch(predicted)
    if truth and choice:
        return choice["letter"] == truth["letter"] and not OTHER.search(choice["rest"])
    if SEVERAL.fullmatch(predicted) and SEVERAL.fullmatch(gold):
        letters = [re.findall("[A-H](?![a-z])", text) for text in (predicted, gold)]
        if any(
            len(found) < len(text) for found, text in zip(letters, (predicted, gold), strict=True)
        ):
            return sorted(letters[0]) == sorted(letters[1])
    if WORD.fullmatch(predicted) and WORD.fullmatch(gold) and {kind(predicted), kind(gold)} - {""}:
        return predicted == gold or (kind(gold) == "word" and predicted.lower() == gold.lower())
    return None


def kind(text: str) -> str:
    """Letters whose order counts: a word, or points in order; "" for what may be a product."""
    if MANY.fullmatch(text.lower()) or text.lower() in SHORT:
        return "word"
    return "points" if text.isupper() and len(text) > 2 else ""


def bare(text: str) -> str:
    return text.strip().strip("$").removesuffix(".").strip()
