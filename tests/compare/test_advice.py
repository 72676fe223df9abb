"""The advice file."""

import json
from pathlib import Path

import msgspec
import pytest

from matrix_capture.errors import MatrixError
from matrix_compare.advice import Advice, advice_path, read_advices, record_advices
from matrix_compare.advising import advise
from tests.compare.advices import FACTS
from tests.compare.conftest import LANE


def advice(a: str, b: str, headline: str = "") -> Advice:
    return msgspec.structs.replace(advise(FACTS), a=a, b=b, headline=headline)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = record_advices(tmp_path, LANE, [advise(FACTS)])
    assert path == advice_path(tmp_path, LANE)
    found = read_advices(path)
    assert (found.schema_version, found.lane) == (1, LANE)
    assert found.advices == (advise(FACTS),)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["advices"][0]["re-index"]["change"]["changed_top"]["10"] == 3
    assert not [other for other in path.parent.iterdir() if other.suffix == ".tmp"]


def test_asking_again_replaces_that_pair_and_no_other(tmp_path: Path) -> None:
    record_advices(tmp_path, LANE, [advice("2.10.0", "2.11.0", "kept"), advice("2.7.1", "2.8.0")])
    path = record_advices(
        tmp_path, LANE, [advice("2.8.0", "2.7.1"), advice("2.7.1", "2.8.0", "new")]
    )
    assert [(one.a, one.b, one.headline) for one in read_advices(path).advices] == [
        ("2.7.1", "2.8.0", "new"),
        ("2.8.0", "2.7.1", ""),
        ("2.10.0", "2.11.0", "kept"),
    ]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"schema_version": 1}'])
def test_a_damaged_file_is_refused_and_not_overwritten(tmp_path: Path, content: bytes) -> None:
    path = advice_path(tmp_path, LANE)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(MatrixError, match=r"not a readable advice file .*; delete it"):
        record_advices(tmp_path, LANE, [advise(FACTS)])
    assert path.read_bytes() == content


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = record_advices(tmp_path, LANE, [])
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(MatrixError, match="schema version 2, but this release reads 1"):
        read_advices(path)
    with pytest.raises(MatrixError, match="nox -s advise makes it"):
        read_advices(tmp_path / "none.json")
