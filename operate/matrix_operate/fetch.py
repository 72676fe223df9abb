"""Fetch what is on record, to look at it: what the branch holds or, without one, the snapshot."""

import argparse
import shutil
import tempfile
from pathlib import Path

from matrix_capture.errors import MatrixError
from matrix_operate.branch import Branch
from matrix_operate.record import begin


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command is told."""
    parser.add_argument("--remote", required=True, metavar="URL", help="the repository, or a path")
    parser.add_argument("--branch", default="data", help="the branch (default: data)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the data folder that is made"
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.out.exists():
        raise MatrixError(f"{options.out} is there already; name another folder")
    with tempfile.TemporaryDirectory(prefix="matrix-fetch-") as scratch:
        data = Path(scratch) / "data"
        data.mkdir()
        if not Branch(options.remote, options.branch, data).exists:
            print(f"no branch {options.branch} yet; this is what the checkout has on record")
            begin(data)
        shutil.rmtree(data / ".git")
        shutil.move(data, options.out)
    return 0
