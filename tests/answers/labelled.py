"""Tables of labelled texts: KEY ✓ texts that pass ✗ texts that do not; ⏎ is the end of a line."""

import re


def labelled(table: str) -> list[tuple[str, str, bool]]:
    found, key = [], None
    for line in table.strip("\n").split("\n"):
        first, *marked = re.split(r" (?=[✓✗] )", line)
        key = first.strip() or key  # a line that goes on has none
        found += [(key, text[2:].replace("⏎", "\n"), text[0] == "✓") for text in marked]
    return found
