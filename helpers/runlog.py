"""One folder a run: the manifest `run.json`, one line a step in `log.jsonl`, sampled texts in `samples.jsonl`.

Plots, notebooks and the model card read these files and nothing else. What is unknown is absent, never 0.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import datetime, timezone
from pathlib import Path

from helpers import machine as machines
from helpers.machine import Machine
from helpers.recipes import Recipe

import helpers.unsloth_first  # noqa: F401  isort: skip  (before transformers, trl and peft)
import torch
from tqdm.std import tqdm
from transformers import PrinterCallback, TrainerCallback

# TRL's and Unsloth's names on the left, ours on the right; a reward's mean and spread are renamed in `rename`.
NAMES = {
    "learning_rate": "learning_rate", "grad_norm": "grad_norm", "epoch": "epoch", "entropy": "entropy",
    "mean_token_accuracy": "token_accuracy", "reward": "reward_mean", "reward_std": "reward_std",
    "frac_reward_zero_std": "zero_std_groups", "completions/mean_length": "completion_mean", "completion_length": "completion_mean",
    "completions/max_length": "completion_max", "completions/clipped_ratio": "truncated", "clip_ratio/region_mean": "clip_ratio",
}
TIMES = ("timestamp_iso", "time_per_step_s", "tokens_per_second", "memory_gb", "generation_time_s", "backward_time_s", "other_time_s")


class Run:
    """A run's folder, `<output>/<recipe>/<stage>/`. Creating it starts the run afresh; `finish` is what makes it whole."""

    def __init__(self, output: str | Path, recipe: Recipe, stage: str, machine: Machine, seed: int, model: str,
                 parent: Path | None = None):
        self.folder = fresh_folder(Path(output) / recipe.name / stage)
        self.machine, self.seed, self.stage = machine, seed, stage
        self.adapter, self.log, self.samples = self.folder / "adapter", self.folder / "log.jsonl", self.folder / "samples.jsonl"
        parent_hash = machines.file_hash(Path(parent) / "adapter_model.safetensors") if parent else None
        self.manifest = {
            "recipe": recipe.name, "stage": stage, "settings": settings(recipe), "seed": seed, "model": model,
            "machine": machines.as_dict(machine), "versions": machines.versions(), "commit": commit(),
            "parent": str(parent) if parent else None, "parent_hash": parent_hash, "start": now(), "end": None, "status": "running"}
        self.write_manifest()

    def write_manifest(self) -> None:
        write_json(self.folder / "run.json", self.manifest)

    def record(self, line: Mapping) -> None:
        append_line(self.log, {"timestamp_iso": now(), **line, "device": self.machine.device, "seed": self.seed})

    def finish(self, status: str, **more) -> None:
        self.manifest |= {"end": now(), "status": status, **more}
        self.write_manifest()


def fresh_folder(folder: Path) -> Path:
    """An empty folder for a run. An earlier run there is removed; anything else there is left alone and reported."""
    machines.writable_folder(folder.parent)
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "run.json").is_file():
            raise FileExistsError(f"{folder} holds files that are not from a run.\nMove them, or set OUTPUT to another folder.")
        shutil.rmtree(folder)
    return machines.writable_folder(folder)


def finished_run(folder: str | Path, hint: str) -> dict:
    """The manifest of a run that ended well. Raises FileNotFoundError, with `hint` as the cure, for none or a broken one."""
    path = Path(folder) / "run.json"
    manifest = json.loads(path.read_text()) if path.is_file() else None
    if manifest is None or manifest["status"] != "finished":
        state = "does not exist" if manifest is None else f"is {manifest['status']}"
        raise FileNotFoundError(f"The run {folder} {state}.\n{hint}")
    return manifest


def settings(recipe: Recipe) -> dict:
    parts = ("lora", "priming", "sft", "grpo", "evaluation")
    return {part: asdict(getattr(recipe, part)) for part in parts if is_dataclass(getattr(recipe, part))} | {"rewards": dict(recipe.rewards)}


def commit() -> str | None:
    """The commit of this code; None outside a git checkout."""
    if not shutil.which("git"):
        return None
    asked = subprocess.run(["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return asked.stdout.strip() if asked.returncode == 0 else None


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def append_line(path: Path, line: Mapping) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def write_json(path: Path, value) -> None:
    """Writes beside the file and renames, so that a reader never sees half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, path)


def read_lines(path: str | Path) -> list[dict]:
    """The lines of a JSONL file, oldest first."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def rename(logs: Mapping, stage: str, beta: float) -> dict:
    """A trainer's log row under the names of log.jsonl."""
    line = {ours: logs[theirs] for theirs, ours in NAMES.items() if logs.get(theirs) is not None}
    for key, value in logs.items():
        if key.startswith("rewards/") and value is not None:
            name, _, kind = key.removeprefix("rewards/").rpartition("/")
            line[f"reward/{name}" + ("_std" if kind == "std" else "")] = value
    if stage != "grpo":
        return line | {"loss": logs["loss"]}
    kl_loss = beta * logs["kl"] if beta and logs.get("kl") is not None else 0.0 if not beta else None
    known = {} if kl_loss is None else {"kl_loss": kl_loss, "policy_loss": logs["loss"] - kl_loss}
    return line | {"grpo_loss": logs["loss"]} | known


class LogCallback(TrainerCallback):
    """Writes a step's line, its samples and the progress bar. `watch` puts it on a trainer."""

    def __init__(self, run: Run, trainer):
        self.run, self.trainer = run, trainer
        self.begun, self.spent, self.bar = 0.0, {"generation": 0.0, "backward": 0.0}, None

    def timed(self, function, what: str):
        """The same function, with the seconds that it takes added up under `what`."""
        def wrapped(*args, **kwargs):
            begun = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                if self.run.machine.device == "cuda":
                    torch.cuda.synchronize()
                self.spent[what] += time.perf_counter() - begun
        return wrapped

    def on_train_begin(self, args, state, control, **_):
        self.bar = tqdm(total=state.max_steps, desc=self.run.stage, file=sys.stdout, leave=False, mininterval=0.5, ncols=78)

    def on_step_begin(self, args, state, control, **_):
        self.begun, self.spent = time.perf_counter(), dict.fromkeys(self.spent, 0.0)

    def on_log(self, args, state, control, logs=None, **_):
        if "loss" not in logs:
            return  # the summary at the end
        line = {"step": state.global_step, **rename(logs, self.run.stage, getattr(args, "beta", 0.0))}
        if self.run.stage == "grpo":
            line |= self.samples(state.global_step) | {"tokens_generated": round(self.tokens(logs) or 0)}
        self.run.record(line | self.times(logs))
        headline = f"reward {line['reward_mean']:.2f}" if "reward_mean" in line else f"loss {logs['loss']:.3f}"
        self.bar.total = state.max_steps
        self.bar.set_postfix_str(headline, refresh=False)
        self.bar.update(state.global_step - self.bar.n)
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(f"The loss of step {state.global_step} is {logs['loss']}.\nLower the learning rate; see log.jsonl for grad_norm.")

    def on_train_end(self, args, state, control, **_):
        self.bar.close()

    def times(self, logs: Mapping) -> dict:
        whole = time.perf_counter() - self.begun
        spent = {f"{what}_time_s": round(seconds, 4) for what, seconds in self.spent.items() if seconds}
        times = {"time_per_step_s": round(whole, 4), **spent, "other_time_s": round(whole - sum(self.spent.values()), 4)}
        tokens = self.tokens(logs)
        if tokens is not None:
            times["tokens_per_second"] = round(tokens / whole, 1)
        if self.run.machine.device == "cuda":
            times["memory_gb"] = round(torch.cuda.max_memory_allocated() / 2**30, 3)
        return times

    def tokens(self, logs: Mapping) -> float | None:
        """The tokens of this step: those trained on for SFT, those generated for GRPO."""
        if self.run.stage == "grpo":
            length = logs.get("completions/mean_length", logs.get("completion_length"))
            return None if length is None else length * len(self.trainer._logs["completion"])
        total, self.counted = logs.get("num_tokens"), getattr(self, "counted", 0)
        if total is None:
            return None
        step, self.counted = total - self.counted, total
        return step

    def samples(self, step: int) -> dict:
        """Writes the step's completions, and returns what its advantages and lengths add to the line."""
        logs = self.trainer._logs
        advantages = list(logs["advantages"])
        names = list(logs["rewards"])
        for i, completion in enumerate(logs["completion"]):
            text = completion if isinstance(completion, str) else completion[-1]["content"]
            question = logs["prompt"][i] if isinstance(logs["prompt"][i], str) else logs["prompt"][i][-1]["content"]
            append_line(self.run.samples, {"step": step, "question": question, "completion": text, "advantage": round(advantages[i], 4),
                                           **{name: logs["rewards"][name][i] for name in names}})
        values = torch.tensor(advantages)
        return {"adv_mean": round(values.mean().item(), 6), "adv_std": round(values.std().item(), 6), "completions": len(advantages)}


def watch(trainer, run: Run) -> None:
    """Puts the log on a trainer: its rows, its samples, and the seconds of generation and of the backward pass."""
    callback = LogCallback(run, trainer)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(callback)
    trainer.accelerator.backward = callback.timed(trainer.accelerator.backward, "backward")
    if run.stage == "grpo":
        trainer._generate_single_turn = callback.timed(trainer._generate_single_turn, "generation")
