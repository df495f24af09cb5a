"""What the kernel's log tells of a GPU."""

from __future__ import annotations

import pytest
from machines import NOW_S, gpu

from gpuops.core.machine.device import Xid
from gpuops.core.machine.xids import MEANINGS, REMEDIES
from gpuops.core.preflight.xid_check import check_xid

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


def xid(code, ago_s=60.0):
    """An error of a while ago."""
    return Xid(code=code, at_s=NOW_S - ago_s, text="NVRM: Xid")


def told(*xids, now_s=NOW_S):
    """What is said of one GPU with these errors."""
    return check_xid([gpu(4, xids=xids)], now_s)


@pytest.mark.parametrize("code", sorted(MEANINGS))
def test_each_known_code_has_a_meaning(code):
    """In words; a program's own mistakes are told, the GPU's warned about."""
    words, remedy = MEANINGS[code]
    found = told(xid(code))

    assert f"GPU 4: Xid {code}, {words} (1 min ago)" == found.summary
    assert ("ok" if remedy == "none" else "warning") == found.severity
    assert bool(found.hint) == (remedy != "none")
    assert f"Xid {code}" == found.measured


def test_the_codes_that_matter_are_known():
    """Those that training meets."""
    common = {13, 31, 43, 45, 48, 62, 63, 64, 74, 79, 92, 94, 95, 109, 119, 120}

    assert common <= set(MEANINGS)
    assert {remedy for _, remedy in MEANINGS.values()} == set(REMEDIES)


def test_an_unknown_code_is_a_warning():
    """Nobody knows that it is harmless."""
    found = told(xid(999))

    assert "warning" == found.severity
    assert "Xid 999" in found.summary


@pytest.mark.parametrize(
    ("codes", "hint"),
    [
        ([79, 95], "off and on"),
        ([63, 95], "--gpu-reset -i 4"),
        ([31, 63], "ROW_REMAPPER -i 4"),
    ],
)
def test_the_gravest_says_what_to_do(codes, hint):
    """Whatever else there was."""
    assert hint in told(*map(xid, codes)).hint


def test_the_hint_names_the_gpus_that_it_is_about():
    """Not those beside it whose programs failed."""
    gpus = gpu(1, xids=(xid(31),)), gpu(2, xids=(xid(95),)), gpu(3, xids=(xid(48),))

    found = check_xid(gpus, NOW_S)

    assert "-i 2,3`" in found.hint
    assert "Xid 31, Xid 48, Xid 95" == found.measured


@pytest.mark.parametrize(
    ("code", "ago_s", "said"),
    [
        (31, 0.0, "(just now)"),
        (31, -5.0, "(just now)"),
        (31, 5 * HOUR_S, "(5 h ago)"),
        (31, DAY_S, "(1 d ago)"),
        (31, DAY_S + 1, None),
        (95, 3 * DAY_S, "(3 d ago)"),
        (95, 7 * DAY_S + 1, None),
    ],
)
def test_old_errors_are_forgotten(code, ago_s, said):
    """A program's mistake after a day, the GPU's after a week."""
    found = told(xid(code, ago_s))

    assert (said is None) == (found is None)
    assert found is None or found.summary.endswith(said)


def test_repeated_errors_are_counted():
    """One line for the same code, with the last time."""
    found = told(xid(31, 2 * HOUR_S), xid(31, HOUR_S), xid(31, HOUR_S))

    assert "Xid 31 (3 times), a program accessed memory outside its own (1 h ago)" in found.summary


@pytest.mark.parametrize("xids", [None, ()])
def test_a_silent_or_unreadable_log_says_nothing(xids):
    """Whether it could be read stands on the line of the GPUs."""
    assert check_xid([gpu(xids=xids)], NOW_S) is None


def test_without_a_clock_every_error_counts():
    """Unknown is not old."""
    found = told(xid(31, 100 * DAY_S), now_s=None)

    assert "GPU 4: Xid 31, a program accessed memory outside its own" == found.summary
