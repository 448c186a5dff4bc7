"""Gives a trained model to others: merged, proven, described and pushed."""

from helpers.sharing.card import OWNER, write_card
from helpers.sharing.export import copy_adapter, megabytes, merge, unquantised_name
from helpers.sharing.gguf import check as check_gguf
from helpers.sharing.gguf import modelfile, replies, to_gguf
from helpers.sharing.hub import check_card, plan_push, push
from helpers.sharing.proof import prove, prove_all
