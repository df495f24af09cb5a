"""What a run has claimed: held from before its first attempt until it is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from gpuops.core.finding import Finding
from gpuops.core.launch.choice import Waiting
from gpuops.core.launch.plan import LaunchPlan
from gpuops.launch.claim import claim_gpus
from gpuops.launch.prepare import Prepared


class RunClaims:
    """The GPUs and the port of a run, in the pauses between its attempts too.

    ``descriptors`` are the locks to hand to an attempt; an adopted run has none at first.
    """

    def __init__(
        self,
        show_wait: Callable[[Waiting], None],
        show_findings: Callable[[Sequence[Finding]], None],
    ) -> None:
        self.descriptors: tuple[int, ...] = ()
        self._show_wait, self._show_findings = show_wait, show_findings
        self._held = ExitStack()
        self._claimed: tuple[object, ...] = ()

    def __enter__(self) -> RunClaims:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._held.close()

    def cover(self, plan: LaunchPlan) -> bool:
        """Whether all that a plan takes is claimed already."""
        return bool(self.descriptors) and _to_claim(plan) == self._claimed

    def take(self, prepared: Prepared) -> Prepared:
        """Claim what a plan takes in place of what was claimed; return the plan that was claimed.

        Raises:
            GpuopsError: there are not enough GPUs, or not in the time that was given.
        """
        self._held.close()
        claimed, self.descriptors = self._held.enter_context(
            claim_gpus(prepared, self._show_wait, self._show_findings)
        )
        self._claimed = _to_claim(claimed.launch.plan)
        return claimed


def _to_claim(plan: LaunchPlan) -> tuple[object, ...]:
    return plan.master_port, *(gpu.uuid for gpu in plan.devices)
