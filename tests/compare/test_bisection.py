"""The search strategy, on histories made up."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from matrix_compare.bisection import State, Step, step

Strategy = Callable[[Sequence[State]], Step]

_OF = {"=": State.SAME, "#": State.DIFFERS, "!": State.SKIP, "?": State.UNKNOWN}


def states(text: str) -> list[State]:
    """A history as a strip: `=` same, `#` differs, `!` skip, `?` unknown."""
    return [_OF[sign] for sign in text]


def seen(truth: Sequence[State], recorded: Collection[int]) -> list[State]:
    return [state if n in recorded else State.UNKNOWN for n, state in enumerate(truth)]


def search(
    truth: Sequence[State], recorded: Collection[int] = (), strategy: Strategy = step
) -> tuple[Step, list[int]]:
    """Search to the end: the last step, and where was looked on the way."""
    known, looks = seen(truth, recorded), []
    while (found := strategy(known)).next is not None:
        assert known[found.next] is State.UNKNOWN, "what is known is not looked at again"
        known[found.next] = truth[found.next]
        looks.append(found.next)
    return found, looks


def check_answer(truth: Sequence[State], found: Step) -> None:
    """A change is named where there is one, and only there."""
    assert found.left == 0
    assert found.good is not None
    assert truth[found.good] is State.SAME
    if found.bad is None:
        assert [s for s in truth if s is not State.SKIP][-1] is State.SAME
        assert State.SAME not in truth[found.good + 1 :]
    else:
        assert truth[found.bad] is State.DIFFERS
        assert found.good < found.bad
        assert {*truth[found.good + 1 : found.bad]} <= {State.SKIP}


def check_cost(truth: Sequence[State], recorded: Collection[int], looks: Sequence[int]) -> None:
    """No more looks than halving takes, beside those at the ends."""
    ends = len({0, len(truth) - 1} - {*recorded})
    assert len(looks) <= ends + (len(truth) - 2).bit_length()


def check_monotone(truth: Sequence[State], strategy: Strategy) -> None:
    found, looks = search(truth, (), strategy)
    check_answer(truth, found)
    check_cost(truth, (), looks)


def monotone(good: int, bad: int) -> list[State]:
    return [State.SAME] * good + [State.DIFFERS] * bad


_LATER = st.sampled_from([State.SAME, State.DIFFERS, State.SKIP])
_HISTORIES = st.lists(_LATER, min_size=1, max_size=40).map(lambda later: [State.SAME, *later])
_MONOTONE = st.builds(monotone, st.integers(1, 60), st.integers(0, 60)).filter(lambda t: len(t) > 1)
_RECORDED = st.sets(st.integers(0, 120))


@given(_HISTORIES, _RECORDED)
@example(states("=!"), {0})
@example(states("=#=#"), {0, 3})
@example(states("=!#!"), set())
def test_the_answer_is_a_change_whatever_the_history(
    truth: list[State], recorded: set[int]
) -> None:
    found, looks = search(truth, recorded)
    check_answer(truth, found)
    assert len(looks) == len({*looks})
    assert not {*looks} & recorded


@given(_MONOTONE, _RECORDED)
def test_a_single_change_is_found_by_halving(truth: list[State], recorded: set[int]) -> None:
    found, looks = search(truth, recorded)
    check_answer(truth, found)
    check_cost(truth, recorded, looks)
    first = truth.index(State.DIFFERS) if State.DIFFERS in truth else None
    assert found.bad == first, "what is on record does not change the answer"


@given(_MONOTONE, _RECORDED)
def test_what_is_left_is_no_less_than_it_takes(truth: list[State], recorded: set[int]) -> None:
    known = seen(truth, recorded)
    assert len(search(truth, recorded)[1]) <= step(known).left


@given(_HISTORIES, _RECORDED, st.data())
def test_a_search_that_was_killed_goes_on(
    truth: list[State], recorded: set[int], data: st.DataObject
) -> None:
    found, looks = search(truth, recorded)
    done = data.draw(st.integers(0, len(looks)))
    again, rest = search(truth, recorded | {*looks[:done]})
    assert again == found
    assert rest == looks[done:]


@given(_HISTORIES, _RECORDED)
def test_the_first_that_is_known_to_differ_bounds_the_answer(
    truth: list[State], recorded: set[int]
) -> None:
    first = next((n for n, s in enumerate(seen(truth, recorded)) if s is State.DIFFERS), None)
    if first is not None:
        bad = search(truth, recorded)[0].bad
        assert bad is not None
        assert bad <= first


@pytest.mark.parametrize(
    ("known", "good", "bad", "next_"),
    [
        ("????", None, None, 0),
        ("=???", 0, None, 3),
        ("=??!", 0, None, 2),  # the last of which anything can be told stands in for the last
        ("=?#?", 0, 2, 1),  # with one that differs, the last is not needed
        ("=?=?#", 2, 4, 3),
        ("=#=#", 0, 1, None),
        ("=!!#", 0, 3, None),
        ("=??=", 3, None, None),  # the same at both ends
        ("=#?=", 0, 1, None),  # unless one on record differs
        ("=!!!", 0, None, None),
        ("?=#?", 1, 2, 0),
        ("=???#", 0, 4, 2),
        ("=???????!????????#", 0, 17, 12),
    ],
)
def test_steps(known: str, good: int | None, bad: int | None, next_: int | None) -> None:
    found = step(states(known))
    assert (found.good, found.bad, found.next) == (good, bad, next_)


@pytest.mark.parametrize(
    ("known", "left"),
    [("??", 2), ("?????", 4), ("=???", 3), ("=???#", 2), ("=?#", 1), ("=#", 0), ("=?!?#", 2)],
)
def test_looks_that_are_left(known: str, left: int) -> None:
    assert step(states(known)).left == left


def test_a_stretch_that_cannot_be_looked_at_is_avoided() -> None:
    # 63 to look at, of which the 21 in the middle fail: creeping along them would take 21 looks.
    truth = states("=" * 22 + "!" * 21 + "=" * 10 + "#" * 12)
    found, looks = search(truth, {0, len(truth) - 1})
    assert (found.good, found.bad) == (52, 53)
    failed = [place for place in looks if truth[place] is State.SKIP]
    assert len(failed) <= 4
    assert len(looks) <= 10


def linear(known: Sequence[State]) -> Step:
    """From one to the next."""
    found = step(known)
    if found.next is None or State.UNKNOWN not in known[1:-1]:
        return found
    return replace(found, next=known.index(State.UNKNOWN))


def early(known: Sequence[State]) -> Step:
    """Stops with one unknown between the two."""
    found = step(known)
    over = found.next is not None and found.bad is not None and found.left == 1
    return replace(found, next=None, left=0) if over else found


def off_by_one(known: Sequence[State]) -> Step:
    """Names the one after."""
    found = step(known)
    if found.next is not None or found.bad is None:
        return found
    return replace(found, bad=min(found.bad + 1, len(known) - 1))


def blind(known: Sequence[State]) -> Step:
    """Never says that something differs."""
    found = step(known)
    return replace(found, next=None, left=0) if found.good is not None else found


def again(known: Sequence[State]) -> Step:
    """Looks at what is known."""
    found = step(known)
    return found if found.next is None else replace(found, next=found.good or found.next)


def check_all(strategy: Strategy) -> None:
    for good in range(1, 13):
        check_monotone(monotone(good, 12 - good), strategy)


def test_the_strategy_holds_for_every_place_of_the_change() -> None:
    check_all(step)


@pytest.mark.parametrize("wrong", [linear, early, off_by_one, blind, again])
def test_a_wrong_strategy_is_found_out(wrong: Strategy) -> None:
    with pytest.raises(AssertionError):
        check_all(wrong)


def test_creeping_along_a_stretch_that_fails_takes_longer() -> None:
    def creeping(known: Sequence[State]) -> Step:
        found = step(known)
        if found.next is None or found.good is None or found.bad is None:
            return found
        inside = [n for n in range(found.good, found.bad) if known[n] is State.UNKNOWN]
        return replace(found, next=inside[len(inside) // 2])

    def cost(strategy: Strategy) -> int:
        stretches = combinations(range(8, 57, 8), 2)
        truths = [
            states("=" * low + "!" * (high - low) + "=" * (60 - high) + "#" * 4)
            for low, high in stretches
        ]
        return sum(len(search(truth, {0, len(truth) - 1}, strategy)[1]) for truth in truths)

    assert cost(step) * 1.5 < cost(creeping)
