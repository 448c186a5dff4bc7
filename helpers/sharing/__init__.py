"""Gives a trained model to others: merged, proven, described and pushed.

Export            the noun: a folder that others can load, its form and where it comes from
copy_adapter      the adapter itself, as others can load it
merge             base and adapter as one plain model
local_base        what others must put in for a base that is a folder of this machine
unquantised_name  the id of the weights that a 4-bit copy was made from
prove             reads an export back in a fresh process: is it the trained model?
prove_all         the same of several, which is quicker
check_gguf        whether llama.cpp's programs are here
to_gguf           a merged model as GGUF files
gguf_replies      what a GGUF file answers, by llama.cpp
modelfile         Ollama's description of the model
write_card        the model card, with what was measured
OWNER             stands in a card where nobody said whose the repository is
plan_push         what a push would do
name_card         puts the repository into a card that says nobody's
push              uploads a folder and checks what arrived
token             the Hub token; says where to put one
"""

from helpers.sharing.card import OWNER, write_card
from helpers.sharing.export import Export, copy_adapter, local_base, unquantised_name
from helpers.sharing.gguf import check_gguf, gguf_replies, modelfile, to_gguf
from helpers.sharing.hub import name_card, plan_push, push, token
from helpers.sharing.merging import merge
from helpers.sharing.proof import prove, prove_all
