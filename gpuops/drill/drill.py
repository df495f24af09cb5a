"""A drill: launch a small job as a user would, inject a fault, and record the outcome."""

from __future__ import annotations

from gpuops.core.drill import RANKS, Injection, Observed
from gpuops.drill.outside import injected
from gpuops.drill.scene import Scene, Site, wait_or_kill
from gpuops.errors import GpuopsError


def run_undisturbed(site: Site) -> Observed:
    """Run the job without a fault: all other runs are compared with this one.

    Raises:
        GpuopsError: it does not finish.
    """
    with Scene(site, "undisturbed") as scene:
        code = wait_or_kill(scene.launch())
        seen = scene.observe(code)
        if code or len(seen.weights) != RANKS:
            raise GpuopsError(
                f"the undisturbed run ended with exit code {code}: a drill proves nothing here.",
                f"`gpuops drill --keep`, then see {scene.screen.name} in the folder it names.",
            )
    return seen


def run_with_fault(site: Site, injection: Injection) -> Observed:
    """Run the job with the fault, and run the command that gpuops then asks the user to type."""
    fault = injection.fault
    with Scene(site, fault.name, gpus=fault.gpus) as scene:
        with injected(scene, scene.launch(injection.words), injection) as child:
            code = wait_or_kill(child)
        resumed = None
        if fault.then == "given up" and scene.root is not None:
            resumed = wait_or_kill(scene.resume())
        mark = scene.mark(injection.words[-1])
        return scene.observe(code, resumed, mark["time"] if mark else None)
