"""A stage's folder: what was written there, and whether the run was healthy."""

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
from helpers.runs.health import (
    RULES,
    duration,
    figures,
    history,
    mean,
    report,
    stop_if_ruined,
    unjudged,
    verdicts,
)
from helpers.runs.log import PUBLISHED, TIMES, completions_table, console, rename, summary
from helpers.runs.run import Run
