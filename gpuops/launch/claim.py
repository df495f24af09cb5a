"""From a plan to GPUs that nobody else takes: claim them, and wait for them where asked to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from signal import SIG_IGN, SIGHUP, SIGTERM, getsignal, signal

from gpuops.core.finding import Finding
from gpuops.core.launch.choice import Choice, reasons
from gpuops.core.launch.queue import Ticket, Waiting
from gpuops.core.machine.device import Claim
from gpuops.errors import GpuopsError, MachineError
from gpuops.launch.inventory import with_claims
from gpuops.launch.prepare import Prepared, chosen, insist, prepare
from gpuops.launch.request import LaunchOptions
from gpuops.system import leases
from gpuops.system.gpus import nvml
from gpuops.system.leases import Held, TakenError

POLL_S = 0.5
PATIENCE_S = 60.0
"""How long a GPU may be unreadable, or a driver silent, before a wait is given up."""


@contextmanager
def secured(
    options: LaunchOptions,
    prepared: Prepared,
    show: Callable[[Waiting], None],
    tell: Callable[[Sequence[Finding]], None],
) -> Iterator[tuple[Prepared, Held]]:
    """Claim the GPUs of a plan; where others were faster, plan anew.

    Yields the plan that was claimed, and the locks to hand to the job. ``show`` is called while it
    waits, ``tell`` with what preflight found where a plan made anew cannot be run.

    Raises:
        GpuopsError: there are not enough GPUs, or not in the time that was given.
    """
    with ExitStack() as line, ExitStack() as claims:
        ticket: Ticket | None = None
        begin = time.monotonic()
        while True:
            while prepared.short:
                if ticket is None:
                    line.enter_context(_leaving_in_order())
                    ticket = line.enter_context(_join(options, prepared))
                _wait(options, ticket, begin, show)
                prepared = _again(options, ticket, tell)
            try:
                things = _things(options, prepared)
                held = claims.enter_context(leases.hold(things, _claim(prepared)))
                break
            except TakenError:
                prepared = _again(options, ticket, tell)
        line.close()  # those behind us move up
        yield prepared, held


def _again(
    options: LaunchOptions, ticket: Ticket | None, tell: Callable[[Sequence[Finding]], None]
) -> Prepared:
    prepared = prepare(options, ticket)
    try:
        insist(prepared.findings, options.force)
    except GpuopsError:
        tell(prepared.findings)  # it is not what was found before
        raise
    return prepared


@contextmanager
def _leaving_in_order() -> Iterator[None]:
    """Who is ended while it waits leaves the line, and the terminal as it was."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    numbers = [n for n in (SIGTERM, SIGHUP) if getsignal(n) is not SIG_IGN]
    before = {number: signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal(number, handler)


@contextmanager
def _join(options: LaunchOptions, prepared: Prepared) -> Iterator[Ticket]:
    choice = prepared.choice
    if options.wait_s is None or choice is None:
        missing = choice.short if choice else 0
        raise GpuopsError(
            f"{missing} of the GPUs wanted are missing: "
            f"{reasons(choice.refused) if choice else 'there are none'}.",
            "`gpuops gpus` shows all GPUs; `--shrink` takes fewer.",
        )
    wanted = [*choice.devices, *(refusal.device for refusal in choice.refused if refusal.passes)]
    uuids = [device.uuid for device in wanted if device.uuid is not None]
    with leases.wait_in_line(uuids, choice.wanted, _claim(prepared)) as ticket:
        yield ticket


def _wait(
    options: LaunchOptions, ticket: Ticket, begin: float, show: Callable[[Waiting], None]
) -> None:
    """Look until there are enough GPUs for us.

    A GPU that cannot be read now, or a driver that does not answer, may be busy with somebody's
    start: the place in the line is kept for a while.
    """
    limit = options.wait_s if options.wait_s is not None else 0.0
    hopeful_s = time.monotonic()
    with nvml.Reader() as reader:
        while True:
            now = time.monotonic()
            waited = now - begin
            problem = ""
            try:
                choice = chosen(options, with_claims(reader.read()), ticket)
            except MachineError as error:
                choice, problem = None, error.message.rstrip(".")
            else:
                if choice is None or not choice.short or (options.shrink and choice.devices):
                    return
                if not choice.waiting_helps:
                    problem = reasons([one for one in choice.refused if not one.passes])
            hopeful_s = hopeful_s if problem else now
            if now - hopeful_s > PATIENCE_S:
                raise GpuopsError(
                    f"waiting no longer helps: {problem}.",
                    "`gpuops gpus` shows the GPUs; `--shrink` takes fewer.",
                )
            if choice is not None:
                if waited >= limit:
                    raise _too_late(choice, waited)
                ahead = tuple(one for one in leases.line() if one.number < ticket.number)
                show(Waiting(choice=choice, ahead=ahead, waited_s=waited))
            time.sleep(min(POLL_S, max(0.0, limit - waited)) if math.isfinite(limit) else POLL_S)


def _too_late(choice: Choice, waited_s: float) -> GpuopsError:
    taken = reasons([refusal for refusal in choice.refused if refusal.passes])
    return GpuopsError(
        f"{choice.short} of {choice.wanted} GPUs are still missing after {waited_s:.0f} s: "
        f"{taken}.",
        "`--wait` without a time waits for as long as it takes.",
    )


def _things(options: LaunchOptions, prepared: Prepared) -> list[str]:
    """What to claim: the port and the GPUs, but for what is shared by force."""
    if leases.why_none() is not None:
        return []
    devices = prepared.choice.devices if prepared.choice is not None else ()
    free = [device.uuid for device in devices if device.claim is None]
    gpus = [leases.gpu(uuid) for uuid in free if uuid is not None]
    ports = [] if "port" in options.force else [leases.port(prepared.launch.plan.master_port)]
    return [*ports, *gpus]


def _claim(prepared: Prepared) -> Claim:
    return leases.me(prepared.launch.plan.run_id, prepared.launch.plan.run_dir)
