"""How a mathematical text is cut into tokens, and a place among them."""

import re
import unicodedata
from typing import NamedTuple, NoReturn

from helpers.answers.tree import Unreadable
from helpers.answers.vocabulary import ALIASES, BETWEEN, SILENT, UNICODE

TEXT = r"\\(?:text(?:bf|it|rm|sf|tt|up|normal)?|mbox|hbox)\s*\{(?P<text>[^{}\\$]*)\}"
REPEATING = r"(?P<repeating>([0-9]*)\.([0-9]*)\\overline\s*\{([0-9]+)\})"
DRESSED = r"[0-9]{1,3}(?:(?:\{,\}|,\\!|\\,|\\!|\\ )\s?[0-9]{3})+(?![0-9])"
SPACED = r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]{1,3}(?: [0-9]{3})+(?![0-9])"
FRACTION = r"(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3}(?![0-9A-Za-z]))?"
REST = (
    r"\\begin\s*\{(?P<begin>[a-z]+)\}|\\end\s*\{(?P<end>[a-z]+)\}|\\(?P<command>[A-Za-z]+)"
    r"|(?P<word>[A-Za-z]+)|(?P<foreign>[^\W\d_]+)|(?P<space>\s+)|(?P<other>\\.|\*\*|.)"
)
FONT, ORDINAL = r"\\(?:text|mathrm|textrm)\s*", "(?:st|nd|rd|th)"
# How the same is written in other ways: a pattern, and what it means.
LEAD = (
    r"(?:[Tt]he (?:final |correct )?answer is|[Aa]nswer ?[:=]|[Tt]herefore,?|[Tt]hus,?|[Ss]o,?"
    r"|[Ii]t is|[Tt]here are|[Ee]xactly|[Oo]nly|[Bb]oth)"
)
COUNT = r"\s*([0-9]+)\s*(?:\\text\s*\{\s*)?"
LARGER = COUNT + r"(hours?|hrs?|h|feet|foot|ft|dollars?)\b"
SMALLER = COUNT + r"(minutes?|mins?|inch(?:es)?|in|cents?)"
PARTS = {"h": 60, "f": 12, "d": 100}  # minutes of an hour, inches of a foot, cents of a dollar
BASES = {"two": "2", "three": "3", "five": "5", "seven": "7", "eight": "8", "ten": "10"}


def based(found: re.Match) -> str:
    """The subscript of a base in words; another one as it is."""
    return f"_{{{BASES[found[1]]}}}" if found[1] in BASES else found[0]


def together(found: re.Match) -> str:
    """`1 hour 30 minutes` in the smaller unit."""
    total = int(found[1]) * PARTS[found[2][0]] + int(found[3])
    return f"{total} \\text{{ {found[4]}}}"


SPELLINGS = (
    (r"\\(?:textcolor|color|colorbox|bbox|[hv]space|phantom)\s*(?:\{[^{}]*\}|\[[^][]*\])", ""),
    (r"\A\s*(?:\\(?:therefore|Rightarrow|implies)(?![a-z])|[=:](?!=))", ""),
    (rf"\A\s*(?:\*\*|\\text(?:bf)?\s*\{{\s*){LEAD}:?\s*(?:\*\*|\}})[\s:]*(?=\S)", ""),
    (rf"\A(\s*(?:\\text\s*\{{\s*)?){LEAD}\s+(?=\S)", r"\1"),
    (r"\A\s*(?:答案?(?:是|为)?|选项?|共)\s*:?\s*(?=[0-9A-J$\\-])", ""),
    (  # an approximation behind the value
        r"(?:\s|\\[ ,;:]){0,9}(?:\\text\s*\{\s*)?\(\s*(?:\\approx|about\b|approx)[^()]*[0-9][^()]*"
        r"(?:\\text\s*\{\s*)?\)\s*\}?\s*\Z",
        "",
    ),
    (r"\A\s*(?:\\text\s*\{\s*)?(?:negative|minus)\s*\}?\s*(?=[0-9\\])", "-"),
    (r"(?<![0-9])([0-9]{1,18})\s*(?:\\text\s*\{\s*)?and (?:a|one) half\s*\}?\s*\Z", r"\1 1/2"),
    (r"\+/-", r"\\pm "),
    (r"\{:\}", ":"),
    (r"\b(?:US|C|A|AU|HK|NT|R|S)\\?\$\s*(?=[0-9])", r"\\$"),
    (r"\b([ckm]?m|ft|in)([23])(?=\s*\Z)", r"\1^\2"),
    (r"(?i)\bdegrees?\s+c(?:elsius)?\b", "celsius"),
    (r"(?i)\bdegrees?\s+f(?:ahrenheit)?\b", "fahrenheit"),
    (r"([0-9])\s*\^\s*\{?o\}?(?![a-z])", r"\1^\\circ "),
    (r"([0-9])\s*x\s*10\s*\^", r"\1*10^"),
    (r"\bone[ -]half\b", "1/2"),
    (r"</?answer>", ""),
    (r"\.(?=\s*\$\s*\Z)", ""),
    (r"(?<![\\A-Za-z])sqrt\s*([0-9]+)", r"\\sqrt{\1}"),
    (r"(?<![\\A-Za-z])a(sin|cos|tan)(?![A-Za-z])", r"arc\1"),
    (r"(?:\{\})?[_^]\{?([0-9]+)\}?\s*(?:\\mathrm\s*)?\{?C\}?_\{?([0-9]+)\}?", r"\\binom{\1}{\2}"),
    (rf"\A{LARGER}\s*(?:and\s*)?\}}?\s*{SMALLER}\s*\}}?\s*\Z", together),
    (r"[,;.]\s*(?=\\\\|\\end\b|&)", ""),
    (r"(?<=&)\s*\\text\s*\{\s*(?:if|for|when)\s*\}", ""),
    (r"\bper cent\b", "percent"),
    (r"\A\s*([0-9]+)\s*(?:\\text\s*\{\s*)?to\s*\}?\s*([0-9]+)\s*\Z", r"\1:\2"),
    (  # a congruence is a value and its modulus
        r"(?:\s|\\[ ,]){0,9}(?:\\p?mod\s*\{?([0-9]+)\}?"
        r"|\((?:\\mathrm\{mod\}|mod)(?:\s|\\ )*([0-9]+)\))",
        r", \\text{mod} = \1\2",
    ),
    (":=", "="),
    (r"([0-9]{0,18}\.[0-9]{0,18})\\dot\s*\{?([0-9])\}?", r"\1\\overline{\2}"),
    (r"\A\s*\\\\(?=[dt]?frac|sqrt|pi(?![a-z]))", r"\\"),
    (r"(?<![\\A-Za-z])([dt]?frac\s*\{)", r"\\\1"),
    (r"\\(?:SI|qty)\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"\1 \\text{ \2}"),
    (r"\\(?:left|right)\s*\.(?![0-9])", ""),
    (r"\\\\\s*\[[0-9.]+ ?(?:pt|em|ex|mm|cm)\]", r"\\\\"),
    (r"\(([0-9A-F]+)\)_", r"\1_"),
    (r"_\{?\s*(?:\\(?:text|mathrm)\s*\{)\s*([a-z]+)\s*\}\s*\}?", based),
    (r"_\{\(([0-9]+)\)\}", r"_{\1}"),
    (
        r"(?<![0-9A-F])([0-9A-F]{1,64})\s*(?:\\text\s*\{\s*)?\(?base\s*\}?\s*([0-9]+)\s*[)}]*\s*\Z",
        r"\1_{\2}",
    ),
    (r"([0-9}])(?:\s|\\[ ,])*\\Omega\s*\Z", r"\1 \\text{ ohm}"),
    (
        r"([0-9}])(?:\s|\\[ ,])*\\mu\s*(?:\\(?:text|mathrm)\s*)?\{?\s*([msgl])\s*\}?\s*\Z",
        r"\1 \\text{ u\2}",
    ),
    (r"(?<!\\)\{\s*\}|\\(?:text|mathrm)\s*\{\s*\}", " "),
    (rf"([0-9])(?:\s*\^\s*)?(?:{ORDINAL}|{FONT}\{{{ORDINAL}\}})(?![A-Za-z])", r"\1 "),  # 12th
    (rf"([0-9])\s*\^\s*\{{(?:{ORDINAL}|{FONT}\{{{ORDINAL}\}})\}}", r"\1 "),
    (r"\bRs\.?\s*(?=[0-9])", ""),
    (r"<=|=<", r"\\le "),
    (r">=", r"\\ge "),
    (r"(?<![0-9)}])!=|\\not\s*=", r"\\ne "),
    ("==", "="),
)
RAISED, LOWERED, FRACTIONS = "[²³¹⁰ⁱ⁴-⁹⁺⁻ⁿ]+", "[₀-₉₊₋]+", "[¼-¾⅐-⅞]"
EMPHASIS = re.compile(
    r"\A\s*(?P<mark>\*\*\*|\*\*|\*|__|_|`|\"|')(?P<inside>[^*`\"']+)(?P=mark)\s*\Z"
)
ALIGNED = re.compile(r"\\(?:begin|end)\s*\{(?:equation|align|gather|split|center|aligned)\*?\}")
CURRENCY = {"€": "euros", "£": "pounds"}
MONEY = r"[0-9][0-9.,]*(?: (?:thousand|million|billion|trillion)\b)?"
POWERS = {"千": 3, "万": 4, "亿": 8}
LABEL = re.compile(
    r"\A\s*(?:\\text\s*\{[^{}]*:\s*\}|[A-Za-z][A-Za-z ]{2,40}:(?=\s)|[^\W\d_A-Za-z]{2,20}:)"
    r"\s*(?=\S)"
)
ENDING = re.compile(r"(?:\\\\|\s|。)+\Z")


def in_powers(found: re.Match) -> str:
    """`5万` is 5 times 10,000."""
    return f"{found[1]} \\cdot 10^{{{POWERS[found[2]]}}}"


def spelled(text: str) -> str:
    """An answer as the reader knows it: one spelling for what Unicode and habits write in many."""
    if not text.isascii():
        text = re.sub(rf"([€£])\s*({MONEY})", lambda f: f"{f[2]} \\text{{ {CURRENCY[f[1]]}}}", text)
        text = re.sub(r"\s*([€£])", lambda f: f" \\text{{ {CURRENCY[f[1]]}}}", text)
        text = re.sub(r"([0-9.]+)\s*([千万亿])(?![克米])", in_powers, text)
        text = re.sub(RAISED, lambda run: "^{" + unicodedata.normalize("NFKC", run[0]) + "}", text)
        text = re.sub(LOWERED, lambda run: "_{" + unicodedata.normalize("NFKC", run[0]) + "}", text)
        text = re.sub(FRACTIONS, r" \g<0> ", text)
        text = unicodedata.normalize("NFKC", text.translate(UNICODE))
    if ALIGNED.search(text):
        text = ALIGNED.sub("", text).replace("&=", "=").replace("\\\\", ",").strip(" ,&")
    text = LABEL.sub("", EMPHASIS.sub(r"\g<inside>", ENDING.sub("", text)))
    for pattern, meaning in SPELLINGS:
        text = re.sub(pattern, meaning, text)
    return text.translate(UNICODE)


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

    def take_all(self, *kinds: str) -> bool:
        """Steps over the next tokens if they are of these kinds."""
        follow = self.ahead(*kinds)
        if follow:
            self.at += len(kinds)
        return follow

    def need(self, *kinds: str) -> str:
        return self.take(*kinds) or self.fail()

    def fail(self) -> NoReturn:
        raise Unreadable(f"what stands about token {self.at} cannot be read")
