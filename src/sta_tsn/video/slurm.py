"""Processes that share work under SLURM: which of them starts the others."""

import os

import torch

from sta_tsn.errors import UserError
from sta_tsn.lightning import LightningEnvironment, SLURMEnvironment


def environment_plugins(accelerator: str, devices: int | str | list, num_nodes: int) -> list:
    """Return what a Trainer is told of SLURM; nothing where it finds out by itself.

    Lightning wants one task for each device. Where SLURM started one task on each machine
    (`--ntasks-per-node=1`), that task starts the processes of its machine's other devices.

    Args:
        accelerator: as a Trainer takes it.
        devices: as a Trainer takes them, on each machine.
        num_nodes: machines.

    Raises:
        UserError: SLURM has other machines or tasks than these.
    """
    if not SLURMEnvironment.detect():
        return []
    machines = int(os.environ.get("SLURM_NNODES", num_nodes))
    if machines != num_nodes:
        raise UserError(
            f"num_nodes={num_nodes}, but SLURM runs this job on {machines} machines: give "
            f"num_nodes={machines}, or another --nodes to SLURM."
        )
    tasks = int(os.environ["SLURM_NTASKS"]) // machines
    tasks = int(os.environ.get("SLURM_NTASKS_PER_NODE", tasks))
    # Lightning refuses several tasks where this is not said.
    os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(tasks))
    wanted = num_devices(accelerator, devices)
    if tasks == wanted:
        return []
    if tasks > 1:
        raise UserError(
            f"devices={wanted}, but SLURM started {tasks} tasks on each machine: give "
            f"devices={tasks}, or --ntasks-per-node=1 to SLURM."
        )
    _say_as_lightning_wants_it()
    return [LightningEnvironment()]


def _say_as_lightning_wants_it() -> None:
    """Set the variables by which Lightning's own launcher finds the other machines."""
    slurm = SLURMEnvironment()
    os.environ.setdefault("MASTER_ADDR", slurm.main_address)
    os.environ.setdefault("MASTER_PORT", str(slurm.main_port))
    os.environ.setdefault("NODE_RANK", os.environ.get("SLURM_NODEID", "0"))


def num_devices(accelerator: str, devices: int | str | list) -> int:
    """Return how many devices of this machine a Trainer of these arguments takes."""
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if devices in ("auto", -1, "-1"):
        return torch.cuda.device_count() if on_gpu else 1
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, int):
        return devices
    if "," not in devices:
        return int(devices)
    names = [name for name in devices.split(",") if name.strip()]
    return len(names)
