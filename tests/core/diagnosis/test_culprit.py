"""Who holds the others up: on stacks recorded from real jobs, and on any others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops.core.diagnosis.culprit import find_culprit
from gpuops.core.diagnosis.stack import Frame, Stack, ThreadStack
from gpuops.core.hang.observation import RankVitals
from gpuops.heartbeat import Beat

TORCH = "/venv/lib/python3.11/site-packages/torch"
PYTHON = "/usr/lib/python3.11"

# Main threads as py-spy 0.4.3 dumped them of jobs of two ranks over gloo (torch 2.13, Python
# 3.11), the innermost call first; paths shortened, frames around the job's own left out. What was
# done to rank 1 stands above each; rank 0 was left alone.
BACKWARD = f"""
_engine_run_backward {TORCH}/autograd/graph.py 979
backward {TORCH}/autograd/__init__.py 395
Tensor.backward {TORCH}/_tensor.py 623
train /home/ada/train.py 52 loss.backward()
<module> /home/ada/train.py 80 train()
"""
ALL_REDUCE = f"""
all_reduce {TORCH}/distributed/distributed_c10d.py 3252
_exception_logger.<locals>.wrapper {TORCH}/distributed/c10d_logger.py 83
average /home/ada/train.py 29 dist.all_reduce(loss)
train /home/ada/train.py 59 average(loss.detach())
<module> /home/ada/train.py 80 train()
"""
BARRIER = f"""
barrier {TORCH}/distributed/distributed_c10d.py 5356
_exception_logger.<locals>.wrapper {TORCH}/distributed/c10d_logger.py 83
train /home/ada/train.py 64 dist.barrier()
<module> /home/ada/train.py 80 train()
"""
# all_gather where rank 0 reduces
ALL_GATHER = f"""
all_gather {TORCH}/distributed/distributed_c10d.py 4287
_exception_logger.<locals>.wrapper {TORCH}/distributed/c10d_logger.py 83
gather /home/ada/train.py 34 dist.all_gather(out, loss)
train /home/ada/train.py 57 gather(loss.detach())
<module> /home/ada/train.py 80 train()
"""
# a broadcast that nobody else takes part in
BROADCAST = f"""
broadcast {TORCH}/distributed/distributed_c10d.py 3151
_exception_logger.<locals>.wrapper {TORCH}/distributed/c10d_logger.py 83
broadcast_object_list {TORCH}/distributed/distributed_c10d.py 4026
_exception_logger.<locals>.wrapper {TORCH}/distributed/c10d_logger.py 83
train /home/ada/train.py 71 dist.broadcast_object_list([None], 0)
<module> /home/ada/train.py 80 train()
"""
# SIGSTOP to itself
STOPPED = """
train /home/ada/train.py 66 os.kill(os.getpid(), 19)
<module> /home/ada/train.py 80 train()
"""
# an endless loop in Python; the second look finds it at the loop's other line
SPIN = """
spin /home/ada/train.py 26 n += 1
train /home/ada/train.py 47 spin()
<module> /home/ada/train.py 80 train()
"""
SPIN_AGAIN = SPIN.replace("26 n += 1", "25 while True:")
# time.sleep, and the same in C
ASLEEP = """
train /home/ada/train.py 49 time.sleep(1000)
<module> /home/ada/train.py 80 train()
"""
ASLEEP_IN_C = ASLEEP.replace("49 time.sleep(1000)", "69 ctypes.CDLL(None).sleep(1000)")
# time.sleep in the data set, without loader workers
DATA = f"""
Frames.__getitem__ /home/ada/train.py 17 time.sleep(1000)
_MapDatasetFetcher.fetch.<locals>.<listcomp> {TORCH}/utils/data/_utils/fetch.py 54
_MapDatasetFetcher.fetch {TORCH}/utils/data/_utils/fetch.py 54
_SingleProcessDataLoaderIter._next_data {TORCH}/utils/data/dataloader.py 785
_BaseDataLoaderIter.__next__ {TORCH}/utils/data/dataloader.py 725
train /home/ada/train.py 45 for step, batch in enumerate(loader):
<module> /home/ada/train.py 80 train()
"""
# time.sleep in the data set, in the loader's worker process
WORKER = f"""
_PollLikeSelector.select {PYTHON}/selectors.py 415
wait {PYTHON}/multiprocessing/connection.py 947
Connection._poll {PYTHON}/multiprocessing/connection.py 440
_ConnectionBase.poll {PYTHON}/multiprocessing/connection.py 257
Queue.get {PYTHON}/multiprocessing/queues.py 113
_MultiProcessingDataLoaderIter._try_get_data {TORCH}/utils/data/dataloader.py 1291
_MultiProcessingDataLoaderIter._get_data {TORCH}/utils/data/dataloader.py 1464
_MultiProcessingDataLoaderIter._next_data {TORCH}/utils/data/dataloader.py 1505
_BaseDataLoaderIter.__next__ {TORCH}/utils/data/dataloader.py 725
train /home/ada/train.py 45 for step, batch in enumerate(loader):
<module> /home/ada/train.py 80 train()
"""
# Written by hand, for what no machine without a GPU shows: a wait for the GPU has no frame.
ITEM = """
train /home/ada/train.py 55 total += loss.item()
<module> /home/ada/train.py 80 train()
"""
DOWNLOAD = f"""
SSLSocket.read {PYTHON}/ssl.py 1140
HTTPResponse._read_status {PYTHON}/http/client.py 286
log {TORCH.removesuffix("torch")}/wandb/sdk.py 120
train /home/ada/train.py 61 log(loss)
<module> /home/ada/train.py 80 train()
"""


def frames(text):
    found = []
    for line in text.strip().splitlines():
        function, file, number, *source = line.split(" ", 3)
        found.append(
            Frame(function=function, file=file, line=int(number), text="".join(source).strip())
        )
    return tuple(found)


def stack(rank, text, *, active=False, gil=False, gap=None):
    threads = (
        ThreadStack(name="QueueFeederThread", frames=(), is_main=False, active=False),
        ThreadStack(
            name="MainThread", frames=frames(text), is_main=True, active=active, has_gil=gil
        ),
    )
    return Stack(rank=rank, pid=4700 + rank, host="host", threads=threads if text else (), gap=gap)


def vitals(rank, state="S", cpu_s=10.0):
    return RankVitals(rank=rank, pid=4700 + rank, state=state, cpu_s=cpu_s, io_bytes=None)


def beat(rank, step):
    return Beat(4700 + rank, rank, step, 100, None, None, 1.0, "train")


def assessment(*texts, again=None, states=(), computing=(), gil=None, steps=()):
    """The accusation over ranks that stand like this; ``again``: at the second look."""
    gil = computing if gil is None else gil
    looks = [
        [
            stack(rank, text, active=rank in computing, gil=rank in gil)
            for rank, text in enumerate(look)
        ]
        for look in (texts, again or texts)
    ]
    states = states or ["S"] * len(texts)
    felt = [
        [
            vitals(rank, state, 10.0 + look * (rank in computing))
            for rank, state in enumerate(states)
        ]
        for look in range(2)
    ]
    return find_culprit(*looks, *felt, [beat(rank, step) for rank, step in enumerate(steps)])


CASES = {
    "stopped": (
        assessment(BACKWARD, STOPPED, states="ST"),
        (1, True, "rank stopped", "train.py:66"),
    ),
    "stopped where the others wait": (
        assessment(BACKWARD, BACKWARD, BACKWARD, states="STS"),
        (1, True, "rank stopped", "train.py:52"),
    ),
    "held by a debugger": (
        assessment(BACKWARD, BACKWARD, states="tS"),
        (0, True, "rank stopped", "train.py:52"),
    ),
    "spinning": (
        assessment(BACKWARD, SPIN, again=[BACKWARD, SPIN_AGAIN], states="SR", computing=[1]),
        (1, True, "python spin", "train.py:25"),
    ),
    "spinning, without the interpreter at the second look": (
        assessment(BACKWARD, SPIN, BACKWARD, states="SRS", computing=[1]),
        (1, True, "python spin", "train.py:26"),
    ),
    "asleep": (assessment(BACKWARD, ASLEEP), (1, True, "unknown", "train.py:49")),
    "asleep in C": (assessment(ALL_REDUCE, ASLEEP_IN_C), (1, True, "unknown", "train.py:69")),
    "asleep in a line that cannot be read": (
        assessment(ALL_REDUCE, ASLEEP.replace(" time.sleep(1000)", "")),
        (1, False, "unknown", "train.py:49"),
    ),
    "asleep in its data": (
        assessment(BACKWARD, DATA),
        (1, True, "data loader starved", "train.py:17"),
    ),
    "asleep in a loader's worker": (
        assessment(BACKWARD, WORKER, BACKWARD),
        (1, True, "data loader starved", "train.py:45"),
    ),
    "on the network": (assessment(BACKWARD, DOWNLOAD), (1, True, "stuck in I/O", "train.py:61")),
    "in the kernel": (
        assessment(BACKWARD, DATA, BACKWARD, states="SDS"),
        (1, True, "stuck in I/O", "train.py:17"),
    ),
    "in the kernel, another elsewhere": (
        assessment(BACKWARD, DATA, ASLEEP, states="SDS"),
        (1, False, "stuck in I/O", "train.py:17"),
    ),
    "an all_gather among all_reduces": (
        assessment(ALL_REDUCE, ALL_GATHER, ALL_REDUCE),
        (1, True, "collective mismatch", "train.py:34"),
    ),
    "an all_gather against an all_reduce": (
        assessment(ALL_REDUCE, ALL_GATHER),
        (0, False, "collective mismatch", "train.py:29"),
    ),
    "one collective skipped, of two ranks": (
        assessment(ALL_REDUCE, BARRIER),
        (1, False, "collective mismatch", "train.py:64"),
    ),
    "one collective skipped, a step ahead": (
        assessment(BARRIER, BACKWARD, steps=[3, 4]),
        (1, False, "collective mismatch", "train.py:52"),
    ),
    "one collective skipped, of three ranks": (
        assessment(BARRIER, BACKWARD, BARRIER, steps=[3, 4, 3]),
        (1, True, "collective mismatch", "train.py:52"),
    ),
    "a broadcast of its own": (
        assessment(*[BACKWARD] * 3, BROADCAST),
        (3, True, "collective mismatch", "train.py:71"),
    ),
    "two against two": (
        assessment(BACKWARD, ALL_REDUCE, BACKWARD, ALL_REDUCE),
        (None, False, "unknown", None),
    ),
    "all at one place": (assessment(*[BACKWARD] * 4), (None, False, "unknown", None)),
    "all at one place, one computing": (
        assessment(*[BACKWARD] * 4, computing=[2], gil=[]),
        (2, False, "unknown", "train.py:52"),
    ),
    "all at one place, one unread": (
        assessment(BACKWARD, "", BACKWARD),
        (1, False, "unknown", None),
    ),
    "one elsewhere, one unread": (
        assessment(BACKWARD, "", ASLEEP),
        (2, False, "unknown", "train.py:49"),
    ),
    "two elsewhere, one of them behind": (
        assessment(*[BACKWARD] * 5, ASLEEP, ASLEEP_IN_C, steps=[4, 4, 4, 4, 4, 4, 3]),
        (6, False, "unknown", "train.py:69"),
    ),
    "two elsewhere, one of them on its way": (
        assessment(*[BACKWARD] * 5, DATA, ASLEEP, again=[*[BACKWARD] * 5, BARRIER, ASLEEP]),
        (6, False, "unknown", "train.py:49"),
    ),
    "two elsewhere, one of them for its data": (
        assessment(*[BACKWARD] * 5, ASLEEP, WORKER),
        (6, False, "data loader starved", "train.py:45"),
    ),
    "most of them elsewhere": (
        assessment(BARRIER, ASLEEP, ASLEEP_IN_C, ASLEEP),
        (None, False, "unknown", None),
    ),
    "one still on its way": (
        assessment(BACKWARD, ALL_REDUCE, again=[BACKWARD, ASLEEP]),
        (1, False, "unknown", "train.py:49"),
    ),
    "the others still on their way": (
        assessment(BACKWARD, ASLEEP, again=[ALL_REDUCE, ASLEEP]),
        (None, False, "unknown", None),
    ),
    "all for their GPUs but one": (
        assessment(ITEM, ITEM, SPIN, states="RRR", computing=[0, 1, 2], gil=[2]),
        (2, True, "python spin", "train.py:26"),
    ),
    "all for their GPUs but one, of unreadable source": (
        assessment(
            *[ITEM.replace(" total += loss.item()", "")] * 3, SPIN, computing=range(4), gil=[3]
        ),
        (3, True, "python spin", "train.py:26"),
    ),
    "for the GPU, and in a barrier": (
        assessment(ITEM, BARRIER),
        (1, False, "unknown", "train.py:64"),
    ),
    "all for their data": (assessment(*[WORKER] * 4), (None, True, "data loader starved", None)),
    "all stopped": (assessment(BACKWARD, STOPPED, states="TT"), (None, True, "rank stopped", None)),
    "two stopped": (
        assessment(BACKWARD, BACKWARD, BACKWARD, states="TTS"),
        (None, True, "rank stopped", None),
    ),
    "gone": (assessment(BACKWARD, "", states="SZ"), (1, True, "peer died", None)),
    "gone in good order, while another spins": (
        assessment("", SPIN, states="XR", computing=[1]),
        (1, True, "python spin", "train.py:26"),
    ),
    "alone, spinning": (
        assessment(SPIN, states="R", computing=[0]),
        (0, True, "python spin", "train.py:26"),
    ),
    "alone, waiting for data": (
        assessment(WORKER),
        (0, True, "data loader starved", "train.py:45"),
    ),
    "alone, nobody knows": (assessment(BACKWARD), (None, False, "unknown", None)),
    "nobody": (find_culprit([], []), (None, False, "unknown", None)),
}


@pytest.mark.parametrize(("attribution", "expected"), CASES.values(), ids=CASES)
def test_the_culprit_is_named_with_its_line(attribution, expected):
    """Who, how sure, what kind of fault, which line of the person's own code."""
    culprit = attribution.culprit
    rank, sure, kind, line = expected

    assert (rank, sure, kind) == (culprit.rank, culprit.sure, culprit.kind)
    assert (culprit.place is None) == (line is None)
    assert line is None or line in culprit.place


def test_the_sentence_says_it_all():
    """The culprit's line, and what the others wait for."""
    culprit = assessment(BACKWARD, SPIN, BACKWARD, ALL_REDUCE, states="SRSS", computing=[1]).culprit

    assert culprit.why == (
        "rank 1 computes without end at spin (train.py:26), "
        "while ranks 0, 2 wait in backward at train (train.py:52), "
        "rank 3 waits in all_reduce at average (train.py:29)"
    )
    assert (3, 3, 4701) == (culprit.agree, culprit.of, culprit.pid)


@pytest.mark.parametrize(
    ("attribution", "why"),
    [
        (CASES["stopped"][0], "rank 1 is stopped (state T) at train (train.py:66), while rank 0"),
        (CASES["two stopped"][0], "ranks 0-1 are stopped (state T) at train"),
        (CASES["gone"][0], "rank 1 has ended, while rank 0 waits in backward at train"),
        (CASES["all for their data"][0], "ranks 0-3 all wait for the data loader at train"),
        (CASES["asleep"][0], "rank 1 stands still at train (train.py:49), while rank 0 waits"),
        (CASES["two against two"][0], "undecided, no rank stands out: ranks 0, 2 wait in backward"),
        (CASES["nobody"][0], "no rank's stack could be read"),
    ],
)
def test_every_attribution_is_a_sentence(attribution, why):
    """In plain words, with plurals."""
    assert attribution.culprit.why.startswith(why)


def test_groups_show_who_stands_together():
    """The largest first, with the way there: the outermost call first, the person's line last."""
    first, second = assessment(BACKWARD, ALL_GATHER, BACKWARD).groups

    assert ((0, 2), "backward") == (first.ranks, first.waits_for)
    assert first.frames_key == (
        "/home/ada/train.py:80 in <module>",
        "/home/ada/train.py:52 in train",
    )
    assert ((1,), "all_gather") == (second.ranks, second.waits_for)
    assert "/home/ada/train.py:34 in gather" == second.place == second.frames_key[-1]


def test_the_call_that_was_made_is_named():
    """broadcast_object_list, and not the broadcast that it makes."""
    assert "broadcast_object_list" == assessment(BROADCAST).groups[0].waits_for


def test_evidence_has_a_line_for_each_rank():
    """What the kernel and the beats say of it; why a stack is missing."""
    attribution = find_culprit(
        [],
        [stack(0, BACKWARD), stack(1, "", gap="py-spy may not")],
        [],
        [vitals(0), vitals(1, "R")],
        [beat(0, 3)],
    )

    assert attribution.evidence == (
        "rank 0: PID 4700, state S, step 3",
        "rank 1: PID 4701, state R, no stack: py-spy may not",
    )


def test_ranks_that_moved_are_told():
    """A job of which ranks get on between the looks may only be slow."""
    attribution = assessment(BACKWARD, SPIN, again=[ALL_REDUCE, SPIN_AGAIN])

    assert (0,) == attribution.moved
    assert not attribution.standstill


def test_one_look_is_enough_for_a_guess():
    """Without the first look, and without vitals, the stacks alone accuse."""
    culprit = find_culprit([], [stack(0, BACKWARD), stack(1, SPIN, active=True, gil=True)]).culprit

    assert (1, True, "python spin") == (culprit.rank, culprit.sure, culprit.kind)


def test_what_a_rank_wrote_itself_is_as_good():
    """faulthandler says neither who runs nor who holds the interpreter: the kernel's state does."""
    stacks = [stack(0, BACKWARD), stack(1, SPIN)]
    blind = [
        replace(s, threads=tuple(replace(t, active=None, has_gil=None) for t in s.threads))
        for s in stacks
    ]
    felt, feel = [vitals(0), vitals(1, "R")], [vitals(0), vitals(1, "R", 10.9)]

    assert "python spin" == find_culprit(blind, blind, felt, feel).culprit.kind


def test_a_loop_that_calls_others_is_one_place():
    """Between the looks it has come to another function: the loop is what does not end."""
    deeper = SPIN.replace("spin /", "check /home/ada/train.py 21 return ready\nspin /", 1)
    attribution = assessment(
        BACKWARD, deeper, again=[BACKWARD, SPIN_AGAIN], states="SR", computing=[1]
    )
    culprit = attribution.culprit

    assert ("python spin", True) == (culprit.kind, culprit.sure)
    assert ((1,), True) == (attribution.moved, attribution.standstill)
    assert "train.py:25 in spin" in culprit.place


def test_installed_trainers_have_lines_too():
    """Where all code is installed, the line is the trainer's and not torch's."""
    text = ALL_REDUCE.replace("/home/ada/", "/venv/lib/python3.11/site-packages/trainers/")

    assert "trainers/train.py:29 in average" in assessment(text, text).groups[0].place


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
    """As many ranks in one collective as in another: whoever is named, it is a guess."""
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
