"""`python -m matrix_compare.advise`: may torch change, and what becomes of index and ranking?"""

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.text import Text

from matrix_capture.errors import MatrixError
from matrix_capture.settings import settings_of
from matrix_compare.advice import (
    SCHEMA_VERSION,
    Advice,
    Advices,
    record_advices,
    record_crossings,
)
from matrix_compare.advising import advise
from matrix_compare.crossing import crossings
from matrix_compare.document import write_document
from matrix_compare.evidence import Evidence
from matrix_compare.report import plain
from matrix_compare.terminal import say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 for bad input."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except (MatrixError, OSError) as error:
        _complain(f"error: {error}")
        return 2
    return 0


def _run(options: argparse.Namespace) -> None:
    settings = settings_of(options.data)
    settings.lane(options.lane)
    evidence = Evidence(options.data, options.lane, settings)
    for line in evidence.excluded:
        _complain(line)
    given = []
    console = Console(highlight=False)
    names = [settings.release(name, options.lane) for name in options.releases]
    for a, b in _pairs(names, evidence):
        with console.status(f"looking at {a} and {b}"):
            advice = advise(evidence.facts(a, b))
        print_advice(console, advice, script=bool(options.releases))
        given.append(advice)
    evidence.save()
    path = record_advices(options.data, options.lane, given)
    if evidence.rankings:
        record_crossings(options.data, options.lane, crossings(evidence.rankings))
    if options.json:
        asked = Advices(schema_version=SCHEMA_VERSION, lane=options.lane, advices=tuple(given))
        write_document(options.json, asked)
        say(console, f"wrote {options.json}")
    say(console, f"wrote {path}")


def print_advice(console: Console, advice: Advice, *, script: bool) -> None:
    """Print an advice: the headline, what is said, what is not, and what could be required.

    `script` has the reproduction printed too, which is the same for every pair.
    """
    console.print(Text(advice.headline, style="bold"), soft_wrap=True)
    console.print(Text(f"lane {advice.lane}"))
    for sentence in advice.sentences:
        _print_wrapped(console, sentence.text)
    console.print(Text("not measured:"))
    for sentence in advice.not_measured:
        _print_wrapped(console, f"- {sentence.text}")
    if advice.requirement:
        console.print(Text(f"requirement: {advice.requirement}"))
    if script and advice.reproduction:
        console.print(Text("mapped loading, with torch alone:"))
        for line in advice.reproduction.splitlines():
            console.print(Text(line), soft_wrap=True)
    console.print()


def _print_wrapped(console: Console, text: str) -> None:
    for line in Text(text).wrap(console, console.width - 4):
        line.rstrip()
        console.print(Text("  ") + line)


def _pairs(names: Sequence[str], evidence: Evidence) -> list[tuple[str, str]]:
    """What is asked about, in the order in which it is asked."""
    if names and len(names) != 2:
        raise MatrixError(
            f"two releases make a pair, not {len(names)}; name the one you have and the one you "
            "want, or none for all pairs of neighbours"
        )
    if names:
        if names[0] == names[1]:
            raise MatrixError(f"one release makes no pair; name another beside {names[0]}")
        for name in names:
            evidence.of(name)
        return [(names[0], names[1])]
    captured = [capture.record.torch for capture in evidence.captures]
    if len(captured) < 2:
        raise MatrixError("fewer than two captures can be read; nox -s matrix makes some")
    return list(pairwise(captured))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m matrix_compare.advise",
        description="Say whether an index of torch A may be kept when torch becomes B, what "
        "becomes of the ranking if it is and if it is made anew, whether B runs at all, and "
        "whether training changes. Without releases: for each pair of neighbours on record.",
    )
    parser.add_argument(
        "releases", nargs="*", metavar="RELEASE", help="the one you have, then the one you want"
    )
    parser.add_argument("--lane", required=True, help="a lane of matrix.toml, e.g. cpu-pinned")
    parser.add_argument("--data", type=Path, default=Path("_data"), help="where records are kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write this advice there too")
    return parser


def _complain(text: str) -> None:
    print(plain(text), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
