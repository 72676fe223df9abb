"""The pages of environments: one for each, whatever is in it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from matrix_capture.settings import Settings
from matrix_site.environment import environment_digest, environment_pages
from matrix_site.page import Page
from matrix_site.snapshot import read_snapshot
from tests.site.conftest import make_record

PAIR = ("2.7.0", "2.7.1")
RECORD = make_record("cpu-pinned", "2.8.0")
_TEXTS = st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=4)


def _pages(data: Path, settings: Settings, write_lane: Any, *records: Any) -> list[Page]:
    releases = tuple(record.torch for record in records)
    write_lane(data, releases=releases, failed=(), records=records)
    return list(environment_pages(read_snapshot(data, settings)))


@given(packages=_TEXTS, host=_TEXTS)
def test_the_order_in_which_a_record_names_things_is_no_matter(
    packages: dict[str, str], host: dict[str, str | int]
) -> None:
    here = replace(RECORD, packages=packages, host=host)
    there = replace(
        RECORD,
        packages=dict(reversed(packages.items())),
        host=dict(reversed(host.items())),
        started="another day",
        seconds={},
    )
    assert environment_digest(here) == environment_digest(there)


@pytest.mark.parametrize("field", ["packages", "host", "environ", "factors"])
def test_what_makes_an_environment_tells_it_apart(field: str) -> None:
    changed = replace(RECORD, **{field: {**getattr(RECORD, field), "numpy": "1.26.5"}})
    digest = environment_digest(RECORD)
    assert environment_digest(changed) != digest
    assert len(digest) == 16
    assert int(digest, 16) >= 0


@given(packages=_TEXTS)
def test_nothing_passes_from_one_field_to_another(packages: dict[str, str]) -> None:
    as_packages = replace(RECORD, packages=packages, environ={})
    as_environ = replace(RECORD, packages={}, environ=packages)
    same = environment_digest(as_packages) == environment_digest(as_environ)
    assert same == (not packages)


def test_captures_of_equal_environments_share_a_page(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    same = {"packages": {"numpy": "1"}, "host": {}}
    first, second = (record("cpu-pinned", release, **same) for release in PAIR)
    (page,) = _pages(tmp_path / "one", settings, write_lane, first, second)
    assert [run.release for run in page.view["view"].runs] == list(PAIR)
    assert page.title == "Environment of torch 2.7.0 in cpu-pinned and torch 2.7.1 in cpu-pinned"
    other = record("cpu-pinned", PAIR[1], packages={"numpy": "2"}, host={})
    assert len(_pages(tmp_path / "two", settings, write_lane, first, other)) == 2


def test_inputs_that_differ_within_an_environment_are_told_apart(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    same = {"packages": {"numpy": "1"}, "host": {}}
    first = record("cpu-pinned", PAIR[0], **same)
    second = record("cpu-pinned", PAIR[1], **same, inputs={"collection": "00"})
    (page,) = _pages(tmp_path, settings, write_lane, first, second)
    inputs = [group for group in page.view["view"].facts if group.title == "Inputs"]
    assert [group.of for group in inputs] == [
        "torch 2.7.0 in cpu-pinned",
        "torch 2.7.1 in cpu-pinned",
    ]
    (fingerprint,) = (g for g in page.view["view"].facts if g.title == "Fingerprint")
    assert fingerprint.of == ""


def test_requirements_are_nothing_that_pip_takes_for_an_option(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    packages = {
        "numpy": "1.26.4",
        "torch": "2.8.0+cu128",
        "colbert-matrix": "0.1.0",
        "--index-url": "1",
        "evil": "1\n--extra-index-url https://example.org",
        "evil @ https://example.org/x": "1",
        "-e": "1.0",
        "a": "1; python_version > '3'",
        "b": "file:x",
    }
    one = record("cpu-pinned", "2.8.0", packages=packages)
    (page,) = _pages(tmp_path, settings, write_lane, one)
    view = page.view["view"]
    assert view.requirements == ("numpy==1.26.4", "torch==2.8.0+cu128")
    assert view.unnamed == 6
    assert len(view.packages) == 9
