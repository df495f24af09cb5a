"""The rule by which claims exclude each other, tried in every order of its steps.

A claim is made for all to see, then the others are looked at one by one: the rule of
``gpuops.system.claims``, without files.
"""

from __future__ import annotations

OUT, DECIDING, HELD = "out", "deciding", "held"
THREE = 3
LEFT = (OUT, frozenset(), None)


def steps(state):
    """What may happen next to each of three launches: (status, who was looked at, order)."""
    for me, (status, looked, order) in enumerate(state):
        if status == OUT:
            for place in range(2 * THREE):  # of two that decide, which goes first is chance
                if place not in {other for _, _, other in state}:
                    yield moved(state, me, (DECIDING, frozenset(), place))
        elif status == HELD or len(looked) == THREE - 1:
            yield moved(state, me, (HELD, looked, order) if status == DECIDING else LEFT)
        for them in {*range(THREE)} - {me} if status == DECIDING else ():
            theirs, _, their_order = state[them]
            if theirs == OUT:
                yield moved(state, me, (DECIDING, looked | {them}, order))
            elif theirs == HELD or their_order < order:
                yield moved(state, me, LEFT)
            else:  # it comes after us and will give way: look again from the beginning
                yield moved(state, me, (DECIDING, frozenset(), order))


def moved(state, me, to):
    return (*state[:me], to, *state[me + 1 :])


def test_never_do_two_hold_the_same_and_never_do_all_wait():
    """Every state that can be reached."""
    seen, todo = set(), [(LEFT,) * THREE]
    while todo:
        state = todo.pop()
        if state in seen:
            continue
        seen.add(state)
        assert sum(status == HELD for status, _, _ in state) <= 1
        after = set(steps(state)) - {state}
        assert after, "all wait for each other"
        todo += after
    assert any(HELD in {status for status, _, _ in state} for state in seen)
