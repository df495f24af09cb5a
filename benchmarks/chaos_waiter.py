"""Another launch, which waits in line for the GPUs of a run that is disturbed."""

from __future__ import annotations

import time

from gpuops.drill.scene import Process, Scene
from gpuops.system import claims

IN_LINE_S = 40.0
"""For how long it waits before it is ended."""
HANDOVER_S = 60.0
"""A run that has let its GPUs go ends within this time, and the waiter starts within it."""


class Waiter:
    """Waits for the run's GPUs. It must get them if the run ends, and never before."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._child: Process | None = None
        self._until_s = 0.0
        self._since: dict[bool, float] = {}

    @property
    def there(self) -> bool:
        """Whether it waits, or has the GPUs."""
        return self._child is not None

    def stand_in_line(self) -> bool:
        """Wait; return whether it stands in line by now."""
        self._child = self._child or self._scene.launch_waiter()
        self._until_s = time.monotonic() + IN_LINE_S
        return bool(claims.queue())

    def look(self, *, going: bool) -> None:
        """End it once it has been served, or has waited for long; ``going``: so is the run."""
        if self._child is None:
            return
        now, served = time.monotonic(), self._scene.waiters_root is not None
        # It is served if and only if the run has ended, but for a moment.
        self._since = {} if served is not going else self._since or {served: now}
        late = any(now - since_s > HANDOVER_S for since_s in self._since.values())
        problem = ""
        if (code := self._child.poll()) is not None and not served:
            problem = f"the launch that waited ended with code {code}"
        elif late and served:
            problem = "the launch that waited got the GPUs of a run that goes on"
        elif late:
            problem = "the launch that waited did not get the GPUs that the run had let go"
        if problem:
            self._scene.wrong.append(problem)
        if problem or (served and not going) or (not served and going and now > self._until_s):
            self._scene.end_waiter(self._child)
            self._child, self._since = None, {}
