"""The events of a run: in order, whole, and never in the way."""

from __future__ import annotations

import threading

from gpuops.system.runs import events


def test_events_come_back_in_order(tmp_path):
    """Each with its time and its fields."""
    events.record(tmp_path, "started", attempt=1)
    events.record(tmp_path, "ended", outcome="finished", note="line\nbreak \u2028 ü")

    first, second = events.read(tmp_path)

    assert ("started", 1) == (first["event"], first["attempt"])
    assert "line\nbreak \u2028 ü" == second["note"]
    assert first["time"] <= second["time"]


def test_a_torn_last_event_is_not_there_yet(tmp_path):
    """Half a line is no event, and does no harm to those before."""
    events.record(tmp_path, "started")
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"time": 1, "event": "en')

    assert ["started"] == [event["event"] for event in events.read(tmp_path)]


def test_an_event_after_a_torn_one_is_not_lost(tmp_path):
    """What a crash left of the line before does not swallow the next."""
    events.record(tmp_path, "started")
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"time": 1, "event": "en')
    events.record(tmp_path, "attempt_started", attempt=2)

    assert ["started", "attempt_started"] == [e["event"] for e in events.read(tmp_path)]


def test_events_of_two_writers_never_mix(tmp_path):
    """A supervisor and a person's command may record at the same moment."""
    writers = [
        threading.Thread(
            target=lambda n=n: [events.record(tmp_path, f"e{n}", fill="x" * 500) for _ in range(50)]
        )
        for n in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert 200 == len(events.read(tmp_path))


def test_events_that_cannot_be_written_stop_nothing(tmp_path):
    """A full or vanished disk does not end the supervision of a job."""
    events.record(tmp_path / "gone", "started")

    assert [] == events.read(tmp_path / "gone")
