"""What sessions understand after `--`; bad input ends the run with one line and status 2."""

import argparse
import difflib
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NoReturn

import nox

from matrix_capture.catalogue import BY_NAME, DEPTHS
from matrix_capture.errors import MatrixError
from matrix_capture.names import (
    is_build,
    lane_name,
    lane_options,
    unknown_release,
    without_builds,
)
from matrix_capture.revision import read_revision
from sessions.matrix import CACHE, DATA, DEFAULT_LANE, LANES, NIGHTLY_LANES, RELEASES, SITE, TREES


def session_parser(session: nox.Session) -> argparse.ArgumentParser:
    """What every session that touches captures understands after `--`."""
    parser = Arguments(prog=f"nox -s {session.name} --", allow_abbrev=False)
    parser.add_argument(
        "--lane", default=DEFAULT_LANE, help=f"one of {', '.join(LANES)} (default: %(default)s)"
    )
    parser.add_argument(
        "--data", type=Path, default=DATA, help="where records are kept (default: %(default)s)"
    )
    parser.add_argument(
        "--passages",
        type=positive_number,
        metavar="N",
        help="a slice of the collection, for a quick run; it is recorded in a lane of its own",
    )
    parser.add_argument(
        "--depth",
        choices=DEPTHS,
        default=DEPTHS[0],
        help="sublayers: inside each layer of the encoder too, recorded in a lane of its own",
    )
    parser.add_argument(
        "--colbert",
        metavar="PATH|git+URL@SHA|VERSION",
        help="another colbert-ai than the lane's: a source tree, a commit or a release; it is "
        "recorded in a lane of its own",
    )
    return parser


class Arguments(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """End the run."""
        refuse(f"{message}; {self.prog} --help lists what there is")


def capture_options(parser: argparse.ArgumentParser) -> None:
    """What a session understands that captures."""
    parser.add_argument("--fresh", action="store_true", help="repeat captures that are on record")
    parser.add_argument(
        "--keep-env", action="store_true", help="keep the environment (5-7 GB), for nox -r"
    )
    parser.add_argument(
        "--inputs",
        type=Path,
        metavar="DIR",
        help="a copy of what a lane takes from the Hugging Face hub, where that is out of reach",
    )


def site_options(parser: argparse.ArgumentParser) -> None:
    """What a session understands that publishes."""
    parser.add_argument("--out", type=Path, help=f"where pages go (default: {SITE})")
    parser.add_argument(
        "--url", help="where the site will be published, ending in / (default: that of matrix.toml)"
    )
    parser.add_argument(
        "--today",
        metavar="YYYY-MM-DD",
        help="tell how old the data are on that day (default: the day of the newest capture)",
    )


def parse(
    session: nox.Session, parser: argparse.ArgumentParser, lanes: Collection[str] = ()
) -> argparse.Namespace:
    """Parse what follows `--`; bad options end the run with status 2, as argparse does.

    `lanes` are those to choose from; without any, a quick run's lane `<lane>+<8 hex>` will do too.
    """
    options = parser.parse_args(session.posargs)
    if (options.lane if lanes else options.lane.partition("+")[0]) not in LANES:
        near = difflib.get_close_matches(options.lane, LANES, n=1, cutoff=0)
        refuse(f"no lane {options.lane!r} in matrix.toml; the nearest is {near[0]}")
    wanted = pinned_colbert(options) if options.colbert is None else options.colbert
    try:
        options.revision = read_revision(wanted, TREES if lanes else None)
    except (MatrixError, OSError) as error:
        refuse(str(error))
    return options


def recorded_lane(options: argparse.Namespace) -> str:
    """The lane that captures with these options are recorded in."""
    chosen = lane_options(
        passages=options.passages,
        depth=options.depth,
        colbert=options.revision.label,
        pinned=pinned_colbert(options),
    )
    return lane_name(options.lane, chosen)


def pinned_colbert(options: argparse.Namespace) -> str:
    """The colbert-ai that the lane pins."""
    return str(LANES[options.lane.partition("+")[0]]["colbert"])


def lane_flags(options: argparse.Namespace) -> list[str]:
    """The options that make another lane, to be handed on."""
    flags = [*flag("--passages", options.passages), "--depth", options.depth]
    return [*flags, "--colbert", options.revision.argument]


def request_flags(options: argparse.Namespace) -> list[str]:
    """What a command that runs the pipeline is told of its lane and folders."""
    where = ["--lane", options.lane, "--data", str(options.data), "--cache", str(CACHE)]
    return [*where, *lane_flags(options), *flag("--inputs", options.inputs)]


def check_pair(releases: Sequence[str], lane: str) -> None:
    """Refuse releases and builds that the lane does not take, and less than two."""
    check_known(releases, lane)
    if len(set(releases)) < 2:
        refuse(f"one release makes no pair; name another beside {releases[0]}")


def check_known(releases: Sequence[str], lane: str) -> None:
    """Refuse releases and builds that the lane does not take."""
    for release in releases:
        if is_build(release):
            if lane not in NIGHTLY_LANES:
                refuse(without_builds(release, lane, NIGHTLY_LANES))
        elif release not in RELEASES:
            refuse(unknown_release(release, RELEASES))


def check_data(options: argparse.Namespace) -> None:
    """Refuse a data folder that is not there: what only reads must not make it."""
    if options.data != DATA and not options.data.is_dir():
        refuse(f"no folder {options.data}; --data names one with captures")


def positive_number(text: str) -> int:
    """A number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def build_name(text: str) -> str:
    """The name of a nightly build."""
    if not is_build(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no build like 2.16.0.dev20261121")
    return text


def artifact_name(text: str) -> str:
    """An artifact of the catalogue, with a part and a scope if they are given."""
    name = text.partition(" ")[0]
    if name not in BY_NAME:
        near = difflib.get_close_matches(name, BY_NAME, n=1, cutoff=0)
        raise argparse.ArgumentTypeError(f"no artifact {name!r}; the nearest is {near[0]}")
    return text


def flag(name: str, value: object) -> list[str]:
    """An option to be handed on, if it has a value."""
    return [] if value is None else [name, str(value)]


def refuse(message: str) -> NoReturn:
    """End the whole run over bad input: one line, status 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)
