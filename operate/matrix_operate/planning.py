"""Plan captures: what is due tonight, what somebody names, or what a pull request needs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from matrix_capture.errors import MatrixError
from matrix_capture.revision import read_revision
from matrix_capture.settings import Settings, read_settings
from matrix_compare.markdown import code, table
from matrix_operate.jobs import Jobs, asked, tonight
from matrix_operate.plan import MOST_ROWS, Plan, expected, read_plan, write_plan
from matrix_operate.releases import released

# What each kind goes by; what another kind goes by would be passed over without a word.
_GOES_BY: dict[str, tuple[str, ...]] = {
    "nightly": ("data",),
    "lanes": ("releases",),
    "pull": ("releases", "base", "head"),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument("--kind", required=True, choices=_GOES_BY)
    parser.add_argument("--lanes", required=True, metavar="'LANE ...'", help="lanes of matrix.toml")
    parser.add_argument("--gpu", metavar="ARCH", help="of the runners of lanes on a GPU: sm_90")
    parser.add_argument("--data", type=Path, metavar="DIR", help="what is on record (nightly)")
    parser.add_argument("--releases", metavar="'RELEASE ...'", help="what to capture (lanes, pull)")
    parser.add_argument("--base", metavar="REVISION", help="a version or git+URL@SHA (pull)")
    parser.add_argument("--head", metavar="REVISION", help="what a pull request makes of it (pull)")
    parser.add_argument("--passages", type=int, metavar="N", help="a slice of the collection")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the plan")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="append matrix, captures, new and plan"
    )
    parser.add_argument("--summary", type=Path, metavar="FILE", help="append a table in Markdown")


def run(options: argparse.Namespace) -> int:
    """Write a plan and tell of it; returns 0."""
    settings = read_settings()
    lanes = tuple(dict.fromkeys(options.lanes.split()))
    _check(options, lanes, settings)
    jobs = Jobs(
        settings=settings,
        gpu=options.gpu,
        passages=options.passages,
        colbert=_revisions(options) if options.kind == "pull" else (),
    )
    if options.kind == "nightly":
        plan = tonight(lanes, options.data, jobs, released(settings.lane(lanes[0]).python))
    else:
        why = "asked for" if options.kind == "lanes" else "base and head"
        plan = asked(lanes, options.releases.split(), jobs, why)
    if len(plan.rows) > MOST_ROWS:
        raise MatrixError(
            f"{len(plan.rows)} rows, but GitHub takes {MOST_ROWS}; name fewer lanes or releases"
        )
    write_plan(options.out, plan)
    _tell(options, settings, read_plan(options.out))
    return 0


def _check(options: argparse.Namespace, lanes: Sequence[str], settings: Settings) -> None:
    """Refuse options that do not fit together, and names that `matrix.toml` does not have."""
    for name in ("data", "releases", "base", "head"):
        needed, given = name in _GOES_BY[options.kind], bool(getattr(options, name))
        if needed and not given:
            raise MatrixError(f"plan --kind {options.kind} needs --{name}")
        if given and not needed and name != "data":
            raise MatrixError(f"plan --kind {options.kind} takes no --{name}")
    if not lanes:
        raise MatrixError(f"--lanes names none; matrix.toml has {', '.join(settings.lanes)}")
    for lane in lanes:
        if lane not in settings.lanes:
            known = ", ".join(settings.lanes)
            raise MatrixError(f"no lane {lane!r} in matrix.toml; it has {known}")
        if settings.lanes[lane].inputs != "embedded":
            raise MatrixError(f"lane {lane} takes inputs from a hub that runners are kept from")
        if settings.lanes[lane].device == "cuda" and not options.gpu:
            raise MatrixError(
                f"lane {lane} is on a GPU; say with --gpu which, such as sm_90 (of a workflow that "
                "is the variable MATRIX_GPU)"
            )
    if options.gpu and options.gpu not in settings.gpus:
        known = ", ".join(settings.gpus)
        raise MatrixError(f"no GPU {options.gpu!r} in matrix.toml; it has {known}")
    if options.passages is not None and options.passages < 1:
        raise MatrixError(f"--passages {options.passages}: a slice has at least one")


def _revisions(options: argparse.Namespace) -> tuple[str, str]:
    """What a pull request starts from and what it makes of it, for any machine to fetch."""
    base, head = (read_revision(text) for text in (options.base, options.head))
    if base.tree or head.tree:
        raise MatrixError("--base and --head must be had elsewhere too; name commits, no folders")
    if base.label == head.label:
        raise MatrixError(f"--base and --head are both {base.label}")
    return options.base, options.head


def _tell(options: argparse.Namespace, settings: Settings, plan: Plan) -> None:
    """Print the plan, and leave what a workflow reads of it."""
    titles = ("row", "lane", "torch", "why")
    rows = [(row.name, row.lane, " ".join(row.torch), row.why) for row in plan.rows]
    gaps = [f"lane {gap.lane}, torch {gap.torch}: {gap.reason}" for gap in plan.not_run]
    shown = Table(*titles, box=None, pad_edge=False)
    for cells in rows:
        shown.add_row(*cells)
    Console(markup=False, highlight=False).print(shown if rows else "nothing is due")
    for gap in gaps:
        print(f"not run: {gap}", file=sys.stderr)
    if options.output:
        matrix = {"include": [{"name": row.name, "runs_on": row.runs_on} for row in plan.rows]}
        lines = [
            f"matrix={msgspec.json.encode(matrix).decode()}",
            f"captures={sum(1 for _ in expected(plan, settings))}",
            f"new={' '.join(plan.new)}",
            # The plan itself travels this way: a file could be replaced by code in a capture.
            f"plan={msgspec.json.encode(plan).decode()}",
        ]
        _append(options.output, lines)
    if options.summary:
        told = [*table(titles, ([*map(code, cells)] for cells in rows))] or ["Nothing is due."]
        _append(options.summary, [*told, *(f"- not run: {code(gap)}" for gap in gaps)])


def _append(path: Path, lines: Sequence[str]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
