"""The one exception a person is meant to read."""


class MatrixError(Exception):
    """Bad input: the message says what, where and what to do, in one line.

    Command lines print it without a traceback and exit with status 2.
    """

    def __str__(self) -> str:
        """The message on one line, whatever was put into it."""
        return " ".join(super().__str__().split())
