"""The captures of a lane that can be compared, and why others cannot."""

from dataclasses import dataclass
from pathlib import Path

from matrix_capture.errors import MatrixError
from matrix_capture.schema import Capture, list_captures, read_capture
from matrix_capture.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Captures:
    """The readable captures of a lane in release order; `excluded` says why others are not."""

    lane: str
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
            f"{state} capture of torch {torch} in lane {self.lane}; nox -s capture-{torch} makes it"
        )


def load_captures(data: Path, lane: str, settings: Settings) -> Captures:
    """Read every capture of a lane that can be read and belongs to a release of `matrix.toml`.

    Raises:
        MatrixError: the lane has no capture at all.
    """
    paths = list_captures(data, lane)
    if not paths:
        raise MatrixError(f"no captures of lane {lane} in {data}; make some with nox -s matrix")
    captures, excluded = [], []
    for path in paths:
        try:
            capture = read_capture(path)
            _check(capture, path, lane, settings)
        except MatrixError as error:
            excluded.append(str(error))
        else:
            captures.append(capture)
    captures.sort(key=lambda capture: settings.releases.index(capture.record.torch))
    return Captures(lane=lane, captures=tuple(captures), excluded=tuple(excluded))


def _check(capture: Capture, path: Path, lane: str, settings: Settings) -> None:
    record = capture.record
    if record.lane != lane or path.name != f"torch-{record.torch}.parquet":
        raise MatrixError(
            f"{path}: its record says torch {record.torch} of lane {record.lane}; "
            "move it where it belongs"
        )
    if record.torch not in settings.releases:
        raise MatrixError(f"{path}: torch {record.torch} is not in matrix.toml; add it there")
