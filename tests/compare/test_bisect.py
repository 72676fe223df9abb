"""`python -m matrix_compare.bisect`, on captures made of real digests."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from matrix_capture.errors import MatrixError
from matrix_capture.names import release_order
from matrix_capture.schema import CaptureCode
from matrix_compare import bisect as module
from matrix_compare.bisect import Bisection, bisect, main
from tests.compare.conftest import LANE, ROOT, Maker, Put, pipeline_puts, status_of

RELEASES = ("2.2.0", "2.2.1", "2.2.2", "2.3.0", "2.3.1", "2.4.0", "2.4.1")
A, B = RELEASES[0], RELEASES[-1]
EMBS = np.linspace(-1, 1, 12).astype(np.float16).reshape(3, 4)
NIGHTLY = "cpu-nightly"


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def ask(tmp_path: Path) -> Any:
    def ask(artifact: str = "embs", a: str = A, b: str = B, lane: str = LANE) -> Bisection:
        return bisect(tmp_path, lane, (a, b), artifact)

    return ask


def embs(value: float = 1, **changes: Any) -> list[Put]:
    return pipeline_puts(EMBS * np.float16(value), **changes)


def captured(make: Maker, torch: str, sign: str, **record: Any) -> None:
    """A capture as a strip shows it: `=`, `#` or `!`, which stopped before the artifact."""
    if sign == "!":
        make(torch, [], status=status_of("index"), **record)
    else:
        make(torch, embs({"=": 1, "#": 2, "*": 3}[sign]), **record)


def record_all(make: Maker, strip: str) -> None:
    for torch, sign in zip(RELEASES, strip, strict=True):
        if sign != "?":
            captured(make, torch, sign)


def run_to_end(make: Maker, ask: Any, truth: str) -> tuple[Bisection, list[str]]:
    """Capture what is asked for until there is an answer, as the session does."""
    found, looks = ask(), []
    while found.next:
        assert found.next not in looks
        looks.append(found.next)
        captured(make, found.next, dict(zip(RELEASES, truth, strict=True))[found.next])
        found = ask()
    return found, looks


@pytest.mark.parametrize("turn", range(1, len(RELEASES)))
def test_the_first_that_changes_is_found(make: Maker, ask: Any, turn: int) -> None:
    truth = "=" * turn + "#" * (len(RELEASES) - turn)
    found, looks = run_to_end(make, ask, truth)
    assert (found.good, found.bad) == RELEASES[turn - 1 : turn + 1]
    assert looks[:2] == [A, B]
    assert len(looks) <= 5
    assert found.untestable == ()
    assert found.commands == (
        f"nox -s compare -- {found.good} {found.bad}",
        f"nox -s explain -- {found.good} {found.bad}",
    )


@pytest.mark.parametrize(
    ("strip", "expected", "sentence"),
    [
        (
            "=??=##?",
            ("2.3.0", "2.3.1", 0),
            "what torch 2.2.0 makes, 2.3.0 still makes and 2.3.1 does not",
        ),
        ("=#?????", (A, "2.2.1", 0), "what torch 2.2.0 makes, 2.2.1 does not"),
        (
            "=!!#??#",
            (A, "2.3.0", 2),
            "what torch 2.2.0 makes, 2.3.0 does not; "
            "nothing can be told of 2.2.1 and 2.2.2, in between",
        ),
        ("=?????=", (B, "", 0), "torch 2.4.1 makes what 2.2.0 makes"),
        (
            "=????=!",
            ("2.4.0", "", 1),
            "torch 2.4.0 makes what 2.2.0 makes; nothing can be told of 2.4.1",
        ),
        ("=!!!!!!", (A, "", 6), "nothing can be told of 2.2.1, 2.2.2, 2.3.0 and 3 more"),
        ("=#===?=", (A, "2.2.1", 0), "what torch 2.2.0 makes, 2.2.1 does not"),
    ],
)
def test_the_answer_in_words(
    make: Maker, ask: Any, strip: str, expected: tuple[str, str, int], sentence: str
) -> None:
    record_all(make, strip)
    found = ask()
    assert (found.next, found.left) == ("", 0)
    assert (found.good, found.bad, len(found.untestable)) == expected
    assert found.sentence == f"embs: {sentence}"
    assert bool(found.commands) == bool(found.bad)


@pytest.mark.parametrize(
    ("strip", "after", "left"),
    [
        ("???????", A, "5 captures"),
        ("=??????", B, "4 captures"),
        ("=?????#", "2.3.0", "3 captures"),
        ("=?#????", "2.2.1", "1 capture"),
        ("=?????!", "2.4.0", "4 captures"),
        ("?#####=", A, "5 captures"),  # there is nothing to hold them against yet
    ],
)
def test_what_is_next(make: Maker, ask: Any, strip: str, after: str, left: str) -> None:
    record_all(make, strip)
    found = ask()
    assert found.next == after
    assert (
        found.sentence == f"next is torch {after}; {left} left at most, more if some tell nothing"
    )
    assert found.commands == found.notes == ()


def test_the_older_is_a_whatever_the_order(make: Maker, ask: Any) -> None:
    record_all(make, "===#???")
    assert ask(a=B, b=A) == ask(a=A, b=B)


def test_what_changes_more_than_once_is_told(make: Maker, ask: Any) -> None:
    record_all(make, "=##=#*?")
    found = ask()
    assert (found.good, found.bad) == (A, "2.2.1")
    assert found.changes == (
        ("2.2.0", "2.2.1"),
        ("2.2.2", "2.3.0"),
        ("2.3.0", "2.3.1"),
        ("2.3.1", "2.4.0"),
    )
    assert found.notes[-1] == (
        "on record it changes more than once: "
        "2.2.0...2.2.1, 2.2.2...2.3.0, 2.3.0...2.3.1 and 1 more"
    )


def test_what_changes_once_is_not_said_to_change_more_often(make: Maker, ask: Any) -> None:
    record_all(make, "===####")
    assert ask().changes == (("2.2.2", "2.3.0"),)
    assert not any("more than once" in note for note in ask().notes)


def test_only_the_artifact_asked_for_counts(make: Maker, ask: Any) -> None:
    make(A, embs())
    make(B, embs(codes=np.zeros(6, np.int32)))
    assert ask("embs").bad == ""
    assert ask("codes").next != ""


def test_a_part_or_a_pass_may_be_named(make: Maker, ask: Any) -> None:
    def puts(second: float) -> list[Put]:
        return [
            Put(
                artifact="layers",
                part=f"layer.{n}",
                scope=scope,
                value=np.array([value], np.float32),
            )
            for scope in ("sample", "chunk.0")
            for n, value in enumerate((1.0, second if scope == "sample" else 1.0))
        ]

    make(A, puts(1.0))
    make(B, puts(2.0))
    assert ask("layers").next
    assert ask("layers layer.1").next
    assert ask("layers sample layer.1").next
    assert ask("layers layer.0").bad == ""
    assert ask("layers chunk.0").bad == ""
    with pytest.raises(MatrixError, match=r"torch 2\.2\.0 has no layers layer\.7 on record; begin"):
        ask("layers layer.7")


def test_a_reordering_is_no_change_but_what_is_close_is_one(make: Maker, ask: Any) -> None:
    swapped = np.array([3, 1, 2, 5, 0, 4])
    make(A, embs())
    make(B, embs(1 + 2**-10, codes_sorted_indices=swapped))
    assert ask("codes_sorted_indices").sentence.endswith("torch 2.4.1 makes what 2.2.0 makes")
    make(B, embs(codes_sorted_indices=np.zeros(6, np.int64)))
    assert ask("codes_sorted_indices").next
    value = np.array([1.0, 2.0], np.float32)
    make(A, [Put(artifact="D", value=value)])
    make(B, [Put(artifact="D", value=np.nextafter(value, np.float32(9)))])
    assert ask("D").next


def test_nothing_is_measured(make: Maker, ask: Any, tmp_path: Path) -> None:
    record_all(make, "===####")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    assert ask().bad
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_a_whole_run_does_not_make_has_changed_what_was_not_seen_has_not(
    make: Maker, ask: Any
) -> None:
    make(A, embs())
    make(B, [put for put in embs() if put.artifact != "embs"])
    assert ask().next == "2.3.0"
    make(B, [], missing={"embs": "renamed"})
    (*_, last) = ask().candidates
    assert (last.state, last.reason) == ("skip", "not in 2.4.1: renamed")


def test_an_unstable_artifact_is_refused(make: Maker, ask: Any) -> None:
    twice = [*embs(), *(Put(artifact="embs", value=EMBS * 3, repeat=1),)]
    make(A, twice)
    make(B, embs(2))
    with pytest.raises(MatrixError, match=r"differs between two runs of torch 2\.2\.0"):
        ask()
    assert ask("codes").bad == ""


def test_a_candidate_that_is_unstable_tells_nothing(make: Maker, ask: Any) -> None:
    record_all(make, "===?###")
    make("2.3.0", [*embs(), Put(artifact="embs", value=EMBS * 3, repeat=1)])
    found = ask()
    assert (found.good, found.bad, found.untestable) == ("2.2.2", "2.3.1", ("2.3.0",))
    assert found.candidates[3].reason == "2.3.0: repeats 0 and 1 disagree at occurrence 0"


def test_a_first_release_that_stopped_is_refused(make: Maker, ask: Any) -> None:
    captured(make, A, "!")
    with pytest.raises(MatrixError, match=r"has no embs on record: 2\.2\.0 stopped at index"):
        ask()


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"capture_code": CaptureCode(version="0.1.0", hash="ff")}, "by other code"),
        ({"inputs": {"checkpoint": "cc"}}, "of other inputs"),
        ({"fingerprint": {"cpu_model": "Y"}}, "on another host"),
        ({"packages": {"numpy": "2.0.0"}}, "with another numpy"),
        (
            {"packages": {"colbert-ai": "0.2.21"}, "factors": {"colbert-ai": "0.2.21"}},
            "with another colbert-ai",
        ),
    ],
)
def test_a_capture_that_was_made_otherwise_is_made_anew(
    make: Maker, ask: Any, record: dict[str, Any], reason: str
) -> None:
    captured(make, A, "=", packages={"numpy": "1.26.4", "colbert-ai": "0.2.22"})
    captured(make, B, "#", **record)
    found = ask()
    assert found.next == B
    assert found.candidates[-1].reason == f"captured {reason} than 2.2.0"
    captured(make, B, "#")
    assert ask().next != B


def test_what_capturing_anew_would_not_mend_tells_nothing(make: Maker, ask: Any) -> None:
    captured(make, A, "=")
    captured(make, B, "#", factors={"python": "3.12"})
    found = ask()
    assert found.candidates[-1].state == "skip"
    assert found.candidates[-1].reason.startswith("factors differ")
    # A failed install has fewer packages, which is no other pin.
    make(B, [], status=status_of("install"), packages={})
    assert "2.4.1 stopped at install" in ask().candidates[-1].reason


def test_a_capture_that_cannot_be_read_is_made_anew(make: Maker, ask: Any, tmp_path: Path) -> None:
    captured(make, A, "=")
    path = tmp_path / "digests" / LANE / f"torch-{B}.parquet"
    path.write_bytes(b"torn")
    assert "not a Parquet file" in ask().candidates[-1].reason
    path.write_bytes((path.parent / f"torch-{A}.parquet").read_bytes())
    assert "its record says torch 2.2.0" in ask().candidates[-1].reason
    assert ask().next == B


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The builds that the nightly index has."""
    found: list[str] = []

    def builds(address: str, python: str) -> list[str]:
        assert (address.rpartition("/")[2], python) == ("cpu", "3.11")
        if not found:
            raise MatrixError("the index cannot be read")
        return list(found)

    monkeypatch.setattr(module, "builds", builds)
    return found


def test_nightly_builds_come_after_the_releases(make: Maker, ask: Any, index: list[str]) -> None:
    days = [f"2.3.0.dev202401{day:02}" for day in range(10, 26)]
    index += ["2.2.2.dev20231201", *days, "2.4.0.dev20240301"]
    turn = "2.3.0.dev20240117"
    found, looks = ask(lane=NIGHTLY), []
    while found.next:
        assert found.next not in looks
        looks.append(found.next)
        sign = "=" if release_order(found.next) < release_order(turn) else "#"
        captured(make, found.next, sign, lane=NIGHTLY)
        found = ask(lane=NIGHTLY)
    assert (found.good, found.bad) == ("2.3.0.dev20240116", turn)
    assert looks[:5] == [A, B, "2.3.0", "2.2.1", "2.2.2"]
    assert set(looks[5:]) <= set(days)
    assert len(looks[5:]) <= 5
    assert found.commands[1] == (
        "nox -s explain -- 2.3.0.dev20240116 2.3.0.dev20240117 --lane cpu-nightly"
    )
    assert found.notes == ("the index has no nightly build between 2.3.0.dev20240116 and " + turn,)
    # What is on record stays known when the index has forgotten it.
    index[:] = []
    again = ask(lane=NIGHTLY)
    assert (again.good, again.bad) == (found.good, found.bad)
    assert again.notes == (
        "nightly builds are out of reach, so the answer is what is on record: "
        "the index cannot be read",
    )


def test_a_lane_without_nightly_builds_says_so(make: Maker, ask: Any) -> None:
    record_all(make, "===####")
    assert ask().notes == (
        "lane cpu-pinned takes no nightly builds, so the answer is a release; "
        "lane cpu-nightly does",
    )


def test_options_are_told_in_the_commands(make: Maker, ask: Any) -> None:
    lane = f"{LANE}+01234567"
    for torch, sign in zip(RELEASES, "===####", strict=True):
        captured(make, torch, sign, lane=lane, options={"passages": 96})
    assert ask(lane=lane).commands[0] == "nox -s compare -- 2.2.2 2.3.0 --passages 96"


@hypothesis_settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text("=#!", min_size=6, max_size=6), st.sets(st.integers(0, 6)))
def test_whatever_the_history_the_answer_is_a_change(
    make: Maker, ask: Any, tmp_path: Path, later: str, recorded: set[int]
) -> None:
    for path in tmp_path.glob(f"digests/{LANE}/*"):
        path.unlink()
    truth = f"={later}"
    strip = "".join(sign if n in recorded else "?" for n, sign in enumerate(truth))
    record_all(make, strip)
    found, looks = run_to_end(make, ask, truth)
    of = dict(zip(RELEASES, truth, strict=True))
    assert not {*looks} & {RELEASES[n] for n in recorded}
    assert of[found.good] == "="
    if found.bad:
        assert of[found.bad] == "#"
        low, high = (RELEASES.index(torch) for torch in (found.good, found.bad))
        assert {*truth[low + 1 : high]} <= {"!"}
        assert found.untestable == RELEASES[low + 1 : high]
    else:
        assert truth.rstrip("!")[-1] == "="


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str, artifact: str = "embs") -> tuple[int, str, str]:
        where = ["--data", str(tmp_path), "--lane", LANE, "--artifact", artifact]
        code = main([*where, *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def lines(out: str) -> Sequence[str]:
    return [line.rstrip() for line in out.splitlines()]


def test_the_terminal_shows_every_candidate(run: Any, make: Maker) -> None:
    record_all(make, "=!?###?")
    code, out, err = run(A, B)
    assert (code, err) == (0, "")
    assert lines(out) == [
        "embs from torch 2.2.0 to 2.4.1, lane cpu-pinned",
        "= 2.2.0  ! 2.2.1  \N{EN DASH} 2.2.2  ≠ 2.3.0  ≠ 2.3.1  ≠ 2.4.0  \N{EN DASH} 2.4.1",
        "= as in 2.2.0   ≠ not so   ! tells nothing   \N{EN DASH} no capture that counts",
        "! 2.2.1: 2.2.1 stopped at index: ImportError: no module\\nsecond line",
        "next is torch 2.2.2; 1 capture left at most, more if some tell nothing",
    ]


def test_json_says_the_same(run: Any, make: Maker, tmp_path: Path) -> None:
    record_all(make, "==!####")
    file = tmp_path / "found.json"
    code, out, _ = run(A, B, "--json", str(file))
    assert code == 0
    content = json.loads(file.read_text(encoding="utf-8"))
    assert (content["schema_version"], content["lane"], content["artifact"]) == (1, LANE, "embs")
    assert (content["good"], content["bad"], content["untestable"]) == ("2.2.1", "2.3.0", ["2.2.2"])
    assert (content["next"], content["left"]) == ("", 0)
    assert [one["state"] for one in content["candidates"][1:4]] == ["same", "skip", "differs"]
    assert content["sentence"] in out
    assert [*content["notes"], *content["commands"]] == lines(out)[-3:]


def test_a_hostile_capture_writes_no_controls(run: Any, make: Maker) -> None:
    captured(make, A, "=")
    make(B, [], missing={"embs": "\x1b[31m<b>"})
    _, out, _ = run(A, B)
    assert "\x1b" not in out
    assert r"not in 2.4.1: \x1b[31m<b>" in out


@pytest.mark.parametrize(
    ("arguments", "artifact", "message"),
    [
        ([A, A], "embs", "one release makes no pair; name another beside 2.2.0"),
        ([A, "2.2.9"], "embs", "no torch release '2.2.9' in matrix.toml; the nearest is 2.2.2"),
        ([A, "2.3.0.dev20240101"], "embs", "lane cpu-pinned does not take 2.3.0.dev20240101"),
        ([A, B], "centroid", "no artifact 'centroid' in the catalogue; the nearest is centroids"),
        ([A, B], "", "no artifact '' in the catalogue"),
        ([A, B, "--json", "/"], "embs", "/"),
        ([A, B, "--lane", "nowhere"], "embs", "no lane 'nowhere' in matrix.toml"),
    ],
)
def test_bad_input_is_one_line(run: Any, arguments: list[str], artifact: str, message: str) -> None:
    code, _, err = run(*arguments, artifact=artifact)
    assert code == 2
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1
