"""The exception that says: try again, nobody here did anything wrong."""

from matrix_capture.errors import MatrixError


class OutageError(MatrixError):
    """The surroundings failed: a network, a service, a runner; command lines exit with status 75."""
