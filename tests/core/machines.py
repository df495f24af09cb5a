"""Machines, GPUs and jobs as values: all is well with them, but for what a test changes."""

from __future__ import annotations

from gpuops.core.launch.choice import Choice
from gpuops.core.launch.profile import Gpus, Profile
from gpuops.core.machine.device import Device, GpuInventory, Memory, Pcie
from gpuops.core.machine.snapshot import HostSnapshot, Interface, Interpreter
from gpuops.core.preflight.requirements import Requirements
from gpuops.text import GIB

CPU = Profile(name="cpu", device="cpu", workers=2)
CUDA = Profile(name="two", gpus=Gpus(count=2))
NOW_S = 1_800_000_000.0
PYTHON = Interpreter(
    path="/venv/bin/python", python="3.11.7", torch="2.9.0", cuda="12.8", nccl="2.27.3"
)
LO = Interface(name="lo", addresses=("127.0.0.1", "::1"))
ETH0 = Interface(name="eth0", addresses=("192.0.2.7", "2001:db8::7"))
DOCKER0 = Interface(name="docker0", addresses=("172.17.0.1",))


def gpu(index=0, **changes):
    """A GPU of a server, free and well."""
    facts = {
        "uuid": f"GPU-{index}",
        "name": "NVIDIA H100 80GB HBM3",
        "numa_node": index // 4,
        "memory_total_bytes": 80 * GIB,
        "memory_used_bytes": 0,
        "utilization_pct": 0,
        "temperature_c": 35 + index,
        "slowed_by": (),
        "memory": Memory(
            ecc_enabled=True,
            ecc_uncorrected=0,
            remap_pending=False,
            remap_failed=False,
            retired_pending=False,
        ),
        "pcie": Pcie(generation=5, generation_max=5, width=16, width_max=16),
        "nvlinks_up": 18,
        "nvlinks_down": (),
        "persistence": True,
        "mig": False,
        "xids": (),
        "processes": (),
    }
    return Device(index=index, **{**facts, **changes})


def inventory(*gpus, driver="570.86.10", cuda=(12, 8)):
    """A driver and the GPUs that it shows."""
    return GpuInventory(driver=driver, cuda=cuda, devices=gpus)


def snapshot(**changes):
    """A machine on which all is well."""
    facts = {
        "hostname": "inventory",
        "now_s": NOW_S,
        "cpu_cores": 8,
        "memory_total_bytes": 64 * GIB,
        "memory_available_bytes": 32 * GIB,
        "shm_free_bytes": 8 * GIB,
        "disk_free_bytes": 100 * GIB,
        "output_writable": True,
        "open_files": 1024,
        "memlock_bytes": float("inf"),
        "clock_skew_s": 0.0,
        "clock_synchronised": True,
        "interfaces": (LO, ETH0),
        "port_free": True,
        "interpreter": PYTHON,
        "inventory": inventory(gpu(0), gpu(1)),
    }
    return HostSnapshot(**{**facts, **changes})


def needs(**changes):
    """A small job on two workers."""
    facts = {
        "workers": 2,
        "master_port": 29501,
        "output_dir": "runs/r",
        "memory_per_worker_bytes": GIB,
        "disk_bytes": GIB,
    }
    return Requirements(**{**facts, **changes})


def on(*gpus, refused=()):
    """What a job needs that has chosen these GPUs."""
    choice = Choice(wanted=len(gpus), devices=gpus, refused=refused)
    return needs(workers=len(gpus), choice=choice)
