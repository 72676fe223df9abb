"""`python -m matrix_compare.explain`: explain why two releases differ."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from matrix_capture import runner
from matrix_capture.catalogue import DEPTHS
from matrix_capture.errors import MatrixError
from matrix_capture.names import release_order
from matrix_capture.revision import read_revision
from matrix_capture.schema import replacing
from matrix_capture.settings import read_settings
from matrix_compare.causes import Explaining
from matrix_compare.document import encoded
from matrix_compare.explained import cause_lines, conclusion, swap_line, where
from matrix_compare.explanation import Explanation, explanation_path
from matrix_compare.gauge import Gauge
from matrix_compare.laboratory import Side
from matrix_compare.report import plain
from matrix_compare.terminal import say
from matrix_compare.tolerance import read_profiles


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 for bad input."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except (MatrixError, OSError) as error:
        print(f"error: {plain(str(error))}", file=sys.stderr)
        return 2
    return 0


def _run(options: argparse.Namespace) -> None:
    settings = read_settings()
    names = [settings.release(name, options.lane) for name in (options.a, options.b)]
    sides = zip(names, options.python, strict=True)
    # The older one is a, as on the pages.
    (first, python_a), (second, python_b) = sorted(sides, key=lambda side: release_order(side[0]))
    if first == second:
        raise MatrixError(f"one release makes no pair; name another beside {first}")
    request = runner.Request(
        settings=settings,
        lane=options.lane,
        torch=first,
        data=options.data,
        cache=options.cache,
        passages=options.passages,
        depth=options.depth,
        copy=options.inputs,
        revision=read_revision(options.colbert) if options.colbert is not None else None,
    )
    a = Side(request=request, python=python_a)
    b = Side(request=replace(request, torch=second), python=python_b)
    if options.json:
        options.json.touch()  # sooner than after ten minutes
    console = Console(highlight=False)
    gauge = Gauge(a.store(), read_profiles(settings), options.data / "distances.parquet")
    started = time.monotonic()

    def tell(text: str) -> None:
        minutes, seconds = divmod(round(time.monotonic() - started), 60)
        say(console, f"{minutes:3d}:{seconds:02d}  {text}")

    found = Explaining(a, b, gauge, tell)(options.command)
    gauge.save()
    _print(console, found)
    for path, content in _files(found, options):
        with replacing(path) as file:
            file.write(content)
        say(console, f"wrote {path}")


def _files(found: Explanation, options: argparse.Namespace) -> Iterator[tuple[Path, bytes]]:
    """What is to be written: the explanation, and each script beside it."""
    path = explanation_path(options.data, found.lane, found.a, found.b)
    for cause in found.causes:
        if cause.reproduction:
            yield path.with_name(cause.reproduction.name), cause.reproduction.script.encode()
    for target in filter(None, (path, options.json)):
        yield target, encoded(found)


def _print(console: Console, found: Explanation) -> None:
    console.print()
    say(console, conclusion(found))
    for cause in found.causes:
        part = "" if cause.necessary else ", which is not necessary"
        console.print()
        say(console, f"{cause.artifact} ({where(cause)}){part}")
        for line in cause_lines(found, cause):
            say(console, f"  {line}")
    if found.swaps:
        console.print()
        for swap in found.swaps:
            say(console, f"{'proof' if swap.sufficient else 'swap '}  {swap_line(swap)}")
    for cause in found.causes:
        if cause.reproduction:
            console.print()
            for line in cause.reproduction.script.splitlines():
                say(console, line)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m matrix_compare.explain",
        description="Explain why two releases differ: swap artifacts between the two, find "
        "the operation that sets them apart, and write a script that shows it.",
    )
    parser.add_argument("a", metavar="A", help="a release")
    parser.add_argument("b", metavar="B", help="another release")
    parser.add_argument(
        "--python",
        nargs=2,
        type=Path,
        required=True,
        metavar=("OF_A", "OF_B"),
        help="the interpreters of two environments that have them",
    )
    parser.add_argument("--lane", required=True, help="a lane of matrix.toml")
    parser.add_argument("--data", type=Path, default=Path("_data"), help="where records are kept")
    parser.add_argument("--cache", type=Path, default=Path("_cache"), help="inputs and extensions")
    parser.add_argument("--passages", type=int, help="a slice of the collection")
    parser.add_argument("--depth", choices=DEPTHS, default=DEPTHS[0], help="of the encoder")
    parser.add_argument("--inputs", type=Path, metavar="DIR", help="a copy of what the hub has")
    parser.add_argument("--colbert", metavar="PATH|git+URL@SHA|VERSION", help="another colbert-ai")
    parser.add_argument("--command", default="", help="what repeats this, for the record")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the explanation there too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
