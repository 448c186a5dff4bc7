"""Reads a mathematical answer, in TeX or as people type it, into a small tree. Nothing is evaluated here.

A tree is a `Node(kind, args)`; the kinds are:

    number Fraction        symbol name          constant pi | e | i | infinity
    add a b …              multiply a b …       power a b            plusminus a b (a ± b)      call name a …
    list a b …             set a b …            group "(" "]" a b …  matrix row row …           union a b …
    relation op a b …      ratio a b            unit a name          text words                 base digits base

The text comes from a model. What cannot be read raises Unreadable; time is linear, since length and depth are limited.

>>> read("2x")
Node(kind='multiply', args=(Node(kind='number', args=(Fraction(2, 1),)), Node(kind='symbol', args=('x',))))
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction
from typing import NamedTuple

LONGEST = 3_000  # characters; the longest public gold has about 800
DEEPEST = 80  # a bracket within a bracket counts two, a factor within a factor one
MOST_MARKS = 9  # exponents, factorials or ± signs that hang on one expression

FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth arcsinh arccosh arctanh "
    "exp ln log lg max min gcd lcm".split()
)
GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega".split()
)
OTHER_NAMES = frozenset(
    "hbar ell perp parallel prime infty emptyset varnothing nabla Re Im angle triangle dagger ast star".split()
)
CONSTANTS = {
    "pi": "pi",
    "e": "e",
    "i": "i",
    "infty": "infinity",
    "infinity": "infinity",
    "inf": "infinity",
}
ALIASES = {
    "varepsilon": "epsilon",
    "varphi": "phi",
    "vartheta": "theta",
    "varrho": "rho",
    "varsigma": "sigma",
    "dfrac": "frac",
    "tfrac": "frac",
    "cfrac": "frac",
    "dbinom": "binom",
    "tbinom": "binom",
    "leq": "le",
    "leqslant": "le",
    "geq": "ge",
    "geqslant": "ge",
    "neq": "ne",
    "lt": "<",
    "gt": ">",
    "times": "*",
    "cdot": "*",
    "ast": "*",
    "div": "/",
    "colon": ":",
    "lvert": "|",
    "rvert": "|",
    "vert": "|",
    "mid": "|",
    "lbrace": "\\{",
    "rbrace": "\\}",
    "lbrack": "[",
    "rbrack": "]",
    "langle": "(",
    "rangle": ")",
    "arsinh": "arcsinh",
    "arcosh": "arccosh",
    "artanh": "arctanh",
    "tg": "tan",
    "ctg": "cot",
    "varnothing": "emptyset",
}
SILENT = frozenset(
    "$ \\( \\) \\[ \\] \\, \\; \\: \\! \\> ~ displaystyle textstyle left right big Big bigg Bigg bigl bigr Bigl Bigr biggl "
    "biggr Biggl Biggr quad qquad limits nolimits rm bf it mathstrut thinspace".split()
) | {"\\ "}
SHORT_UNITS = frozenset("cm mm km kg ft mph ml".split())  # longer words need no list
NO_UNITS = frozenset(
    "or and not to squared cubed plus minus times more less if".split()
)  # after a number these change what is said
FONTS = frozenset(
    "mathrm mathbf mathit mathsf mathcal boldsymbol bm operatorname mathbb mathfrak boxed".split()
)
ACCENTS = frozenset(
    "vec hat dot ddot bar tilde overline overrightarrow widehat widetilde underline".split()
)
RELATIONS = {"=": "=", "<": "<", ">": ">", "le": "<=", "ge": ">=", "ne": "!=", "in": "in"}
UNICODE = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "﹣": "-",
        "-": "-",
        "×": "*",
        "·": "*",
        "⋅": "*",
        "∙": "*",
        "÷": "/",
        "⁄": "/",
        "∞": "\\infty ",
        "√": "\\root ",
        "≤": "\\le ",
        "≥": "\\ge ",
        "≠": "\\ne ",
        "∈": "\\in ",
        "∪": "\\cup ",
        "∩": "\\cap ",
        "±": "\\pm ",
        "°": "^\\circ ",
        "′": "'",
        "π": "\\pi ",
        "′": "'",
        "’": "'",
        "€": " ",
        "£": " ",
        "¥": " ",
        "ħ": "\\hbar ",
        "ℏ": "\\hbar ",
        "ℓ": "\\ell ",
        "ϕ": "\\phi ",
        "ϵ": "\\epsilon ",
        "ϑ": "\\theta ",
        "¼": "1/4",
        "½": "1/2",
        "¾": "3/4",
        **{c: f"^{{{d}}}" for c, d in zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")},
        **{c: f"_{{{d}}}" for c, d in zip("₀₁₂₃₄₅₆₇₈₉", "0123456789")},
        **{
            c: f"\\{n} "
            for c, n in zip(
                "αβγδεζηθικλμνξρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ",
                [
                    "alpha",
                    "beta",
                    "gamma",
                    "delta",
                    "epsilon",
                    "zeta",
                    "eta",
                    "theta",
                    "iota",
                    "kappa",
                    "lambda",
                    "mu",
                    "nu",
                    "xi",
                    "rho",
                    "sigma",
                    "tau",
                    "upsilon",
                    "phi",
                    "chi",
                    "psi",
                    "omega",
                    "Gamma",
                    "Delta",
                    "Theta",
                    "Lambda",
                    "Xi",
                    "Pi",
                    "Sigma",
                    "Upsilon",
                    "Phi",
                    "Psi",
                    "Omega",
                ],
            )
        },
        **{c: " " for c in "\u00a0\u202f\u2009\u200b\t\n\r"},
    }
)

TEXT = r"\\(?:text|textbf|textit|textrm|textsf|mbox|hbox)\s*\{(?P<text>[^{}\\$]*)\}"
DRESSED = r"[0-9]{1,3}(?:(?:\{,\}|,\\!|\\,|\\!|\\ )\s?[0-9]{3})+(?![0-9])"
SPACED = r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]{1,3}(?: [0-9]{3})+(?![0-9])"
DIGITS = r"[0-9]+"
NUMBER = rf"(?P<number>(?:{DRESSED}|%s{DIGITS})(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{{1,3}}(?![0-9A-Za-z]))?|\.[0-9]+)"
REPEATING = r"(?P<repeating>[0-9]*\.[0-9]*\\overline\s*\{[0-9]+\})"
REST = r"|\\begin\s*\{(?P<begin>[a-z]+)\}|\\end\s*\{(?P<end>[a-z]+)\}|\\(?P<command>[A-Za-z]+)|(?P<word>[A-Za-z]+)|(?P<space>\s+)|(?P<other>\\.|\*\*|.)"
OUTSIDE, INSIDE = (
    re.compile(TEXT + "|" + REPEATING + "|" + NUMBER % plain + REST, re.DOTALL)
    for plain in (SPACED + "|", "")
)


class Unreadable(ValueError):
    """The text states no answer that this module can read."""


class Node(NamedTuple):
    kind: str
    args: tuple


class Token(NamedTuple):
    kind: str  # number, word, text, begin, end, command, or the sign itself
    text: str
    spaced: bool  # white space stands in front


def number(value: int | str | Fraction) -> Node:
    return Node("number", (Fraction(value),))


def symbol(name: str) -> Node:
    return Node("symbol", (name,))


def divide(above: Node, below: Node) -> Node:
    """A quotient; two whole numbers make one number, other than a division by zero."""
    if above.kind == below.kind == "number" and below.args[0]:
        return number(above.args[0] / below.args[0])
    return multiply(above, Node("power", (below, number(-1))))


def multiply(*factors: Node) -> Node:
    flat = [
        part
        for f in factors
        for part in (f.args if f.kind == "multiply" else (f,))
        if part != number(1)
    ]
    return Node("multiply", tuple(flat)) if len(flat) > 1 else flat[0] if flat else number(1)


def negative(node: Node) -> Node:
    return number(-node.args[0]) if node.kind == "number" else multiply(number(-1), node)


def repeating(text: str) -> str:
    """`0.1\\overline{6}` as a fraction, 15/90."""
    whole, _, rest = text.partition(".")
    fixed, period = re.findall(r"[0-9]*", rest)[0], re.findall(r"[0-9]+", rest)[-1]
    below = (10 ** len(period) - 1) * 10 ** len(fixed)
    return f"{int((whole or '0') + fixed + period) - int((whole or '0') + fixed)}/{below}"


def tokens(text: str) -> list[Token]:
    """Cuts a text into tokens. A plain comma or blank joins thousands only outside brackets: `(100,200)` is a pair."""
    found, at, depth, spaced = [], 0, 0, False
    text = text.translate(UNICODE)
    while at < len(text):
        match = (INSIDE if depth else OUTSIDE).match(text, at)
        at, kind = match.end(), match.lastgroup
        if kind == "space":
            spaced = True
            continue
        part = match[kind]
        if kind == "number":
            part = re.sub(r"[^0-9.eE+-]", "", part)
        if kind == "repeating":
            kind, part = "number", repeating(part)
        if kind in ("command", "other"):
            part = ALIASES.get(part, part)
            if part in SILENT:
                continue
            kind = "command" if part.isalpha() else part
        depth += (part in ("(", "[", "\\{")) - (part in (")", "]", "\\}"))
        found.append(Token(kind, part, spaced))
        spaced = False
    return found


@functools.lru_cache(maxsize=8192)
def read(text: str, units: str = "known") -> Node:
    """The tree of one answer. `units` says which bare words after a number are units: those "known" to be words, or "none".

    With "none", as for physics, all letters are symbols, also `i`.

    Raises Unreadable when the text is empty, cut off, too long or deep, or no answer.

    >>> read("1,234"), read("1 1/2"), read("(1,2]").kind, read("x=5").args[0]
    (Node(kind='number', args=(Fraction(1234, 1),)), Node(kind='number', args=(Fraction(3, 2),)), 'group', '=')
    """
    if len(text) > LONGEST:
        raise Unreadable("too long")
    cut = tokens(text.strip().removesuffix(".").rstrip())
    reader = Reader(cut, units)
    try:
        node = reader.items()
    except RecursionError:
        raise Unreadable("too deep") from None
    if reader.kind() is not None:
        raise Unreadable(f"{reader.token().text[:20]!r} is left over")
    return node


class Reader:
    """Recursive descent over tokens: items → relation → union → sum → term → product → power → atom."""

    def __init__(self, cut: list[Token], units: str):
        self.cut, self.at, self.depth, self.units, self.bars = cut, 0, 0, units, 0

    def token(self) -> Token:
        if self.at >= len(self.cut):
            raise Unreadable("it stops too early")
        return self.cut[self.at]

    def kind(self, ahead: int = 0) -> str | None:
        """The kind of a token ahead, a command's name; None after the end."""
        if self.at + ahead >= len(self.cut):
            return None
        token = self.cut[self.at + ahead]
        if token.kind == "text" and token.text.strip().lower() in ("and", "or", ","):
            return ","
        if token.kind == "word" and token.text in ("and", "or"):
            return ","
        return token.text if token.kind == "command" else token.kind

    def take(self, *kinds: str) -> str | None:
        """Steps over the next token if it is one of these kinds."""
        kind = self.kind()
        if kind not in kinds:
            return None
        self.at += 1
        return kind

    def need(self, *kinds: str) -> str:
        kind = self.take(*kinds)
        if kind is None:
            raise Unreadable(f"{' or '.join(kinds)} is missing")
        return kind

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unreadable("too deep")

    def marks(self, count: int) -> int:
        """One mark more; a chain of marks would make a tree as deep as it is long."""
        return count + 1 if count < MOST_MARKS else self.fail("a long chain of marks")

    def items(self) -> Node:
        """One answer, or a list of answers between commas, semicolons, `and`, `or`."""
        self.deeper()
        found = [self.relation()]
        while self.take(",", ";"):
            while self.take(","):
                pass
            found.append(self.relation())
        self.depth -= 1
        return found[0] if len(found) == 1 else Node("list", tuple(found))

    def relation(self) -> Node:
        sides, signs = [self.union()], []
        while self.kind() in RELATIONS:
            signs.append(RELATIONS[self.take(*RELATIONS)])
            sides.append(self.union())
        if self.take(":"):
            return Node("ratio", (sides[0], self.union())) if not signs else self.fail(":")
        return Node("relation", (" ".join(signs), *sides)) if signs else sides[0]

    def fail(self, what: str):
        raise Unreadable(f"{what!r} cannot be read here")

    def union(self) -> Node:
        parts, count = [self.sum()], 0
        while sign := self.take("cup", "cap", "setminus", "backslash"):
            parts.append(self.sum())
            if sign != "cup":
                count = self.marks(count)
                parts = [Node("call", (sign, *parts))]
        return parts[0] if len(parts) == 1 else Node("union", tuple(parts))

    def sum(self) -> Node:
        sign = self.take("+", "-", "pm", "mp")
        total = self.term()
        if sign == "-":
            total = negative(total)
        elif sign in ("pm", "mp"):
            total = Node("plusminus", (number(0), total))
        parts, count = [total], 0
        while sign := self.take("+", "-", "pm", "mp"):
            term = self.term()
            if sign in ("pm", "mp"):
                count = self.marks(count)
                parts = [
                    Node(
                        "plusminus",
                        (parts[0] if len(parts) == 1 else Node("add", tuple(parts)), term),
                    )
                ]
            else:
                parts.append(negative(term) if sign == "-" else term)
        return parts[0] if len(parts) == 1 else Node("add", tuple(parts))

    def term(self) -> Node:
        total = self.product()
        while sign := self.take("*", "/"):
            factor = negative(self.product()) if self.take("-") else self.product()
            total = divide(total, factor) if sign == "/" else multiply(total, factor)
        return self.with_unit(total)

    def with_unit(self, node: Node) -> Node:
        """The node with the unit that follows it, where one does: `\\text{ cm}^2`, `dollars per hour`, `\\mathrm{km}/\\mathrm{h}`."""
        name = []
        while (
            self.kind() == "text"
            or self.unit_font()
            or (self.unit_word() if not name else self.kind() == "word")
        ):
            self.at += 2 * self.unit_font()
            name.append(self.token().text.strip())
            self.at += 1
            self.take("}")
            if self.take("^"):
                name[-1] += "^" + self.raw()
            if self.kind() == "/" and (self.kind(1) in ("word", "text") or self.unit_font(1)):
                name.append(self.need("/"))
        name = " ".join(name).lower().strip(" .")
        if NO_UNITS & set(name.split()):
            self.fail(name)
        return Node("unit", (node, name)) if name else node

    def unit_font(self, ahead: int = 0) -> bool:
        """`\\mathrm{cm}` after a number or in a quotient of units."""
        return (
            self.units != "none"
            and [self.kind(ahead + n) for n in range(4)] == ["mathrm", "{", "word", "}"]
            and self.at > 0
            and self.cut[self.at - 1 + ahead].kind in ("number", "/")
            and self.cut[self.at + ahead + 2].text not in FUNCTIONS | {"e", "i"}
        )

    def unit_word(self) -> bool:
        """A bare word is a unit if it follows a plain number and a blank, has lower-case letters, a vowel, and ends the answer."""
        if (
            self.units == "none"
            or self.kind() != "word"
            or not self.token().spaced
            or self.at == 0
            or self.cut[self.at - 1].kind != "number"
        ):
            return False
        word, rest = self.token().text, [t.kind for t in self.cut[self.at + 1 :]]
        known = word in SHORT_UNITS or (
            len(word) > 3 and word.islower() and bool(re.search("[aeiou]", word))
        )
        return known and all(kind in ("word", "^", "number", "text", "/", ",") for kind in rest)

    def product(self) -> Node:
        """Factors side by side, which bind more tightly than a slash; `1/2` and `1 1/2` are one number."""
        factors = []
        while self.starts() and not self.unit_font():
            if (
                self.kind() == "number"
                and self.kind(1) == "/"
                and self.kind(2) == "number"
                and self.kind(3) not in ("^", "_", "!")
            ):
                factor = self.slash()
                if factors and not (len(factors) == 1 and whole(factors[0])):
                    self.fail("a number after a factor")
                factor = number(factors.pop().args[0] + factor.args[0]) if factors else factor
            elif self.kind() == "number" and factors:
                self.fail("a number after a factor")
            elif (
                self.kind() == "frac"
                and len(factors) == 1
                and whole(factors[0])
                and self.cut[self.at - 1].kind == "number"
            ):
                factor = mixed(factors.pop(), self.power())
            else:
                factor = self.power()
            factors.append(factor)
            if self.unit_word():
                break
        if not factors:
            self.fail(self.token().text[:20])
        return multiply(*factors)

    def slash(self) -> Node:
        above, below = Fraction(self.token().text), Fraction(self.cut[self.at + 2].text)
        self.at += 3
        return number(above / below) if below else self.fail("a division by zero")

    def starts(self) -> bool:
        """Whether a factor can begin here."""
        kind = self.kind()
        if kind in ("number", "word", "(", "[", "{", "\\{", "begin", "\\$", "\\|"):
            return True
        if kind == "|":
            return (
                self.bars == 0
                or self.at == 0
                or self.cut[self.at - 1].kind in ("+", "-", "*", "/", "(", "|", "=", "{")
            )
        if kind == "text":
            return self.at == 0 or self.cut[self.at - 1].kind in (
                ",",
                ";",
                "=",
                "(",
                "+",
                "-",
                "{",
                "\\{",
            )
        return (
            self.at < len(self.cut)
            and self.token().kind == "command"
            and kind not in RELATIONS
            and kind
            not in ("cup", "cap", "setminus", "backslash", "pm", "mp", "circ", "rfloor", "rceil")
        )

    def power(self) -> Node:
        """An atom with what hangs on it: subscript, primes, exponent, factorial, percent, degree."""
        self.deeper()
        start, count = self.token(), 0
        node = self.atom()
        while kind := self.kind():
            count = self.marks(count)
            if kind == "^" and self.kind(1) == "circ":
                self.at += 2
                node = Node("unit", (node, "degree"))
            elif (
                kind == "^"
                and self.kind(1) == "{"
                and self.kind(2) == "circ"
                and self.kind(3) == "}"
            ):
                self.at += 4
                node = Node("unit", (node, "degree"))
            elif kind in ("'",) or (kind == "^" and self.kind(1) == "prime"):
                self.at += 1 + (kind == "^")
                node = rename(node, "'")
            elif (
                kind == "^"
                and self.kind(1) == "{"
                and self.kind(2) == "prime"
                and self.kind(3) == "}"
            ):
                self.at += 4
                node = rename(node, "'")
            elif kind == "_":
                self.at += 1
                node = subscript(node, self.raw(), start)
            elif kind in ("^", "**"):
                self.at += 1
                node = Node("power", (node, self.exponent()))
            elif kind == "!":
                self.at += 1
                node = Node("call", ("factorial", node))
            elif kind in ("\\%", "%"):
                self.at += 1
                node = Node("unit", (node, "percent"))
            else:
                break
        self.depth -= 1
        return node

    def exponent(self) -> Node:
        if self.take("-"):
            return negative(self.power())
        return self.braced() if self.kind() == "{" else self.letter_or(self.power)

    def letter_or(self, otherwise) -> Node:
        """The first letter of a word, as TeX takes it, or what `otherwise` reads."""
        token = self.token()
        if (
            token.kind == "word"
            and len(token.text) > 1
            and token.text not in FUNCTIONS | GREEK | CONSTANTS.keys()
        ):
            self.cut[self.at] = Token("word", token.text[1:], False)
            return letter(token.text[0], self.units == "none")
        return otherwise()

    def braced(self) -> Node:
        self.need("{")
        node = self.items()
        self.need("}")
        return node

    def argument(self) -> Node:
        """What `\\frac` or `\\sqrt` takes: a braced expression, one digit, one letter, one command."""
        token = self.token()
        if token.kind == "{":
            return self.braced()
        if token.kind == "number" and token.text.isdigit() and len(token.text) > 1:
            self.cut[self.at] = Token("number", token.text[1:], False)
            return number(token.text[0])
        return self.letter_or(self.atom)

    def raw(self) -> str:
        """The text of a subscript or a unit's exponent, without fonts and braces."""
        if self.kind() != "{":
            self.at += 1
            return (
                self.cut[self.at - 1].text.strip() if self.at <= len(self.cut) else self.fail("_")
            )
        start, depth = self.at, 0
        while True:
            depth += (self.token().kind == "{") - (self.token().kind == "}")
            self.at += 1
            if depth == 0:
                inside = self.cut[start + 1 : self.at - 1]
                return "".join(
                    t.text.strip() for t in inside if t.text not in FONTS and t.kind not in "{}"
                ) or self.fail("an empty subscript")

    def atom(self) -> Node:
        token = self.token()
        self.at += 1
        match self.kind(-1):
            case "number":
                return number(token.text)
            case "word":
                return self.word(token.text)
            case "text":
                return (
                    read(token.text)
                    if re.match(r"\s*[-$]?[0-9.]", token.text)
                    else Node("text", (words(token.text),))
                )
            case "{":
                self.at -= 1
                return self.braced()
            case "(" | "[":
                return self.group(token.kind)
            case "\\{" if self.take("\\}"):
                return symbol("emptyset")
            case "\\{":
                node = self.items()
                self.need("\\}")
                return Node("set", node.args if node.kind == "list" else (node,))
            case "|" | "\\|":
                return self.absolute(token.kind)
            case "begin":
                return self.matrix(token.text)
            case "\\$":
                return Node("unit", (self.power(), "dollar"))
            case name if token.kind == "command":
                return self.command(name)
        return self.fail(token.text)

    def word(self, word: str) -> Node:
        """A function, a constant, a Greek letter's name, or letters that are multiplied."""
        if word in FUNCTIONS or (word in ("sqrt", "abs", "binom") and self.kind() in ("(", "{")):
            return self.command(word)
        if word in GREEK or (word in CONSTANTS and len(word) > 1):
            return letter(word, self.units == "none")
        if (
            len(word) > 1
        ):  # the last letter may carry a subscript or an exponent: it becomes a token of its own
            self.at -= 1
            self.cut[self.at : self.at + 1] = [Token("word", c, False) for c in word]
            self.at += 1
        return letter(word[0], self.units == "none")

    def group(self, opener: str) -> Node:
        bars, self.bars = self.bars, 0
        node = self.items()
        closer = self.need(")", "]")
        self.bars = bars
        if node.kind == "list":
            return Node("group", (opener, closer, *node.args))
        return node if (opener, closer) in (("(", ")"), ("[", "]")) else self.fail(closer)

    def absolute(self, bar: str) -> Node:
        self.bars += 1
        node = self.items()
        self.need(bar)
        self.bars -= 1
        return Node("call", ("abs", node))

    def matrix(self, name: str) -> Node:
        if name not in ("matrix", "pmatrix", "bmatrix", "smallmatrix"):
            self.fail(f"\\begin{{{name}}}")
        rows, row = [], [self.relation()]
        while self.kind() != "end":
            if self.need("&", "\\\\") == "&":
                row.append(self.relation())
            else:
                rows.append(tuple(row))
                row = [self.relation()] if self.kind() != "end" else []
        self.at += 1
        return Node("matrix", tuple(rows + [tuple(row)] if row else rows))

    def command(self, name: str) -> Node:
        if name in CONSTANTS or name in GREEK or name in OTHER_NAMES:
            return letter(name, self.units == "none")
        if name in FUNCTIONS:
            return self.call(name)
        if name == "frac":
            return divide(self.argument(), self.argument())
        if name == "binom":
            return Node("call", ("binom", self.argument(), self.argument()))
        if name == "sqrt":
            return self.root()
        if name == "root":
            return Node("power", (self.atom(), number("1/2")))
        if name == "abs":
            return Node("call", ("abs", self.atom()))
        if name in ("lfloor", "lceil"):
            node = self.items()
            self.need("r" + name[1:])
            return Node("call", (name[1:], node))
        if name in ACCENTS:
            return symbol(f"{name} {self.raw()}")
        if name in FONTS:
            return self.font(name)
        return self.fail("\\" + name)

    def root(self) -> Node:
        degree = number(2)
        if self.take("["):
            degree = self.items()
            self.need("]")
        if self.kind() == "number" and len(self.token().text) > 1:
            self.fail("a root of several digits without braces")
        return Node("power", (self.argument(), divide(number(1), degree)))

    def font(self, name: str) -> Node:
        """`\\mathrm{R}` is R, `\\mathrm{sin}` is the function, `\\mathrm{cm}` a text, `\\mathbb{R}` a name of its own."""
        if name == "boxed" or self.kind(1) == "number":
            return self.argument()
        inside = self.raw()
        if inside in FUNCTIONS or inside in ("sqrt", "e", "i", "pi"):
            return self.command(inside)
        if name == "mathbb" or not inside.isalpha():
            return symbol(f"{name} {inside}" if name == "mathbb" else inside)
        return symbol(inside)

    def call(self, name: str) -> Node:
        """A function with its argument: a bracket, or the number and letters that follow; `\\sin^2 x`, `\\sin^{-1} x`, `\\log_2 x`."""
        base, exponent = None, None
        while sign := self.take("_", "^"):
            if sign == "_":
                base = self.argument()
            else:
                exponent = self.exponent()
        if (
            exponent == number(-1)
            and name in FUNCTIONS
            and name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh")
        ):
            name, exponent = "arc" + name, None
        args = self.arguments()
        if name in ("log", "lg"):
            args, name = (
                [args[0] if len(args) == 1 else self.fail("log"), base or number(10)],
                "log",
            )
        elif base is not None:
            self.fail(name + "_")
        node = Node("call", (name, *args))
        return Node("power", (node, exponent)) if exponent else node

    def arguments(self) -> list[Node]:
        if self.kind() in ("(", "["):
            self.at += 1
            node = self.group(self.cut[self.at - 1].kind)
            return list(node.args[2:]) if node.kind == "group" else [node]
        if self.kind() in FUNCTIONS:
            return [self.power()]
        factors = [self.power()]
        while self.kind() == "word" or self.kind() in GREEK | OTHER_NAMES | ACCENTS | {"pi"}:
            if (
                self.cut[self.at - 1].kind in ("}", ")")
                and factors[-1].kind not in ("symbol", "number", "constant")
                or self.kind() in FUNCTIONS
                or (self.kind() == "word" and self.token().text in FUNCTIONS)
            ):
                break
            factors.append(self.power())
        return [multiply(*factors)]


def mixed(units: Node, part: Node) -> Node:
    """`1\\frac45` is 9/5; `2\\frac{a}{b}` is a product."""
    if part.kind == "unit":
        return Node("unit", (mixed(units, part.args[0]), part.args[1]))
    if part.kind == "number" and 0 < part.args[0] < 1:
        return number(units.args[0] + part.args[0])
    return multiply(units, part)


def whole(node: Node) -> bool:
    return node.kind == "number" and node.args[0].denominator == 1 and node.args[0] >= 0


def letter(name: str, physics: bool) -> Node:
    if name in CONSTANTS and not (name == "i" and physics):
        return Node("constant", (CONSTANTS[name],))
    return symbol(name)


def rename(node: Node, mark: str) -> Node:
    if node.kind not in ("symbol", "constant"):
        raise Unreadable(f"{mark!r} on something that is no symbol")
    return symbol(f"{node.args[0]}{mark}")


def subscript(node: Node, mark: str, start: Token) -> Node:
    """A symbol with its subscript; a number with one is written in that base."""
    if node.kind == "number" and start.text.isdigit() and mark.isdigit():
        return Node("base", (start.text, mark))
    mark = "".join(ALIASES.get(part, part) for part in re.split(r"(\W+)", mark))
    return rename(node, f"_{mark}")


def words(text: str) -> str:
    """A text answer without outer brackets, blanks and full stop: `(B).` is B."""
    return " ".join(text.strip(" .()[]{}:,;").split())
