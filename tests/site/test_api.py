"""The API: as its schema says, and with every fact that a page shows."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from matrix_capture.catalogue import CATALOGUE
from matrix_capture.schema import StageStatus
from matrix_capture.settings import Settings, read_settings
from matrix_compare.advice import Advice, record_advices, record_crossings
from matrix_compare.check import write_check
from matrix_compare.document import encoded
from matrix_compare.explanation import explanation_path
from matrix_compare.schema import read_verdicts
from matrix_site.api import schema
from matrix_site.comparison import Comparison, Comparisons, Pair
from matrix_site.endpoints import endpoints
from matrix_site.environment import environment_pages
from matrix_site.page import Page
from matrix_site.pair import pair_pages
from matrix_site.pull import pull_pages
from matrix_site.release import release_pages
from matrix_site.render import Frame, environment
from matrix_site.snapshot import Snapshot, read_snapshot
from tests.compare.checks import check_line, check_of, checked
from tests.site.test_advice import advice, crossing
from tests.site.test_explanation import EXPLANATION
from tests.site.test_outcomes import RUNS
from tests.site.test_render import HOSTILE

ROOT = Path(__file__).parents[2]
LANE, OPEN = "cpu-pinned", "cpu-latest"
PAIR = ("2.7.1", "2.8.0")
PAIR_FILE = f"api/v1/{LANE}/pair/2.7.1...2.8.0.json"


def files(snapshot: Snapshot) -> dict[str, bytes]:
    return {
        asset.path: asset.content for asset in endpoints(snapshot, "As of now.", "https://a.b/")
    }


def document(snapshot: Snapshot, path: str) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(files(snapshot)[path])
    return found


# Everything there is.


@pytest.fixture(scope="module")
def all_settings() -> Settings:
    shipped = read_settings(ROOT / "matrix.toml")
    lanes = {name: shipped.lanes[name] for name in (LANE, OPEN)}
    releases = tuple(name for name in shipped.releases if name in {*PAIR, *RUNS})
    return Settings(releases=releases, lanes=lanes, profiles=shipped.profiles)


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory,
    all_settings: Settings,
    write_lane: Any,
    record: Any,
    comparison: Any,
) -> Snapshot:
    """Two lanes, and one of everything that a page can show."""
    data = tmp_path_factory.mktemp("whole")
    full = comparison(LANE, PAIR, FULL[0], **FULL[1])
    few = {"probe_normalize", "postnorm_centroids", "index_centroids", "ivf"}
    write_lane(
        data,
        releases=PAIR,
        failed=(),
        extra=[full],
        drop=lambda row: row["artifact"] not in few,
    )
    records = [record(OPEN, release, **changes) for release, changes in RUNS.items()]
    write_lane(data, lane=OPEN, releases=tuple(RUNS), failed=(), records=records)
    record_advices(data, LANE, [advice(), advice(*PAIR[::-1], index="re-index")])
    record_crossings(data, LANE, [crossing(), crossing(mmap=True, outcome="changed")])
    path = explanation_path(data, LANE, *PAIR)
    path.parent.mkdir(parents=True)
    path.write_bytes(msgspec.json.encode(EXPLANATION))
    write_check(data, check_of(checked(check_line("embs", largest_at="row 3"))))
    return read_snapshot(data, all_settings)


FULL: tuple[Sequence[Any], Mapping[str, Any]] = (
    ("D", "a part", "a scope", "float32", 45),
    {
        "identical": 3,
        "verdict": "differs",
        "reason": "a reason",
        "profile": "bitsandbytes",
        "profiles": ["bitsandbytes"],
        "role": "origin",
        "max_abs": 0.5,
        "mean_abs": 0.25,
        "max_rel": 0.125,
        "equal_fraction": 0.75,
        "p50_ulp": 1.0,
        "p99_ulp": 6.0,
        "max_ulp": 7,
        "ulp_histogram": [10, 5, 2],
        "violations": [4, 2],
        "rtol_needed": 0.0625,
        "first_occurrence": 2,
        "first_index": [1, 2],
        "first_at": "batch 2, row 1",
        "largest_occurrence": 3,
        "largest_index": [3, 4],
        "largest_at": "batch 3, row 3",
        "differing_blocks": 5,
        "differing_occurrences": [2, 3],
    },
)
"""The place of a row of a verdict file, and all its columns."""


# As the schema says.


def closed(found: Any) -> Any:
    """A schema that takes no more than it names, to see what it forgets."""
    if isinstance(found, list):
        return [closed(part) for part in found]
    if not isinstance(found, dict):
        return found
    parts = {name: closed(part) for name, part in found.items()}
    return parts | {"additionalProperties": False} if "properties" in found else parts


@pytest.fixture(scope="module")
def validator() -> Any:
    return jsonschema.Draft202012Validator(closed(schema()))


def test_every_file_is_as_the_schema_says(whole: Snapshot, validator: Any) -> None:
    found = files(whole)
    assert found.pop("api/v1/schema.json") == msgspec.json.encode(schema()) + b"\n"
    kinds = set()
    for path, content in found.items():
        held = msgspec.json.decode(content)
        validator.validate(held)
        kinds.add(held["type"])
        assert held["schema_version"] == 1, path
        started = whole.checks[0].started if held["type"] == "pr" else "2025-11-15T08:30:00+00:00"
        assert held["time"] == started, path
    assert kinds == {"index", "releases", "known", "torch", "pair", "artifact", "pr"}


@pytest.mark.parametrize(
    "change",
    [
        lambda held: held.pop("headline"),
        lambda held: held.update(more=1),
        lambda held: held.update(schema_version=2),
        lambda held: held.update(type="index"),
        lambda held: held["rows"][0].update(verdict="fine"),
        lambda held: held["rows"][0].update(max_abs="0.5"),
        lambda held: held["rows"][0].update(colour="red"),
        lambda held: held["sides"].append(held["sides"][0]),
        lambda held: held["sides"][0]["stages"].update(index={"state": "perhaps"}),
        lambda held: held["advices"][0].update(index="perhaps"),
        lambda held: held["explanation"].pop("causes"),
    ],
)
def test_a_file_that_is_not_as_the_schema_says_would_be_seen(
    change: Callable[[dict[str, Any]], Any], whole: Snapshot, validator: Any
) -> None:
    held = document(whole, PAIR_FILE)
    assert validator.is_valid(held)
    change(held)
    assert not validator.is_valid(held)


def test_the_schema_is_one_that_others_can_read() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_the_schema_is_the_same_in_every_process() -> None:
    code = "from matrix_site.api import schema; import json; print(json.dumps(schema()))"
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


# Where it is.


def test_every_lane_has_its_files_below_its_name(whole: Snapshot) -> None:
    paths = files(whole).keys()
    for release in whole.settings.releases:
        for lane in (LANE, OPEN):
            assert f"api/v1/{lane}/torch/{release}.json" in paths
    for artifact in CATALOGUE:
        assert f"api/v1/{LANE}/artifact/{artifact.name}.json" in paths
    assert PAIR_FILE in paths
    assert not [path for path in paths if path.startswith(f"api/v1/{OPEN}/pair")]


def test_the_index_leads_to_every_file(whole: Snapshot) -> None:
    paths = files(whole).keys() - {"api/v1/index.json"}
    index = document(whole, "api/v1/index.json")
    found = {index["files"][name] for name in ("releases", "known", "schema")}
    for lane in index["lanes"]:
        names = {"lane": lane["name"]}
        for release in index["releases"]:
            found.add(index["files"]["release"].format(**names, release=release))
        for artifact in index["artifacts"] if lane["compared"] else ():
            found.add(index["files"]["artifact"].format(**names, artifact=artifact))
        for release in lane["releases"]:
            held = document(whole, f"api/v1/{lane['name']}/torch/{release}.json")
            found |= {pair["api"] for pair in held["pairs"]}
    assert {path for path in paths if not path.startswith("api/v1/pr/")} == found


def test_an_empty_folder_has_an_index(tmp_path: Path, settings: Settings, validator: Any) -> None:
    held = document(read_snapshot(tmp_path, settings), "api/v1/index.json")
    validator.validate(held)
    assert (held["time"], held["lanes"]) == (None, [])


def test_the_example_of_the_documentation_runs(
    data: Path, settings: Settings, tmp_path: Path
) -> None:
    for path, content in files(read_snapshot(data, settings)).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    code = (ROOT / "docs/api.md").read_text("utf-8").split("```python\n")[1].split("```")[0]
    code = code.replace("https://colbert-matrix.example/", f"{tmp_path.as_uri()}/")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[1].startswith("cpu-pinned 2.7.1 2.8.0 differs probe_normalize ")


# What it tells: the objects of compare, and no others.


def test_rows_are_those_of_the_verdict_file(
    tmp_path: Path, settings: Settings, write_lane: Any, comparison: Any
) -> None:
    write_lane(
        tmp_path, releases=PAIR, failed=(), extra=[comparison(LANE, PAIR, FULL[0], **FULL[1])]
    )
    held = document(read_snapshot(tmp_path, settings), PAIR_FILE)["rows"]
    told = {(row["artifact"], row.get("part", ""), row.get("scope", "")): row for row in held}
    rows = read_verdicts(tmp_path, LANE)
    assert len(rows) == len(held) == len(told)
    for row in rows:
        place = tuple(row[name] for name in ("artifact", "part", "scope"))
        expected = {
            name: value
            for name, value in row.items()
            if value not in (None, "", [], 0) and name not in {"lane", "a", "b"}
        }
        shown = told[place]
        shown.pop("dtype", None)
        assert shown == expected


def test_advice_and_explanation_are_the_objects_of_compare(whole: Snapshot) -> None:
    held = document(whole, PAIR_FILE)
    (lane, _) = whole.lanes
    for given, way in zip(held["advices"], (PAIR, PAIR[::-1]), strict=True):
        assert msgspec.json.encode(msgspec.convert(given, Advice)) == msgspec.json.encode(
            lane.advices[way]
        )
        assert given == msgspec.json.decode(encoded(lane.advices[way]))
    assert held["explanation"] == msgspec.json.decode(msgspec.json.encode(EXPLANATION))


def test_what_differs_between_environments_is_told_also_where_nothing_may(
    whole: Snapshot,
) -> None:
    sections = {found["section"] for found in document(whole, PAIR_FILE)["environment"]}
    assert sections == {"packages", "host"}
    (lane, other) = whole.lanes
    held = lane.captures["2.8.0"]
    moved = msgspec.structs.replace(held.record, inputs={}, factors={}, fingerprint={}, environ={})
    captures = {**lane.captures, "2.8.0": replace(held, record=moved)}
    changed = replace(whole, lanes=(replace(lane, captures=captures), other))
    sections = {found["section"] for found in document(changed, PAIR_FILE)["environment"]}
    assert sections == {"packages", "host", "environ", "factors", "inputs", "fingerprint"}


def test_a_release_is_told_whatever_became_of_it(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    idle = {"load": StageStatus(state="not_run", message="unsupported GPU: sm_90")}
    releases = ("2.7.0", "2.7.1", "2.8.0", "2.9.0")
    write_lane(tmp_path, releases=releases, records=[record(LANE, "2.7.0", status=idle)])
    (tmp_path / f"digests/{LANE}/torch-2.7.1.parquet").write_bytes(b"")
    held = document(read_snapshot(tmp_path, settings), "api/v1/releases.json")
    standings = {entry["torch"]: entry["lanes"][0] for entry in held["releases"]}
    states = {release: standings[release]["state"] for release in (*releases, "2.10.0")}
    assert list(states.values()) == ["unable", "unreadable", "captured", "failed", "absent"]
    assert standings["2.9.0"]["told"] == "failed at install: OSError: no space left on device"
    assert len(standings) == len(settings.releases)


def test_known_rows_name_the_releases_that_show_them(whole: Snapshot) -> None:
    held = {row["id"]: row for row in document(whole, "api/v1/known.json")["known"]}
    standings = [
        standing
        for entry in document(whole, "api/v1/releases.json")["releases"]
        for standing in entry["lanes"]
        if "known" in standing
    ]
    assert standings
    for standing in standings:
        seen = {"lane": standing["lane"], "torch": standing["torch"]}
        assert seen in held[standing["known"]]["seen"]
    assert sum(len(row["seen"]) for row in held.values()) == len(standings)
    for name, row in held.items():
        assert row["page"] == f"known/index.html#{name}"


def test_bands_and_boundaries_cover_all_that_was_captured(data: Path, settings: Settings) -> None:
    (lane,) = document(read_snapshot(data, settings), "api/v1/index.json")["lanes"]
    assert [band["releases"] for band in reversed(lane["bands"])] == [
        ["2.0.1"],
        ["2.1.0", "2.7.1"],
        ["2.8.0"],
        ["2.9.1", "2.10.0"],
    ]
    assert [f"{found['a']}...{found['b']}" for found in lane["boundaries"]] == [
        "2.8.0...2.9.1",
        "2.7.1...2.8.0",
        "2.0.1...2.1.0",
    ]
    assert (lane["identical"], lane["uncompared"], lane["pairs"]) == (2, [], 21)
    assert lane["states"] == {"absent": 22, "captured": 6, "failed": 1}


def test_the_history_of_an_artifact_has_what_is_not_identical(
    data: Path, settings: Settings
) -> None:
    path = f"api/v1/{LANE}/artifact/postnorm_centroids.json"
    held = document(read_snapshot(data, settings), path)
    found = {f"{step['a']}...{step['b']}": step for step in held["history"]}
    assert len(found) == 5
    assert found["2.7.1...2.8.0"]["verdict"] == "close"
    assert [row["max_abs"] for row in found["2.7.1...2.8.0"]["rows"]] == [5.96e-08]
    assert (found["2.1.0...2.7.1"]["verdict"], found["2.1.0...2.7.1"]["rows"]) == ("identical", [])
    assert "centroids" in held["children"]
    assert held["torch"] == "2.10.0"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_strings_are_data(
    *,
    text: str,
    tmp_path: Path,
    settings: Settings,
    write_lane: Any,
    record: Any,
    comparison: Any,
) -> None:
    of = record(LANE, "2.8.0", note=text, packages={text: text}, started=text)
    row = comparison(LANE, PAIR, (text, text, text, "", 1), verdict="differs", reason=text)
    write_lane(tmp_path, releases=PAIR, failed=(), records=[of], extra=[row])
    snapshot = read_snapshot(tmp_path, settings)
    held = document(snapshot, PAIR_FILE)
    assert held["sides"][1].get("note", "") == text
    assert any(found["artifact"] == text for found in held["rows"])
    expected = files(read_snapshot(tmp_path, settings))
    assert files(snapshot) == expected


# Every fact of a page: whatever changes a page changes what programs read.

FRAME = Frame(date="", day="", stale_after_days=14, url="https://a.b/", places=())
JINJA = environment()
WORDS = (
    *("failed", "close", "changes", "re-index", "no", "unknown", "same order", "replaced"),
    *("edit distance", "not_run", "pass"),
)
"""Where not any word will do, one of these does."""

Pages = Callable[[Snapshot], Iterable[Page]]


def shown(snapshot: Snapshot, kinds: Sequence[Pages], part: str) -> dict[str, str]:
    """The pages of these kinds in whose path a part occurs."""
    return {
        page.path: JINJA.get_template(page.template).render(
            page=page, root=page.root, frame=FRAME, **page.view
        )
        for kind in kinds
        for page in kind(snapshot)
        if part in page.path
    }


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all single facts in an object; of a long list or mapping, of the first two."""
    parts = list(tree.items() if isinstance(tree, dict) else enumerate(tree))
    alike = len({type(part) for _, part in parts}) == 1
    for name, part in parts[:2] if len(parts) > 6 and alike else parts:
        if isinstance(part, dict | list) and part:
            yield from leaves(part, (*path, name))
        else:
            yield (*path, name)


def altered(whole: Any, path: tuple[Any, ...]) -> tuple[Any, Any]:
    """An object with one fact changed, and that fact; None where nothing else can stand there."""
    tree = holder = msgspec.json.decode(msgspec.json.encode(whole))
    for name in path[:-1]:
        holder = holder[name]
    fact = holder[path[-1]]
    number = (fact * 2 + 0.5, fact + 3) if isinstance(fact, int | float) else (3, 0.5)
    words = (f"{fact or ''} altered", *WORDS)
    for other in (not fact, *number, *words, ["altered"], [3], {"altered": "altered"}):
        if other == fact or (isinstance(fact, bool) != isinstance(other, bool)):
            continue
        holder[path[-1]] = other
        try:
            return msgspec.convert(tree, type(whole)), other
        except msgspec.ValidationError:
            continue
    return None, None


def untold(
    whole: Snapshot,
    of: Any,
    put: Callable[[Snapshot, Any], Snapshot],
    kinds: Sequence[Pages],
    part: str = "",
) -> tuple[list[str], int]:
    """Facts of an object that pages show and no file has, and how many facts pages show."""
    pages, read = shown(whole, kinds, part), files(whole)
    missed, seen = [], 0
    for path in leaves(msgspec.json.decode(msgspec.json.encode(of))):
        other, fact = altered(of, path)
        if other is None:
            continue
        changed = put(whole, other)
        if shown(changed, kinds, part) == pages:
            continue
        seen += 1
        now = files(changed)
        words = not isinstance(fact, str) or any(_quoted(fact) in now[name] for name in now)
        if now == read or not words:
            missed.append(".".join(map(str, path)))
    return missed, seen


def _quoted(text: str) -> bytes:
    return msgspec.json.encode(text)[1:-1]


def _with(whole: Snapshot, **changes: Any) -> Snapshot:
    return replace(whole, lanes=(replace(whole.lanes[0], **changes), *whole.lanes[1:]))


def put_record(whole: Snapshot, record: Any) -> Snapshot:
    captures = whole.lanes[0].captures
    return _with(whole, captures={**captures, "2.8.0": replace(captures["2.8.0"], record=record)})


def put_row(whole: Snapshot, row: Comparison) -> Snapshot:
    rows = whole.lanes[0].pairs[PAIR].rows
    kept = tuple(row if old.part == FULL[0][1] else old for old in rows)
    return _with(whole, pairs={PAIR: Comparisons(kept)})


def put_crossing(whole: Snapshot, one: Any) -> Snapshot:
    return _with(whole, crossings=(one, *whole.lanes[0].crossings[1:]))


def test_whatever_a_record_tells_on_a_page_is_in_a_file(whole: Snapshot) -> None:
    record = whole.lanes[0].captures["2.8.0"].record
    missed, seen = untold(
        whole, record, put_record, [pair_pages, release_pages, environment_pages], ""
    )
    assert missed == []
    assert seen > 25


def test_whatever_a_comparison_tells_on_a_page_is_in_a_file(whole: Snapshot) -> None:
    row = next(row for row in whole.lanes[0].pairs[PAIR] if row.part == FULL[0][1])
    assert {name for name in row.__struct_fields__ if not getattr(row, name)} == {"dtype"}
    missed, seen = untold(whole, row, put_row, [pair_pages])
    assert missed == []
    assert seen > 15


@pytest.mark.parametrize(("name", "least"), [("advices", 10), ("explanations", 40)])
def test_whatever_compare_found_out_of_a_pair_is_in_a_file(
    whole: Snapshot, name: str, least: int
) -> None:
    held: Mapping[Pair, Any] = getattr(whole.lanes[0], name)

    def put(snapshot: Snapshot, found: Any) -> Snapshot:
        return _with(snapshot, **{name: {**held, PAIR: found}})

    missed, seen = untold(whole, held[PAIR], put, [pair_pages])
    assert missed == []
    assert seen >= least


def test_whatever_a_search_in_another_index_tells_is_in_a_file(whole: Snapshot) -> None:
    from matrix_site.pages import pages

    def first_pages(snapshot: Snapshot) -> Iterable[Page]:
        return islice(pages(snapshot), 2)

    missed, seen = untold(whole, whole.lanes[0].crossings[0], put_crossing, [first_pages])
    assert missed == []
    assert seen >= 3


def test_whatever_a_pull_request_changes_is_in_a_file(whole: Snapshot) -> None:
    def put(snapshot: Snapshot, found: Any) -> Snapshot:
        return replace(snapshot, checks=(found,))

    missed, seen = untold(whole, whole.checks[0], put, [pull_pages])
    assert missed == []
    assert seen >= 10


def test_a_fact_that_no_file_has_would_be_seen(
    whole: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(snapshot: Snapshot) -> dict[str, bytes]:
        found = snapshot.lanes[0].pairs[PAIR].rows
        kept = [msgspec.structs.replace(row, max_abs=None) for row in found]
        return {PAIR_FILE: msgspec.json.encode(kept)}

    monkeypatch.setattr(sys.modules[__name__], "files", without)
    row = next(row for row in whole.lanes[0].pairs[PAIR] if row.part == FULL[0][1])
    missed, _ = untold(whole, row, put_row, [pair_pages])
    assert missed == ["max_abs"]
