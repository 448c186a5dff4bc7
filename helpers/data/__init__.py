"""A row becomes an example, and examples become what SFT and GRPO train on.

Split         the examples of a split, and how many rows were left out for which reason
load          the splits "train" and "test" of a recipe's data
load_further  the test split of the recipe's second held-out dataset
usable_row    a row as the dataset has it, to look at
place_of      where rows are read from; EMBEDDED: from the generator
normalised    a question in the form in which copies of it are alike
messages      the conversation up to the model's turn
prompt_text   the exact text that the model continues
chosen        the examples that a stage trains on
short_enough  the examples that are not too long for a stage
sft_dataset   examples as SFTTrainer takes them
grpo_dataset  examples as GRPOTrainer takes them
"""

from helpers.data.loading import (
    EMBEDDED,
    Split,
    load,
    load_further,
    normalised,
    place_of,
    usable_row,
)
from helpers.data.prompts import (
    chosen,
    grpo_dataset,
    messages,
    prompt_text,
    sft_dataset,
    short_enough,
)
