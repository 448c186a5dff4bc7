"""A stage's folder: what was written there, and whether the run was healthy."""

from helpers.runs.completions import figures
from helpers.runs.files import (
    append_lines,
    finite,
    free_name,
    keep_steps,
    part_of,
    read_lines,
    read_object,
    read_summary,
    write_json,
    write_lines,
    writing,
)
from helpers.runs.health import RULES, history, mean, report, stop_if_ruined, unjudged, verdicts
from helpers.runs.log import PUBLISHED, TIMES, completions_table, console, duration, rename, summary
from helpers.runs.run import Run

__all__ = [
    "PUBLISHED",
    "RULES",
    "Run",
    "TIMES",
    "append_lines",
    "completions_table",
    "console",
    "duration",
    "figures",
    "finite",
    "free_name",
    "history",
    "keep_steps",
    "mean",
    "part_of",
    "read_lines",
    "read_object",
    "read_summary",
    "rename",
    "report",
    "stop_if_ruined",
    "summary",
    "unjudged",
    "verdicts",
    "write_json",
    "write_lines",
    "writing",
]
