"""The words and signs of TeX, of answers typed without it, and their many spellings.

The tables are in `vocabulary.toml`.
"""

import re
import tomllib
import unicodedata
from pathlib import Path

VOCABULARY = tomllib.loads(Path(__file__).with_name("vocabulary.toml").read_text("utf-8"))


def words(name: str) -> frozenset[str]:
    return frozenset(VOCABULARY[name].split())


def meanings(name: str) -> dict[str, str]:
    """What each spelling in a table means."""
    found = {}
    for meaning, spellings in VOCABULARY[name].items():
        found |= dict.fromkeys(spellings.split(), meaning)
    return found


def rules(name: str) -> list[tuple[re.Pattern, str]]:
    """The patterns of a table, and what comes in their place."""
    return [(re.compile(pattern), new) for pattern, new in VOCABULARY[name].items()]


def rewritten(text: str, by: list[tuple[re.Pattern, str]]) -> str:
    for pattern, new in by:
        text = pattern.sub(new, text)
    return text


NUMBERS = {word: n for n, word in enumerate(VOCABULARY["numbers"].split())}
GREEK = frozenset(VOCABULARY["greek"])
NAMES = GREEK | words("other_names")
FUNCTIONS = words("functions")
FONTS = words("fonts")
ACCENTS = words("accents")
BETWEEN = words("between")
SILENT = words("silent") | {"\\ "}
CONSTANTS = meanings("constants")
RELATIONS = meanings("relations")
ALIASES = meanings("commands")
SPELLINGS, FOREIGN = rules("spellings"), rules("foreign")
SIGNS = meanings("signs") | dict.fromkeys("¥₹₩₽₺₫฿₱₦₪₴\u200b\t\n\r", " ")
GREEK_SIGNS = {sign: f"\\{name} " for sign, name in meanings("greek").items()}
UNICODE = str.maketrans(SIGNS | GREEK_SIGNS)
LARGER = r"([0-9]+)\s*(?:\\text\s*\{\s*)?(hours?|hrs?|h|feet|foot|ft|dollars?)\b"
SMALLER = r"([0-9]+)\s*(?:\\text\s*\{\s*)?(minutes?|mins?|inch(?:es)?|in|cents?)"
TWO_UNITS = re.compile(rf"\A\s*{LARGER}\s*(?:and\s*)?\}}?\s*{SMALLER}\s*\}}?\s*\Z")
PARTS = {"h": 60, "f": 12, "d": 100}  # minutes of an hour, inches of a foot, cents of a dollar
DISPLAY = r"\s*\{(?:equation|align|gather|split|center|aligned|gathered)\*?\}"
OPENED, CLOSED = r"(?:(?:\\left\s*)?\\\{\s*)?", r"(?:\s*(?:\\right\s*)?\\\})?"
ALIGNED = re.compile(rf"{OPENED}\\begin{DISPLAY}|\\end{DISPLAY}{CLOSED}")


def together(found: re.Match) -> str:
    """`1 hour 30 minutes` in the smaller unit."""
    total = int(found[1]) * PARTS[found[2][0]] + int(found[3])
    return f"{total} \\text{{ {found[4]}}}"


def spelled(text: str) -> str:
    """An answer as the reader knows it: one spelling for what Unicode and habits write in many."""
    if not text.isascii():
        text = rewritten(text, FOREIGN)
        text = unicodedata.normalize("NFKC", text.translate(UNICODE))
    if ALIGNED.search(text):
        text = ALIGNED.sub("", text)
        if "\\begin" not in text:
            text = text.replace("\\\\", ",").replace("&", "").strip(" ,")
    return TWO_UNITS.sub(together, rewritten(text, SPELLINGS)).translate(UNICODE)
