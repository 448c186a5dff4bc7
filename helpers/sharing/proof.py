"""Proves in a fresh process that an export, read back from disk, is the trained model.

`reader.py` measures there; here it is judged.
"""

import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from helpers.machine import make_readable
from helpers.runs import free_name, read_object, write_json
from helpers.sharing.export import (
    EXPORT_FILE,
    Export,
    foreign_files,
    generation_settings,
    longest_text,
    proof_file,
    proved_before,
)
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

    def __str__(self) -> str:
        tied = ""
        if self.same_text < self.prompts:
            tied = " (rounding turns a reply where two tokens are nearly tied)"
        return (
            f"{self.same_text} of {self.prompts} greedy replies are those of base + adapter{tied};"
            f" logits within {self.relative:.1e} of the largest"
            f" (beyond rounding {self.beyond_rounding:.1e})"
        )


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
    What has a proof says so in its export.json, and is not read again unless something changed;
    what has none is renamed. Raises ValueError, naming each such export and what is wrong with it,
    unless all are the trained model; RuntimeError if it cannot be found out.
    """
    try:
        trained = expected(base, adapter, prompts, max_new_tokens)
        asked = hashlib.sha256(json.dumps(trained).encode()).hexdigest()
        earlier = {name: earlier_proof(export, asked) for name, export in exports.items()}
        proofs = {name: proof for name, proof in earlier.items() if proof}
        unproved = {name: export for name, export in exports.items() if name not in proofs}
        found = read_back(unproved, trained) if unproved else {}
    except BaseException:  # Ctrl-C, too
        for export in exports.values():
            if not export.origin.get("proved"):
                print(f"{export.folder} is not proven. {set_aside(export)}")
        raise
    faults = []
    for name, export in unproved.items():
        try:
            proofs[name] = judge(export, found[name])
        except ValueError as error:
            faults.append(f"{error} {set_aside(export)}")
    if faults:
        for name, proof in proofs.items():
            print(f"proven: {exports[name].folder}: {proof}")
        raise ValueError("\n".join(faults))
    for name, export in unproved.items():
        files = {"asked": asked, "files": export.origin["sha256"]}
        write_json(proof_file(export.folder), asdict(proofs[name]) | files)
        write_json(export.folder / EXPORT_FILE, export.origin | {"proved": True})
        make_readable(export.folder)
    return {name: proofs[name] for name in exports}


def earlier_proof(export: Export, asked: str) -> Proof | None:
    """The proof that lies there, if it is of these very files, by the same questions."""
    if not proved_before(export.folder, export.origin):
        return None
    found = read_object(proof_file(export.folder), {}, "Delete it.") or {}
    same_questions = found.pop("asked", "") == asked
    same_files = found.pop("files", {}) == export.origin["sha256"]
    return Proof(**found) if same_questions and same_files else None


def expected(base: str, adapter: Adapter, prompts: Sequence[str], max_new_tokens: int) -> dict:
    """What `reader.py` is told of the trained model."""
    return {
        "base": base,
        "adapter": str(adapter.folder),
        "generation": settings_in(generation_settings(base, adapter).to_diff_dict()),
        "model_max_length": longest_text(base),
        "prompts": list(prompts),
        "max_new_tokens": max_new_tokens,
    }


def settings_in(written: Mapping) -> dict:
    """The generation settings in what generation_config.json holds."""
    return {name: value for name, value in written.items() if name != "transformers_version"}


def set_aside(export: Export) -> str:
    """Renames an export without a proof, so that it does not look like one that has it; says so."""
    if not export.folder.is_dir():
        return "It is not there."
    aside = free_name(export.folder, "unproved")
    export.folder.rename(aside)
    return f"It is called {aside.name} now, and can be deleted."


def wrong_files(export: Export, generation: Mapping) -> str:
    """What a look at an export's files finds wrong, in words; "" for nothing.

    generation: the settings that its generation_config.json must hold.
    """
    try:
        others = foreign_files(export.folder)
        if others:
            return f"it holds {', '.join(others[:3])}, which no export wrote"
        for name in ("config.json", "tokenizer_config.json"):
            if "auto_map" in (read_object(export.folder / name, {}, "") or {}):
                return f"its {name} names code to run (auto_map)"
        written = read_object(export.folder / "generation_config.json", {}, "") or {}
    except ValueError as error:  # of a damaged file
        return str(error).partition("\n")[0]
    return "" if settings_in(written) == generation else "it has other generation settings"


def read_back(exports: Mapping[str, Export], trained: dict) -> dict[str, dict | str]:
    """What the fresh process measured of each export, or what is wrong with it, in words."""
    wrong = {name: wrong_files(each, trained["generation"]) for name, each in exports.items()}
    folders = {name: str(each.folder) for name, each in exports.items() if not wrong[name]}
    request = json.dumps({"trained": trained, "folders": folders})
    # -P: this folder is not where Python looks for modules first
    command = [sys.executable, "-P", Path(__file__).with_name("reader.py"), str(os.getpid())]
    done = subprocess.run(command, input=request, capture_output=True, text=True, errors="replace")
    if done.returncode:
        cause = done.stderr.strip().rpartition("\n")[2][:300]
        raise RuntimeError(
            f"The fresh process that reads the exports ended with {done.returncode} ({cause}).\n"
            "Look whether the base is whole; free memory if it ran out, and export again."
        )
    return wrong | json.loads(done.stdout.strip().rpartition("\n")[2])


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
            "Export it again.",
        ),
    )
    for wrong, what, cure in faults:
        if wrong:
            raise ValueError(f"{export.folder} {what}.\n{cure}")
    return proof
