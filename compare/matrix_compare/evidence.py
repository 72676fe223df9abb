"""Reads what is on record of a lane, for the pairs of releases that somebody asks about."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from msgspec.structs import replace

from matrix_capture.errors import MatrixError
from matrix_capture.names import release_order
from matrix_capture.rankings import Rankings, rankings_path, read_rankings
from matrix_capture.schema import Capture, Record
from matrix_capture.settings import Settings
from matrix_capture.values import ValueStore
from matrix_compare.advice import Change, Option
from matrix_compare.attribution import attribute
from matrix_compare.captures import load_captures
from matrix_compare.change import RankingChange
from matrix_compare.comparable import environment_difference, obstacles
from matrix_compare.explanation import Explanation, explanation_path, read_explanation
from matrix_compare.facts import Facts, Losses, Mapped, Row, Size, error_line, identical
from matrix_compare.gauge import Gauge
from matrix_compare.known import match, read_known
from matrix_compare.layout import data_offsets
from matrix_compare.pairs import compare
from matrix_compare.ranking import ranking_change
from matrix_compare.requirement import finished, run_around, same_index
from matrix_compare.tolerance import read_profiles


class Evidence:
    """A lane's captures, rankings and explanations, read once for all pairs.

    With `judged`, the verdicts of a pair are what it says of the two releases, the earlier first;
    without, captures are compared as they are asked about.

    Raises:
        MatrixError: there is no capture, or the rankings cannot be read.
    """

    def __init__(
        self,
        data: Path,
        lane: str,
        settings: Settings,
        judged: Callable[[str, str], Sequence[Row]] | None = None,
    ) -> None:
        self._judged = judged or self._compare
        self._data, self._lane, self._settings = data, lane, settings
        loaded = load_captures(data, lane, settings)
        self.excluded, self.captures, self.of = loaded.excluded, loaded.captures, loaded.of
        self._releases = loaded.releases
        self._store = ValueStore(data / "values")
        self._gauge = Gauge(self._store, read_profiles(settings), data / "distances.parquet")
        path = rankings_path(data, lane)
        self.rankings = read_rankings(path) if path.exists() else None
        self._known = read_known()
        self._same = cache(self._compare_indexes)

    def save(self) -> None:
        """Keep what was measured."""
        self._gauge.save()

    def facts(self, a: str, b: str) -> Facts:
        """What is known of going from one release to another.

        Raises:
            MatrixError: one has no capture, or its rankings are no rankings.
        """
        one, other = self.of(a), self.of(b)
        why = obstacles(one.record, other.record)
        rows = tuple(self._judged(a, b))
        rankings, stale = self.rankings, False
        if rankings and (stale := _stale(rankings, one.record, other.record)):
            rankings = None
        # What was found on different hosts or in different passages tells nothing of torch.
        found = _Searches(None if why else rankings, baseline=(a, a))
        own, keep, reindex = found.option(a, a), found.option(a, b), found.option(b, b)
        if reindex.change and reindex.ranking == "changes":
            reindex = replace(reindex, stages=attribute(one, other, self._store))
        if keep.state == "unknown" and reindex.state == "ok" and identical(finished(rows)):
            keep = replace(reindex, index=a, state="inferred")
        return Facts(
            lane=self._lane,
            device=self._settings.lane(self._lane).device,
            options=session_options(other.record, self._settings),
            a=one.record,
            b=other.record,
            obstacles=why,
            rows=rows,
            own=own,
            keep=keep,
            reindex=reindex,
            mapped=tuple(found.mapped(side, b) for side in (one, other)),
            queries=len(rankings.header.relevant) if rankings else 0,
            stale=stale,
            losses=_losses(one, other),
            size=_size(other),
            known=match(other.record, self._known),
            explanation=self._explanation(a, b),
            environment=environment_difference(one.record, other.record),
            run=run_around(b, self.captures, self._releases, self._same_of),
        )

    def _same_of(self, a: Capture, b: Capture) -> bool:
        return self._same(a.record.torch, b.record.torch)

    def _compare_indexes(self, a: str, b: str) -> bool:
        return same_index(self._judged(a, b))

    def _compare(self, a: str, b: str) -> Sequence[Row]:
        return compare((self.of(a), self.of(b)), self._gauge, self._store).of(a, b)

    def _explanation(self, a: str, b: str) -> Explanation | None:
        path = explanation_path(self._data, self._lane, *sorted((a, b), key=release_order))
        try:
            return read_explanation(path) if path.exists() else None
        except MatrixError:  # one that cannot be read explains nothing
            return None


def session_options(record: Record, settings: Settings) -> str:
    """What follows the releases of a session to name the lane and what sets it apart."""
    base = record.lane.partition("+")[0]
    flags = [] if base == next(iter(settings.lanes)) else ["--lane", base]
    for name in ("passages", "depth", "colbert"):
        if name in record.options:
            flags += [f"--{name}", str(record.options[name])]
    return f" {shlex.join(flags)}" if flags else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """What a search found, or why it is of no use: one of both."""

    rows: Any = None
    error: str = ""


class _Searches:
    """The searches of a lane, each against the one that users have now."""

    def __init__(self, rankings: Rankings | None, *, baseline: tuple[str, str]) -> None:
        self._rankings = rankings
        self._baseline = baseline
        self._find = cache(self._look_up)

    def option(self, index: str, search: str) -> Option:
        """An index searched with a release."""
        option = Option(index=index, search=search)
        found = self._find(index, search)
        if found is None:
            return option
        if found.error:
            return replace(option, state="failed", error=found.error)
        change = self._change(self._find(*self._baseline), found)
        ranking = _changes(change) if change else "unknown"
        return replace(option, state="ok", ranking=ranking, change=change)

    def mapped(self, capture: Capture, search: str) -> Mapped:
        """The index of a capture, mapped."""
        index = capture.record.torch
        found = self._find(index, search, mmap=True)
        return Mapped(
            torch=index,
            offsets=data_offsets(capture.rows),
            error=found.error if found else "",
            change=self._change(self._find(index, search), found),
        )

    def _look_up(self, index: str, search: str, *, mmap: bool = False) -> _Found | None:
        """A search on record of the index that the release has now."""
        if self._rankings is None:
            return None
        made = self._rankings.search(index, search, mmap=mmap)
        own = self._rankings.search(index, index)
        # Captured anew, a release may have another index than the one searched with others.
        if made is None or (own and made.index != own.index):
            return None
        if made.state == "failed":
            return _Found(error=error_line(made.error, made.message) or "no reason is on record")
        found = _Found(rows=self._rankings.rows(index, search, mmap=mmap))
        try:
            self._change(found, found)
        except MatrixError as error:  # a score that is no number ranks nothing
            return _Found(error=str(error))
        return found

    def _change(self, before: _Found | None, after: _Found | None) -> RankingChange | None:
        """What becomes of the rankings of one search in another; None if either is of no use."""
        if self._rankings is None or not before or not after or before.error or after.error:
            return None
        return ranking_change(before.rows, after.rows, self._rankings.header.relevant)


def _changes(change: RankingChange) -> Change:
    return "same" if change.same_order == change.queries else "changes"


def _stale(rankings: Rankings, *records: Record) -> bool:
    """Whether other inputs were searched than were captured."""
    wanted = rankings.header.inputs
    return any(record.inputs.get(name) != wanted[name] for record in records for name in wanted)


def _rows(capture: Capture, artifact: str) -> list[Row]:
    """The digest rows of an artifact in the first run, by part and occurrence."""
    same = pc.and_(
        pc.equal(capture.rows["artifact"], artifact), pc.equal(capture.rows["repeat"], 0)
    )
    found: list[Row] = capture.rows.filter(same).to_pylist()
    return sorted(found, key=lambda row: (row["part"], row["occurrence"]))


def _losses(a: Capture, b: Capture) -> Losses | None:
    sides = [_rows(capture, "train_loss") for capture in (a, b)]
    if not sides[0] or len(sides[0]) != len(sides[1]):
        return None
    steps = list(zip(*sides, strict=True))
    if any(row["min"] is None for step in steps for row in step):  # not finite
        return None
    differing = (n for n, (x, y) in enumerate(steps, start=1) if x["digest"] != y["digest"])
    return Losses(
        a=tuple(x["min"] for x, _ in steps),
        b=tuple(y["min"] for _, y in steps),
        first=next(differing, None),
    )


def _size(capture: Capture) -> Size | None:
    doclens, codes = _rows(capture, "index_doclens"), _rows(capture, "index_codes")
    if not doclens or not codes:
        return None
    return Size(
        passages=sum(row["numel"] for row in doclens),
        embeddings=sum(row["numel"] for row in codes),
        chunks=len(codes),
    )
