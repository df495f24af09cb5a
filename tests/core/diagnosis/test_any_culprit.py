"""Who holds the others up, on any stacks: never an error, never sure without a reason."""

from __future__ import annotations

from hung_stacks import (
    ALL_GATHER,
    ALL_REDUCE,
    ASLEEP,
    ASLEEP_IN_C,
    BACKWARD,
    BARRIER,
    BROADCAST,
    DATA,
    DOWNLOAD,
    ITEM,
    PYTHON,
    SPIN,
    SPIN_AGAIN,
    STOPPED,
    TORCH,
    WORKER,
    assessment,
    beat,
    frames,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops.core.diagnosis.culprit import find_culprit
from gpuops.core.diagnosis.stack import Frame, Stack, ThreadStack
from gpuops.core.hang.observation import RankVitals

LIBRARY = [BACKWARD, ALL_REDUCE, BARRIER, ALL_GATHER, BROADCAST, STOPPED, SPIN, SPIN_AGAIN]
LIBRARY += [ASLEEP, ASLEEP_IN_C, DATA, WORKER, ITEM, DOWNLOAD, ""]
any_frame = st.builds(
    Frame,
    function=st.text(max_size=4),
    file=st.sampled_from(["", "<string>", "/home/ada/a.py", f"{TORCH}/a.py", f"{PYTHON}/a.py"])
    | st.text(max_size=5),
    line=st.integers(0, 3),
    text=st.sampled_from(["", "x.item()", "f.read()"]),
)
any_frames = st.sampled_from(LIBRARY).map(frames) | st.lists(any_frame, max_size=4).map(tuple)
maybe = st.none() | st.booleans()
any_thread = st.builds(
    ThreadStack,
    name=st.just(""),
    frames=any_frames,
    is_main=st.booleans() | st.just(True),
    active=maybe,
    has_gil=maybe,
)
ranks_ = st.integers(0, 4)
any_stacks = st.lists(
    st.builds(
        Stack,
        rank=ranks_,
        pid=st.integers(1, 9),
        host=st.just("inventory"),
        threads=st.lists(any_thread, max_size=2).map(tuple),
        gap=st.none() | st.text(max_size=3),
    ),
    max_size=6,
)
any_vitals = st.lists(
    st.builds(
        RankVitals,
        rank=ranks_,
        pid=st.integers(1, 9),
        state=st.none() | st.sampled_from("RSDTtZX?"),
        cpu_s=st.none() | st.floats(0, 9),
        io_bytes=st.none(),
    ),
    max_size=6,
)
any_beats = st.lists(st.builds(beat, ranks_, st.none() | st.integers(0, 3)), max_size=4)


@settings(max_examples=150)
@given(any_stacks, any_stacks, any_vitals, any_vitals, any_beats)
def test_whatever_is_seen_is_judged(before, after, felt, feel, beats):
    """Nothing raises; a rank that is named is one of theirs; no more agree than there are."""
    attribution = find_culprit(before, after, felt, feel, beats)
    culprit = attribution.culprit

    known = {seen.rank for seen in (*before, *after, *felt, *feel, *beats)}
    assert culprit.why
    assert culprit.rank is None or culprit.rank in known
    assert 0 <= culprit.agree <= max(culprit.of, 0)
    assert len(known) == len(attribution.evidence)


@settings(max_examples=100)
@given(st.permutations(LIBRARY[:5]), st.integers(1, 3), st.lists(st.integers(0, 3), max_size=6))
def test_a_tie_is_never_sure(places, size, steps):
    """As many ranks in one collective as in another: the culprit is a guess."""
    one, other = [places[0]] * size, [places[1]] * size
    steps = steps if len(steps) == 2 * size else []

    assert not assessment(*one, *other, steps=steps).culprit.sure


@settings(max_examples=100)
@given(st.integers(2, 7), st.data())
def test_a_lone_absentee_is_always_found(size, data):
    """One rank asleep, spinning or starved, all others in one collective: it is named, surely."""
    where = data.draw(st.sampled_from([ASLEEP, ASLEEP_IN_C, SPIN, DATA, WORKER, DOWNLOAD]))
    others = data.draw(st.sampled_from(LIBRARY[:5]))
    one = data.draw(st.integers(0, size - 1))
    texts = [where if rank == one else others for rank in range(size)]
    culprit = assessment(*texts, computing=[one] if where is SPIN else []).culprit

    assert (one, True) == (culprit.rank, culprit.sure)
    assert size - 1 == culprit.agree == culprit.of
