"""`python -m tests.training.as_on_a_gpu OUT`: `unsloth_gpu` where TRL is patched as on a GPU.

Unsloth is told that it may be imported on the CPU, and then made to patch TRL as it does where
there is a GPU, before anything else asks for it.
"""

import os
import sys
from pathlib import Path

ENVIRONMENT = {"UNSLOTH_ALLOW_CPU": "1", "UNSLOTH_COMPILE_DISABLE": "1"}
ENVIRONMENT |= {"UNSLOTH_GRPO_SEQ_PACKING": "0", "UNSLOTH_GRPO_PREFIX_GROUPER": "0"}


def patch() -> None:
    os.environ.update(ENVIRONMENT)
    import unsloth  # noqa: F401

    import helpers.machine  # noqa: F401  (sets where Unsloth's cache goes)

    os.environ["UNSLOTH_ALLOW_CPU"] = "0"
    from unsloth.models.rl import PatchFastRL
    from unsloth.trainer import _patch_trl_trainer

    PatchFastRL(FastLanguageModel=None)
    _patch_trl_trainer()


if __name__ == "__main__":
    patch()
    from tests.training import unsloth_gpu

    unsloth_gpu.main(Path(sys.argv[1]))
