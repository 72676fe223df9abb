"""Keep one issue for each boundary, and one for each release that `matrix.toml` lacks."""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from matrix_capture.errors import MatrixError
from matrix_capture.settings import SITE_URL, Settings, read_settings, settings_of
from matrix_compare.markdown import code
from matrix_compare.report import plain
from matrix_operate.alarm import BOUNDARY, RELEASE, boundary_entry, gone, release_entry, title
from matrix_operate.boundary import Sighting, survey
from matrix_operate.github import asking, connect
from matrix_operate.ledger import Ledger
from matrix_operate.log import unheeded


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")
    parser.add_argument("--repository", required=True, metavar="OWNER/NAME", help="whose issues")
    parser.add_argument("--lanes", metavar="LANES", help="separated by spaces (default is all)")
    parser.add_argument(
        "--site", metavar="URL", help="where the pages are (default is that of matrix.toml)"
    )
    parser.add_argument("--summary", type=Path, metavar="FILE", help="add what was done, Markdown")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, do nothing")


@asking()
def run(options: argparse.Namespace) -> int:
    """Open, edit, close and reopen issues until they say what is on record; returns 0."""
    settings = settings_of(options.data)
    site = _site(options.site, settings)
    seen = {name: survey(options.data, name, settings) for name in _lanes(options.lanes, settings)}
    if not any(seen.values()):
        raise MatrixError(f"{options.data}: no lane has two captures; is that the data folder?")
    ledger = Ledger(connect(), options.repository, dry_run=options.dry_run)
    told = _boundaries(ledger, seen, settings, site)
    _releases(ledger, settings)
    ledger.settle()
    _tell([*ledger.told, *told], options)
    return 0


def _boundaries(
    ledger: Ledger, seen: Mapping[str, Sequence[Sighting]], settings: Settings, site: str
) -> list[str]:
    """Keep the issues of boundaries; returns what else there is to tell of them."""
    told = []
    for kept in ledger.of(BOUNDARY):
        if why := gone(kept.subject, kept.fingerprint, seen):
            ledger.close(kept, why)
    opened = {kept.fingerprint for kept in ledger.of(BOUNDARY) if kept.open}
    for sighting in (sighting for sightings in seen.values() for sighting in sightings):
        boundary = sighting.boundary
        if sighting.unknown:
            pair = f"torch {sighting.a}...{sighting.b} in {sighting.lane}"
            told.append(f"nobody knows of {pair}: {sighting.unknown}")
        elif boundary and (boundary.confirmed or boundary.fingerprint in opened):
            ledger.keep(boundary_entry(boundary, settings, site))
        elif boundary:
            told.append(f"awaits confirmation by a second capture: {title(boundary)}")
    return told


def _releases(ledger: Ledger, settings: Settings) -> None:
    listed = read_settings().releases
    for kept in ledger.of(RELEASE):
        if kept.subject in listed:
            ledger.close(kept, "The line is there.")
    for release in settings.releases:
        if release not in listed:
            ledger.keep(release_entry(release, settings))


def _lanes(named: str | None, settings: Settings) -> list[str]:
    """The lanes named, else all, without those that pin nothing: they are not compared."""
    names = named.split() if named else settings.lanes
    return [name for name in dict.fromkeys(names) if settings.lane(name).constraints]


def _site(url: str | None, settings: Settings) -> str:
    found = f"{url.rstrip('/')}/" if url else settings.site.url
    if not re.fullmatch(SITE_URL, found):
        raise MatrixError(f"--site: {url!r} is no address; it takes https://host/ and a path")
    return found


def _tell(told: Sequence[str], options: argparse.Namespace) -> None:
    if options.dry_run:
        print("A dry run: nothing of this was done.")
    with unheeded():
        for line in told or ["nothing has changed"]:
            print(plain(line))
    if options.summary:
        with options.summary.open("a", encoding="utf-8") as file:
            file.write("### Issues\n\n")
            file.writelines(f"- {code(plain(line))}\n" for line in told or ["nothing has changed"])
