"""What GPUs draw, in words."""

from __future__ import annotations

import pytest

from gpuops.core.diagnosis.power import describe_power, usual_watts
from gpuops.core.machine.device import Device
from gpuops.core.run.telemetry import GpuSample, Sample


def gpu(power_w, utilization_pct=100, index=3):
    return Device(index=index, power_w=power_w, utilization_pct=utilization_pct)


def drew(watts, utilization_pct=100, **said):
    seen = GpuSample(utilization_pct=utilization_pct, power_w=watts)
    return Sample(at_s=0.0, attempt=1, gpus={3: seen, 4: GpuSample()}, **said)


def test_the_usual_is_what_it_drew_while_steps_were_taken():
    """In the middle; a pause does not matter, and a GPU that does not tell has none."""
    steps = [drew(watts, step=1, step_s=0.1) for watts in (280, 290, 60, 300, 295)]

    assert usual_watts([*steps, *[drew(70, step=1)] * 9]) == {3: 290}
    assert usual_watts(steps[1:]) == {}


def test_of_a_job_that_says_no_steps_it_is_what_a_gpu_at_work_drew():
    """While it loads its data there is none."""
    assert usual_watts([*[drew(60, 3)] * 9, *[drew(290)] * 5]) == {3: 290}


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (gpu(70), "100 % at 70 W, 290 W while it trained: as in a wait for other ranks"),
        (gpu(280), "100 % at 280 W, 290 W while it trained"),
        (gpu(70, 0), "0 % at 70 W, 290 W while it trained"),
        (gpu(70, None), "70 W, 290 W while it trained"),
    ],
)
def test_a_busy_gpu_that_draws_little_waits(seen, words):
    """The figures always; what they mean where that is known."""
    assert describe_power({0: seen}, {3: 290.0}) == (f"GPU 3: {words}",)


@pytest.mark.parametrize(("seen", "before"), [(gpu(None), {3: 290.0}), (gpu(70), {})])
def test_what_is_not_known_is_not_told(seen, before):
    """Neither without a reading now, nor without one from before."""
    assert describe_power({0: seen}, before) == ()
