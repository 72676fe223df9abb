"""Where an element of a tensor lies, in words: batch, passage, token, centroid.

colbert-ai encodes the passages of a pass (the sample, or one chunk) in calls of `docFromText`. Each
call sorts its passages by length, encodes them batch by batch, puts them back in their own order
with `reverse_indices`, and keeps the tokens that `batch_masks` marks, one embedding each: `doclens`
says how many of each passage. All numbers count from 0, passages through the whole collection.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from matrix_capture.catalogue import BY_NAME
from matrix_capture.errors import MatrixError
from matrix_capture.schema import Capture
from matrix_capture.values import ValueStore

_Numbers = npt.NDArray[np.int64]

# No length, passage or place of a capture comes near, and sums of as many fit into int64.
_LIMIT = 2**31

GROUNDS = frozenset(
    {
        *("sample_pids", "num_passages", "reverse_indices", "input_ids", "batch_masks"),
        *("doclens", "index_doclens", "ivf_lengths", "index_ivf_lengths", "centroids"),
        *("candidate_lengths", "pruned_lengths", "ranked_lengths"),
    }
)
"""What a location is told from: where two captures have these alike, they have it alike."""

_CHUNK_METADATA = ("first passage", "number of passages", "number of embeddings", "first embedding")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tensor:
    """Which tensor of the capture is meant."""

    artifact: str
    part: str
    scope: str
    occurrence: int

    @property
    def encoded(self) -> str:
        """The pass that it belongs to; a file of the index holds what a chunk came to."""
        if self.scope != "disk":
            return self.scope
        number = re.match(r"(?:doclens\.)?([0-9]{1,9})\.", self.part)
        return f"chunk.{number[1]}" if number else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """What is needed of a digest row."""

    shape: tuple[int, ...]
    digest: bytes | None


class Locator:
    """Tells where the elements of one capture lie.

    It reads the few small values that it needs, of repeat 0, when it first needs them. Where one is
    absent, damaged or does not fit, the axes are told by their own numbers, as the catalogue names
    them: `batch 7, passage 3 of the batch`.
    """

    def __init__(self, capture: Capture, store: ValueStore) -> None:
        self._table = capture.rows
        self._store = store
        self._rows: dict[str, dict[tuple[str, str], list[_Row]]] = {}
        self._values: dict[tuple[str, str, str, int], _Numbers | None] = {}
        self._words: dict[str, Callable[[_Tensor, int], str | None]] = {
            "passage of the batch": self._batched,
            "passage of the pass": self._passage,
            "passage of the chunk": self._passage,
            "embedding of the pass": self._embedding,
            "embedding of the chunk": self._embedding,
            "embedding": self._indexed,
            "byte": self._byte,
            "place in the lists": self._listed,
            "candidate of the queries": self._candidate,
            "result of the queries": self._result,
            "number of the chunk": self._metadata,
        }

    def tell(
        self, artifact: str, part: str, scope: str, occurrence: int, index: Sequence[int]
    ) -> str:
        """Where the element with that index lies, as in `batch 7, passage 412, token 17`.

        An artifact that the catalogue does not know has no axes: `index [3, 17]`.
        """
        if not index:
            return "the value"
        tensor = _Tensor(artifact=artifact, part=part, scope=scope, occurrence=occurrence)
        axes = BY_NAME[artifact].axes if artifact in BY_NAME else ()
        words = []
        if artifact == "weights":
            words += [part] if part else []
            axes = axes[: len(index)]  # a bias has no columns
        if axes[:1] == ("passage of the batch",):
            words.append(f"batch {occurrence}")
            if len(axes) != len(index):  # as what a pooler returns, which has no tokens
                words.append(self._along(tensor, axes[0], index, 0))
                axes, index = (), index[1:]
        if len(axes) == len(index):
            words += [self._along(tensor, axis, index, n) for n, axis in enumerate(axes) if axis]
        elif index:
            words.append(f"index [{', '.join(str(number) for number in index)}]")
        return ", ".join(words)

    def _along(self, tensor: _Tensor, axis: str, index: Sequence[int], n: int) -> str:
        """Where the element lies along one axis."""
        words = self._words.get(axis)
        known = words(tensor, index[n]) if words and self._has(tensor, index) else None
        name, space, rest = axis.partition(" ")
        return known or f"{name} {index[n]}{space}{rest}"

    # One function for each axis of which more can be said than its number.

    def _batched(self, tensor: _Tensor, place: int) -> str | None:
        """The passage in a place of a batch."""
        batches = [_leading(row) for row in self._occurrences("input_ids", tensor.scope)]
        end = sum(batches[: tensor.occurrence + 1])
        length = self._lengths(tensor)[tensor.occurrence]
        call = self._call(tensor.scope, end - length)
        if call is None or batches[tensor.occurrence : tensor.occurrence + 1] != [length]:
            return None
        reverse, first = call
        if end > first + reverse.size:
            return None  # no batch holds passages of two calls
        # Passage n of the call lies in place reverse[n] of its batches.
        (found,) = np.nonzero(reverse == end - length + place - first)
        return self._named(tensor.scope, first + int(found[0]))

    def _passage(self, tensor: _Tensor, place: int) -> str | None:
        """A passage of a pass; several occurrences follow each other."""
        before = sum(self._lengths(tensor)[: tensor.occurrence])
        return self._named(tensor.encoded, before + place)

    def _embedding(self, tensor: _Tensor, row: int) -> str | None:
        """An embedding of a pass; several occurrences follow each other."""
        lengths = self._lengths(tensor)
        doclens = self._doclens(tensor.encoded)
        if doclens is None or doclens.sum() != sum(lengths):
            return None
        return self._kept(tensor.encoded, sum(lengths[: tensor.occurrence]) + row)

    def _indexed(self, tensor: _Tensor, row: int) -> str | None:
        """An embedding of the whole index, chunk after chunk."""
        chunks: list[int] = []
        while (doclens := self._doclens(f"chunk.{len(chunks)}")) is not None:
            chunks.append(int(doclens.sum()))
        found = _piece(chunks, row)
        if found is None or sum(chunks) != sum(self._lengths(tensor)):
            return None
        chunk, first = found
        return self._kept(f"chunk.{chunk}", row - first)

    def _byte(self, tensor: _Tensor, byte: int) -> str | None:
        """The dimensions in a byte: each has the same number of bits."""
        centroids = self._occurrences("centroids", "sample")
        if not centroids or len(centroids[0].shape) != 2:
            return None
        width, dims = self._of(tensor)[tensor.occurrence].shape[1], centroids[0].shape[1]
        if width > dims or 8 * width % dims:
            return None
        first, last = byte * dims // width, ((byte + 1) * dims - 1) // width
        held = f"dimension {first}" if first == last else f"dimensions {first} to {last}"
        return f"byte {byte} ({held})"

    def _listed(self, tensor: _Tensor, place: int) -> str | None:
        """A place in the list of a centroid, or behind the last list."""
        artifact = BY_NAME[tensor.artifact].order_key or ""
        parts = [part for scope, part in self._places(artifact) if scope == tensor.scope]
        lengths = self._numbers(artifact, tensor.scope, parts[0]) if len(parts) == 1 else None
        if lengths is None:
            return None
        found = _piece(lengths, place)
        if found is None:
            return f"padding behind the lists, place {place - int(lengths.sum())}"
        centroid, first = found
        return f"list of centroid {centroid}, place {place - first}"

    def _candidate(self, tensor: _Tensor, place: int) -> str | None:
        """A candidate of a query; those of all queries follow each other."""
        found = self._asked(tensor, place)
        return found and f"query {found[0]}, candidate {found[1]}"

    def _result(self, tensor: _Tensor, place: int) -> str | None:
        """A result of a query, by its rank; those of all queries follow each other."""
        found = self._asked(tensor, place)
        return found and f"query {found[0]}, rank {found[1] + 1}"

    def _asked(self, tensor: _Tensor, place: int) -> tuple[int, int] | None:
        """Which query a place in the lists of all belongs to, and where in its list it is."""
        kind = tensor.artifact.partition("_")[0]
        lengths = self._numbers(f"{kind}_lengths", tensor.scope)
        if lengths is None or int(lengths.sum()) != sum(self._lengths(tensor)):
            return None
        found = _piece(lengths, place)
        return found and (found[0], place - found[1])

    def _metadata(self, tensor: _Tensor, number: int) -> str | None:
        """One of the numbers in the file of a chunk."""
        fits = self._lengths(tensor)[tensor.occurrence] == len(_CHUNK_METADATA)
        return _CHUNK_METADATA[number] if fits else None

    # Passages and tokens.

    def _kept(self, encoded: str, row: int) -> str | None:
        """The passage and the token whose embedding is a row of a pass."""
        doclens = self._doclens(encoded)
        found = None if doclens is None else _piece(doclens, row)
        if doclens is None or found is None:
            return None
        passage, first = found
        named, before = self._named(encoded, passage), self._before(encoded)
        if named is None or before is None:
            return None
        embedding = f"embedding {before[1] + row}{' of the sample' if encoded == 'sample' else ''}"
        of = int(doclens[passage])
        kept = f"kept token {row - first} of {of}"
        token = self._token(encoded, passage, row - first, of)
        if token is None:
            return f"{named}, {kept} ({embedding})"
        return f"{named}, token {token} ({kept}, {embedding})"

    def _token(self, encoded: str, passage: int, kept: int, of: int) -> int | None:
        """Where in the padded passage a kept token stands: the mask of its batch knows."""
        call = self._call(encoded, passage)
        if call is None:
            return None
        reverse, first = call
        place = first + int(reverse[passage - first])
        batch = _piece([_leading(row) for row in self._occurrences("batch_masks", encoded)], place)
        if batch is None:
            return None
        number, first = batch
        mask = self._numbers("batch_masks", encoded, occurrence=number, dims=3)
        if mask is None:
            return None
        (tokens,) = np.nonzero(mask[place - first].ravel())
        return int(tokens[kept]) if tokens.size == of else None

    def _call(self, encoded: str, passage: int) -> tuple[_Numbers, int] | None:
        """The `reverse_indices` of the call that encoded a passage, and the call's first passage.

        A call's passages and the places in its batches are numbered alike.
        """
        calls = self._occurrences("reverse_indices", encoded)
        found = _piece([_leading(row) for row in calls], passage)
        if found is None:
            return None
        number, first = found
        reverse = self._numbers("reverse_indices", encoded, occurrence=number)
        if reverse is None or (np.sort(reverse) != np.arange(reverse.size)).any():
            return None
        return reverse, first

    def _named(self, encoded: str, passage: int) -> str | None:
        """A passage of a pass by its number in the collection."""
        if encoded == "sample":
            # Encoded in the order of the collection, whatever the order of the draw.
            pids = self._numbers("sample_pids", "sample")
            count = self._numbers("num_passages", "sample", dims=0)
            if pids is None or pids.size != count or (pids[1:] <= pids[:-1]).any():
                return None
            return f"passage {pids[passage]}" if passage < pids.size else None
        before = self._before(encoded)
        return f"passage {before[0] + passage}" if before else None

    def _before(self, encoded: str) -> tuple[int, int] | None:
        """Passages and embeddings of the chunks before one; before the sample there are none."""
        chunk = re.fullmatch(r"chunk\.([0-9]{1,9})", encoded)
        if chunk is None:
            return (0, 0) if encoded == "sample" else None
        passages = embeddings = 0
        for earlier in range(int(chunk[1])):
            doclens = self._doclens(f"chunk.{earlier}")
            if doclens is None:
                return None
            passages += doclens.size
            embeddings += int(doclens.sum())
        return passages, embeddings

    def _doclens(self, encoded: str) -> _Numbers | None:
        """The embeddings of each passage of a pass, from the run or from the finished index."""
        doclens = self._numbers("doclens", encoded)
        if doclens is None:
            number = encoded.removeprefix("chunk.")
            doclens = self._numbers("index_doclens", "disk", f"doclens.{number}.json#0")
        return doclens

    # Rows and values of the capture, which may be anything.

    def _has(self, tensor: _Tensor, index: Sequence[int]) -> bool:
        """Whether the capture has that element."""
        rows = self._of(tensor)
        if not 0 <= tensor.occurrence < len(rows):
            return False
        shape = rows[tensor.occurrence].shape
        return len(index) == len(shape) and all(
            0 <= n < dim for n, dim in zip(index, shape, strict=True)
        )

    def _lengths(self, tensor: _Tensor) -> list[int]:
        """The leading dimension of each occurrence."""
        return [_leading(row) for row in self._of(tensor)]

    def _of(self, tensor: _Tensor) -> list[_Row]:
        return self._occurrences(tensor.artifact, tensor.scope, tensor.part)

    def _occurrences(self, artifact: str, scope: str, part: str = "") -> list[_Row]:
        """All occurrences in order; none where one is missing, because numbers would be off."""
        return self._places(artifact).get((scope, part), [])

    def _places(self, artifact: str) -> dict[tuple[str, str], list[_Row]]:
        """The occurrences of an artifact by scope and part."""
        if artifact not in self._rows:
            ours = (pc.field("artifact") == artifact) & (pc.field("repeat") == 0)
            found: dict[tuple[str, str], list[dict[str, Any]]] = {}
            for row in self._table.filter(ours).select(_COLUMNS).to_pylist():
                found.setdefault((row["scope"], row["part"]), []).append(row)
            self._rows[artifact] = {place: _in_order(rows) for place, rows in found.items()}
        return self._rows[artifact]

    def _numbers(
        self, artifact: str, scope: str, part: str = "", *, occurrence: int = 0, dims: int = 1
    ) -> _Numbers | None:
        """A stored value of so many dimensions, if it is whole and holds lengths or places."""
        place = (artifact, scope, part, occurrence)
        if place not in self._values:
            rows = self._occurrences(artifact, scope, part)
            self._values[place] = self._read(rows[occurrence]) if occurrence < len(rows) else None
        value = self._values[place]
        return value if value is not None and value.ndim == dims else None

    def _read(self, row: _Row) -> _Numbers | None:
        if row.digest is None:
            return None
        try:
            snap = self._store.get(row.digest)
        except MatrixError:
            return None
        whole = snap.dtype == "bool" or "int" in snap.dtype
        if not whole or snap.data.size != prod(row.shape):
            return None
        if snap.data.size and not 0 <= int(snap.data.min()) <= int(snap.data.max()) < _LIMIT:
            return None
        return snap.data.astype(np.int64).reshape(row.shape)


_COLUMNS = ["scope", "part", "occurrence", "shape", "digest"]


def _in_order(rows: list[dict[str, Any]]) -> list[_Row]:
    numbered = {row["occurrence"]: row for row in rows}
    sound = all(
        row["shape"] is not None
        and all(dim is not None and 0 <= dim < _LIMIT for dim in row["shape"])
        for row in rows
    )
    if not sound or numbered.keys() != set(range(len(rows))):
        return []
    ordered = (numbered[n] for n in range(len(rows)))
    return [_Row(shape=tuple(row["shape"]), digest=row["digest"]) for row in ordered]


def _leading(row: _Row) -> int:
    """The leading dimension; none of it is in a single value."""
    return next(iter(row.shape), 0)


def _piece(lengths: Sequence[int] | _Numbers, place: int) -> tuple[int, int] | None:
    """Which of pieces in a row holds a place, and where that piece begins; None if none does."""
    ends = np.cumsum(lengths, dtype=np.int64)
    piece = int(np.searchsorted(ends, place, side="right"))
    if piece == len(ends):
        return None
    return piece, int(ends[piece]) - int(lengths[piece])
