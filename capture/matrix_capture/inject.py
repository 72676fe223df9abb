"""Swaps: values of another release's capture, put in the place of what arises here.

`batches:2=2.7.1` means: the third `batches` of every pass becomes what torch 2.7.1 made there, and
the run goes on with it. If everything behind it equals that release's own capture, then all that
sets the two releases apart happens before.
"""

import re
from collections.abc import Iterable
from typing import Any

import blake3
import msgspec

from matrix_capture.catalogue import BY_NAME
from matrix_capture.digest import Snapshot
from matrix_capture.errors import MatrixError
from matrix_capture.names import BUILD, RELEASE
from matrix_capture.schema import Capture
from matrix_capture.values import ValueStore

INJECTABLE = (
    *("normalized", "half", "batches", "D", "local_sample_embs"),
    *("sample", "sample_heldout"),
    *("prenorm_centroids", "postnorm_centroids", "centroids"),
    *("heldout_codes", "heldout_centroids", "avg_residual", "bucket_cutoffs", "bucket_weights"),
    *("embs", "codes", "centroids_of_codes", "raw_residuals", "residuals"),
    *("codes_sorted_values", "codes_sorted_indices"),
)
"""The artifacts that a tap can hand on another value for, in the order in which they arise."""


class Injection(msgspec.Struct, frozen=True, kw_only=True):
    """One swap as it is asked for; without an occurrence it means all of them."""

    artifact: str
    source: str
    occurrence: int | None = None

    @property
    def label(self) -> str:
        """As on the command line."""
        which = "" if self.occurrence is None else f":{self.occurrence}"
        return f"{self.artifact}{which}={self.source}"


class Swap(msgspec.Struct, frozen=True, kw_only=True):
    """A place of the run and the value that is to be there, by its digest in hexadecimal."""

    artifact: str
    part: str
    scope: str
    occurrence: int
    digest: str


def read_injection(text: str) -> Injection:
    """Read `artifact[:occurrence]=release`.

    Raises:
        MatrixError: it is none, or names an artifact that cannot be swapped.
    """
    found = re.fullmatch(rf"(\w+)(?::([0-9]{{1,9}}))?=({BUILD}|{RELEASE})", text, re.ASCII)
    if not found:
        raise MatrixError(
            f"--inject {text!r} is no artifact[:occurrence]=release, such as batches:2=2.7.1"
        )
    artifact, occurrence, source = found.groups()
    if artifact not in INJECTABLE:
        what = "no tap hands it on" if artifact in BY_NAME else "no such artifact"
        raise MatrixError(f"{artifact!r} cannot be swapped ({what}); {', '.join(INJECTABLE)} can")
    number = None if occurrence is None else int(occurrence)
    return Injection(artifact=artifact, source=source, occurrence=number)


def injection_label(injections: Iterable[Injection]) -> str:
    """Several injections as one option, the same in whatever order they were given."""
    return ",".join(sorted(injection.label for injection in injections))


def swaps(injection: Injection, source: Capture) -> list[Swap]:
    """Every place that an injection is for, with the value that the source capture has there.

    Raises:
        MatrixError: the source has no such artifact, or does not equal itself in it.
    """
    columns = ["artifact", "part", "scope", "occurrence", "digest"]
    found: dict[tuple[str, str, str, int], set[bytes]] = {}
    rows = (source.rows.column(name).to_pylist() for name in columns)
    for artifact, part, scope, occurrence, digest in zip(*rows, strict=True):
        if artifact == injection.artifact and injection.occurrence in (None, occurrence):
            found.setdefault((artifact, part, scope, occurrence), set()).add(digest)
    if not found:
        raise MatrixError(f"{injection.label}: that capture has nothing to inject there")
    if unstable := [place for place, digests in found.items() if len(digests) > 1]:
        told = " ".join(filter(None, map(str, unstable[0])))
        raise MatrixError(f"{injection.label}: {told} differs between two runs of that release")
    return [
        Swap(artifact=artifact, part=part, scope=scope, occurrence=occurrence, digest=digest.hex())
        for (artifact, part, scope, occurrence), (digest,) in found.items()
    ]


def swaps_hash(swaps: Iterable[Swap]) -> str:
    """A hash of all that is injected; empty for nothing."""
    encoded = [msgspec.json.encode(swap) for swap in swaps]
    return blake3.blake3(b"\n".join(sorted(encoded))).hexdigest() if encoded else ""


class Injector:
    """Hands out the values that belong in some places of the run."""

    def __init__(self, swaps: Iterable[Swap], store: ValueStore) -> None:
        self._store = store
        self._wanted = {
            (swap.artifact, swap.part, swap.scope, swap.occurrence): bytes.fromhex(swap.digest)
            for swap in swaps
        }

    def __call__(self, place: tuple[str, str, str, int], value: Any) -> Any:
        """What belongs in a place: another tensor on the same device, or the value itself.

        Raises:
            MatrixError: the value is not in the store.
        """
        digest = self._wanted.pop(place, None)
        if digest is None:
            return value
        return tensor_of(self._store.get(digest)).to(value.device)

    @property
    def left(self) -> list[tuple[str, str, str, int]]:
        """The places that never came."""
        return list(self._wanted)


def tensor_of(snap: Snapshot) -> Any:
    """A tensor of that dtype, shape and bits, on the host."""
    import torch  # noqa: PLC0415 - only a pipeline has torch

    data = snap.data.copy()
    if data.dtype.kind == "u" and data.itemsize > 1:
        data = data.view(f"i{data.itemsize}")  # which every release of torch knows
    return torch.from_numpy(data).view(getattr(torch, snap.dtype)).reshape(snap.shape)
