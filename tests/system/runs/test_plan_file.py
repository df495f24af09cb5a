"""A plan survives its file."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops.core.launch.options import FOR_EVER_S, LaunchOptions
from gpuops.core.launch.plan import LaunchPlan, NodePlan, Target
from gpuops.core.machine.device import DeviceRef
from gpuops.errors import GpuopsError
from gpuops.system import files
from gpuops.system.runs import plan_file

FULL = LaunchPlan(
    run_id="20260101-000000-rvq",
    run_dir="/runs/20260101-000000-rvq",
    attempt=3,
    target=Target(kind="trainer", name="rvq", entry="trainers.rvq.train"),
    profile="7x4090",
    device="cuda",
    options=LaunchOptions(exclude_gpus=("0",), wait_s=FOR_EVER_S, hang_timeout_s=0.5),
    nodes=(
        NodePlan(
            host="here",
            devices=(
                DeviceRef(index=1, uuid="GPU-1", bus_id="00000000:41:00.0"),
                DeviceRef(index=2, uuid=None),
            ),
            ranks=(0, 1),
        ),
    ),
    ranks_wanted=4,
    master_port=29501,
    python="/venv/bin/python",
    import_path="/src",
    working_dir="/home/me",
    defaults={"a": 1, "b": 1.0, "c": True, "d": "1", "e": [0.5, 1, "x", False], "f": []},
    arguments=("--lr", "1e-3", "", "a b\n'$"),
    resume_arguments=("--resume", "auto"),
    profile_environment={"NCCL_DEBUG": "WARN"},
    stop_save_s=60.0,
    stop_terminate_s=0.5,
)


def there_and_back(folder, plan):
    """Writes a plan as a run does, and reads it again."""
    files.write_json(folder / "plan.json", dataclasses.asdict(plan))
    return plan_file.load(folder)


def test_a_full_plan_comes_back_equal(tmp_path):
    """Every field, with its type: a resumed run is the same run."""
    again = there_and_back(tmp_path, FULL)

    assert FULL == again
    assert [(key, type(value)) for key, value in FULL.defaults.items()] == [
        (key, type(value)) for key, value in again.defaults.items()
    ]


def test_an_argument_that_is_no_utf8_comes_back(tmp_path):
    """A file name in Latin-1 on the command line does not make a run unresumable."""
    plan = dataclasses.replace(FULL, arguments=("--data", "caf\udce9"))

    assert plan == there_and_back(tmp_path, plan)


scalars = st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@settings(max_examples=100)
@given(
    defaults=st.dictionaries(st.text(), scalars | st.lists(scalars, max_size=3), max_size=4),
    arguments=st.lists(st.text(), max_size=4).map(tuple),
    environment=st.dictionaries(st.text(), st.text(), max_size=3),
)
def test_any_plan_comes_back_equal(tmp_path_factory, defaults, arguments, environment):
    """Whatever a profile wished and a person typed."""
    folder = tmp_path_factory.mktemp("plan")
    plan = dataclasses.replace(
        FULL, defaults=defaults, arguments=arguments, profile_environment=environment
    )

    again = there_and_back(folder, plan)

    assert plan == again
    assert plan.program_arguments == again.program_arguments


def test_a_missing_plan_is_a_sentence(tmp_path):
    """With what to do instead."""
    with pytest.raises(GpuopsError, match=r"plan\.json cannot be used: No such file") as caught:
        plan_file.load(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "cannot be used: it"),
        (b'{"run_id": "x', "cannot be used: it"),
        (b"\xff\xfe", "cannot be used: it"),
        (b"[]", "cannot be used: it"),
        (b"[" * 100_000, "cannot be used: it"),
        (b"{}", "cannot be used: run_id: "),
    ],
)
def test_a_broken_plan_is_a_sentence(tmp_path, content, sentence):
    """Half a file, another kind of value, a bomb."""
    (tmp_path / "plan.json").write_bytes(content)

    with pytest.raises(GpuopsError) as caught:
        plan_file.load(tmp_path)
    assert sentence in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"ranks_wanted": "many"}, "ranks_wanted"),
        ({"target": {"kind": "spell", "name": "x", "entry": "x"}}, "target.kind"),
        ({"arguments": "--lr"}, "arguments"),
        ({"defaults": {"lr": None}}, "defaults.lr"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_a_changed_plan_is_refused_by_path(tmp_path, changes, path):
    """A plan that somebody edited says where it is wrong."""
    files.write_json(tmp_path / "plan.json", {**dataclasses.asdict(FULL), **changes})

    with pytest.raises(GpuopsError, match=f"cannot be used: {path}"):
        plan_file.load(tmp_path)
