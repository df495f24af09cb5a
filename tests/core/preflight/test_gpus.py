"""Whether a job gets the cards that it wants."""

from __future__ import annotations

import pytest
from machines import CPU, CUDA, GIB, box, card, needs, node

from gpuops.core.launch.choice import Wish, choose
from gpuops.core.machine.device import Box, GpuProcess
from gpuops.core.preflight.gpus import check_gpus

SOMEBODY = GpuProcess(pid=4711, user="alice", command="python", memory_bytes=GIB)
NOBODY_KNOWN = GpuProcess(pid=4712, user=None, command=None, memory_bytes=None)


def found(*cards, profile=CUDA, **wish):
    """What is said of a job that wants two of these cards."""
    choice = choose(Wish(count=2, **wish), cards)
    return check_gpus(node(box=box(*cards)), profile, needs(choice=choice))


def test_a_cpu_job_does_not_look_at_gpus():
    """There is nothing to say."""
    assert found(card(0), card(1), profile=CPU) is None
    assert check_gpus(node(), CUDA, needs(choice=None)) is None


def test_free_cards_are_fine():
    """The cards that the job takes are named, whatever happens on the others."""
    said = found(card(0), card(1), card(2), card(3, processes=(SOMEBODY,)))

    assert "ok" == said.severity
    assert "0, 1 of 4" in said.summary


@pytest.mark.parametrize(("who", "words"), [(SOMEBODY, "alice"), (NOBODY_KNOWN, "unknown user")])
def test_a_shared_card_is_a_warning_that_names_its_user(who, words):
    """Who computes on it, with what, as far as it is known."""
    said = found(card(0), card(1, processes=(who,)), share=True)

    assert "warning" == said.severity
    assert words in said.summary
    assert str(who.pid) in said.summary


def test_too_few_cards_are_an_error_that_names_who_holds_them():
    """Both figures, and a way out."""
    said = found(card(0), card(1, processes=(SOMEBODY,)))

    assert "error" == said.severity
    assert "alice" in said.summary
    assert (1, 2) == (said.measured, said.wanted)
    assert "--wait" in said.hint


def test_force_is_offered_only_where_it_helps():
    """A card in use can be shared; one that is lost nobody can bring."""
    lost = card(1, fault="it is lost", state="lost")
    used = card(0, processes=(SOMEBODY,))
    mended, hopeless = found(card(0), card(1, processes=(SOMEBODY,))), found(used, lost)

    assert (mended.forcible, hopeless.forcible) == (True, False)
    assert "--force gpus" in mended.hint
    assert "--force" not in hopeless.hint
    assert ("error", False) == ((said := found(used, lost, share=True)).severity, said.forcible)


def test_a_card_whose_users_are_hidden_is_not_called_free():
    """Unknown is not free."""
    said = found(card(0), card(1, processes=None))

    assert "warning" == said.severity
    assert "free" not in said.summary


def test_gpus_that_cannot_be_read_are_an_error():
    """A blind look does not look healthy."""
    blind = node(box=Box(gaps={"gpus": "no driver answers"}))

    said = check_gpus(blind, CUDA, needs(choice=choose(Wish(count=2), ())))

    assert "error" == said.severity
    assert "no driver answers" in said.summary
