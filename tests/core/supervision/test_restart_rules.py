"""What holds after any sequence of endings."""

from __future__ import annotations

import math
from dataclasses import replace

from endings import CHANCE, KEY, KINDS, NOW_S, POLICY, ended, numbered
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops.core.supervision.restart import GiveUp, Restart, RestartPolicy, decide

steps = st.none() | st.integers(0, 40)
ends = st.builds(
    lambda kind, gap_s, first, length, kept, key, code, held: ended(
        kind,
        at_s=gap_s,
        first_step=first,
        last_step=None if first is None else first + length,
        checkpoint_step=kept,
        traceback_key=key,
        exitcode=code,
        held_gpus=held,
    ),
    st.sampled_from(KINDS),
    st.floats(0, 5000),
    steps,
    st.integers(0, 20),
    steps,
    st.sampled_from([None, KEY, f"{KEY} more"]),
    st.sampled_from([None, 1, 2, -9, -11, -15]),
    st.sampled_from([(), (2,)]),
)
policies = st.builds(
    RestartPolicy,
    max_restarts=st.integers(0, 4),
    window_s=st.floats(1, 10_000),
    backoff_s=st.lists(st.floats(0, 60), max_size=3).map(tuple),
    max_fruitless=st.integers(0, 6),
    max_halvings=st.integers(0, 2),
)


def lived(several):
    """The same attempts one after the other: each ends as long after the last as it says."""
    now_s, story = NOW_S, []
    for end in several:
        now_s += end.ended_s - NOW_S
        story.append(replace(end, ended_s=now_s))
    return numbered(*story)


def got_on(story):
    """The places in a story at which there was a checkpoint newer than all before."""
    first = story[0].first_step
    newest = [math.inf if first is None else first]
    places = []
    for place, end in enumerate(story):
        kept = -1 if end.checkpoint_step is None else end.checkpoint_step
        if kept > max(newest):
            places.append(place)
        newest = [-1 if first is None else first, *newest[1:], kept]
    return places


rules = settings(derandomize=True, deadline=None, max_examples=100, database=None)


@rules
@given(st.lists(ends, min_size=1, max_size=40), policies)
def test_any_sequence_ends_within_the_budget(several, policy):
    """Between two newer checkpoints there are no more starts than allowed, and one answer each."""
    story, places = lived(several), got_on(lived(several))
    for number in range(1, len(story) + 1):
        past, now_s = story[:number], story[number - 1].ended_s
        found = decide(past, policy, now_s)
        assert found == decide(tuple(past), policy, now_s)
        assert found.why
        if isinstance(found, GiveUp):
            assert found.advice
            break
        assert 0 <= found.after_s <= max(policy.backoff_s, default=0)
        since = number - 1 - max((place for place in places if place < number), default=-1)
        in_window = [
            end for end in past[number - since :] if now_s - end.ended_s <= policy.window_s
        ]
        assert len(in_window) <= policy.max_restarts
        assert since <= max(policy.max_fruitless, policy.max_restarts)
        assert policy.max_restarts


@rules
@given(
    st.lists(st.tuples(st.sampled_from(KINDS[:9]), st.floats(0, 100)), min_size=1, max_size=30),
    st.integers(1, 3),
)
def test_who_makes_progress_is_never_given_up_for_the_count(failures, restarts):
    """Each attempt goes on where the last checkpoint lies, and leaves a newer one."""
    story = lived(
        ended(kind, at_s=gap, first_step=n + 1, last_step=n + 12, checkpoint_step=n + 10)
        for n, (kind, gap) in zip(range(0, 300, 10), failures, strict=False)
    )
    found = decide(story, replace(POLICY, max_restarts=restarts), story[-1].ended_s)

    assert not isinstance(found, GiveUp)
    assert 0 == found.after_s


@rules
@given(st.lists(ends, min_size=1, max_size=6), st.data())
def test_what_a_person_stopped_stays_stopped(several, data):
    """Whatever else happened, before or after."""
    story = lived(several)
    place = data.draw(st.integers(0, len(story) - 1))
    story[place] = replace(story[place], stopped=True)

    assert "a person stopped it" == decide(story, POLICY, NOW_S).why


@rules
@given(
    st.lists(st.tuples(st.sampled_from(CHANCE), st.integers(0, 49)), max_size=3),
    st.sampled_from(["exception", "nan", "unknown"]),
)
def test_any_defect_is_recognised_the_second_time(between, kind):
    """Whatever else failed between the two, as long as it did not get further."""
    defect = ended(kind, traceback_key=KEY)
    story = numbered(defect, *(ended(other, last_step=step) for other, step in between), defect)
    policy = replace(POLICY, max_restarts=9)

    assert isinstance(decide(story[:-1], policy, NOW_S), Restart)
    assert "the same failure at step 50" in decide(story, policy, NOW_S).why
