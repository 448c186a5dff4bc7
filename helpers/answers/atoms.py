"""What begins an expression: each sign and kind of token in ATOMS, each command in COMMANDS.

To teach the reader one more, name it in a table, with a function that gets the `parser.Reader`,
which stands behind it, and for an atom its token, and returns the node that it reads from there.
"""

import math
import re

from helpers.answers.tokens import Token
from helpers.answers.tree import ONE, Node, joined, number, symbol
from helpers.answers.vocabulary import (
    ACCENTS,
    ALIASES,
    CONSTANTS,
    FONTS,
    FUNCTIONS,
    GREEK,
    NAMES,
    words,
)

TYPED = ("sqrt", "abs", "binom")  # commands that may lack their backslash before a bracket
INVERTIBLE = words("invertible")
ARGUMENTS = NAMES | ACCENTS | {"pi", "word"}  # of a function, without brackets


def letters(reader, token):
    """A function, a constant, a Greek letter's name, or letters that are multiplied."""
    word = token.text
    alone = word == "lg" and not reader.starts()  # `\sqrt{lg}`
    if (word in FUNCTIONS and not alone) or (word in TYPED and reader.sees("(", "{")):
        return command(reader, word)
    if word in GREEK or word in CONSTANTS:
        return reader.letter(word)
    # The last letter may carry a subscript or an exponent: each becomes a token of its own.
    reader.cut[reader.at - 1 : reader.at] = [Token("word", letter, False) for letter in word]
    return reader.letter(word[0])


def text(reader, token):
    """A number in a text, or words without outer brackets, blanks and full stop."""
    if re.match(r"\s*[-$]?[0-9.]", token.text):
        return reader.read(token.text)
    return Node("text", " ".join(token.text.strip(" .()[]{}:,;").split()))


def group(reader, opener):
    """An expression in brackets; a pair or an interval where a comma stands in them."""
    bars, reader.bars = reader.bars, 0
    node = reader.items()
    closer = reader.need(")", "]")
    reader.bars = bars
    if node.kind == "list":
        return Node("group", opener.kind, closer, *node.args)
    return node if opener.kind + closer in ("()", "[]") else reader.fail()


def members(reader, token):
    r"""A set, `\{1,2\}`; of `\{x | x > 2\}` the condition, which is what it says."""
    if reader.take("\\}"):
        return symbol("emptyset")
    condition = 1
    if reader.ahead("word", "in"):
        while reader.kind(condition) not in ("|", ":", "\\}", None):
            condition += 1
    if reader.sees("word") and reader.kind(condition) in ("|", ":"):
        reader.at += condition + 1
        return reader.until("\\}")
    node = reader.until("\\}")
    if node == symbol("emptyset"):
        return Node("text", "{emptyset}")
    return Node("set", *node.args) if node.kind == "list" else Node("set", node)


def absolute(reader, bar):
    reader.bars += 1
    node = reader.until(bar.kind)
    reader.bars -= 1
    return Node("call", "abs", node)


def matrix(reader, begin):
    """A matrix; cases, and relations one below the other, are a list."""
    rows = [[reader.relation()]]
    while not reader.take("end"):
        if reader.need("&", "\\\\") == "&":
            rows[-1].append(reader.relation())
        elif not reader.sees("end"):
            rows.append([reader.relation()])
    if begin.text == "cases" or all(len(row) == 1 and row[0].kind == "relation" for row in rows):
        cases = [Node("group", "(", ")", *row) if len(row) > 1 else row[0] for row in rows]
        return joined("list", cases)
    found = Node("matrix", *(Node("row", *row) for row in rows))
    return Node("call", "det", found) if begin.text == "vmatrix" else found


ATOMS = {
    "number": lambda reader, token: number(token.text),
    "word": letters,
    "text": text,
    "{": lambda reader, token: reader.until("}"),
    "(": group,
    "[": group,
    "\\{": members,
    "|": absolute,
    "\\|": absolute,
    "begin": matrix,
    "\\$": lambda reader, token: Node("unit", reader.power(), "dollar"),
    "-": lambda reader, token: -reader.power(),
}


def root(reader):
    degree = reader.until("]") if reader.take("[") else number(2)
    if reader.sees("number") and len(reader.token().text) > 1:
        reader.fail()  # `\sqrt12` is √1 · 2 in TeX, and hardly meant so
    below = reader.argument()
    if below.kind == degree.kind == "number" and below[1] < 0 and degree[1] % 2 == 1:
        return -Node("power", -below, ONE / degree)  # the real root
    return Node("power", below, ONE / degree)


def quotient(above, below):
    """`\\frac{dy}{dx}` is a name: its d do not cancel."""
    differentials = []
    for part in (above, below):
        if part.kind == "multiply" and part[1] == symbol("d") and len(part) == 3:
            differentials.append(part[2])
    if len(differentials) == 2 and all(part.kind == "symbol" for part in differentials):
        return symbol("/".join(f"d{part[1]}" for part in differentials))
    return above / below


def angle(reader, name):
    """`\\angle ABC`: its letters are points, in this order or back."""
    if not reader.sees("word"):
        return symbol(name)
    points = reader.next().text
    return Node("text", f"{name} {min(points, points[::-1])}")


COMMANDS = {
    "frac": lambda reader: quotient(reader.argument(), reader.argument()),
    "binom": lambda reader: Node("call", "binom", reader.argument(), reader.argument()),
    "abs": lambda reader: Node("call", "abs", reader.atom()),
    "lfloor": lambda reader: Node("call", "floor", reader.until("rfloor")),
    "lceil": lambda reader: Node("call", "ceil", reader.until("rceil")),
    "root": lambda reader: Node("power", reader.atom(), number("1/2")),  # √
    "angle": lambda reader: angle(reader, "angle"),
    "triangle": lambda reader: angle(reader, "triangle"),
    "sqrt": root,
}


def command(reader, name):
    if name in COMMANDS:
        return COMMANDS[name](reader)
    if name in CONSTANTS or name in NAMES:
        return reader.letter(name)
    if name in FUNCTIONS:
        return call(reader, name)
    if name in ACCENTS:
        return symbol(f"{name} {reader.raw()}")
    if name not in FONTS:
        reader.fail()
    # `\mathrm{R}` is R, `\mathrm{sin}` the function, `\mathbb{R}` a name of its own.
    long = reader.kind(1) != "word" or reader.kind(2) != "}"
    if name in ("boxed", "fbox") or (reader.sees("{") and long):
        return reader.argument()
    inside = reader.raw()
    inside = ALIASES.get(inside, inside)
    if inside in FUNCTIONS or inside in ("sqrt", "e", "i", "pi"):
        return command(reader, inside)
    return symbol(f"mathbb {inside}" if name == "mathbb" else inside)


def call(reader, name):
    r"""A function with its argument: `\sin^2 x`, `\sin^{-1} x`, `\log_2 x`, `\max(1,2)`."""
    base = exponent = None
    while sign := reader.take("_", "^"):
        if sign == "_":
            base = reader.argument()
        else:
            exponent = reader.exponent()
    if exponent == number(-1) and name in INVERTIBLE:
        name, exponent = "arc" + name, None
    node = Node("call", name, *arguments(reader))
    if name in ("log", "lg") and len(node.children) == 1:
        node = Node("call", "log", *node.children, base or number(10))
    elif name in ("log", "lg") or base:
        reader.fail()
    return Node("power", node, exponent) if exponent else node


def arguments(reader):
    """What is in brackets, or the number and letters that follow."""
    if reader.sees("(", "[", "\\{"):
        opener = reader.next()
        node = ATOMS[opener.kind](reader, opener)
        return node.children if node.kind in ("group", "set") else [node]
    factors = [reader.power()]
    while reader.sees(*ARGUMENTS) and reader.token().text not in FUNCTIONS:
        simple = factors[-1].kind in ("symbol", "number", "constant")
        if not simple and reader.before() in ("}", ")"):
            break
        factors.append(reader.power())
    return [math.prod(factors, start=ONE)]
