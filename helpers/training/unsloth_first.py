"""Imports Unsloth before transformers, trl and peft, which it patches, and keeps it quiet."""

import contextlib
import gc
import io
from collections.abc import Iterator
from unittest import mock

# Importing it sets what Unsloth reads while it is imported.
from helpers.machine.computer import go_offline_without_hub

go_offline_without_hub()
gc.disable()  # of a million imported objects none is garbage: searching them takes a second
import torch  # noqa: E402


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallows what loaders print; errors still come through."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def not_compiled(function=None, **_):
    """Stands in for torch.compile: gives a function back as it is."""
    return function or not_compiled


with quiet():
    if not torch.cuda.is_available():
        # bitsandbytes compiles a few CPU functions that nothing here calls: another second.
        with mock.patch.object(torch, "compile", not_compiled):
            import bitsandbytes  # noqa: F401
    from unsloth import FastLanguageModel

    from transformers.utils import logging  # isort: skip
gc.freeze()  # every later search leaves them out
gc.enable()

logging.set_verbosity_error()
logging.disable_progress_bar()

__all__ = ["FastLanguageModel", "quiet"]
