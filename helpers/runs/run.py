"""A stage's folder, read: `run.json` says what was trained and how, `log.jsonl` has a line a step.

Plots, notebooks, verdicts and the model card read these files and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from helpers.runs.files import read_lines, read_object


class Run:
    """A stage's folder, `<output>/<recipe>/<stage>/`.

    manifest: what `run.json` holds; {} where there is none yet.
    """

    def __init__(self, folder: str | Path, manifest: dict | None = None):
        self.folder = Path(folder)
        self.manifest = manifest or {}
        self.log = self.folder / "log.jsonl"
        self.samples = self.folder / "samples.jsonl"
        self.published = self.folder / "grpo_training_logs.jsonl"
        self.adapter = self.folder / "adapter"
        self.checkpoints = self.folder / "checkpoints"

    @classmethod
    def read(cls, folder: str | Path) -> Run | None:
        """The run in a folder; None if there is none. Raises ValueError if it is damaged."""
        cure = "Move the run's folder away, or set OUTPUT to another one."
        manifest = read_object(Path(folder) / "run.json", {"status": str}, cure)
        return None if manifest is None else Run(folder, manifest)

    @classmethod
    def read_finished(cls, folder: str | Path, cure: str) -> Run:
        """The run in a folder. Raises FileNotFoundError, with `cure`, unless it ended well."""
        run = cls.read(folder)
        if run is None:
            raise FileNotFoundError(f"The run {folder} does not exist.\n{cure}")
        if not run.finished:
            raise FileNotFoundError(f"The run {folder} is {run.manifest['status']}.\n{cure}")
        return run

    @property
    def finished(self) -> bool:
        return self.manifest.get("status") == "finished"

    @property
    def hash(self) -> str | None:
        """Twelve hex digits that name a run, of its fingerprint; None for none.

        Runs that give equal weights have equal hashes.
        """
        fingerprint = self.manifest.get("fingerprint")
        if not fingerprint:
            return None
        text = json.dumps(fingerprint, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def read_log(self) -> list[dict]:
        """One line a step, oldest first."""
        return read_lines(self.log)

    def read_samples(self) -> list[dict]:
        """One line a completion that GRPO drew, with its rewards."""
        return read_lines(self.samples)
