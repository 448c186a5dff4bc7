"""Reads an answer out of a text and judges it. Needs no torch, and imports no SymPy into this process.

Reading order: reading, xml, boxes, formats (where the answer stands); latex, comparing, grading (what it says); symbolic, eed and
isolation (what only SymPy can decide, in child processes).
"""

from helpers.answers.eed import eed_score
from helpers.answers.equations import hallucinates
from helpers.answers.formats import BOXED, HASH, THINK_BOXED, XML, Format
from helpers.answers.grading import last_number, same_math, same_number
