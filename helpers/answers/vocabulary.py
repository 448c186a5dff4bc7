"""The words and signs of TeX, and of answers typed without it, from `vocabulary.toml`."""

import re
import tomllib
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


def rewritten(text: str, rules: list[tuple[re.Pattern, str]]) -> str:
    for pattern, new in rules:
        text = pattern.sub(new, text)
    return text


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
UNICODE = meanings("signs") | dict.fromkeys("¥₹₩₽₺₫฿₱₦₪₴\u200b\t\n\r", " ")
for sign, name in meanings("greek").items():
    UNICODE[sign] = f"\\{name} "
UNICODE = str.maketrans(UNICODE)
