"""The monitor's screen: what an operator sees of a board, in any room there is."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from monitor_frames import (
    BOARDS,
    CPU_ONLY,
    HUNG,
    MANY,
    NOW_S,
    WIDE,
    frame,
    gone,
    gpu,
    idle,
    job,
    rank,
)
from rich.cells import cell_len

from gpuops.core.monitor.rows import Advice, Change, GpuRow, RankRow, StrangerRow
from gpuops.ui.monitor import screen
from gpuops.ui.monitor.screen import Page, View


@pytest.fixture(autouse=True)
def _greenwich(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def shown(seen, width=80, height=24, **view):
    lines = screen.draw(seen, View(width=width, height=height, **view))
    return "\n".join(line.plain.rstrip() for line in lines)


HUNG_80 = """\
 HUNG  8 GPUs: 1 idle (0) · 2 ours · 1 other · 1 lost (6)               03:12:45
       1 stuck (7) · 1 no permission (5) · 1 excluded (4) · driver 550.54.14
       CUDA 12.4
GPU state         use mem GiB temp power W   lately holder              why slow
  0 OK             0%  0.0/24 61°C 411/450 ▁▁▁▁▁▁▁▁ idle
  1 OK            97% 21.5/24 61°C 411/450 ██·█▂███ rvq-1121-0312
  2 OK            97% 21.5/24 88°C 411/450 ██·█▂███ rvq-1121-0312       thermal
  3 BUSY-OTHER    97% 21.5/24 61°C 411/450 ██·█▂███ 张伟: python
  4 EXCLUDED        — 21.5/24 61°C 411/450 ██·█▂███ —
  5 NO PERMISSION   —       —    —       —          of another container
  6 LOST            —       —    —       — ········ fell off the bus (Xid 79)
  7 STUCK 12s       —       —    —       —          the driver does not answer
  rank   PID GPU      step speed usual   loss ETA data moved  beat doing
  rvq-1121-0312 · rvq · 8x4090 · attempt 2 · mei · 2h05m
  HUNG? rank 3: step 812 unchanged 214 s, median step 1.9 s; ranks 0-2, 4-7 wai…
     0 41230   0 812/20000     —     — 0.3123   —   4% 3m34s  0.2s train
     1 41231   1 812/20000     —     — 0.3123   —   4% 3m34s  0.2s train
     2 41232   2 812/20000     —     — 0.3123   —   4% 3m34s  0.2s train
!    3 41233   3 811/20000     —     — 0.3123   —   4% 3m34s 3m34s stopped (T)
     4 41234   4 812/20000     —     — 0.3123   —   4% 3m34s  0.2s train
     5 41235   5 812/20000     —     — 0.3123   —   4% 3m34s  0.2s train
     6 41236   6 812/20000     —     — 0.3123   —   4% 3m34s  0.2s train
     7 41237   7 812/20000     —     — 0.3123   —   4% 3m34s  0.2s train
e 2 others, 2 events, 1 advice, 1 unread  q quit  h help  l log  d why  p pause"""
HUNG_20 = """\
 HUNG       03:12:45
8 GPUs: 1 idle (0)
2 ours · 1 other
1 lost (6)
1 stuck (7)
1 no permission (5)
GPU state        use
  0 OK            0%
  1 OK           97%
  2 OK           97%
  3 BUSY-OTHER   97%
  4 EXCLUDED       —
  5 NO PERMISSI…   —
  6 LOST           —
  7 STUCK 12s      —
  rank step moved
  rvq-1121-0312 · r…
  HUNG? rank 3: ste…
!    3  811 3m34s
     0  812 3m34s
     1  812 3m34s
     2  812 3m34s
  … 4 more of 8 ran…
e 6 more  q quit"""
WIDE_72 = """\
 FINE  1 GPU: 0 idle · 1 other · driver 550.54.14 · CUDA 12.4   03:12:45
       RTX 4090

GPU state      use mem GiB temp power W   lately holder
  0 BUSY-OTHER 97% 21.5/24 61°C 411/450 ██·█▂███ 张伟: 训练大模型的程序…

  rank   PID GPU      step speed usual   loss   ETA moved beat doing
▸ 王小明的任务  healthy · rvq · 8x4090 · attempt 2 · 王小明 · 2h05m
     0 41230   0 812/20000 1.9/s   98% 0.3123 2h48m  0.4s 0.2s 评估
  second  left alone · rvq · 8x4090 · attempt 2 · mei · 2h05m
     0 41230   0 812/20000 1.9/s   98% 0.3123 2h48m  0.4s 0.2s train

others   3 张伟 18.2 00:42 50112 python train.py --config 配置/大模型.y…
q quit  h help  l log  d why  p pause  s sort (order)  ↑↓ run"""
CPU_80 = """\
 NO DRIVER  no GPUs                                                     03:12:45
  No GPU to watch here: no NVIDIA driver is installed

  rank   PID GPU      step speed usual   loss   ETA data moved beat doing
  rvq-1121-0312  healthy · rvq · cpu · mei · 2h05m
     0 41230   — 812/20000 1.9/s   98% 0.3123 2h48m   4%  0.4s 0.2s train
     1 41231   — 812/20000 1.9/s   98% 0.3123 2h48m   4%  0.4s 0.2s train


q quit  h help  l log  d why  p pause  s sort (order)"""
MANY_80 = """\
 HUNG  16 GPUs: 1 idle (15) · 14 ours · 1 lost (14) · driver 550.54.14  03:12:45
       CUDA 12.4 · RTX 4090
GPU state use mem GiB holder             GPU state use mem GiB holder
  0 OK    97% 21.5/24 rvq-1121-0312        8 OK    97% 21.5/24 rvq-1121-0312
  1 OK    97% 21.5/24 rvq-1121-0312        9 OK    97% 21.5/24 rvq-1121-0312
  2 OK    97% 21.5/24 rvq-1121-0312       10 OK    97% 21.5/24 rvq-1121-0312
  3 OK    97% 21.5/24 rvq-1121-0312       11 OK    97% 21.5/24 rvq-1121-0312
  4 OK    97% 21.5/24 rvq-1121-0312       12 OK    97% 21.5/24 rvq-1121-0312
  5 OK    97% 21.5/24 rvq-1121-0312       13 OK    97% 21.5/24 rvq-1121-0312
  6 OK    97% 21.5/24 rvq-1121-0312       14 LOST    —       — fell off the bus
  7 OK    97% 21.5/24 rvq-1121-0312       15 OK     0%  0.0/24 idle
  rank   PID GPU      step speed usual   loss ETA data moved  beat doing
  rvq-1121-0312 · rvq · 8x4090 · attempt 2 · mei · 2h05m
  HUNG rank 37: step 811 unchanged 214 s
!   37 41267   5 811/20000     —     — 0.3123   —   4% 3m34s 3m34s stopped (T)
     0 41230   0 812/20000     —     — 0.3123   —   4% 3m34s  0.2s train
     1 41231   1 812/20000     —     — 0.3123   —   4% 3m34s  0.2s train
     2 41232   2 812/20000     —     — 0.3123   —   4% 3m34s  0.2s train
     3 41233   3 812/20000     —     — 0.3123   —   4% 3m34s  0.2s train
     4 41234   4 812/20000     —     — 0.3123   —   4% 3m34s  0.2s train
     5 41235   5 812/20000     —     — 0.3123   —   4% 3m34s  0.2s train
     6 41236   6 812/20000     —     — 0.3123   —   4% 3m34s  0.2s train
  … 56 more of 64 ranks: step 812, moved within 3m34s
e 2 events  q quit  h help  l log  d why  p pause  s sort (order)"""


@pytest.mark.parametrize(
    ("seen", "width", "height", "expected"),
    [
        pytest.param(HUNG, 80, 24, HUNG_80, id="hung_80"),
        pytest.param(HUNG, 20, 24, HUNG_20, id="hung_20"),
        pytest.param(WIDE, 72, 14, WIDE_72, id="wide_72"),
        pytest.param(CPU_ONLY, 80, 10, CPU_80, id="cpu_80"),
        pytest.param(MANY, 80, 24, MANY_80, id="many_80"),
    ],
)
def test_the_screen_as_it_is_seen(seen, width, height, expected):
    """All states of a GPU, a hung run; little room, wide letters, no GPU; more than fits."""
    assert shown(seen, width, height) == expected


@pytest.mark.parametrize("seen", BOARDS)
@pytest.mark.parametrize("width", [1, 2, 9, 20, 37, 60, 76, 80, 99, 100, 133, 200])
def test_a_screen_is_never_larger_than_the_terminal(seen, width):
    """As many lines as there are, none wider, whatever is on them."""
    for height in (1, 2, 3, 7, 12, 24, 50):
        lines = screen.draw(seen, View(width=width, height=height, late_s=9.0, message="信息"))
        assert len(lines) == height
        assert max(cell_len(line.plain) for line in lines) <= width


def test_what_is_not_available_is_a_dash_and_never_zero():
    """A GPU and a rank of which nothing is known, beside ones that are at zero."""
    zero = rank(1, step=0, steps_per_s=0.0, usual_steps_per_s=2.0, loss=0.0, eta_s=0.0)
    text = shown(
        frame(gpus=(GpuRow(index=0), idle(1)), jobs=(job(RankRow(rank=0), zero),)), width=100
    ).splitlines()

    nothing, nil = (line.split()[1:] for line in text if line.startswith(("  0 ", "  1 ")))
    assert nothing == ["OK", "—", "—", "—", "—", "—", "idle"]
    assert nil[:3] == ["OK", "0%", "0.0/24"]
    unknown, known = (line.split() for line in text if line.startswith(("      0", "      1")))
    assert unknown == ["0", *"—" * 11]
    assert known[3:8] == ["0/20000", "0.00/s", "0%", "0", "0s"]


def test_a_terminal_is_never_told_what_somebody_else_wrote():
    """Escape sequences and line breaks in names, commands and reasons are shown as marks."""
    evil = "a\x1b[2Jb\nc\r\u202e"
    seen = frame(
        gpus=(gpu(0, holder=evil, slow=(evil,)), gone(1, "lost", evil)),
        jobs=(job(rank(0, phase=evil), name=evil, user=evil, why=evil, diagnosis=evil),),
        strangers=(StrangerRow(gpu=0, pid=1, user=evil, command=evil),),
        changes=(Change(at_s=NOW_S, words=evil),),
        advice=(Advice(about=evil, words=evil),),
        gaps={evil: evil},
    )
    page = Page(title=evil, lines=(evil, "\x1b]0;title\x07", "a\tb"))
    for lines in (
        screen.draw(seen, View(width=200, height=60)),
        screen.draw(seen, View(width=200, height=60, page=page, message=evil)),
    ):
        assert all(line.plain.isprintable() for line in lines)
    assert all(line.isprintable() for line in (*screen.plain(seen), *screen.rest(seen, 80)))


def test_hidden_ranks_come_by_scrolling_and_the_culprit_stays():
    """To the last rank and no further; a line says how many there are besides."""
    view = screen.scrolled(MANY, View(), 10**6)
    text = shown(MANY, scroll=view.scroll)

    assert " 63 41293 " in text
    assert "!   37 41267 " in text
    assert " 0 41230 " not in text
    assert "more of 64 ranks" in text
    assert screen.scrolled(MANY, view, -(10**6)).scroll == 0
    assert screen.scrolled(HUNG, View(), 5).scroll == 0


def test_a_culprit_that_nobody_has_named_yet_is_the_one_behind():
    """Its step is the lowest: it is seen first where not all ranks are."""
    ranks = [rank(i, step=811 if i == 50 else 812) for i in range(64)]
    text = shown(frame(jobs=(job(*ranks, health="suspect", why="no rank moves"),)))

    assert text.splitlines()[5].split()[:2] == ["50", "41280"]
    assert text.splitlines()[6].split()[:2] == ["0", "41230"]


def test_of_several_runs_the_one_in_trouble_is_first_and_the_selected_one_is_open():
    """The others give a line of what their ranks do; a sick one shows at least its culprit."""
    healthy = [job(*map(rank, range(8)), name=f"run-{i}") for i in range(3)]
    seen = replace(HUNG, jobs=(*healthy, *HUNG.jobs))

    text = shown(seen, selected="run-2", height=40)

    order = [text.index(name) for name in ("rvq-1121", "run-0", "run-1", "run-2")]
    assert order == sorted(order)
    assert "▸ run-2" in text
    assert "!    3 41233" in text
    assert text.count("  8 ranks: step 812, 1.9/s, moved within 0.4s") == 1
    assert "  … 7 more of 8 ranks: step 812, 1.9/s, moved within 0.4s" in text
    assert "… " not in text.partition("▸ run-2")[2]


def test_runs_without_room_are_counted():
    """Twenty of them on 24 lines; the troubled one is among those that are seen."""
    seen = frame(jobs=(*(job(rank(0), name=f"run-{i}") for i in range(19)), *HUNG.jobs))

    text = shown(seen)

    assert "HUNG? rank 3" in text
    assert "!    3 41233" in text
    assert sum(f"run-{i}  healthy" in text for i in range(19)) == 7
    assert "  … 12 more runs" in text


def test_gpus_are_sorted_and_the_unknown_is_last():
    """By use, by memory, by how long they are as they are; else as they are numbered."""
    gpus = (gpu(0, utilization_pct=None), gpu(1, utilization_pct=5), gpu(2))
    gpus = (replace(gpus[0], state_age_s=9.0), *gpus[1:])

    def order(sort):
        return [line[2] for line in shown(frame(gpus=gpus), sort=sort).splitlines()[3:6]]

    assert order("order") == ["0", "1", "2"]
    assert order("use") == ["2", "1", "0"]
    assert order("age") == ["0", "1", "2"]


def test_a_frame_that_is_old_or_paused_says_so():
    """It must not look like what is now."""
    assert "no reading for 12s" in shown(HUNG, late_s=12.0)
    assert "PAUSED at 03:12:45" in shown(HUNG, paused=True)
    assert "p go on" in shown(HUNG, paused=True)
    assert shown(HUNG, message="no run is here").splitlines()[-1].startswith("no run is here")


def test_what_has_no_room_is_a_key_away():
    """Others' processes, events, advice and what could not be read, whole."""
    assert "e 2 others, 2 events, 1 advice, 1 unread" in shown(HUNG)
    text = "\n".join(screen.rest(HUNG, 100))
    assert "not visible to this user" in text
    assert "03:12:05  GPU 6 is lost" in text
    assert "batch: 14 of 24 GiB are used" in text
    assert "kernel log: may not be read by this user" in text


def test_a_pipe_gets_everything():
    """All 64 ranks, each row with its run's name; and all events."""
    lines = screen.plain(MANY)

    assert sum(line.endswith("rvq-1121-0312") and " 4123" in line for line in lines) == 10
    assert sum("train" in line or "stopped (T)" in line for line in lines) == 64
    assert any("GPU 6 is lost" in line for line in lines)
    assert not any("more" in line for line in lines)
    assert all(cell_len(line) <= 60 for line in screen.plain(MANY, 60))


def test_a_page_keeps_its_place_and_follows_where_it_is_at_its_end():
    """Long lines are broken, none is lost; scrolling stops at both ends."""
    page = Page(title="log", lines=tuple(f"{i} {'x' * 30}" for i in range(50)), top=None)
    view = View(width=20, height=10, page=page)
    text = shown(frame(), width=20, height=10, page=page)
    assert text.splitlines()[0].split() == ["log", "93-100", "of", "100"]
    assert "49 xxx" in text

    up = screen.scrolled(frame(), view, -3)
    assert up.page.top == 89
    assert screen.scrolled(frame(), up, -(10**9)).page.top == 0
    assert screen.scrolled(frame(), up, 10**9).page.top is None


def test_the_help_fits_on_a_usual_terminal():
    """And names every key."""
    text = shown(frame(), page=Page(title="help", lines=tuple(screen.HELP)))
    assert screen.HELP[-1] in text
    assert "of" not in text.splitlines()[0]


def test_a_page_says_that_q_closes_it():
    """It closes the page and not the monitor."""
    foot = shown(frame(), page=Page(title="help", lines=("a",))).splitlines()[-1]
    assert foot.startswith("q Esc back")


def test_a_stopped_supervisor_is_told_with_what_continues_it():
    """As by Ctrl-Z: the job goes on, and nobody watches it."""
    stopped = job(rank(0), supervised=False, supervisor_stopped=4711)

    assert "  unsupervised: its supervisor is stopped (kill -CONT 4711)\n" in shown(
        frame(jobs=(stopped,)), width=64
    )
