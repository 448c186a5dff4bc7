"""Texts that have broken public graders: each must be answered in time, and without a trace."""

import json
from pathlib import Path

HOSTILE = {
    "many different symbols": "+".join(f"x_{{{i}}}" for i in range(400)),
    "product of many sums": "".join(f"(x_{{{i}}}+1)" for i in range(200)),
    "long alternating sum": "+".join(f"\\sqrt{{{i}}}" for i in range(2, 250)),
}
for name, parts in json.loads(Path(__file__).with_suffix(".json").read_text()).items():
    # a part is a text, or a text and how often it comes
    HOSTILE[name] = "".join(part if isinstance(part, str) else part[0] * part[1] for part in parts)
