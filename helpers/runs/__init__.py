"""A stage's folder: what was written there, and whether the run was healthy.

Run                a stage's folder, read: manifest, log, samples, adapter
check_start        refuses a run in the place of the one that it is to go on from
read_lines         the lines of a JSONL file; append_lines, write_lines and keep_steps write them
read_object        the object in a JSON file; write_json writes one
read_summary       what an evaluation's folder says
writing            turns what goes wrong while something is written into two lines
part_of, free_name where a file is made before it has its name, and where an old one is kept
log.py             lists every key of a log's line, and who supplies it
finite             a line with null for what is no number
rename             a trainer's log row under the log's names; PUBLISHED: those of GRPO's second file
console            a step on one line
summary            each figure of a log, first and last
completions_table  the best and the worst completions
duration           minutes in words
figures            what a step's completions say beyond their rewards
means              the mean of each figure over some steps
RULES              what can go wrong with a run, and what helps
verdicts           what is wrong at the end of a log; history: in a whole run
few_groups         whether a step learns from so few questions that it is mostly chance
report             a table of all rules: seen, not seen, or why not judged
stop_if_ruined     ends a run whose weights are no numbers
"""

from helpers.runs.completions import figures
from helpers.runs.files import (
    Run,
    append_lines,
    check_start,
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
from helpers.runs.health import RULES, few_groups, history, means, report, stop_if_ruined, verdicts
from helpers.runs.log import PUBLISHED, completions_table, console, duration, rename, summary
