"""Answers that are letters: choices such as `(B)`, with or without their text, orders, words."""

import re

from helpers.answers.vocabulary import words

LONGEST = 300  # characters
CHOICE = re.compile(
    r"[\s*]*(?:\\(?:text|mathrm|mathbf)[a-z]*\s*\{\s*)*(?:[Tt]he\sanswer\sis\s|选项?)?"
    r"(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer)[ :]+)?(?:\\(?:text|mathrm|mathbf)[a-z]*\s*\{\s*)*"
    r"\(?\s*(?P<letter>[A-J])\s*(?P<mark>[).:}、,．*]+|\s[-–—]\s|(?=\sis\scorrect)|(?=\\?\s\()|\Z)"
    r"[\s\\,]*(?P<rest>.*)",
    re.DOTALL,
)
BETWEEN = re.compile(
    r"\\(?:text|mathrm|mathbf)[a-z]*|\\[{}]|\b(?:[Oo]ptions?|[Cc]hoices?|and)\b|[\s{}()&,;、，.和及与]"
)
SEVERAL = re.compile(r"[A-J]{2,}")
OTHER = re.compile(r"\([A-J]\)|\b[A-J](?:[).:]|\W*\Z)")
WORD = re.compile(r"[A-Za-z]+")
WORDS = re.compile(r"[A-Za-z]+(?:[ -][A-Za-z]+)+")
VOWEL = re.compile("[aeiou]")
ORDERED = tuple(map(set, ("IVXLCM", "LR", "HT", "NESW", "TF", "BW")))  # signs in a row
SHORT = words("short_words")


def same_in_letters(predicted: str, gold: str) -> bool | None:
    """Whether two answers in letters are the same; None where they are to be read as formulas."""
    if max(len(predicted), len(gold)) > LONGEST:
        return None
    predicted, gold = bare(predicted), bare(gold)
    letters = [BETWEEN.sub("", text) for text in (predicted, gold)]
    if letters != [predicted, gold] and all(map(SEVERAL.fullmatch, letters)):
        return sorted(letters[0]) == sorted(letters[1])
    truth, choice = CHOICE.fullmatch(gold), CHOICE.fullmatch(predicted)
    if truth and choice and not OTHER.search(truth["rest"]):
        return choice["letter"] == truth["letter"] and not OTHER.search(choice["rest"])
    sentence = WORDS.fullmatch(predicted) and WORDS.fullmatch(gold)
    if sentence and any(kind(each) == "word" for each in gold.split()):
        return predicted.lower() == gold.lower()
    if WORD.fullmatch(predicted) and WORD.fullmatch(gold) and {kind(predicted), kind(gold)} - {""}:
        return predicted == gold or (kind(gold) == "word" and predicted.lower() == gold.lower())
    return None


def without_letter(gold: str) -> str:
    r"""The value of a choice such as `\textbf{(B)}\ 18`; any other gold as it is."""
    choice = CHOICE.fullmatch(bare(gold)) if len(gold) <= LONGEST else None
    marked = choice and re.search("[).:]", choice["mark"]) and "\\" in gold
    if not marked or not choice["rest"] or OTHER.search(choice["rest"]):
        return gold
    return choice["rest"]


def kind(text: str) -> str:
    """Letters whose order counts: a word, or points in order; "" for what may be a product."""
    lower = text.lower()
    if text.isupper() and len(text) > 1:
        signs = any(set(text) <= row for row in ORDERED)
        return "points" if signs or len(text) > 2 else ""
    spoken = VOWEL.search(lower) and len(text) > 2
    sorted_ones = len(text) == 3 and list(lower) == sorted(lower)  # `abe` is a product
    return "word" if lower in SHORT or (spoken and not sorted_ones) else ""


def bare(text: str) -> str:
    return text.strip().strip("$").removesuffix(".").strip()
