"""Reads an answer out of a text and judges it. Needs no torch, and no SymPy in this process.

XML, HASH, BOXED, THINK_BOXED: the four formats of the recipes.
Format: how a reply is written, recognised, and read.
after_thinking: what of a reply may hold its answer.
last_number: the last number anywhere in a reply.
XML_TAGS, strict_xml: the tags of XML, and whether a reply has exactly the shape that SFT teaches.
stated_number: the one number that a text states.
same_number, same_math, eed_score: what an answer earns beside its gold.
hallucinates: whether a reply states false arithmetic or a number from nowhere.
equations: the arithmetic that a text states, each an Equation; NUMBER: the pattern of a number.
plain_arithmetic, arithmetic_value: a text without TeX's dress, and what sums and products come to.

Reading order: formats, boxes (where the answer stands); tree, tokens, units, unit_reader, parser,
atoms (what it says); numbers, choices, applying, exact, forms, comparing, eed (whether it is
right); expressions, arithmetic (whether its steps are); isolation and symbolic (what only SymPy can
decide, in child processes).
"""

from helpers.answers.arithmetic import Equation, equations, hallucinates
from helpers.answers.boxes import BOXED, THINK_BOXED
from helpers.answers.comparing import same_math
from helpers.answers.eed import eed_score
from helpers.answers.expressions import arithmetic_value, plain_arithmetic
from helpers.answers.formats import HASH, XML, XML_TAGS, Format, after_thinking, strict_xml
from helpers.answers.numbers import NUMBER, last_number, same_number, stated_number
