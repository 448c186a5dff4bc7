"""Watches a trainer: after each step a line in the log, its samples, the console, live curves.

It reads TRL's trainers and Unsloth's patched ones alike.
"""

import contextlib
import math
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import torch
from accelerate.utils import gather_object, wait_for_everyone
from huggingface_hub.utils import is_notebook
from tqdm.std import tqdm
from transformers import PrinterCallback, TrainerCallback

from helpers import runs
from helpers.machine import peak_memory
from helpers.training import checkpoints, decoding, private
from helpers.training.dequantised import merged_weights
from helpers.training.held_out import HeldOut
from helpers.training.mirroring import mirror
from helpers.training.replies import progress
from helpers.training.training_run import TrainingRun

# After so many, by device, the next whole step is saved: a kill costs these and that step.
SAVE_SECONDS = {"cpu": 10.0, "cuda": 300.0}
DRAWING_SHARE = 0.01  # of the time, for live curves


class LogCallback(TrainerCallback):
    """Writes a step's line and samples, and says when to save. `watch` puts it on a trainer."""

    def __init__(self, run: TrainingRun, trainer, held_out: HeldOut | None):
        self.run = run
        self.held_out = held_out
        self.recipe = run.recipe
        self.machine = run.machine
        self.trainer = trainer
        self.cleanup = contextlib.ExitStack()  # progress bar and interrupts, until training ends
        self.live = None
        self.log = []  # the lines so far
        self.warned = set()  # the verdicts that were printed
        self.spent = Counter()  # seconds of this step, by what they went into
        self.answers = []  # the golds of this step's completions, of all processes
        self.lengths = []  # and their tokens
        self.counted = 0  # SFT's tokens up to the last step
        self.begun = self.saved = 0.0  # this step, and the last checkpoint
        self.stopping = False  # an interrupt waits for the end of the step

    @contextlib.contextmanager
    def timing(self, what: str) -> Iterator[None]:
        begun = self.clock()
        try:
            yield
        finally:
            self.spent[what] += self.clock() - begun

    def clock(self) -> float:
        if self.machine.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def keeping(self, score):
        """The function that scores a step's completions; what the samples need of it is kept."""

        def wrapped(inputs):
            outputs = score(inputs)
            lengths = outputs["completion_mask"].sum(dim=1).tolist()
            self.answers = gather_object([row.get("answer") for row in inputs])
            self.lengths = gather_object(lengths)
            return outputs

        return wrapped

    def on_train_begin(self, args, state, control, **_):
        before = signal.signal(signal.SIGINT, self.interrupt)
        self.cleanup.callback(signal.signal, signal.SIGINT, before)
        self.saved = time.perf_counter()
        if not self.machine.main:
            return
        if self.run.log.is_file():
            self.log = self.run.read_log()
        self.warned = {verdict.name for verdict in runs.verdicts(self.log, self.recipe)}
        bar = progress(state.max_steps, self.run.stage, state.global_step)
        self.bar = self.cleanup.enter_context(bar)
        if is_notebook():
            self.live = LiveCurves(self.run)

    def interrupt(self, number, frame) -> None:
        """Lets a first interrupt (Ctrl-C, the notebook's stop button) end the step, and save it."""
        if self.stopping:
            raise KeyboardInterrupt
        self.stopping = True
        print("\nstopping after this step, with a checkpoint; interrupt again to stop at once")

    def on_step_begin(self, args, state, control, **_):
        self.begun = time.perf_counter()
        self.spent.clear()

    def on_log(self, args, state, control, logs=None, **_):
        if "loss" not in logs or not self.machine.main:
            return  # a summary has no loss, and the first process writes for all
        seconds = self.clock() - self.begun
        line = {"step": state.global_step}
        line |= runs.rename(logs, self.run.stage, getattr(args, "beta", 0.0))
        if args.fp16:
            line["fp16"] = True
        tokens = None
        samples = []
        if self.run.stage == "grpo" and self.lengths:
            samples = self.samples()
            advantages = torch.tensor([sample["advantage"] for sample in samples])
            line["adv_mean"] = advantages.mean().item()
            line["adv_std"] = advantages.std().item()
            line["completions"] = len(samples)
            line |= runs.figures(self.recipe, samples, args.num_generations)
            tokens = line["tokens_generated"] = sum(self.lengths)
            self.lengths = []  # `iterations` of more than one go on with these completions
        elif logs.get("num_tokens") is not None:  # Unsloth's SFT trainer does not count them
            tokens = int(logs["num_tokens"]) - self.counted
            self.counted += tokens
        if tokens is not None:
            line["tokens_per_second"] = round(tokens / seconds, 1)
        line["time_per_step_s"] = round(seconds, 4)
        for what, part in self.spent.items():
            line[f"{what}_time_s"] = round(part, 4)
        line["other_time_s"] = round(seconds - self.spent.total(), 4)
        memory = peak_memory()
        if self.machine.device == "cuda":
            memory = torch.cuda.max_memory_allocated() / 2**30
        line["memory_gb"] = round(memory, 3)
        if self.held_out and self.held_out.due(state.global_step, state.max_steps):
            with self.timing("held_out"):
                line["held_out"] = self.held_out.accuracy()
            line["held_out_time_s"] = round(self.spent["held_out"], 4)
            self.held_out.keep_if_best(state.global_step, line["held_out"])
        line = self.run.record(line, samples)
        self.log.append(line)
        self.show(line, state.max_steps)
        runs.stop_if_ruined(line)

    def samples(self) -> list[dict]:
        """The step's completions with what they earned, a group's side by side."""
        step = private.scored(self.trainer)
        weights = self.recipe.rewards
        rows = []
        for place, completion in enumerate(step["completion"]):
            rewards = {}
            total = 0.0
            for name, values in step["rewards"].items():
                value = values[place]
                if math.isnan(value):  # the function gave no reward
                    rewards[name] = None
                else:
                    rewards[name] = value
                    total += weights.get(name, 1.0) * value
            question = step["prompt"][place][-1]["content"]
            if not self.recipe.system_turn:
                question = question.removeprefix(self.recipe.system).lstrip()
            row = {
                "question": question,
                "completion": self.recipe.with_opening(completion[-1]["content"]),
                "answer": self.answers[place],
                "tokens": self.lengths[place],
                "advantage": step["advantages"][place],
                "reward": total,
            }
            rows.append(row | rewards)
        return rows

    def show(self, line: Mapping, steps: int) -> None:
        """A step on the console or as curves, and what is wrong that was not before."""
        self.bar.total = steps
        self.bar.update(line["step"] - self.bar.n)
        if self.live:
            self.live.draw(self.log, steps)
        else:
            tqdm.write(runs.console(line, self.recipe), file=sys.stdout)
        for verdict in runs.verdicts(self.log, self.recipe):
            if verdict.name not in self.warned:
                self.warned.add(verdict.name)
                tqdm.write(str(verdict), file=sys.stdout)

    def on_step_end(self, args, state, control, **_):
        """Asks for a checkpoint when some time has passed, and when the kernel was interrupted."""
        passed = time.perf_counter() - self.saved
        due = self.machine.main and passed > SAVE_SECONDS[self.machine.device]
        # Completions that are used again are in no checkpoint.
        whole = state.global_step % getattr(args, "num_iterations", 1) == 0
        self.stopping = any(gather_object([self.stopping]))
        due = any(gather_object([due]))
        control.should_save |= whole and (self.stopping or due)
        control.should_training_stop |= whole and self.stopping
        return control

    def on_save(self, args, state, control, **_):
        wait_for_everyone()  # each process saves where its random numbers stand
        if self.machine.main:
            folder = self.run.checkpoints
            checkpoints.mark_whole(folder / f"checkpoint-{state.global_step}")
            checkpoints.rotate(folder)
            mirror(self.run)
        self.saved = time.perf_counter()

    def on_train_end(self, *_, **__):
        self.cleanup.close()
        if self.live:
            self.live.clear()


class LiveCurves:
    """The run's curves under the training cell: a picture, no widget; removed when it is over."""

    def __init__(self, run: TrainingRun):
        from IPython.display import display

        self.run = run
        self.next = time.perf_counter() + 3
        self.handle = display({"text/plain": ""}, raw=True, display_id=True)

    def draw(self, log: Sequence[Mapping], steps: int) -> None:
        """Draws them anew when it is time: so seldom that it takes a hundredth of the time."""
        from helpers import plots

        begun = time.perf_counter()
        if begun < self.next or len(log) < 2:
            return
        recipe, last = self.run.recipe, log[-1]
        a_step = runs.means(log[-10:]).get("time_per_step_s", 0.0)
        left = runs.duration((steps - last["step"]) * a_step / 60)
        title = f"{runs.console(last, recipe)}   of {steps} steps, about {left} left"
        self.handle.update(plots.live(log, recipe.rewards, title))
        ended = time.perf_counter()
        self.next = ended + (ended - begun) / DRAWING_SHARE

    def clear(self) -> None:
        self.handle.update({"text/plain": ""}, raw=True)


def watch(trainer, run: TrainingRun, held_out: HeldOut | None = None) -> LogCallback:
    """Puts the log on a trainer, in an earlier one's place; wraps what is timed or made faster."""
    callback = LogCallback(run, trainer, held_out)
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(LogCallback)
    trainer.add_callback(callback)
    private.begin_anew(trainer)
    private.wrap(trainer.accelerator, "backward", callback.timing("backward"))
    private.wrap(trainer, "compute_loss", decoding.sharing_prompts(trainer))
    if run.stage == "grpo":
        private.wrap(trainer.model, "generate", decoding.wrapper(trainer.model))
        merged = merged_weights(trainer.model)
        private.wrap(trainer, private.GENERATE, merged, callback.timing("generation"))
        private.wrap(trainer, private.SCORE, callback.keeping)
    return callback
