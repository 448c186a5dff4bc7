"""The units of answers: how they are named, and what converts one into the other."""

import math
import re

from helpers.answers.tree import ONE, Node, number, scaled
from helpers.answers.vocabulary import VOCABULARY, meanings

UNITS = {}  # name: (the unit it is measured in, how many of those it is)
for base, scales in VOCABULARY["units"].items():
    for name, scale in scales.items():
        UNITS[name] = (base, number(scale))
ALIASES = meanings("unit_names")
MAGNITUDES = VOCABULARY["magnitudes"]


def split_unit(node: Node) -> tuple[Node, str]:
    r"""The bare expression and its unit: `\text{2 million dollars}` is 2000000 and `dollar`."""
    if node.kind == "multiply" and node[-1].kind == "unit":  # −5 cm
        value, name = split_unit(node[-1])
        return scaled(math.prod(node[1:-1], start=ONE), value), name
    if node.kind != "unit":
        return node, ""
    value, unit = split_unit(node[1])
    parts = []
    for word in re.sub(r"\bper\b|/", " / ", node[2]).split():
        name, caret, exponent = word.partition("^")
        if name not in UNITS and name not in ALIASES:
            name = name.removesuffix("s")
        parts.append(ALIASES.get(name, name) + caret + exponent)
    while parts and parts[0] in MAGNITUDES:
        value = scaled(number(MAGNITUDES[parts.pop(0)]), value)
    if unit:
        parts.insert(0, unit)
    if len(parts) > 1 and parts[0] in ("square", "sq", "cubic"):
        power = "^3" if parts.pop(0) == "cubic" else "^2"
        parts[0] += power
    return value, "".join(parts)
