"""How a mathematical text is cut into tokens, and a place among them."""

import re
from typing import NamedTuple, NoReturn

from helpers.answers.tree import Unreadable
from helpers.answers.vocabulary import ALIASES, BETWEEN, SILENT, spelled

TEXT = r"\\(?:text(?:bf|it|rm|sf|tt|up|normal)?|mbox|hbox)\s*\{(?P<text>[^{}\\$]*)\}"
REPEATING = r"(?P<repeating>([0-9]*)\.([0-9]*)\\overline\s*\{([0-9]+)\})"
DRESSED = r"[0-9]{1,3}(?:(?:\{,\}|,\\!|\\,|\\!|\\ )\s?[0-9]{3})+(?![0-9])"
SPACED = r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]{1,3}(?: [0-9]{3})+(?![0-9])"
FRACTION = r"(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3}(?![0-9A-Za-z]))?"
REST = (
    r"\\begin\s*\{(?P<begin>[a-z]+)\}|\\end\s*\{(?P<end>[a-z]+)\}|\\(?P<command>[A-Za-z]+)"
    r"|(?P<word>[A-Za-z]+)|(?P<foreign>[^\W\d_A-Za-z]+)|(?P<space>\s+)|(?P<other>\\.|\*\*|.)"
)


def token_pattern(digits: str) -> re.Pattern:
    number = rf"(?P<number>(?:{digits}){FRACTION}|\.[0-9]+)"
    return re.compile(f"{TEXT}|{REPEATING}|{number}|{REST}", re.DOTALL)


OUTSIDE = token_pattern(f"{DRESSED}|{SPACED}|[0-9]+")
INSIDE = token_pattern(f"{DRESSED}|[0-9]+")
SPACES = ("\\,", "\\;", "\\:", "\\ ", "~", "quad", "qquad")
OPENERS, CLOSERS = ("(", "[", "\\{"), (")", "]", "\\}")


class Token(NamedTuple):
    kind: str  # number, word, text, begin, end, command, or the sign itself
    text: str
    spaced: bool  # white space stands in front


def tokens(text: str) -> list[Token]:
    """Cuts a text. A comma or blank joins thousands outside brackets: `(100,200)` is a pair."""
    cut, at, depth, spaced = [], 0, 0, False
    text = spelled(text)
    while at < len(text):
        match = (INSIDE if depth else OUTSIDE).match(text, at)
        at, kind = match.end(), match.lastgroup
        part = match[kind]
        if kind == "space":
            spaced = True
            continue
        if kind == "foreign":
            kind = "text"
        if kind == "number":
            part = re.sub(r"[^0-9.eE+-]", "", part)
        elif kind == "repeating":
            # `0.1\overline{6}` is 15/90.
            _, whole, fixed, period = re.fullmatch(REPEATING, part).groups()
            above = int(whole + fixed + period) - int(f"0{whole}{fixed}")
            kind, part = "number", f"{above}/{(10 ** len(period) - 1) * 10 ** len(fixed)}"
        elif kind in ("command", "other"):
            part = ALIASES.get(part, part)
            if part in SILENT:
                spaced = spaced or part in SPACES
                continue
            kind = "command" if part.isalpha() else part
        depth += (part in OPENERS) - (part in CLOSERS)
        cut.append(Token(kind, part, spaced))
        spaced = False
    return cut


class Cursor:
    """A place in a list of tokens."""

    def __init__(self, cut: list[Token]):
        self.cut = cut
        self.at = 0

    def token(self) -> Token:
        if self.at >= len(self.cut):
            self.fail()
        return self.cut[self.at]

    def next(self) -> Token:
        token = self.token()
        self.at += 1
        return token

    def kind(self, ahead: int = 0) -> str | None:
        """The kind of a token ahead, a command's name; None after the end."""
        if self.at + ahead >= len(self.cut):
            return None
        token = self.cut[self.at + ahead]
        if token.kind == "command":
            return token.text
        if token.kind in ("text", "word") and token.text.strip().lower() in BETWEEN:
            return ","
        return token.kind

    def before(self, ahead: int = 0) -> str | None:
        """The kind of the token in front; None at the beginning."""
        return self.cut[self.at + ahead - 1].kind if self.at else None

    def sees(self, *kinds: str) -> bool:
        return self.kind() in kinds

    def ahead(self, *kinds: str, skip: int = 0) -> bool:
        """Whether tokens of these kinds follow, after the first `skip` ones."""
        return all(self.kind(n) == kind for n, kind in enumerate(kinds, skip))

    def take(self, *kinds: str) -> str | None:
        """Steps over the next token if it is one of these kinds."""
        kind = self.kind()
        if kind in kinds:
            self.at += 1
            return kind
        return None

    def need(self, *kinds: str) -> str:
        return self.take(*kinds) or self.fail()

    def fail(self) -> NoReturn:
        raise Unreadable(f"what stands about token {self.at} cannot be read")
