"""What `accelerate launch` and torchrun leave undone for several processes."""

import functools
import os
import re


def check_launch() -> None:
    """Raises RuntimeError if accelerate was asked for several processes and quietly started one."""
    if "ACCELERATE_MIXED_PRECISION" not in os.environ or "WORLD_SIZE" in os.environ:
        return
    import psutil

    command = " ".join(psutil.Process().parent().cmdline())
    asked = re.search(r"--num[_-]processes[ =](\d+)", command)
    if asked and int(asked[1]) > 1:
        raise RuntimeError(
            f"accelerate was asked for {asked[1]} processes and started one: "
            "it finds no GPUs, or one.\nWithout GPUs use: accelerate launch "
            f"--config_file helpers/accelerate/cpu.yaml --num_processes {asked[1]} -m helpers …"
        )


@functools.cache  # torch cannot hold two such rules of one rank
def allow_numbered_cpus() -> None:
    """Lets torch.load put tensors on "cpu:0", as trainers ask under several CPU processes."""
    import torch

    def put(storage, location: str):
        return storage if location.startswith("cpu:") else None

    torch.serialization.register_package(5, lambda storage: None, put)
