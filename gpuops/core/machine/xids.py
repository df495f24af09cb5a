"""The meaning and the remedy of each Xid, an error that the driver writes to the kernel's log."""

from __future__ import annotations

from typing import Literal

Remedy = Literal["none", "look", "reset", "restart"]
REMEDIES: tuple[Remedy, ...] = ("none", "look", "reset", "restart")

# https://docs.nvidia.com/deploy/xid-errors: what happened, and what must be done at once.
MEANINGS: dict[int, tuple[str, Remedy]] = {
    13: ("a program's kernel failed, often because of an index out of range", "none"),
    31: ("a program accessed memory outside its own", "none"),
    43: ("a program's work was stopped after its own fault", "none"),
    45: ("a program's work was removed after an earlier error", "none"),
    48: ("uncorrectable memory error", "reset"),
    62: ("its power controller halted", "reset"),
    63: ("a memory row was set aside, to be replaced at a reset", "look"),
    64: ("a broken memory row could not be set aside", "reset"),
    74: ("NVLink error", "reset"),
    79: ("it fell off the bus", "restart"),
    92: ("many corrected memory errors", "look"),
    94: ("memory error, contained: one program ended", "look"),
    95: ("memory error, not contained: any program's data may be corrupt", "reset"),
    109: ("it did not switch between programs in time", "reset"),
    119: ("its system processor (GSP) did not answer", "reset"),
    120: ("its system processor (GSP) failed", "reset"),
    154: ("the driver asks for it to be recovered", "reset"),
}
UNKNOWN: tuple[str, Remedy] = ("see NVIDIA's list of Xid errors", "look")
