"""The known incompatibilities: each is told by its own symptom, and nothing new by any of them."""

import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_capture.errors import MatrixError
from matrix_capture.schema import STAGES, Record, StageStatus
from matrix_compare.known import Known, match, parse_known, read_known, source_url
from tests.compare.conftest import record_of

ROWS = read_known()
BY_ID = {row.id: row for row in ROWS}

# For each row that asks for versions: some that it is about, and some that it is not about.
VERSIONS: dict[str, tuple[dict[str, str], tuple[dict[str, str], ...]]] = {
    "transformers-adamw": (
        {"transformers": "4.50.0", "colbert-ai": "0.2.21"},
        (
            {"transformers": "4.49.0", "colbert-ai": "0.2.21"},
            {"transformers": "4.50.0", "colbert-ai": "0.2.22"},
        ),
    ),
    "transformers-5": ({"transformers": "5.0.0"}, ({"transformers": "4.57.3"},)),
    "torch-load-refused": (
        {"transformers": "4.52.0", "torch": "2.5.1+cu124"},
        (
            {"transformers": "4.51.3", "torch": "2.5.1"},
            {"transformers": "4.52.0", "torch": "2.6.0"},
        ),
    ),
    "setuptools-packaging": (
        {"setuptools": "70.0.0", "torch": "1.13.1"},
        (
            {"setuptools": "69.5.1", "torch": "1.13.1"},
            {"setuptools": "71.0.0", "torch": "1.13.1"},
            {"setuptools": "70.0.0", "torch": "2.2.0"},
        ),
    ),
    "setuptools-pkg-resources": ({"setuptools": "82.0.0"}, ({"setuptools": "80.10.2"},)),
    "numpy-2": ({"numpy": "2.4.6"}, ({"numpy": "1.26.4"},)),
    "dataset-scripts": ({"datasets": "4.0.0"}, ({"datasets": "3.6.0"},)),
}


def failed(stage: str, told: str, packages: Mapping[str, str] = {}, **changes: Any) -> Record:
    """The record of a run that stopped at a stage with `Type: first line`."""
    error, _, message = told.partition(": ")
    status = {name: StageStatus(state="not_run") for name in STAGES}
    status[stage] = StageStatus(state="failed", error=error, message=message)
    return record_of(status=status, packages=dict(packages), **changes)


def typical(row: Known) -> Record:
    """A run that failed just as a row says."""
    told = row.symptom if re.match(r"\w+: ", row.symptom) else f"Error: {row.symptom}"
    return failed(row.stages[0], told, VERSIONS.get(row.id, ({}, ()))[0])


# The rows.


def test_every_row_that_asks_for_versions_has_some_here() -> None:
    assert {row.id for row in ROWS if row.packages} == set(VERSIONS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_row_is_told_by_its_symptom_at_each_of_its_stages_and_no_other(row: Known) -> None:
    for stage in STAGES:
        record = typical(row)
        at = failed(stage, _told(record), record.packages)
        assert match(at, ROWS) == (row if stage in row.stages else None)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_no_row_is_told_by_the_symptom_of_another(row: Known) -> None:
    others = [other for other in ROWS if other is not row]
    assert match(typical(row), others) is None


@pytest.mark.parametrize("name", VERSIONS)
def test_other_versions_are_another_story(name: str) -> None:
    row = BY_ID[name]
    about, others = VERSIONS[name]
    told = _told(typical(row))
    assert match(failed(row.stages[0], told, about), [row]) is row
    for other in others:
        assert match(failed(row.stages[0], told, other), [row]) is None
    for package in row.packages:
        without = {key: value for key, value in about.items() if key != package}
        assert match(failed(row.stages[0], told, without), [row]) is None
        broken = {**about, package: "not a version"}
        assert match(failed(row.stages[0], told, broken), [row]) is None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_source_can_be_looked_up(row: Known) -> None:
    for source in row.sources:
        url = source_url(source)
        assert url == "" or re.fullmatch(r"https://github\.com/[\w./-]+/(issues|pull)/\d+", url)


def test_sources_are_links() -> None:
    assert source_url("ColBERT issue 391") == (
        "https://github.com/stanford-futuredata/ColBERT/issues/391"
    )
    assert source_url("transformers PR 40317") == (
        "https://github.com/huggingface/transformers/pull/40317"
    )
    assert source_url("measured in lane cpu-latest") == ""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_hostile_message_costs_no_time(row: Known) -> None:
    literal = re.sub(r"[^\w' ]+", "", row.error)
    for hostile in ("a" * 10**6, f"{row.symptom[:-8]} " * 10**4, f"{literal} " * 10**4):
        started = time.perf_counter()
        match(failed(row.stages[0], hostile, typical(row).packages), [row])
        assert time.perf_counter() - started < 0.5


# What was seen, in other words than the row has.


@pytest.mark.parametrize(
    ("row", "stage", "told"),
    [
        (
            "transformers-old-torch",
            "load",
            "ImportError: HF_ColBERT requires PyTorch >= 2.6, but PyTorch was not found or an "
            "older version is installed.",
        ),
        ("numpy-2", "index", "RuntimeError: Numpy is not available"),
        ("numpy-2", "import", "ImportError: numpy.core.multiarray failed to import"),
    ],
)
def test_what_is_raised_behind_a_warning_is_known_too(row: str, stage: str, told: str) -> None:
    found = match(failed(stage, told, VERSIONS.get(row, ({}, ()))[0]), ROWS)
    assert found is BY_ID[row]


# What is new, and what did not fail.


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "told",
    [
        "AttributeError: module 'torch' has no attribute 'get_default_dtype'",
        "ImportError: cannot import name 'Adam' from 'transformers'",
        "RuntimeError: Error building extension 'segmented_maxsim_cpp'",
        "ProcessDied: the process killed by signal 11",
        "",
    ],
)
def test_a_new_failure_is_new(stage: str, told: str) -> None:
    packages = {name: version for about, _ in VERSIONS.values() for name, version in about.items()}
    assert match(failed(stage, told, packages), ROWS) is None


def test_nothing_failed() -> None:
    assert match(record_of(), ROWS) is None


@given(
    stage=st.sampled_from(STAGES),
    told=st.text(max_size=200),
    packages=st.dictionaries(
        st.sampled_from(["torch", "numpy", "transformers", "setuptools"]), st.text(max_size=20)
    ),
)
def test_whatever_a_record_holds_is_looked_up(
    stage: str, told: str, packages: dict[str, str]
) -> None:
    found = match(failed(stage, told, packages), ROWS)
    assert found is None or stage in found.stages


def test_the_first_row_that_fits_is_told() -> None:
    loose = msgspec.structs.replace(BY_ID["conda-crypt"], id="loose", error="crypt")
    record = typical(BY_ID["conda-crypt"])
    assert match(record, [loose, *ROWS]) is loose
    assert match(record, [*ROWS, loose]) is BY_ID["conda-crypt"]


# Files that do not hold what they should.

GOOD = """
[[known]]
id = "a-row"
when = "always"
symptom = "OSError: no"
stages = ["import"]
error = "no"
packages = { torch = "<2" }
cure = "none"
sources = ["ColBERT issue 1"]
"""

FAULTS = {
    "an id twice": (GOOD + GOOD, "'a-row' is the id of more than one row"),
    "no id": (GOOD.replace('"a-row"', '"A row"'), r"known\.toml: .*regex.*id"),
    "no stage": (GOOD.replace('["import"]', '["compile"]'), "row a-row: no stage 'compile'; there"),
    "without stages": (GOOD.replace('["import"]', "[]"), "length >= 1.*stages"),
    "no expression": (GOOD.replace('error = "no"', 'error = "("'), "row a-row: .*unterminated"),
    "no specifier": (GOOD.replace('"<2"', '"old"'), "row a-row: Invalid specifier: 'old'"),
    "no repository": (GOOD.replace("ColBERT issue 1", "Other issue 1"), "source 'Other issue 1'"),
    "no number": (GOOD.replace("issue 1", "issue"), "row a-row: source 'ColBERT issue': expected"),
    "without sources": (GOOD.replace('["ColBERT issue 1"]', "[]"), "length >= 1.*sources"),
    "unknown field": (GOOD + "cause = 1\n", "unknown field `cause`"),
    "no TOML": ("[[known]", r"known\.toml: "),
}


def test_a_small_file_is_enough() -> None:
    (row,) = parse_known(GOOD.encode())
    assert match(failed("import", "OSError: no", {"torch": "1.13.1"}), [row]) is row


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_that_says_where(name: str) -> None:
    text, expected = FAULTS[name]
    with pytest.raises(MatrixError, match=expected) as caught:
        parse_known(text.encode())
    assert str(caught.value).startswith("known.toml: ")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(MatrixError, match=r"known\.toml: "):
        parse_known(b'[[known]]\nid = "\xff"')


def _told(record: Record) -> str:
    stage = record.failed_stage()
    assert stage is not None
    status = record.status[stage]
    return f"{status.error}: {status.message}"
