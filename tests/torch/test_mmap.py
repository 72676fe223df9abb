"""The script that shows a shifted index, run with the torch that is here."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from matrix_compare.advice import MMAP_REPRODUCTION
from matrix_compare.layout import HEADER_BYTES


def run(folder: Path, script: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_mapped_index_is_read_shifted_unless_the_header_is_as_long_as_they_assume(
    tmp_path: Path,
) -> None:
    written, assumed, real = run(tmp_path, MMAP_REPRODUCTION)
    found = re.fullmatch(r"torch \S+ writes the data at byte (\d+)", written)
    assert found is not None
    offset = int(found[1])
    wrong = "equal" if offset == HEADER_BYTES else "not equal"
    assert assumed == f"mapped from byte {HEADER_BYTES} on: {wrong}"
    assert real == f"mapped from byte {offset} on: equal"


def test_from_2_7_on_it_is_shifted(tmp_path: Path) -> None:
    import torch

    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 7):
        pytest.skip("written at another byte before 2.7")
    assert run(tmp_path, MMAP_REPRODUCTION)[0].endswith(" 704")


def test_they_assume_that_many_bytes(tmp_path: Path) -> None:
    """The script stands for colbert-ai only as long as colbert-ai does what it does."""
    from colbert.indexing.codecs import residual_embeddings

    source = Path(str(residual_embeddings.__file__)).read_text(encoding="utf-8")
    assert f"ret = ret[{HEADER_BYTES}:]" in source
    assert f"codes = torch.IntTensor(storage)[{HEADER_BYTES // 4}:]" in source
