"""Imports Unsloth before transformers, trl and peft, which it patches, and keeps banners and loading bars out of notebooks."""

from __future__ import annotations

import contextlib
import gc
import io
from collections.abc import Iterator
from unittest import mock

import helpers.machine.computer  # noqa: F401  (sets what Unsloth reads while it is imported)

gc.disable()  # the libraries make a million objects while they are imported, and none is garbage: looking for it was a tenth of the start-up
import torch  # noqa: E402


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallows what loaders print; errors still come through."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def not_compiled(function=None, **_):
    """What stands in for torch.compile: gives a function back as it is."""
    return function or not_compiled


if not torch.cuda.is_available():  # bitsandbytes would have a few functions for the CPU compiled: to load the compiler takes a second, and nothing here calls them
    with mock.patch.object(torch, "compile", not_compiled), quiet():
        import bitsandbytes  # noqa: F401
with quiet():
    from transformers.utils import logging
    from unsloth import FastLanguageModel
gc.freeze()  # nor will they be: every later search leaves them out
gc.enable()

logging.set_verbosity_error()
logging.disable_progress_bar()

__all__ = ["FastLanguageModel", "quiet"]
