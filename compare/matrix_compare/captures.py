"""The captures of a lane that can be compared, and why others cannot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matrix_capture.errors import MatrixError
from matrix_capture.names import capture_session, is_build, release_order
from matrix_capture.schema import Capture, digest_path, list_captures, read_capture, recorded
from matrix_capture.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Captures:
    """The readable captures of a lane in release order; `excluded` says why others are not.

    `releases` are all that the lane has, captured or not.
    """

    lane: str
    releases: tuple[str, ...]
    captures: tuple[Capture, ...]
    excluded: tuple[str, ...]

    def of(self, torch: str) -> Capture:
        """The capture of one release.

        Raises:
            MatrixError: there is none.
        """
        for capture in self.captures:
            if capture.record.torch == torch:
                return capture
        state = "no"
        if any(f"torch-{torch}.parquet" in line for line in self.excluded):
            state = "no readable"
        raise MatrixError(
            f"{state} capture of torch {torch} in lane {self.lane}; "
            f"nox -s {capture_session(torch)} makes it"
        )


def load_captures(data: Path, lane: str, settings: Settings) -> Captures:
    """Read every capture of a lane that can be read and belongs to a release of the settings.

    Of a lane with nightly builds only the newest of those are read.

    Raises:
        MatrixError: the lane has no capture at all.
    """
    paths = list_captures(data, lane)
    if not paths:
        raise MatrixError(f"no captures of lane {lane} in {data}; make some with nox -s matrix")
    held = recorded(data, lane)
    releases = settings.of_lane(lane, held)
    past = set(held).difference(releases) if settings.lane(lane).nightly else ()
    older = {digest_path(data, lane, build) for build in past}
    captures, excluded = [], []
    for path in paths:
        if path in older:
            continue
        try:
            capture = read_capture(path)
            _check(capture, path, lane, releases)
        except MatrixError as error:
            excluded.append(str(error))
        else:
            captures.append(capture)
    captures.sort(key=lambda capture: release_order(capture.record.torch))
    return Captures(
        lane=lane, releases=releases, captures=tuple(captures), excluded=tuple(excluded)
    )


def _check(capture: Capture, path: Path, lane: str, releases: Sequence[str]) -> None:
    record = capture.record
    if record.lane != lane or path.name != f"torch-{record.torch}.parquet":
        raise MatrixError(
            f"{path}: its record says torch {record.torch} of lane {record.lane}; "
            "move it where it belongs"
        )
    if record.torch not in releases:
        cure = "move it to a lane with builds" if is_build(record.torch) else "add it there"
        raise MatrixError(f"{path}: torch {record.torch} is not in matrix.toml; {cure}")
