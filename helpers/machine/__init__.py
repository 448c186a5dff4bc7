"""What this computer is, what fits on it, and how several processes work together on it.

Machine          the noun: device, profile, memory, number type, processes
detect           looks at this computer and settles the libraries on it
describe         a machine in some lines, for the top of a notebook
versions         the installed libraries and their versions
writable_folder  creates a folder and proves that it can be written to
file_hash        SHA-256 of a file
"""

from helpers.machine.computer import (
    Machine,
    as_dict,
    describe,
    detect,
    file_hash,
    peak_memory,
    place,
    random_state,
    set_random_state,
    set_seed,
    versions,
    writable_folder,
)
from helpers.machine.memory import describe as describe_plan
from helpers.machine.memory import plan_table, split
from helpers.machine.processes import (
    agreed,
    any_of,
    check_launch,
    everyones,
    explained_end,
    let_cpus_resume,
    wait,
)
from helpers.machine.setup import check_mirror, check_room, hint, prepare
from helpers.machine.shapes import shape_of

__all__ = [
    "Machine",
    "agreed",
    "any_of",
    "as_dict",
    "check_launch",
    "check_mirror",
    "check_room",
    "describe",
    "describe_plan",
    "detect",
    "everyones",
    "explained_end",
    "file_hash",
    "hint",
    "let_cpus_resume",
    "peak_memory",
    "place",
    "plan_table",
    "prepare",
    "random_state",
    "set_random_state",
    "set_seed",
    "shape_of",
    "split",
    "versions",
    "wait",
    "writable_folder",
]
