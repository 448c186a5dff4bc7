"""What this computer is, what fits on it, and how several processes work together on it.

prepare              makes a bare Colab or Kaggle session ready: packages, one card
detect               looks at this computer and settles the libraries on it
Machine              the noun: device, memory, number type, threads, processes
for_size             the machine with threads and number type for a model of that size
describe             a machine in some lines, for the top of a notebook
place                "kaggle", "colab" or "local"
versions             the installed libraries and their versions
peak_memory          the most memory that this process has held
plan                 what a stage takes on a machine, and how the batch is cut; prints itself
plan_table           the plans of every card
row_length           the most tokens of a row in a stage
shape_of             how wide a model's layers are, and how many weights they have
default_base         what is taught where no model is named
writable_folder      creates a folder and proves that it can be written to
make_readable        lets others read a folder
file_hash            SHA-256 of a file
checked_downloads    compares what comes from the Hub with the hash that the Hub names
hint                 where files that were not found are attached on Kaggle
missing              whether a name is that of a path at which nothing is
check_path           refuses a path at which nothing is, before the Hub is asked for it
check_mirror         refuses a mirror on a Drive that is not mounted
check_launch         refuses a launch that started one process instead of several
allow_numbered_cpus  lets several CPU processes go on from a checkpoint
"""

from helpers.machine.computer import (
    Machine,
    allow_numbered_cpus,
    check_launch,
    describe,
    detect,
    for_size,
    peak_memory,
    place,
    versions,
)
from helpers.machine.downloads import checked_downloads
from helpers.machine.folders import (
    check_mirror,
    check_path,
    file_hash,
    hint,
    make_readable,
    missing,
    writable_folder,
)
from helpers.machine.planning import default_base, plan, plan_table, row_length, shape_of
from helpers.machine.setup import prepare
