"""From a plan to cards that nobody else takes: claim them, and wait for them where asked to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from gpuops.core.choice import reasons
from gpuops.core.device import Claim
from gpuops.core.lease import Ticket, Waiting
from gpuops.errors import GpuopsError
from gpuops.launcher import Prepared, chosen, insist, prepare, with_claims
from gpuops.order import Order
from gpuops.system import leases, nvml
from gpuops.system.leases import Held, TakenError

POLL_S = 0.5


@contextmanager
def secured(
    order: Order, prepared: Prepared, show: Callable[[Waiting], None]
) -> Iterator[tuple[Prepared, Held]]:
    """Claim the cards of a plan; where others were faster, plan anew.

    Yields the plan that was claimed, and the locks to hand to the job.

    Raises:
        GpuopsError: there are not enough cards, or not in the time that was given.
    """
    with ExitStack() as line, ExitStack() as claims:
        ticket: Ticket | None = None
        begin = time.monotonic()
        while True:
            while prepared.short:
                if ticket is None:
                    ticket = line.enter_context(_join(order, prepared))
                _wait(order, ticket, begin, show)
                prepared = _again(order, ticket)
            try:
                held = claims.enter_context(leases.hold(_things(prepared), _claim(prepared)))
                break
            except TakenError:
                prepared = _again(order, ticket)
        line.close()  # those behind us move up
        yield prepared, held


def _again(order: Order, ticket: Ticket | None) -> Prepared:
    prepared = prepare(order, ticket)
    insist(prepared.findings, order.force)
    return prepared


@contextmanager
def _join(order: Order, prepared: Prepared) -> Iterator[Ticket]:
    choice = prepared.choice
    if order.wait_s is None or choice is None:
        missing = choice.short if choice else 0
        raise GpuopsError(
            f"{missing} of the cards wanted are missing: "
            f"{reasons(choice.refused) if choice else 'there are none'}.",
            "`--wait` queues for cards in use, `--shrink` takes fewer.",
        )
    wanted = [*choice.devices, *(refusal.device for refusal in choice.refused if refusal.passes)]
    uuids = [device.uuid for device in wanted if device.uuid is not None]
    with leases.wait_in_line(uuids, choice.wanted, _claim(prepared)) as ticket:
        yield ticket


def _wait(order: Order, ticket: Ticket, begin: float, show: Callable[[Waiting], None]) -> None:
    """Look until there are enough cards for us."""
    limit = order.wait_s if order.wait_s is not None else 0.0
    with nvml.Reader() as reader:
        while True:
            choice = chosen(order, with_claims(reader.read()), ticket)
            waited = time.monotonic() - begin
            if choice is None or not choice.short:
                return
            if not choice.waiting_helps:
                raise GpuopsError(
                    "waiting no longer helps: "
                    f"{reasons([one for one in choice.refused if not one.passes])}.",
                    "`gpuops gpus` shows the cards; `--shrink` takes fewer.",
                )
            if waited >= limit:
                raise GpuopsError(
                    f"{choice.short} of {choice.wanted} cards are still missing after "
                    f"{waited:.0f} s: {reasons([one for one in choice.refused if one.passes])}.",
                    "`--wait` without a time waits for as long as it takes.",
                )
            ahead = tuple(one for one in leases.line() if one.number < ticket.number)
            show(Waiting(choice=choice, ahead=ahead, waited_s=waited))
            time.sleep(min(POLL_S, limit - waited) if math.isfinite(limit) else POLL_S)


def _things(prepared: Prepared) -> list[str]:
    """What to claim: the port, and the cards but for those that somebody else holds and shares."""
    if "claims" in prepared.box.gaps:
        return []
    devices = prepared.choice.devices if prepared.choice is not None else ()
    free = [device.uuid for device in devices if device.claim is None]
    cards = [leases.gpu(uuid) for uuid in free if uuid is not None]
    return [leases.port(prepared.plan.master_port), *cards]


def _claim(prepared: Prepared) -> Claim:
    return leases.me(prepared.plan.run_id, prepared.plan.run_dir)
