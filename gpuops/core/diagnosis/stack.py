"""What a rank does according to its Python frames: where it is, and what it waits for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

WaitKind = Literal["ranks", "gpu", "data", "outside"]

_STDLIB = re.compile(r"^<|/lib/python3[^/]*/(?!site-packages/|dist-packages/)|/_distutils_hack/")
_PACKAGES = re.compile(r"/(?:site|dist)-packages/")
_TORCH = re.compile(r"/(?:site|dist)-packages/torch/")
_COLLECTIVES = "torch/distributed/distributed_c10d.py"
_BACKWARD = "torch/autograd/graph.py"
_GPU = ("torch/cuda/__init__.py", "torch/cuda/streams.py")
_LOADER = re.compile(r"(?:^|/)torch/utils/data/")
_OUTSIDE = re.compile(r"/lib/python3[^/]*/(?:socket|ssl|http/client|subprocess)\.py$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One call: in ``function``, at ``line`` of ``file``; ``text`` is that line, if readable."""

    function: str
    file: str
    line: int
    text: str = ""

    @property
    def spot(self) -> str:
        """Short, for a sentence: ``step (train.py:52)``."""
        return f"{self.function} ({self.file.rpartition('/')[2]}:{self.line})"

    @property
    def place(self) -> str:
        """Whole, to open the file: ``/home/ada/train.py:52 in step``."""
        return f"{self.file}:{self.line} in {self.function}"

    @property
    def torch(self) -> bool:
        """Whether it belongs to torch."""
        return bool(_TORCH.search(self.file))


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadStack:
    """One thread's frames, the innermost first.

    ``active``: it runs rather than waits; ``has_gil``: it holds the GIL. ``None`` if that is not
    known.
    """

    name: str
    frames: tuple[Frame, ...]
    is_main: bool
    active: bool | None = None
    has_gil: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """All threads of a rank at one moment. ``gap`` says why they could not be read."""

    rank: int
    pid: int
    host: str
    threads: tuple[ThreadStack, ...] = ()
    gap: str | None = None

    @property
    def main(self) -> ThreadStack | None:
        """The thread that trains; ``None`` if it could not be read."""
        return next((thread for thread in self.threads if thread.is_main and thread.frames), None)


@dataclass(frozen=True, slots=True)
class Wait:
    """What a rank waits for. ``kind``: the other ranks, its GPU, its data, or something outside."""

    kind: WaitKind
    name: str


# A call into C leaves no frame: only the caller's source line tells what it is.
_WAITS_OF_LINES = (
    (r"\.wait\(|\bstore\.get\(", Wait("ranks", "an asynchronous call")),
    (r"\.(?:item|tolist|cpu)\(|\bsynchronize\(", Wait("gpu", "the GPU")),
    (r"\b(?:open|read|readline|readinto|recv|accept|connect)\(", Wait("outside", "input")),
)


def own_frame(frames: Sequence[Frame]) -> Frame | None:
    """The frame that the user should look at: the innermost of their own code.

    If all is installed code, it is the innermost that is neither torch's nor Python's.
    """
    others = [frame for frame in frames if not is_deep(frame)]
    theirs = [frame for frame in others if not _PACKAGES.search(frame.file)]
    return next(iter([*theirs, *others, *frames]), None)


def find_wait(frames: Sequence[Frame]) -> Wait | None:
    """What the frames, the innermost first, wait for; ``None`` if they do not show it."""
    inner = list(takewhile(lambda f: is_deep(f) or _PACKAGES.search(f.file), frames))
    # The outermost call is the one that the user made: broadcast_object_list, not its broadcast.
    for frame in reversed(inner):
        name = frame.function.rpartition(".")[2]
        if frame.file.endswith(_COLLECTIVES) and not name.startswith("_"):
            return Wait("ranks", name)
    if inner and inner[0].file.endswith(_BACKWARD):
        return Wait("ranks", "backward")
    if any(frame.file.endswith(_GPU) for frame in inner):
        return Wait("gpu", "the GPU")
    if any(_LOADER.search(frame.file) for frame in frames):
        return Wait("data", "the data loader")
    for frame in inner:
        if _OUTSIDE.search(frame.file):
            program = frame.file.endswith("subprocess.py")
            return Wait("outside", "another program" if program else "the network")
    text = frames[0].text if frames and not is_deep(frames[0]) else ""
    return next((wait for pattern, wait in _WAITS_OF_LINES if re.search(pattern, text)), None)


def path_to_own(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """The frames down to the user's own, the outermost first: the place in the program."""
    mine = own_frame(frames)
    begin = next((n for n, frame in enumerate(frames) if frame is mine), 0)
    return tuple(frame for frame in reversed(frames[begin:]) if not frame.file.startswith("<"))


def is_deep(frame: Frame) -> bool:
    """Whether it belongs to Python or torch."""
    return frame.torch or bool(_STDLIB.search(frame.file))
