"""What Lightning is told under SLURM, from the variables that SLURM sets."""

import pytest
from pytorch_lightning.plugins.environments import LightningEnvironment

from sta_tsn.errors import UserError
from sta_tsn.video.slurm import environment_plugins, num_devices


@pytest.fixture
def slurm(monkeypatch):
    """Return a function that sets the variables of a job of some tasks on some machines."""
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "SLURM_NTASKS_PER_NODE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def start(tasks: int, machines: int) -> None:
        job = {"NTASKS": tasks, "NNODES": machines, "PROCID": 0, "LOCALID": 0}
        job |= {"NODEID": machines - 1, "JOB_ID": 1234, "JOB_NAME": "sta"}
        job |= {"NODELIST": "gpu[07-08]" if machines > 1 else "gpu07"}
        for name, value in job.items():
            monkeypatch.setenv(f"SLURM_{name}", str(value))

    return start


def test_without_slurm_lightning_is_told_nothing():
    assert environment_plugins("cpu", 2, 1) == []


@pytest.mark.parametrize(("tasks", "machines", "devices"), [(1, 1, 1), (2, 1, 2), (4, 2, "2")])
def test_a_task_for_each_device_is_lightnings_own_way(slurm, tasks, machines, devices):
    slurm(tasks, machines)
    assert environment_plugins("cpu", devices, machines) == []


@pytest.mark.parametrize("machines", [1, 2])
def test_one_task_on_a_machine_starts_the_processes_of_its_devices(slurm, monkeypatch, machines):
    slurm(machines, machines)
    (plugin,) = environment_plugins("cpu", 2, machines)
    assert isinstance(plugin, LightningEnvironment)
    assert not plugin.creates_processes_externally
    assert plugin.main_address == "gpu07"
    assert plugin.node_rank() == machines - 1


@pytest.mark.parametrize(
    ("tasks", "machines", "devices", "num_nodes", "said"),
    [
        (4, 1, 2, 1, "devices=2, but SLURM started 4 tasks on each machine: give devices=4"),
        (2, 2, 1, 1, "num_nodes=1, but SLURM runs this job on 2 machines: give num_nodes=2"),
    ],
)
def test_other_numbers_are_refused_in_a_sentence(slurm, tasks, machines, devices, num_nodes, said):
    slurm(tasks, machines)
    with pytest.raises(UserError, match=said):
        environment_plugins("cpu", devices, num_nodes)


@pytest.mark.parametrize(
    ("devices", "expected"), [("auto", 1), (3, 3), ("3", 3), ("0,1", 2), ("1,", 1), ([0, 2], 2)]
)
def test_devices_are_counted_as_lightning_does(devices, expected):
    assert num_devices("cpu", devices) == expected
