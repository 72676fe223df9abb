"""The files of a finished index: records every tensor in them, keeps them, tells what they are."""

import json
import os
import pickletools
import re
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import blake3

from matrix_capture.catalogue import BY_NAME, POSITION
from matrix_capture.errors import MatrixError
from matrix_capture.recorder import Recorder

# Artifacts of each file, in the order of the tensors in it; files of paths and times are left out.
_FILES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"centroids\.pt", ("index_centroids",)),
    (r"avg_residual\.pt", ("index_avg_residual",)),
    (r"buckets\.pt", ("index_bucket_cutoffs", "index_bucket_weights")),
    (r"\d+\.codes\.pt", ("index_codes",)),
    (r"\d+\.residuals\.pt", ("index_residuals",)),
    (r"doclens\.\d+\.json", ("index_doclens",)),
    (r"\d+\.metadata\.json", ("index_chunk_metadata",)),
    (r"ivf\.pid\.pt", ("index_ivf", "index_ivf_lengths")),
)
_CHUNK_METADATA = ("passage_offset", "num_passages", "num_embeddings", "embedding_offset")
_LEFT_OUT = {"plan.json", "metadata.json"}


def record_index(recorder: Recorder, folder: Path) -> None:
    """Record the tensors of the index in `folder` under scope `disk`, part `<file>#<place>`.

    Raises:
        LookupError: colbert-ai wrote a file that this module does not know.
    """
    with recorder.within("disk"):
        for file in sorted(folder.iterdir()):
            if file.name in _LEFT_OUT:
                continue
            tensors = list(_tensors(file))
            by_name = {artifact: tensor for artifact, _, tensor in tensors}
            for artifact, place, tensor in sorted(tensors, key=lambda t: POSITION[t[0]]):
                key = by_name.get(BY_NAME[artifact].order_key or "")
                recorder.record(artifact, tensor, part=f"{file.name}#{place}", key=key)
            if file.suffix == ".pt":
                recorder.record("file_layout", layout(file), part=file.name)


def layout(file: Path) -> int:
    """The byte at which the data of the first tensor begins in a file of `torch.save`.

    Such a file is an archive with each tensor's data, uncompressed, in a member of its own.

    Raises:
        MatrixError: it is no such archive.
    """
    with _archive(file) as archive, file.open("rb") as raw:
        for member in archive.infolist():
            if member.filename.endswith("/data/0"):
                # Before the data lies a header of 30 bytes, a name, and a field that pads it.
                raw.seek(member.header_offset + 26)
                name, padding = struct.unpack("<HH", raw.read(4))
                return member.header_offset + 30 + int(name) + int(padding)
    raise MatrixError(f"{file}: holds no tensor; {_CURE}")


def keep_index(built: Path, kept: Path) -> None:
    """Keep a copy of a finished index in place of the one that was kept before.

    A kill on the way leaves one of the two, or none.
    """
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=f".{kept.name}") as scratch:
        copied, replaced = Path(scratch, "new"), Path(scratch, "old")
        shutil.copytree(built, copied)
        if kept.exists():
            kept.rename(replaced)
        copied.rename(kept)


def index_path(data: Path, lane: str, torch: str) -> Path:
    """Where the finished index of a capture is kept below the data folder."""
    return data / "indexes" / lane / f"torch-{torch}"


def index_hash(folder: Path) -> str:
    """BLAKE3 of every file of an index but those that hold paths and times, in hex."""
    hasher = blake3.blake3()
    for file in sorted(folder.iterdir()):
        if file.name not in _LEFT_OUT:
            hasher.update(f"{file.name} {file.stat().st_size}\n".encode())
            hasher.update_mmap(file)
    return hasher.hexdigest()


def check_index(folder: Path) -> None:
    """Refuse an index that could do more than hold tensors once it is loaded.

    colbert-ai loads it with `torch.load`, which releases before 2.6 let run any code.

    Raises:
        MatrixError: a file of it is no archive of plain tensors.
    """
    for file in sorted(folder.glob("*.pt")):
        _check_pickle(file, _pickle(file))


def _pickle(file: Path) -> bytes:
    """The one pickle of a file, where torch can find no other than is found here.

    By its first bytes torch tells an archive from a bare pickle. It believes the end of an archive,
    where Python looks around, and does not tell upper from lower case.
    """
    with _archive(file) as archive, file.open("rb") as raw:
        members = archive.infolist()
        pickles = [member for member in members if member.filename.lower().endswith(".pkl")]
        plain = (
            raw.read(4) == b"PK\x03\x04"
            and _ends_plainly(raw)
            and all(member.compress_type == zipfile.ZIP_STORED for member in members)
            and [member.filename.partition("/")[2] for member in pickles] == ["data.pkl"]
        )
        if not plain:
            raise MatrixError(f"{file}: not as torch.save writes it; {_CURE}")
        try:
            return archive.read(pickles[0])
        except (*_UNREADABLE, RuntimeError, EOFError) as error:
            raise MatrixError(f"{file}: not written by torch.save ({error}); {_CURE}") from None


def _ends_plainly(raw: IO[bytes]) -> bool:
    """Whether an archive ends as torch ends it: with the list of its members and what finds it."""
    place = raw.seek(0, os.SEEK_END) - _END.size
    if place < 0:
        return False
    raw.seek(place)
    one, length, start, two, where, three = _END.unpack(raw.read())
    signatures = b"PK\x06\x06", b"PK\x06\x07", b"PK\x05\x06"
    return (one, two, three) == signatures and start + length == where == place


def _check_pickle(file: Path, pickled: bytes) -> None:
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            name = f"{argument}" if opcode.name == "GLOBAL" else ""
            if opcode.name in _CALLING or (name and not _PLAIN.fullmatch(name)):
                raise MatrixError(
                    f"{file}: holds {name or opcode.name!r}, and not only tensors; {_CURE}"
                )
    except ValueError as error:
        raise MatrixError(f"{file}: {error}; {_CURE}") from None


# What a tensor is rebuilt by, and every other way in which a pickle comes to call something.
_PLAIN = re.compile(r"torch\._utils _rebuild_tensor_v2|torch \w+Storage|collections OrderedDict")
_CALLING = {"BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"}
# The last three records of an archive: where the list of members begins, in 64 bits; where that
# record is; the same for readers of old.
_END = struct.Struct("<4s36xQQ4s4xQ4x4s18x")
_UNREADABLE = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error)
_CURE = "capture the release again"


def _archive(file: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except _UNREADABLE as error:
        raise MatrixError(f"{file}: not written by torch.save ({error}); {_CURE}") from None


def _tensors(file: Path) -> Iterator[tuple[str, int, Any]]:
    for pattern, artifacts in _FILES:
        if re.fullmatch(pattern, file.name):
            loaded = _load(file)
            values = loaded if isinstance(loaded, tuple) else (loaded,)
            for place, (artifact, value) in enumerate(zip(artifacts, values, strict=True)):
                yield artifact, place, value
            return
    raise LookupError(f"the index holds {file.name}, which the catalogue does not know")


def _load(file: Path) -> Any:
    if file.suffix == ".json":
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return [content[name] for name in _CHUNK_METADATA]
        return content
    import torch  # noqa: PLC0415 - only a pipeline has torch

    return torch.load(file, map_location="cpu")
