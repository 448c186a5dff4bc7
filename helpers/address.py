"""The repository's address: it stands in pyproject.toml, and from there in the badges and set-up cells of the notebooks and in the README."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from helpers.notebooks import NOTEBOOKS, ROOT

FORM = re.compile(r"https://github\.com/([A-Za-z0-9][\w.-]*/[\w-][\w.-]*?)(?:\.git)?/?")


def address(root: Path = ROOT) -> str:
    """Owner and name, such as "your-name/qwen3-reasoning-notebooks"."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return FORM.fullmatch(project["urls"]["Repository"])[1]


def move(url: str, root: Path = ROOT) -> dict[str, int]:
    """Writes another address wherever the present one stands; how often, by file. Raises ValueError for what is no repository on GitHub."""
    new = FORM.fullmatch(url.strip())
    if not new:
        raise ValueError(
            f"{url!r} is not the address of a repository.\nGive one such as https://github.com/your-name/{address(root).partition('/')[2]}."
        )
    counts, pattern = {}, re.compile(rf"(github(?:\.com)?/){re.escape(address(root))}(?![\w-])")
    for path in (root / name for name in ("pyproject.toml", "README.md", *NOTEBOOKS)):
        text, counts[path.name] = pattern.subn(rf"\g<1>{new[1]}", path.read_text(encoding="utf-8"))
        path.write_text(text, encoding="utf-8")
    return counts
