"""What a terminal sends, as keys."""

from __future__ import annotations

import pytest

from gpuops.ui.monitor import keys


@pytest.mark.parametrize(
    ("sent", "pressed"),
    [
        (b"qs?", ["q", "s", "?"]),
        (b"\x1b[A\x1b[B\x1bOA\x1bOB", ["up", "down", "up", "down"]),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[4~", ["page up", "page down", "home", "end"]),
        (b"\r\n\x0c", ["enter", "enter", "redraw"]),
        (b"\x1b\x1b[A", ["esc", "up"]),
    ],
)
def test_keys_have_names(sent, pressed):
    """Letters, arrows in both their spellings, and the keys beside them."""
    assert keys.pressed(sent) == (pressed, b"")


@pytest.mark.parametrize(
    "sent", [b"\x1b[1;5D", b"\x1b[200~", b"\x1b[<0;10;10M", b"\x1bq", "é张".encode(), b"\x00\x7f"]
)
def test_what_has_no_name_is_no_letter_of_it(sent):
    """A pasted text's marks, a mouse, Alt-q: none of them leaves the screen."""
    assert keys.pressed(sent) == ([], b"")


def test_an_arrow_may_come_in_parts_and_esc_alone():
    """The beginning is kept until more comes, or nothing does."""
    assert keys.pressed(b"j\x1b") == (["j"], b"\x1b")
    assert keys.pressed(b"\x1b[") == ([], b"\x1b[")
    assert keys.pressed(b"\x1b[1;5") == ([], b"\x1b[1;5")
    assert keys.alone(b"\x1b") == ["esc"]
    assert keys.alone(b"\x1b[") == []
