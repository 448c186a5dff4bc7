"""Imports Unsloth before transformers, trl and peft, which it patches, and keeps banners and loading bars out of notebooks."""

from __future__ import annotations

import contextlib
import gc
import io
from collections.abc import Iterator

import helpers.machine  # noqa: F401  (sets what Unsloth reads while it is imported)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallows what loaders print; errors still come through."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


gc.disable()  # the libraries make a million objects while they are imported, and none is garbage: a tenth of the start-up was looking for it
with quiet():
    from unsloth import FastLanguageModel
    from transformers.utils import logging
gc.enable()

logging.set_verbosity_error()
logging.disable_progress_bar()

__all__ = ["FastLanguageModel", "quiet"]
