"""Claim the GPUs of a plan, so that no other job takes them, and wait for them if asked to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from signal import SIG_IGN, SIGHUP, SIGTERM, getsignal, signal

from gpuops.core.finding import Finding
from gpuops.core.launch.choice import Choice, Waiting, choose, reasons
from gpuops.core.machine.device import Claim
from gpuops.errors import GpuopsError
from gpuops.launch.contention import Contention, ended_by_signal
from gpuops.launch.inventory import as_allotted, with_claims
from gpuops.launch.prepare import Prepared, prepare, refuse_errors
from gpuops.system import claims
from gpuops.system.claims import TakenError
from gpuops.system.gpus import nvml

POLL_S = 0.5
PAUSE_S = 0.1
PATIENCE_S = 60.0
"""How long a GPU may be unreadable, or a driver silent, before a wait ends."""


def claim_gpus(
    prepared: Prepared,
    contention: Contention,
    show_wait: Callable[[Waiting], None],
    show_findings: Callable[[Sequence[Finding]], None],
) -> Prepared:
    """Claim the GPUs of a plan, besides what is held; if others were faster, plan again.

    Returns the plan that was claimed. Then only what it takes is held: what it takes no longer is
    let go last. ``show_findings`` gets the findings if the second plan cannot be run.

    Raises:
        GpuopsError: there are not enough GPUs, or not in the time that was given.
    """
    with ExitStack() as queue:
        begin_s = time.monotonic()
        while True:
            while prepared.short:
                if contention.ticket is None:
                    queue.enter_context(_leaving_in_order())
                    queue.enter_context(_join(prepared, contention))
                contention.claims.keep(())  # it holds nothing while it waits
                _wait(prepared, contention, begin_s, show_wait)
                prepared = _prepare_again(prepared, contention, show_findings)
            resources = _resources(prepared)
            try:
                _add(resources, prepared, contention)
            except TakenError as taken:
                contention.lost(taken)
                time.sleep(PAUSE_S)
                prepared = _prepare_again(prepared, contention, show_findings)
            else:
                contention.claims.keep(resources)
                return prepared


def _prepare_again(
    before: Prepared, contention: Contention, show_findings: Callable[[Sequence[Finding]], None]
) -> Prepared:
    options = before.launch.plan.options
    prepared = prepare(options, contention)
    try:
        refuse_errors(prepared.findings, options.force)
    except GpuopsError:
        show_findings(prepared.findings)  # it is not what was found before
        raise
    return prepared


@contextmanager
def _leaving_in_order() -> Iterator[None]:
    """A launch that is ended while it waits leaves the queue, and the terminal as it was.

    Raises:
        WaitEndedError: a signal ended it.
    """

    def leave(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(number)

    numbers = [n for n in (SIGTERM, SIGHUP) if getsignal(n) is not SIG_IGN]
    before = {number: signal(number, leave) for number in numbers}
    try:
        with ended_by_signal("the place in the queue is given up, "):
            yield
    finally:
        for number, handler in before.items():
            signal(number, handler)


@contextmanager
def _join(prepared: Prepared, contention: Contention) -> Iterator[None]:
    """Take a place in the queue; those behind move up at the end."""
    choice = prepared.selection.choice
    if prepared.launch.plan.options.wait_s is None or choice is None:
        missing = choice.short if choice else 0
        raise GpuopsError(
            f"{missing} of the GPUs wanted are missing: "
            f"{reasons(choice.refused) if choice else 'there are none'}.",
            "`gpuops gpus` shows all GPUs; `--shrink` takes fewer.",
        )
    wanted = [*choice.devices, *(refusal.device for refusal in choice.refused if refusal.passes)]
    uuids = [device.uuid for device in wanted if device.uuid is not None]
    with claims.wait_in_line(uuids, choice.wanted, _claim(prepared)) as ticket:
        contention.ticket = ticket
        try:
            yield
        finally:
            contention.ticket = None


def _wait(
    prepared: Prepared, contention: Contention, begin_s: float, show_wait: Callable[[Waiting], None]
) -> None:
    """Wait until there are enough GPUs for us, and claim them: to plan again may take long.

    A GPU that cannot be read now, or a driver that does not answer, may be busy because another
    job starts: the place in the queue is kept for a while.
    """
    options, wish, ticket = prepared.launch.plan.options, prepared.selection.wish, contention.ticket
    if wish is None or ticket is None:  # a CPU host is never short of GPUs
        return
    limit_s = options.wait_s or 0.0
    hopeful_s = time.monotonic()
    with nvml.Reader() as reader:
        while True:
            now_s = time.monotonic()
            inventory = with_claims(reader.read_use(), contention)
            inventory = as_allotted(inventory, options.allotted)
            problem = inventory.gaps.get("gpus", "").rstrip(".")
            if not problem:
                line = contention.line(inventory.devices)
                choice = choose(wish, inventory.devices, awaited=contention.awaited(line))
                enough = not choice.short or (options.shrink and choice.devices)
                if enough and _claims_at_once(choice, prepared, contention):
                    return
                if now_s - begin_s >= limit_s:
                    taken = reasons([one for one in choice.refused if one.passes])
                    raise GpuopsError(
                        f"{choice.short or 'all'} of {choice.wanted} GPUs are still missing after "
                        f"{now_s - begin_s:.0f} s: {taken}.",
                        "`--wait` without a time waits for as long as it takes.",
                    )
                if choice.short and not choice.waiting_helps:
                    problem = reasons([one for one in choice.refused if not one.passes])
                ahead = tuple(one for one in line if one.number < ticket.number)
                show_wait(Waiting(choice=choice, ahead=ahead, waited_s=now_s - begin_s))
            hopeful_s = hopeful_s if problem else now_s
            if now_s - hopeful_s > PATIENCE_S:
                raise GpuopsError(
                    f"waiting no longer helps: {problem}.",
                    "`gpuops gpus` shows the GPUs; `--shrink` takes fewer.",
                )
            left_s = begin_s + limit_s - now_s
            time.sleep(min(POLL_S, left_s) if left_s > 0 else POLL_S)
            contention.forget_lost()


def _claims_at_once(choice: Choice, prepared: Prepared, contention: Contention) -> bool:
    try:
        _add(_gpus(choice), prepared, contention)
    except TakenError:
        return False
    return True


def _resources(prepared: Prepared) -> list[str]:
    """What to claim: the port and the GPUs, except those that are shared by force."""
    plan, choice = prepared.launch.plan, prepared.selection.choice
    ports = [] if "port" in plan.options.force else [claims.port(plan.master_port)]
    return [*ports, *_gpus(choice)] if choice is not None else ports


def _gpus(choice: Choice) -> list[str]:
    free = [device.uuid for device in choice.devices if device.claim is None]
    return [claims.gpu(uuid) for uuid in free if uuid is not None]


def _add(names: Sequence[str], prepared: Prepared, contention: Contention) -> None:
    if claims.why_none() is None:  # preflight has warned
        contention.claims.add(names, _claim(prepared))


def _claim(prepared: Prepared) -> Claim:
    return claims.own_claim(prepared.launch.plan.run_id, prepared.launch.plan.run_dir)
