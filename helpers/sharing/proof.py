"""Proves in a fresh process that an export, read back from disk, is the trained model.

`reader.py` measures there; here it is judged.
"""

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.sharing.export import Export
from helpers.training import Adapter

# The largest relative difference of two models that are the same, measured on the embedded model
TOLERANCE = {"float32": 1e-5, "bfloat16": 0.05, "float16": 0.01}
LEAST_CHANGE = 1e-4  # an adapter that moves no logit by this share has learned nothing


@dataclass(frozen=True)
class Proof:
    """What a reloaded export was found to be, beside base + adapter in full precision.

    A difference is the largest of any logit over all tokens of prompts and replies.
    """

    same_text: int  # greedy replies that are those of base + adapter
    same_rounded: int  # and those of base + adapter, merged and rounded as the export is
    prompts: int
    logit_difference: float
    relative: float  # the same, as a share of the largest logit
    beyond_rounding: float  # such a share, from base + adapter, merged and rounded
    logit_difference_from_base: float
    change: float  # how far training moved the logits, as such a share
    computed_in: str
    megabytes: float
    texts: list[str]


def prove(
    export: Export, base: str, adapter: Adapter, prompts: Sequence[str], max_new_tokens: int
) -> Proof:
    """`prove_all` of one export."""
    return prove_all({"": export}, base, adapter, prompts, max_new_tokens)[""]


def prove_all(
    exports: Mapping[str, Export],
    base: str,
    adapter: Adapter,
    prompts: Sequence[str],
    max_new_tokens: int,
) -> dict[str, Proof]:
    """Reads each export in a fresh process and compares it with base + adapter.

    base: Hub id or folder of unquantised weights. prompts: texts with the chat template applied.
    Raises ValueError, naming the export and what is wrong with it, unless all are the trained
    model; RuntimeError if it cannot be found out.
    """
    trained = {
        "base": base,
        "adapter": str(adapter.folder),
        "prompts": list(prompts),
        "max_new_tokens": max_new_tokens,
    }
    found = read_back(exports, trained)
    return {name: judge(export, found[name]) for name, export in exports.items()}


def read_back(exports: Mapping[str, Export], trained: dict) -> dict[str, dict | str]:
    """What the fresh process measured of each export, or what is wrong with it, in words."""
    folders = {name: str(export.folder) for name, export in exports.items()}
    request = json.dumps({"trained": trained, "folders": folders})
    # -P: this folder is not where Python looks for modules first
    command = [sys.executable, "-P", Path(__file__).with_name("reader.py")]
    done = subprocess.run(command, input=request, capture_output=True, text=True, errors="replace")
    if done.returncode:
        cause = done.stderr.strip().rpartition("\n")[2][:300]
        raise RuntimeError(
            f"The fresh process that reads the exports ended with {done.returncode} ({cause}).\n"
            "Look whether the folders are whole; free memory if it ran out, and run it again."
        )
    return json.loads(done.stdout.strip().rpartition("\n")[2])


def judge(export: Export, found: dict | str) -> Proof:
    """The proof. Raises ValueError unless the export is the trained model."""
    if isinstance(found, str):
        cure = "Export it again; nothing else should write into that folder."
        raise ValueError(f"{export.folder} is not what was exported: {found}.\n{cure}")
    proof = Proof(**found, megabytes=export.megabytes)
    tolerance = TOLERANCE[proof.computed_in]
    same = proof.beyond_rounding <= tolerance
    at_base = proof.logit_difference_from_base <= proof.logit_difference
    others = proof.prompts - proof.same_rounded
    ties = proof.prompts // 16  # of two tokens, one in so many replies
    faults = (
        (
            not math.isfinite(proof.logit_difference),
            "gives logits that are no numbers",
            "Export it again; in fp16 choose bf16 or fp32, which hold larger numbers.",
        ),
        (
            proof.change < LEAST_CHANGE or (at_base and not same),
            f"gives the logits of the base model ({proof.logit_difference_from_base:.2g} apart)",
            "The merge did nothing: check that the adapter was trained and belongs to this base.",
        ),
        (
            not same,
            f"differs from base + adapter by {proof.beyond_rounding:.2g} of the largest logit; "
            f"rounding explains {tolerance:.0e}",
            "The merge is wrong or the base is another one: export again, and look at MODEL.",
        ),
        (
            proof.computed_in == "float32" and others > ties,
            f"replies otherwise than base + adapter to {others} of {proof.prompts} prompts",
            "Look at its generation_config.json (what ends a reply; penalties), or export again.",
        ),
    )
    for wrong, what, cure in faults:
        if wrong:
            raise ValueError(f"{export.folder} {what}.\n{cure}")
    return proof
