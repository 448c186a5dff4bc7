"""A row becomes an example, and examples become what SFT and GRPO train on.

Split         the examples of a split, and how many rows were left out for which reason
load          the splits "train" and "test" of a recipe's data
load_further  the test split of the recipe's second held-out dataset
usable_row    a row as the dataset has it, to look at
place_of      where rows are read from; EMBEDDED: from the generator
note_rows     says why the embedded model gets nothing right on other rows
question_key  of a question, the same for copies that look alike
messages      the conversation up to the model's turn
with_shots    a recipe with worked examples in its prompt
prompt_text   the exact text that the model continues
chosen        the examples that a stage trains on; solved: those that SFT can teach
short_enough  the examples that are not too long for a stage
held_out      the test problems that GRPO is watched on
tokens_of     the ids of texts in which all special tokens are written out
turn_end      what follows a reply that is learned: the end of a turn
fit           the recipe as a tokenizer's chat template needs it, proved on a right reply
Seam          what `fit` has looked at
load_tokenizer the tokenizer of a model; settle_tokenizer sets its end and its padding
sft_dataset   examples as SFTTrainer takes them
grpo_dataset  examples as GRPOTrainer takes them
"""

from helpers.data.loading import (
    EMBEDDED,
    Split,
    load,
    load_further,
    note_rows,
    place_of,
    question_key,
    usable_row,
)
from helpers.data.prompts import (
    chosen,
    grpo_dataset,
    held_out,
    messages,
    prompt_text,
    sft_dataset,
    short_enough,
    solved,
    tokens_of,
    turn_end,
    with_shots,
)
from helpers.data.seam import Seam, fit, load_tokenizer, settle_tokenizer
