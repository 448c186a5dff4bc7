"""Is it better, and how sure are we? Generates, grades, counts and compares.

Record            the noun: one graded completion
grade             reads, judges and pays one completion: its record
evaluate          answers and grades problems; what was cut off goes on
OUTCOMES          what can become of a completion, each exactly one of these
summarise         shares and means of records with intervals
compare           two evaluations of the same problems, in pairs
results           all of this, of several models: what summary.json holds
per_problem       a row a problem, with the mean of each measure
show, show_rewards, show_tries, show_control, percent, points   tables and cells for people
share, wilson     a mean over problems with its interval; the interval of a share
pass_at_k, majority_at_k   that one of k answers is right; that their most frequent one is
problems_needed   how many problems show a step
control_problems  problems that nobody can have learned by heart
memory            how much worse a model does on them
find_candidates, recipes_of   the models, and the recipes, that names on a command line mean
as_trained        the recipe with an adapter's limits; rows_of: where its rows lay
learned_from      how many problems of another place it learned from
evaluate_all      all of them on the same problems, each base loaded once
draw, conclude    pictures; summary.json and report.html, which shows them
"""

import helpers.training  # isort: skip  (Unsloth before what it patches)
from helpers.evaluation.candidates import (
    as_trained,
    evaluate_all,
    find_candidates,
    learned_from,
    recipes_of,
    rows_of,
)
from helpers.evaluation.controls import control_problems, memory
from helpers.evaluation.generating import Record, evaluate, grade
from helpers.evaluation.records import (
    OUTCOMES,
    compare,
    per_problem,
    percent,
    points,
    results,
    show,
    show_control,
    show_rewards,
    show_tries,
    summarise,
)
from helpers.evaluation.report import conclude, draw
from helpers.evaluation.statistics import majority_at_k, pass_at_k, problems_needed, share, wilson
