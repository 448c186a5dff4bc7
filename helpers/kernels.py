"""Notebook kernels that need not import the package: they are forked from one that has.

Its import takes ten seconds, most of them in torch, transformers and Unsloth. Only on Linux, where
a fork is safe after that, and not beside a GPU, which a forked process cannot use.
"""

import multiprocessing
import os
import shutil
import sys
from importlib.metadata import EntryPoint
from multiprocessing import forkserver

from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

FORKS = multiprocessing.get_context("forkserver")
IN_THE_NOTEBOOK = "module://matplotlib_inline.backend_inline"  # where figures are shown
IMPORTED = ["helpers.training", "helpers.sharing", "ipykernel.kernelapp"]
IMPORTED += ["matplotlib.figure", "scipy.stats"]
IMPORTED += ["trl.trainer.sft_trainer", "trl.trainer.grpo_trainer"]


def fork_kernels() -> None:
    """Lets every kernel that this process starts from now on be forked, where that is safe."""
    if sys.platform != "linux" or shutil.which("nvidia-smi"):
        return
    os.environ["MPLBACKEND"] = IN_THE_NOTEBOOK  # matplotlib reads it when it is imported
    FORKS.set_forkserver_preload(IMPORTED)
    forkserver.ensure_running()  # here, where the package is found
    factory = KernelProvisionerFactory.instance()
    place = f"{__name__}:ForkedKernel"
    factory.provisioners["forked"] = EntryPoint("forked", place, factory.GROUP_NAME)
    factory.default_provisioner_name = "forked"


class ForkedKernel(LocalProvisioner):
    """As Jupyter starts a kernel, but for the process."""

    async def launch_kernel(self, cmd, **options):
        """Starts it with the arguments of `cmd`, of which the first is `-f`."""
        place = options.get("cwd") or os.getcwd()
        process = FORKS.Process(target=serve, args=(cmd[cmd.index("-f") :], str(place)))
        process.start()
        self.process = Child(process)
        self.pid = self.pgid = process.pid
        return self.connection_info


class Child:
    """A process, with the methods that Jupyter calls of one."""

    stdin = stdout = stderr = None

    def __init__(self, process):
        self.process = process
        self.kill, self.terminate = process.kill, process.terminate

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self) -> int | None:
        self.process.join()
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.process.pid, number)


def serve(arguments: list[str], place: str) -> None:
    """The life of a kernel, in a session of its own, so that the terminal's Ctrl-C is not its."""
    import pandas
    from ipykernel.kernelapp import launch_new_instance

    # Imported outside a notebook, it would fit its tables to a terminal.
    pandas.set_option("display.max_columns", 20)
    os.setsid()
    os.chdir(place)
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"  # without it, the kernel ends
    launch_new_instance(argv=[*arguments, parent])
