"""The releases that colbert-ai could allow, from the captures of a lane."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_capture.schema import Capture
from matrix_compare.requirement import Run, run_around, same_index
from tests.compare.advices import ran, recorded, row
from tests.compare.conftest import capture_of
from tests.compare.reports import BRIEF

RELEASES = tuple(f"2.{minor}.0" for minor in range(6))


def captures(*names: str, failing: Sequence[str] = ()) -> list[Capture]:
    made = [capture_of(name) for name in names]
    status = {True: ran(search="failed"), False: ran()}
    return [
        Capture(
            record=recorded(one.record.torch, status=status[one.record.torch in failing]),
            rows=one.rows,
        )
        for one in made
    ]


def run(torch: str, held: Sequence[Capture], *borders: str) -> Run | None:
    """The run around a release where each of the releases in `borders` begins another index."""
    return run_around(torch, held, RELEASES, lambda _, later: later.record.torch not in borders)


@pytest.mark.parametrize(
    ("torch", "borders", "requirement"),
    [
        ("2.2.0", [], "torch>=2.0.0,<=2.5.0"),
        ("2.2.0", ["2.1.0", "2.4.0"], "torch>=2.1.0,<=2.3.0"),
        ("2.2.0", ["2.2.0", "2.3.0"], "torch==2.2.0"),
        ("2.0.0", ["2.1.0"], "torch==2.0.0"),
        ("2.5.0", ["2.5.0"], "torch==2.5.0"),
    ],
)
def test_a_run_ends_where_the_index_changes(
    torch: str, borders: list[str], requirement: str
) -> None:
    found = run(torch, captures(*RELEASES), *borders)
    assert found is not None
    assert found.requirement == requirement
    assert found.gaps == ()


def test_a_run_ends_before_a_release_that_does_not_search() -> None:
    held = captures(*RELEASES, failing=["2.1.0", "2.4.0"])
    found = run("2.2.0", held)
    assert found is not None
    assert found.releases == ("2.2.0", "2.3.0")
    assert run("2.1.0", held) is None


def test_releases_without_a_capture_are_named() -> None:
    found = run("2.4.0", captures("2.0.0", "2.3.0", "2.4.0"))
    assert found is not None
    assert found == Run(releases=("2.0.0", "2.3.0", "2.4.0"), gaps=("2.1.0", "2.2.0"))


@BRIEF
@given(
    st.sampled_from(RELEASES),
    st.sets(st.sampled_from(RELEASES)),
    st.sets(st.sampled_from(RELEASES)),
)
def test_a_run_is_the_widest(torch: str, failing: set[str], borders: set[str]) -> None:
    found = run(torch, captures(*RELEASES, failing=[*failing]), *borders)
    if torch in failing:
        assert found is None
        return
    assert found is not None
    first, last = (RELEASES.index(found.releases[at]) for at in (0, -1))
    assert found.releases == RELEASES[first : last + 1]
    assert torch in found.releases
    assert not {*found.releases[1:]} & borders
    assert not {*found.releases} & failing
    assert first == 0 or RELEASES[first] in borders or RELEASES[first - 1] in failing
    assert last == 5 or RELEASES[last + 1] in borders | failing


@pytest.mark.parametrize(
    ("verdicts", "same"),
    [
        (["identical", "reordered"], True),
        (["identical", "close"], False),
        (["identical", "missing"], False),
        (["identical", "unstable"], False),
        ([], False),
    ],
)
def test_an_index_is_the_same_where_all_of_it_means_the_same(
    verdicts: list[str], same: bool
) -> None:
    index = [row(f"index_{n}", verdict) for n, verdict in enumerate(verdicts)]
    assert same_index([*index, row("file_layout", "differs"), row("embs", "differs")]) is same
