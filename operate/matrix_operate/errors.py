"""The exception that says: try again, nobody here did anything wrong."""

from matrix_capture.errors import MatrixError


class OutageError(MatrixError):
    """The surroundings failed: network, service, runner; command lines exit with status 75."""
