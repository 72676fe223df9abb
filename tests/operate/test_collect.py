import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_capture.names import lane_name
from matrix_capture.rankings import METADATA_KEY as RANKINGS
from matrix_capture.rankings import read_rankings
from matrix_capture.schema import METADATA_KEY, digest_path, read_capture
from matrix_capture.values import ValueStore
from matrix_operate import quarantine
from matrix_operate.__main__ import main
from matrix_operate.collected import Arrived, Collected, Missing, read_collected
from matrix_operate.plan import NotRun
from tests.compare.conftest import LANE, ROOT, Put
from tests.compare.test_markdown import outside_code, rendered
from tests.operate.test_row import obeyed
from tests.operate.uploads import (
    FACTORS,
    SAME,
    STARTED,
    fill,
    fill_rankings,
    planned,
    puts,
    row,
)

HEAD = "git+https://github.com/somebody/ColBERT@0123456"


class Desk:
    """A folder of uploads, and what collect makes of it."""

    def __init__(self, folder: Path) -> None:
        self.plan = planned(folder / "plan.json")
        self.incoming, self.out = folder / "incoming", folder / "collected"
        self.summary = folder / "summary.md"
        self.incoming.mkdir()

    def upload(self, row: str, attempt: int = 1) -> Path:
        return self.incoming / f"capture-{row}-{attempt}"

    def collect(self) -> int:
        which = ["--plan", self.plan, "--incoming", self.incoming, "--out", self.out]
        return main(["collect", *map(str, [*which, "--summary", self.summary])])

    @property
    def collected(self) -> Collected:
        return read_collected(self.out)

    @property
    def reasons(self) -> list[str]:
        return [refused.reason for refused in self.collected.refused]

    @property
    def brought(self) -> list[str]:
        return [arrived.torch for arrived in self.collected.arrived]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(ROOT)
    return Desk(tmp_path)


def test_all_that_was_planned_arrives(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    for name, torch in (("one", "2.7.1"), ("two", "2.8.0")):
        fill(desk.upload(name), torch)
        fill_rankings(desk.upload(name), [(torch, torch)])
    assert desk.collect() == 0
    (arrived, _) = desk.collected.arrived
    assert arrived == Arrived(
        row="one",
        lane=LANE,
        torch="2.7.1",
        attempt=1,
        started=STARTED,
        stopped="",
        values=1,
        stored=1,
    )
    for name, torch in (("one", "2.7.1"), ("two", "2.8.0")):
        old, new = (
            read_capture(digest_path(folder, LANE, torch))
            for folder in (desk.upload(name), desk.out)
        )
        assert (new.record, new.rows) == (old.record, old.rows)
    assert np.array_equal(
        ValueStore(desk.out / "values").get(new.rows["digest"][0].as_py()).data, SAME.ravel()
    )
    read = read_rankings(desk.out / "rankings" / f"{LANE}.parquet")
    assert [search.key[:2] for search in read.header.searches] == [
        ("2.7.1", "2.7.1"),
        ("2.8.0", "2.8.0"),
    ]
    assert capsys.readouterr().out.startswith("2 of 2 captures arrived\n")
    assert desk.summary.read_text().startswith("**Captures:** 2 of 2 captures arrived\n")


def test_what_is_missing_is_told_and_the_rest_is_kept(desk: Desk) -> None:
    planned(desk.plan, not_run=(NotRun(lane="cuda-pinned", torch="1.13.1", reason="too old"),))
    fill(desk.upload("one"), "2.7.1")
    desk.summary.write_text("before\n")
    assert desk.collect() == 75
    assert desk.brought == ["2.7.1"]
    assert desk.collected.missing == (Missing(row="two", lane=LANE, torch="2.8.0"),)
    assert [one.torch for one in desk.collected.not_run] == ["1.13.1"]
    told = desk.summary.read_text()
    assert told.startswith("before\n**Captures:** 1 of 2 captures arrived, 1 missing, 1 not run\n")
    assert "| ? missing | `two` | `cpu-pinned` | `2.8.0` |" in told


def test_nothing_at_all_is_missing(desk: Desk) -> None:
    assert desk.collect() == 75
    assert desk.brought == []


def test_the_newest_run_that_made_it_counts(desk: Desk) -> None:
    for attempt in (1, 2, 10):
        fill(desk.upload("one", attempt), "2.7.1", note=f"run {attempt}")
    desk.upload("one", 11).mkdir()
    for name in ("capture-one-012", "capture-one-x", "capture-one-12-1", "capture-two-1x"):
        fill(desk.incoming / name, "2.7.1", note="another")
    fill(desk.upload("two"), "2.8.0")
    assert desk.collect() == 0
    assert desk.collected.arrived[0].attempt == 10
    assert read_capture(digest_path(desk.out, LANE, "2.7.1")).record.note == "run 10"


def test_a_lane_with_options_has_those_that_were_planned(desk: Desk) -> None:
    planned(desk.plan, row("one", "2.8.0", colbert=("0.2.21", HEAD), passages=64))
    for label, factor in (("0.2.21", "0.2.21"), (HEAD, f"0.2.22 {HEAD}89abcdef")):
        options: dict[str, str | int] = {"passages": 64, "colbert": label}
        lane = lane_name(LANE, options)
        factors = {**FACTORS, "colbert-ai": factor}
        fill(desk.upload("one"), "2.8.0", lane=lane, options=options, factors=factors)
    assert desk.collect() == 0
    assert len({arrived.lane for arrived in desk.collected.arrived}) == 2


def test_nothing_rides_along(desk: Desk) -> None:
    path = fill(desk.upload("one"), "2.7.1")
    fill(desk.upload("two"), "2.8.0")
    table = pq.read_table(path)
    held = json.loads(table.schema.metadata[METADATA_KEY])
    metadata = {**table.schema.metadata, METADATA_KEY: json.dumps({**held, "evil": "evil"})}
    table = table.append_column("evil", pa.array(["evil"] * len(table)))
    pq.write_table(table.replace_schema_metadata({**metadata, "evil": "evil"}), path)
    (desk.upload("one") / "evil.pkl").write_bytes(b"evil")
    fill(desk.upload("one"), "2.9.0")
    assert desk.collect() == 0
    for path in desk.out.rglob("*"):
        assert path.is_dir() or b"evil" not in path.read_bytes()
    assert not digest_path(desk.out, LANE, "2.9.0").exists()


# What is refused.


def bad_row(**change: Any) -> Callable[[Path], None]:
    return lambda folder: void(fill(folder, "2.7.1", [Put(artifact="a", value=SAME, extra=change)]))


def bad_record(**change: Any) -> Callable[[Path], None]:
    return lambda folder: void(fill(folder, "2.7.1", **change))


def void(_: object) -> None:
    """For what is done, not for what it gives."""


def at(folder: Path) -> Path:
    return digest_path(folder, LANE, "2.7.1")


def moved(folder: Path, torch: str, **record: Any) -> None:
    """Put another capture in the place of the one planned."""
    path = fill(folder / "other", torch, **record)
    at(folder).parent.mkdir(parents=True)
    path.rename(at(folder))


def linked(folder: Path, part: Callable[[Path], Path]) -> None:
    path = fill(folder.parent.parent / "elsewhere", "2.7.1")
    target = part(path)
    place = folder / target.relative_to(path.parents[2])
    place.parent.mkdir(parents=True)
    place.symlink_to(target)


def queue(folder: Path) -> None:
    at(folder).parent.mkdir(parents=True)
    os.mkfifo(at(folder))


def cut(folder: Path) -> None:
    path = fill(folder, "2.7.1")
    path.write_bytes(path.read_bytes()[:-30])


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "another release": (lambda f: moved(f, "2.8.0"), "its record says torch '2.8.0'"),
    "another lane": (lambda f: moved(f, "2.7.1", lane="cuda-pinned"), "of lane 'cuda-pinned'"),
    "other options": (lambda f: moved(f, "2.7.1", options={"passages": 3}), "'passages': 3"),
    "injected": (lambda f: moved(f, "2.7.1", injected="0a"), "its record says"),
    "another torch inside": (bad_record(torch_build="2.8.0+cu128"), "made with torch '2.8.0"),
    "another colbert-ai": (
        bad_record(factors={"colbert-ai": "0.2.21"}),
        "made with colbert-ai '0.2.21'",
    ),
    "no colbert-ai": (bad_record(factors={}), "made with colbert-ai ''"),
    "seconds below zero": (bad_record(seconds={"index": -1.0}), "it took -1.0 seconds"),
    "second run below zero": (bad_record(seconds_again={"index": -2.0}), "it took -2.0 seconds"),
    "processors below zero": (bad_record(cpu_seconds={"index": [1.0, -3.0]}), "it took -3.0"),
    "no number of seconds": (bad_record(seconds={"index": 1e300}), "a number"),
    "a huge number": (bad_record(host={"cores": 2**60}), "a number"),
    "no time": (bad_record(started="yesterday"), "'yesterday', which is no time"),
    "no zone": (bad_record(started="2025-01-01T00:00:00"), "which is no time"),
    "another zone": (bad_record(started="2025-01-01T00:00:00+02:00"), "which is no time that"),
    "another spelling": (bad_record(started="20250101T000000+0000"), "which is no time that"),
    "not yet": (bad_record(started="9999-01-01T00:00:00+00:00"), "which is no time that"),
    "a long string": (bad_record(note="x" * 4_001), "more than 4,000 characters"),
    "many entries": (bad_record(missing={str(n): "" for n in range(1_001)}), "more than 1,000"),
    "a large record": (
        bad_record(missing={f"{n:04}": "x" * 400 for n in range(999)}),
        "more than 262,144 bytes",
    ),
    "a long name": (bad_row(part="x" * 301), "column part has more than 300 bytes"),
    "an unknown dtype": (bad_row(dtype="object"), "cannot digest elements of object"),
    "another number of elements": (bad_row(numel=13), "what cannot be"),
    "another number of bytes": (bad_row(nbytes=0), "what cannot be"),
    "a shape below zero": (bad_row(shape=[-3, -4]), "what cannot be"),
    "a huge shape": (bad_row(shape=[2**62, 2**62]), "what cannot be"),
    "more zeros than elements": (bad_row(zeros=13), "what cannot be"),
    "a block too many": (bad_row(blocks=[b"x" * 16] * 2), "what cannot be"),
    "an occurrence below zero": (bad_row(occurrence=-1), "column occurrence has numbers below 0"),
    "nobody knows if stored": (bad_row(stored=None), "column stored has empty entries"),
    "no parquet": (lambda f: void(fill(f, "2.7.1").write_bytes(b"\x80\x04.")), "Parquet"),
    "cut off": (cut, "not a Parquet file"),
    "a link": (lambda f: linked(f, lambda path: path), "is a link"),
    "a link to a folder": (lambda f: linked(f, lambda path: path.parent), "is a link"),
    "a link higher up": (lambda f: linked(f, lambda path: path.parents[1]), "is a link"),
    "a folder": (lambda f: at(f).mkdir(parents=True), "no plain file"),
    "a queue": (queue, "no plain file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_what_was_planned_is_refused(case: str, desk: Desk) -> None:
    spoil, reason = REFUSED[case]
    spoil(desk.upload("one"))
    fill(desk.upload("two"), "2.8.0")
    assert desk.collect() == 2
    (told,) = desk.reasons
    assert reason in told
    assert len(told) <= 301
    assert str(desk.incoming) not in told
    assert desk.brought == ["2.8.0"]
    assert not digest_path(desk.out, LANE, "2.7.1").exists()


@pytest.mark.parametrize(
    ("limit", "reason"),
    [("_MOST_ROWS", "it has 3 rows, more than 2"), ("_LARGEST_DIGESTS", "bytes, more than 2")],
)
def test_what_is_too_large_is_refused(
    limit: str, reason: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, limit, 2)
    fill(desk.upload("one"), "2.7.1")
    assert desk.collect() == 2
    assert reason in desk.reasons[0]


def test_a_few_bytes_that_unpack_to_many_are_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20,000 rows share one string of 900 kB, which is 18 GB as a column of strings."""
    path, count = fill(desk.upload("one"), "2.7.1"), 20_000
    fill(desk.upload("two"), "2.8.0")
    table = pq.read_table(path)
    many = table.take(pa.array(np.zeros(count, np.int64)))
    parts = pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), ["x" * 900_000])
    changes = {"part": parts, "occurrence": pa.array(np.arange(count, dtype=np.int32))}
    for name, column in changes.items():
        many = many.set_column(many.schema.get_field_index(name), name, column)
    with pq.ParquetWriter(path, many.schema, compression="zstd", store_schema=False) as writer:
        writer.add_key_value_metadata(table.schema.metadata)
        writer.write_table(many)
    assert path.stat().st_size < 2_000_000
    monkeypatch.setattr(quarantine, "MEMORY", 2 * 2**30)
    assert desk.collect() == 2
    assert desk.brought == ["2.8.0"]
    assert re.search("(alloc|memory)", desk.reasons[0])


def test_the_row_of_another_is_not_taken(desk: Desk) -> None:
    """Both captures are good, but each in the row of the other."""
    fill(desk.upload("one"), "2.8.0")
    fill(desk.upload("two"), "2.7.1")
    assert desk.collect() == 75
    assert desk.brought == []


def test_a_folder_of_uploads_that_is_a_link_does_not_count(desk: Desk) -> None:
    fill(desk.incoming.parent / "elsewhere", "2.7.1")
    desk.upload("one").symlink_to(desk.incoming.parent / "elsewhere")
    assert desk.collect() == 75


@pytest.mark.parametrize("where", ["incoming", "out"])
def test_bad_input_is_one_line(where: str, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    if where == "incoming":
        desk.incoming.rmdir()
    else:
        fill(desk.out, "2.7.1")
    assert desk.collect() == 2
    assert re.fullmatch(r"error: [^\n]*\n", capsys.readouterr().err)


# Values.


def value_of(folder: Path) -> Path:
    (path,) = (folder / "values").rglob("*.parquet")
    return path


def test_a_value_that_did_not_come_is_counted(desk: Desk) -> None:
    value_of(fill(desk.upload("one"), "2.7.1").parents[2]).unlink()
    fill(desk.upload("two"), "2.8.0", puts(SAME * 2))
    assert desk.collect() == 0
    assert [(one.values, one.stored) for one in desk.collected.arrived] == [(0, 1), (1, 1)]


def test_what_no_row_names_as_stored_is_not_taken(desk: Desk) -> None:
    for name, torch in (("one", "2.7.1"), ("two", "2.8.0")):
        fill(desk.upload(name), torch)
    fill(desk.upload("one"), "2.9.0", puts(SAME * 3))
    assert desk.collect() == 0
    assert value_of(desk.out).name == value_of(desk.upload("two")).name


def another(path: Path) -> None:
    store = ValueStore(path.parents[1])
    snap = store.get(bytes.fromhex(path.stem))
    path.unlink()
    store.put(dataclasses.replace(snap, data=snap.data * 2), bytes.fromhex(path.stem))


def zeros(path: Path) -> None:
    """Sixty-four megabytes, in a dictionary of one number."""
    table = pa.table({"value": np.zeros(2**24, np.float32)})
    table = table.replace_schema_metadata({"dtype": "float32", "shape": str(2**24)})
    pq.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 2**20


def link(path: Path) -> None:
    path.rename(path.parent / "other")
    path.symlink_to("other")


VALUES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another value": (another, "its bytes do not match its name"),
    "no parquet": (lambda path: path.write_bytes(b"x"), "not readable"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "not readable"),
    "too many elements": (zeros, "it is larger than float32 of shape (3, 4)"),
    "a large file": (lambda path: path.write_bytes(bytes(2**20 + 400)), "more than 1,048,768"),
    "a link": (link, "is a link"),
}


@pytest.mark.parametrize("case", VALUES)
def test_a_value_that_is_not_what_its_row_says_is_refused(case: str, desk: Desk) -> None:
    spoil, reason = VALUES[case]
    fill(desk.upload("one"), "2.7.1")
    fill(desk.upload("two"), "2.8.0", puts(SAME * 2))
    spoil(value_of(desk.upload("one")))
    assert desk.collect() == 2
    assert reason in desk.reasons[0]
    assert str(desk.incoming) not in desk.reasons[0]
    assert desk.brought == ["2.7.1", "2.8.0"]
    assert value_of(desk.out).name == value_of(desk.upload("two")).name


def test_too_many_bytes_of_values_are_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "_LARGEST_VALUES", SAME.nbytes - 1)
    fill(desk.upload("one"), "2.7.1")
    assert desk.collect() == 2
    assert desk.reasons == ["its values have more than 47 bytes"]


# Rankings.


def test_rankings_are_cut_to_what_the_row_was_to_make(desk: Desk) -> None:
    fill(desk.upload("one"), "2.7.1")
    fill(desk.upload("two"), "2.8.0")
    fill_rankings(desk.upload("one"), [("2.7.1", "2.7.1"), ("2.8.0", "2.8.0"), ("2.7.1", "2.8.0")])
    fill_rankings(desk.upload("one"), [("2.7.1", "2.7.1")], lane="cuda-pinned")
    assert desk.collect() == 0
    (path,) = (desk.out / "rankings").glob("*.parquet")
    read = read_rankings(path)
    assert [search.key[:2] for search in read.header.searches] == [("2.7.1", "2.7.1")]
    assert read.table.num_rows == 3


def test_rankings_of_what_did_not_arrive_are_not_taken(desk: Desk) -> None:
    fill_rankings(desk.upload("one"), [("2.7.1", "2.7.1")])
    fill(desk.upload("two"), "2.8.0")
    assert desk.collect() == 75
    assert not (desk.out / "rankings").exists()


def test_a_failed_install_has_no_rankings_and_no_colbert(desk: Desk) -> None:
    status = {"install": {"state": "failed", "error": "E", "message": "no"}}
    record = msgspec.convert(status, dict[str, Any])
    path = fill(desk.upload("one"), "2.7.1", [], factors={"colbert-ai": ""}, torch_build="")
    table = pq.read_table(path)
    held = json.loads(table.schema.metadata[METADATA_KEY])
    payload = json.dumps({**held, "status": record})
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: payload}), path)
    fill(desk.upload("two"), "2.8.0")
    assert desk.collect() == 0
    assert desk.collected.arrived[0].stopped == "install"
    assert "stopped at install, 0 of 0 values" in desk.summary.read_text()


RANKED: dict[str, tuple[dict[str, Any], str]] = {
    "other inputs": ({"inputs": {"collection": "ff"}}, "its inputs are not those of the captures"),
    "no inputs": ({"inputs": {}}, "its inputs are not those of the captures"),
    "no such query": ({"relevant": ((0,),)}, "a query, rank or passage that there is not"),
    "no such rank": ({"found": [[(1, 101, 0.5)], []]}, "a query, rank or passage"),
    "no such passage": ({"found": [[(-1, 1, 0.5)], []]}, "a query, rank or passage"),
    "one rank twice": ({"found": [[(1, 1, 0.5), (2, 1, 0.5)], []]}, "or one twice"),
    "failed and found": ({"state": "failed"}, "a query, rank or passage"),
    "no time": ({"started": "later"}, "which is no time"),
    "no seconds": ({"seconds": -1.0}, "it took -1.0 seconds"),
    "a long message": ({"message": "x" * 4_001}, "more than 4,000 characters"),
    "a passage below zero": ({"relevant": ((-1,), (1,))}, "passages that there cannot be"),
}


@pytest.mark.parametrize("case", RANKED)
def test_rankings_that_cannot_be_are_refused(case: str, desk: Desk) -> None:
    changes, reason = RANKED[case]
    fill(desk.upload("one"), "2.7.1")
    fill_rankings(desk.upload("one"), [("2.7.1", "2.7.1")], **changes)
    fill(desk.upload("two"), "2.8.0")
    assert desk.collect() == 2
    assert reason in desk.reasons[0]
    assert desk.brought == ["2.7.1", "2.8.0"]
    assert not (desk.out / "rankings").exists()


def test_rankings_of_another_lane_in_its_place_are_refused(desk: Desk) -> None:
    fill(desk.upload("one"), "2.7.1")
    path = fill_rankings(desk.upload("one"), [("2.7.1", "2.7.1")], lane="cuda-pinned")
    path.rename(path.with_name(f"{LANE}.parquet"))
    assert desk.collect() == 2
    assert "its header says lane 'cuda-pinned'" in desk.reasons[0]


def test_a_search_twice_is_refused(desk: Desk) -> None:
    fill(desk.upload("one"), "2.7.1")
    path = fill_rankings(desk.upload("one"), [("2.7.1", "2.7.1")])
    table = pq.read_table(path)
    held = json.loads(table.schema.metadata[RANKINGS])
    held["searches"] *= 2
    pq.write_table(table.replace_schema_metadata({RANKINGS: json.dumps(held)}), path)
    assert desk.collect() == 2
    assert "it has a search twice" in desk.reasons[0]


def test_what_was_asked_is_the_same_for_all_rows_of_a_lane(desk: Desk) -> None:
    """Else what one row says is relevant would count for what the others found."""
    for name, torch, relevant in (("one", "2.7.1", ((0,), (1,))), ("two", "2.8.0", ((5,), (6,)))):
        fill(desk.upload(name), torch)
        fill_rankings(desk.upload(name), [(torch, torch)], relevant=relevant)
    assert desk.collect() == 2
    assert desk.reasons == ["another row has other inputs or relevant passages"]
    read = read_rankings(desk.out / "rankings" / f"{LANE}.parquet")
    assert read.header.relevant == ((0,), (1,))


# What is told.


def test_whatever_a_capture_says_is_shown_and_not_obeyed(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "`|<script>@everyone #1 https://evil.example\x1b[2J\n::error::\u202e**x**"
    moved(desk.upload("one"), "2.7.1", torch_build=evil)
    moved(desk.upload("two"), "2.8.0", lane=evil.replace("/", ""))
    shutil.move(at(desk.upload("two")), digest_path(desk.upload("two"), LANE, "2.8.0"))
    assert desk.collect() == 2
    shown = capsys.readouterr().out
    assert all(letter.isprintable() or letter == "\n" for letter in shown)
    assert not re.search("^::", shown, re.MULTILINE)
    text = desk.summary.read_text()
    assert "script" in text
    outside = outside_code(rendered(text))
    assert not re.search(r"script|evil|everyone|#|error", outside)


def test_nothing_that_a_capture_says_is_a_command(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even of the old kind, which counts anywhere in a line."""
    moved(desk.upload("one"), "2.7.1", torch_build="##[add-mask]a")
    desk.collect()
    assert obeyed(capsys.readouterr().out) == ["add-mask"]
    shutil.rmtree(desk.out)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    desk.collect()
    assert obeyed(capsys.readouterr().out) == ["stop-commands"]


# Whatever comes.

GOOD = {
    "one": ("2.7.1", SAME),
    "two": ("2.8.0", SAME * 2),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """All files of uploads with which nothing is wrong, by their places."""
    folder = tmp_path_factory.mktemp("good")
    for name, (torch, values) in GOOD.items():
        fill(folder / f"capture-{name}-1", torch, puts(values))
        fill_rankings(folder / f"capture-{name}-1", [(torch, torch)])
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.parquet"))
    }


_PLACES = st.sampled_from(
    [
        *(f"capture-{name}-{n}" for name in ("one", "two", "two-1", "..", "one-") for n in (1, 2)),
        *("digests", "rankings", "values", LANE, "torch-2.7.1.parquet", "torch-2.8.0.parquet"),
        *("torch-2.9.0.parquet", f"{LANE}.parquet", "history", "collected.json", "0a", "evil"),
    ]
)


@st.composite
def spoiled(draw: st.DrawFn, places: list[str]) -> list[tuple[str, str, str, int, bytes]]:
    """Things done to good uploads: what, where, with what else, how far, which bytes."""
    place = st.one_of(
        st.sampled_from(places),
        st.lists(_PLACES, min_size=1, max_size=4).map("/".join),
    )
    what = st.sampled_from(["write", "cut", "flip", "swap", "link", "folder", "drop"])
    step = st.tuples(
        what, place, st.sampled_from(places), st.integers(0, 10_000), st.binary(max_size=40)
    )
    return draw(st.lists(step, max_size=6))


def spoil(incoming: Path, step: tuple[str, str, str, int, bytes]) -> None:
    what, where, other, number, content = step
    path = incoming / where
    if ".." in Path(where).parts:
        return
    held = path.read_bytes() if path.is_file() else b""
    source = incoming / other
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if what == "drop":
            path.unlink()
        elif what == "folder":
            path.unlink(missing_ok=True)
            path.mkdir()
        elif what == "link":
            path.unlink(missing_ok=True)
            targets = [source, Path("/etc/passwd"), Path(), incoming.parent / "secret"]
            path.symlink_to(targets[number % 4])
        elif what == "swap":
            path.write_bytes(source.read_bytes())
        elif what == "cut":
            path.write_bytes(held[: number % (len(held) + 1)])
        elif what == "flip" and held:
            place = number * 7919 % len(held)
            path.write_bytes(held[:place] + (content or b"\0")[:9] + held[place + 1 :])
        else:
            path.write_bytes(content)
    except OSError:  # a file where a folder should be, or the other way round
        pass


def sound(out: Path, good: dict[str, bytes]) -> None:
    """Nothing is there but what was planned, in plain files, as it was made.

    Raises:
        AssertionError: something else is.
    """
    values = {Path(*Path(place).parts[1:]).as_posix() for place in good if "/values/" in place}
    digests = {f"digests/{LANE}/torch-{torch}.parquet" for torch, _ in GOOD.values()}
    allowed = {"collected.json", f"rankings/{LANE}.parquet", f"rankings/.{LANE}.lock"}
    for path in out.rglob("*"):
        assert not path.is_symlink()
        if path.is_dir():
            continue
        place = path.relative_to(out).as_posix()
        assert place in values | digests | allowed
        if place in digests:
            capture = read_capture(path)
            assert place == f"digests/{LANE}/torch-{capture.record.torch}.parquet"
            assert capture.record.lane == LANE
        elif place in values:
            ValueStore(out / "values").get(bytes.fromhex(path.stem))


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_nothing_is_written_that_was_not_planned(
    data: st.DataObject, good: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        desk = Desk(tmp_path_factory.mktemp("desk"))
        lay(desk, good, data.draw(spoiled(sorted(good))))
        before = seen(desk)
        assert desk.collect() in (0, 2, 75)
        assert seen(desk) == before
        sound(desk.out, good)


def lay(desk: Desk, good: dict[str, bytes], steps: list[tuple[str, str, str, int, bytes]]) -> None:
    (desk.incoming.parent / "secret").mkdir()
    for place, content in good.items():
        path = desk.incoming / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for step in steps:
        spoil(desk.incoming, step)


def seen(desk: Desk) -> set[Path]:
    """All there is beside what collect may write."""
    ours = (desk.out, desk.summary)
    every = desk.incoming.parent.rglob("*")
    return {path for path in every if not any(path.is_relative_to(one) for one in ours)}


@pytest.mark.parametrize(
    "step",
    [
        ("write", "capture-one-1/evil", "", 0, b"x"),
        ("link", "capture-one-1/values/0a", "", 1, b""),
        ("swap", "capture-one-1/digests/cpu-pinned/torch-2.7.1.parquet", "two", 0, b""),
    ],
)
def test_a_planted_copy_of_what_came_is_seen(
    step: tuple[str, str, str, int, bytes], good: dict[str, bytes], desk: Desk
) -> None:
    """Whoever copied what was uploaded would not be sound."""
    what, where, other, *rest = step
    other = next((place for place in good if f"-{other}-1/digests" in place), other)
    lay(desk, good, [(what, where, other, *rest)])  # type: ignore[list-item]
    for name in GOOD:
        shutil.copytree(desk.upload(name), desk.out, symlinks=True, dirs_exist_ok=True)
    with pytest.raises(AssertionError):
        sound(desk.out, good)
