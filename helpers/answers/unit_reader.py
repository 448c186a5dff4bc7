"""Reads the unit behind a value: its words, fonts, exponents and quotients."""

import re

from helpers.answers.tokens import Cursor
from helpers.answers.tree import Node
from helpers.answers.units import is_unit
from helpers.answers.vocabulary import CONSTANTS, FUNCTIONS, GREEK, VOCABULARY, words

WORD_UNIT = re.compile(r"(?=.*[aeiou])[a-z]{3,}")
POWER = re.compile(r"\^\s*-?\s*[0-9]+")
LONGEST_UNIT = 20  # words and signs
UNIT_FONTS = ("mathrm", "mathbf", "operatorname", "mathit")
UNIT_STARTS = ("word", "text")
UNIT_ENDS = words("unit_ends") | {None}
AFTER_VALUE = ("number", "}", ")", "!")  # what a bare unit may follow
NO_UNITS, NO_UNIT = words("no_units"), re.compile(VOCABULARY["no_unit"])
WHOLE_WORDS = (FUNCTIONS | GREEK | CONSTANTS.keys()) - {"lg"}  # `\frac lg`


class UnitReader(Cursor):
    """The part of the parser that knows units; `raw` and `letter` are the parser's."""

    physics = False

    def with_unit(self, node: Node) -> Node:
        r"""The node with its unit: `\text{ cm}^2`, `dollars per hour`, `\mathrm{km}/\mathrm{h}`."""
        name = self.unit()
        if len(name) == 1 and name.isascii() and not is_unit(name):
            return node * self.letter(name)  # `5\mathbf{j}`
        bare = POWER.sub("", name).lower()
        # `5 percent of x` has no unit: it is of something.
        if NO_UNITS & set(re.split(r"\W+", bare)) or NO_UNIT.search(bare):
            self.fail()
        return Node("unit", node, name) if name else node

    def per_unit(self) -> bool:
        """Whether a slash and a unit follow, as in `18/hour`."""
        if not self.ahead("/", "word"):
            return False
        word = self.cut[self.at + 1].text
        return len(word) > 1 and is_unit(word)

    def unit_ahead(self) -> bool:
        """Whether a unit stands here."""
        at = self.at
        name = self.unit()
        self.at = at
        return bool(name)

    def unit(self) -> str:
        """The unit that stands here and ends a term, its words with blanks between; "" for none."""
        at, parts = self.at, []
        while piece := self.unit_piece(parts):
            parts.append(piece)
        if len(parts) > LONGEST_UNIT or self.kind() not in UNIT_ENDS:
            self.at = at
            return ""
        return " ".join(parts).replace(".", "").strip()

    def unit_piece(self, parts: list[str]) -> str | None:
        """The next word, exponent or sign of a unit."""
        begun = bool(parts)
        if self.sees("text") or (self.sees("\\$") and not begun):
            return self.next().text.replace("\\$", "dollar").strip()
        if begun and self.ahead(".", "word") and is_unit(self.cut[self.at + 1].text):  # `sq. ft`
            return self.next().text
        if begun and self.sees("^"):
            self.next()
            minus = self.take("-") or ""
            return f"^{minus}{self.raw()}"
        if begun and self.sees("/", "*") and (self.kind(1) in UNIT_STARTS or self.unit_font(1)):
            return "/" if self.next().kind == "/" else "·"
        if not begun and self.per_unit() and self.before() == "number":
            return self.next().text
        if self.unit_font():
            self.next()
            return self.raw(" ")
        if self.ahead("frac", "{") and (self.kind(2) == "text" or self.unit_font(2)):
            self.next()
            return f"{self.raw(' ')} / {self.raw(' ')}"
        if self.sees("word") and not self.physics and self.unit_word(parts):
            return self.next().text
        return None

    def unit_font(self, ahead: int = 0) -> bool:
        r"""`\mathrm{cm}` after a number, in a quotient of units, or wherever it is well known."""
        if not self.ahead("{", "word", skip=ahead + 1) or self.kind(ahead) not in UNIT_FONTS:
            return False
        token = self.cut[self.at + ahead + 2]
        if is_unit(token.text):
            return self.token().spaced or token.spaced or not self.physics
        if self.physics or self.before(ahead) not in ("number", "/"):
            return False
        return token.text not in FUNCTIONS | {"e", "i"}

    def unit_word(self, parts: list[str]) -> bool:
        """Whether a bare word is a unit's: a known one, or any of four letters with a vowel.

        After a blank three letters will do, and where a unit has begun any word. A single letter
        needs a blank or a slash before it.
        """
        _, word, spaced = self.token()
        if self.kind(1) == "(" or (word in WHOLE_WORDS and not is_unit(word)):
            return False
        if word in FUNCTIONS and self.kind(1) not in UNIT_ENDS:  # 2 sec x
            return False
        if not parts and self.before() not in AFTER_VALUE and self.cut[self.at - 1].text != "pi":
            return False
        if len(word) == 1:
            if parts:  # `m/s`, `kg m` and `m s^{-1}`, but not `m g l`
                inverse = self.ahead("^", "-", skip=1) or self.ahead("^", "{", "-", skip=1)
                fits = parts[-1] == "/" or (spaced and (inverse or len(parts[-1]) > 1))
                fits |= parts[-1] == "·" and self.kind(1) in (None, "/", "*", "^")
            else:
                letters = any(token.kind == "word" for token in self.cut[: self.at])
                fits = spaced and not letters and self.kind(1) in (None, "/", "*", "^", "word")
            return fits and is_unit(word)
        long = WORD_UNIT.fullmatch(word) is not None and (spaced or len(word) > 3)
        return bool(parts) or is_unit(word) or long
