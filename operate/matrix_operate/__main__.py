"""`python -m matrix_operate`: what the workflows call; every decision of theirs is made here."""

import argparse
import sys
from collections.abc import Sequence
from types import ModuleType

from matrix_capture.errors import MatrixError
from matrix_compare.report import plain
from matrix_operate import (
    admit,
    alert,
    check,
    collect,
    fetch,
    heartbeat,
    planning,
    poll,
    record,
    report,
    row,
    vet,
)
from matrix_operate.errors import OutageError
from matrix_operate.log import unheeded

# Each has `arguments(parser)` and `run(options)`, which returns the exit status; its docstring's
# first line is the help. Status 2 is bad input, 75 a failure of the surroundings (EX_TEMPFAIL).
COMMANDS: dict[str, ModuleType] = {
    "admit": admit,
    "alert": alert,
    "capture": row,
    "check": check,
    "collect": collect,
    "fetch": fetch,
    "heartbeat": heartbeat,
    "plan": planning,
    "poll": poll,
    "record": record,
    "report": report,
    "vet": vet,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command.run(options))
    except MatrixError as error:
        with unheeded():
            print(plain(f"error: {error}"), file=sys.stderr)
        return 75 if isinstance(error, OutageError) else 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m matrix_operate", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        about = (module.__doc__ or "").partition("\n")[0]
        sub = commands.add_parser(name, help=about, description=about)
        sub.set_defaults(command=module)
        module.arguments(sub)
    return parser


if __name__ == "__main__":
    sys.exit(main())
