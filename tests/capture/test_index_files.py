import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from matrix_capture.digest import content_hash, snapshot
from matrix_capture.errors import MatrixError
from matrix_capture.index_files import (
    check_index,
    index_hash,
    index_path,
    keep_index,
    layout,
    record_index,
)
from matrix_capture.recorder import Recorder


def write(folder: Path, files: Mapping[str, object]) -> Path:
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def test_lists_and_metadata_are_read_without_torch(tmp_path: Path) -> None:
    chunk = {
        "embedding_offset": 9,
        "num_passages": 2,
        "passage_offset": 5,
        "num_embeddings": 7,
        "written": "today",
    }
    files = {"doclens.0.json": [3, 4], "doclens.10.json": [1], "0.metadata.json": chunk}
    recorder = Recorder()
    record_index(recorder, write(tmp_path, files))
    rows = recorder.table().to_pylist()
    assert [(row["artifact"], row["part"]) for row in rows] == [
        ("index_chunk_metadata", "0.metadata.json#0"),
        ("index_doclens", "doclens.0.json#0"),
        ("index_doclens", "doclens.10.json#0"),
    ]
    assert {row["scope"] for row in rows} == {"disk"}
    assert rows[0]["digest"] == content_hash(snapshot([5, 2, 7, 9]))
    assert rows[1]["digest"] == content_hash(snapshot([3, 4]))
    assert recorder.scope == "setup"


def test_files_of_paths_and_times_are_left_out(tmp_path: Path) -> None:
    recorder = Recorder()
    record_index(recorder, write(tmp_path, {"plan.json": {"a": 1}, "metadata.json": {"b": 2}}))
    assert recorder.table().num_rows == 0


@pytest.mark.parametrize(
    "name", ["ivf.pt", "0.codes.pt.tmp", "x.codes.pt", "doclens.json", "centroids.ptx"]
)
def test_an_unknown_file_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=f"{name}, which the catalogue does not know"):
        record_index(Recorder(), write(tmp_path, {name: []}))


def test_metadata_that_lacks_a_number_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="num_embeddings"):
        record_index(
            Recorder(),
            write(tmp_path, {"0.metadata.json": {"passage_offset": 0, "num_passages": 1}}),
        )


# Archives.

# What torch.save writes for torch.arange(3), as pickletools shows it.
PLAIN = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00((X\x07\x00\x00\x00storageq\x01"
    b"ctorch\nLongStorage\nq\x02X\x01\x00\x00\x000q\x03X\x03\x00\x00\x00cpuq\x04K\x03tq\x05Q"
    b"K\x00K\x03\x85q\x06K\x01\x85q\x07\x89ccollections\nOrderedDict\nq\x08)Rq\ttq\nRq\x0b."
)
DATA = bytes(range(24))
MEMBERS = (("data.pkl", PLAIN), ("byteorder", b"little"), ("data/0", DATA), ("version", b"3\n"))


def archived(
    file: Path, members: tuple[tuple[str, bytes], ...] = MEMBERS, *, padding: int = 0
) -> Path:
    """An archive as torch writes it: stored, with names of its own, and an end of 64 bits."""
    stem = file.name.rpartition(".")[0]
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(f"{stem}/{name}")
            # A field that nobody reads, so that the data begins where it is wanted.
            info.extra = struct.pack("<2sH", b"FB", padding) + bytes(padding) if padding else b""
            archive.writestr(info, content)
    file.write_bytes(ended(file.read_bytes()))
    return file


def ended(content: bytes) -> bytes:
    """An archive of old with the end that torch writes."""
    entries, length, start = struct.unpack("<8x2xHII2x", content[-22:])
    counts = struct.pack("<2H2I2Q2Q", 45, 45, 0, 0, entries, entries, length, start)
    end = b"PK\x06\x06" + struct.pack("<Q", 44) + counts
    where = b"PK\x06\x07" + struct.pack("<IQI", 0, len(content) - 22, 1)
    return content[:-22] + end + where + content[-22:]


@pytest.mark.parametrize("padding", [0, 1, 63, 640])
@pytest.mark.parametrize("before", [b"", b"x" * 1000])
def test_the_layout_is_where_the_data_of_the_first_tensor_begins(
    padding: int, before: bytes, tmp_path: Path
) -> None:
    members = (("data.pkl", PLAIN + before), ("data/1", b"other"), ("data/0", DATA))
    file = archived(tmp_path / "0.codes.pt", members, padding=padding)
    offset = layout(file)
    assert file.read_bytes()[offset : offset + len(DATA)] == DATA
    assert file.read_bytes().find(DATA) == offset


@pytest.mark.parametrize("content", [b"", b"\x80\x02.", b"PK\x03\x04" + bytes(200)])
def test_a_file_that_is_no_archive_has_no_layout(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "0.codes.pt"
    file.write_bytes(content)
    with pytest.raises(MatrixError, match=r"0\.codes\.pt: not written by torch\.save"):
        layout(file)


def test_an_archive_without_tensors_has_no_layout(tmp_path: Path) -> None:
    file = archived(tmp_path / "0.codes.pt", (("data.pkl", PLAIN), ("more/data/01", DATA)))
    with pytest.raises(MatrixError, match=r"0\.codes\.pt: holds no tensor; capture the release"):
        layout(file)


# What an index may hold.


def test_tensors_may_be_loaded(tmp_path: Path) -> None:
    archived(tmp_path / "0.codes.pt")
    archived(tmp_path / "ivf.pid.pt", padding=40)
    newer = (*MEMBERS, (".format_version", b"1"), (".data/serialization_id", b"0" * 40))
    archived(tmp_path / "centroids.pt", newer)
    write(tmp_path, {"doclens.0.json": [3], "plan.json": {}})
    check_index(tmp_path)


def calling(function: bytes, argument: bytes) -> bytes:
    return b"\x80\x02" + function + b"X" + struct.pack("<I", len(argument)) + argument + b"\x85R."


PICKLES = {
    "by its name": calling(b"cos\nsystem\n", b"true"),
    "by another name of it": calling(b"cposix\nsystem\n", b"true"),
    "builtins": calling(b"cbuiltins\nexec\n", b"pass"),
    "a part of torch": calling(b"ctorch.hub\nload\n", b"x"),
    "what begins like a tensor": calling(b"ctorch._utils\n_rebuild_tensor_v2.x\n", b"x"),
    "what ends like a storage": calling(b"cos\nFloatStorage\n", b"x"),
    "a path to what ends like a storage": calling(b"ctorch\nos.FloatStorage\n", b"x"),
    "a name with a space": calling(b"ctorch FloatStorage\nx\n", b"x"),
    "no name": calling(b"c\n\n", b"x"),
    "from the stack": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "from the memo": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94"
    + b"00h\x00h\x01\x93\x8c\x04true\x85R.",
    "an instance": b"\x80\x02(X\x04\x00\x00\x00trueios\nsystem\n.",
    "an object": b"\x80\x02(cos\nsystem\nX\x04\x00\x00\x00trueo.",
    "an object of the memo": b"\x80\x02(h\x00X\x04\x00\x00\x00trueo.",
    "a new object": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "a new object with names": b"\x80\x04ccollections\nOrderedDict\n)}\x92.",
    "a state": b"\x80\x02ccollections\nOrderedDict\n)R}b.",
    "one byte of extension": b"\x80\x02\x82\x01.",
    "two bytes of extension": b"\x80\x02\x83\x01\x00.",
    "four bytes of extension": b"\x80\x02\x84\x01\x00\x00\x00.",
    "behind a tensor": PLAIN[:-1] + b"0" + calling(b"cos\nsystem\n", b"true")[2:],
    "of protocol 0": b"cos\nsystem\n(S'true'\ntR.",
    "of protocol 5": pickle.dumps(os.system, 5),
}


@pytest.mark.parametrize("pickled", PICKLES.values(), ids=PICKLES)
def test_a_pickle_that_calls_is_refused(pickled: bytes, tmp_path: Path) -> None:
    archived(tmp_path / "avg_residual.pt")
    archived(tmp_path / "centroids.pt", (("data.pkl", pickled), *MEMBERS[1:]))
    with pytest.raises(MatrixError, match=r"centroids\.pt: holds '.*', and not only tensors; cap"):
        check_index(tmp_path)


@pytest.mark.parametrize(
    "pickled", [b"", PLAIN[:-1], PLAIN[:60], b"\x80\x02c\xff\n\n.", b"\xff.", b"X\xff\xff\xff\x7f"]
)
def test_a_pickle_that_is_cut_or_garbled_is_refused(pickled: bytes, tmp_path: Path) -> None:
    archived(tmp_path / "centroids.pt", (("data.pkl", pickled), *MEMBERS[1:]))
    with pytest.raises(MatrixError, match=r"centroids\.pt: .*; capture the release again") as error:
        check_index(tmp_path)
    assert "\n" not in str(error.value)


def test_a_name_that_would_move_a_terminal_is_told_in_plain_text(tmp_path: Path) -> None:
    archived(tmp_path / "centroids.pt", (("data.pkl", calling(b"c\x1b[2J\nx\n", b"")),))
    with pytest.raises(MatrixError) as error:
        check_index(tmp_path)
    assert str(error.value).isprintable()


HARM = calling(b"cos\nsystem\n", b"true")


def hidden_in_front(file: Path) -> None:
    """A pickle with an archive behind: torch goes by the first bytes."""
    file.write_bytes(HARM + archived(file).read_bytes())


def in_front_and_found(file: Path) -> None:
    """The same, with an end that is right for Python and for torch."""
    with file.open("wb") as raw:
        raw.write(HARM)
        with zipfile.ZipFile(raw, "a") as archive:
            for name, content in MEMBERS:
                archive.writestr(f"centroids/{name}", content)
    file.write_bytes(ended(file.read_bytes()))


def in_capitals(file: Path) -> None:
    """Another that torch may take for the one it wants."""
    archived(file, (("DATA.PKL", HARM), *MEMBERS))


def of_code(file: Path) -> None:
    """What makes torch take the archive for a program."""
    archived(file, (*MEMBERS, ("constants.pkl", PLAIN)))


def elsewhere(file: Path) -> None:
    archived(file, (("code/data.pkl", HARM), *MEMBERS[1:]))


def twice(file: Path) -> None:
    """Two of a name, of which Python reads the last: the harmful one comes first."""
    with pytest.warns(UserWarning, match="Duplicate name"):
        archived(file, (("data.pkl", HARM), *MEMBERS))


def behind_harm(file: Path) -> tuple[bytes, bytearray]:
    """A harmful archive, and the same with a harmless one behind."""
    harmful = archived(file, (("data.pkl", HARM + bytes(200)), *MEMBERS[1:])).read_bytes()
    with file.open("r+b") as raw:
        raw.seek(0, os.SEEK_END)
        with zipfile.ZipFile(raw, "w") as archive:
            for name, content in MEMBERS:
                archive.writestr(f"centroids/{name}", content)
    return harmful, bytearray(ended(file.read_bytes()))


def two_lists(file: Path) -> None:
    """Of two lists of members torch takes the one that it is told of, Python the last."""
    harmful, both = behind_harm(file)
    (start,), (other,) = (struct.unpack("<Q", end[-50:-42]) for end in (both, harmful))
    both[-50:-42] = struct.pack("<Q", other)
    # Python takes what lies between for something in front, by which it corrects all places.
    entry = start
    for _ in MEMBERS:
        (place,) = struct.unpack("<I", both[entry + 42 : entry + 46])
        both[entry + 42 : entry + 46] = struct.pack("<I", place - (start - other))
        entry = both.find(b"PK\x01\x02", entry + 1)
    file.write_bytes(both)


def two_ends(file: Path) -> None:
    """And so with two ends."""
    harmful, both = behind_harm(file)
    both[-34:-26] = harmful[-34:-26]
    file.write_bytes(both)


def commented(file: Path) -> None:
    """A comment behind, in which there is room for another end."""
    content = bytearray(archived(file).read_bytes())
    content[-2:] = struct.pack("<H", 30)
    file.write_bytes(bytes(content) + bytes(30))


def of_old(file: Path) -> None:
    """Without the end of 64 bits."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in MEMBERS:
            archive.writestr(f"centroids/{name}", content)


def imitated(file: Path) -> None:
    """The same, with a note to its last member in which the numbers of such an end stand."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in MEMBERS:
            info = zipfile.ZipInfo(f"centroids/{name}")
            info.comment = bytes(76) if name == MEMBERS[-1][0] else b""
            archive.writestr(info, content)
    noted = bytearray(file.read_bytes())
    place = len(noted) - 98
    noted[place:-22] = struct.pack("<4s36xQQ4s4xQ4x", b"note", 0, place, b"note", place)
    file.write_bytes(noted)


def compressed(file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in MEMBERS:
            archive.writestr(f"centroids/{name}", content)
    file.write_bytes(ended(file.read_bytes()))


def of_no_tensors(file: Path) -> None:
    archived(file, MEMBERS[1:])


def damaged(file: Path) -> None:
    content = bytearray(archived(file).read_bytes())
    content[content.find(PLAIN) + 40] ^= 1
    file.write_bytes(content)


def encrypted(file: Path) -> None:
    content = bytearray(archived(file).read_bytes())
    start = content.find(b"PK\x01\x02")
    content[start + 8] |= 1
    file.write_bytes(content)


def of_a_bad_name(file: Path) -> None:
    content = bytearray(archived(file).read_bytes())
    start = content.find(b"PK\x01\x02")
    content[start + 9] |= 8  # the name is UTF-8
    content[start + 46] = 0xFF
    file.write_bytes(content)


def a_bare_pickle(file: Path) -> None:
    file.write_bytes(HARM)


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize(
    "plant",
    [
        *(hidden_in_front, in_front_and_found, twice, two_lists, two_ends, commented, of_old),
        imitated,
        *(compressed, of_no_tensors, damaged, encrypted, of_a_bad_name, a_bare_pickle, empty),
        *(in_capitals, of_code, elsewhere),
    ],
)
def test_a_file_that_torch_might_read_otherwise_is_refused(
    plant: Callable[[Path], None], tmp_path: Path
) -> None:
    archived(tmp_path / "avg_residual.pt")
    plant(tmp_path / "centroids.pt")
    with pytest.raises(MatrixError, match=r"centroids\.pt: not .*torch\.save.*; capture") as error:
        check_index(tmp_path)
    assert "\n" not in str(error.value)


# Keeping.


@pytest.fixture
def built(tmp_path: Path) -> Path:
    index = tmp_path / "scratch" / "index"
    index.mkdir(parents=True)
    archived(index / "0.codes.pt")
    return write(
        index, {"doclens.0.json": [1, 2], "plan.json": {"a": 1}, "metadata.json": {"b": 2}}
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*.*")}


def test_an_index_is_kept_whole(built: Path, tmp_path: Path) -> None:
    kept = index_path(tmp_path / "data", "cpu-pinned", "2.8.0")
    assert kept == tmp_path / "data" / "indexes" / "cpu-pinned" / "torch-2.8.0"
    keep_index(built, kept)
    assert contents(kept) == contents(built)
    assert len(contents(kept)) == 4
    assert list(kept.parent.iterdir()) == [kept]
    shutil.rmtree(built)
    assert (kept / "0.codes.pt").exists()


def test_an_index_takes_the_place_of_the_one_before(built: Path, tmp_path: Path) -> None:
    kept = index_path(tmp_path, "cpu-pinned", "2.8.0")
    keep_index(built, kept)
    (kept / "1.codes.pt").write_bytes(b"of an earlier one, with more chunks")
    keep_index(built, kept)
    assert contents(kept) == contents(built)
    assert list(kept.parent.iterdir()) == [kept]


def test_an_index_that_cannot_be_kept_leaves_the_one_before(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = index_path(tmp_path, "cpu-pinned", "2.8.0")
    keep_index(built, kept)
    before = contents(kept)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(OSError, match="No space"):
        keep_index(built, kept)
    assert contents(kept) == before
    assert list(kept.parent.iterdir()) == [kept]


# Telling one from another.


@pytest.mark.parametrize("name", ["plan.json", "metadata.json"])
def test_paths_and_times_do_not_tell_indexes_apart(name: str, built: Path) -> None:
    before = index_hash(built)
    (built / name).write_text("another")
    assert index_hash(built) == before
    (built / name).unlink()
    assert index_hash(built) == before


def test_every_other_byte_and_name_does(built: Path) -> None:
    codes, lengths = built / "0.codes.pt", built / "doclens.0.json"
    seen = {index_hash(built)}
    content = codes.read_bytes()
    for place in (0, 50, len(content) - 1):
        codes.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        seen.add(index_hash(built))
    codes.write_bytes(content + b"\0")
    seen.add(index_hash(built))
    codes.write_bytes(content)
    codes.rename(built / "1.codes.pt")
    seen.add(index_hash(built))
    for name in ("0.metadata.json", "metadata.json.pt", "a"):
        (built / name).write_text("")
        seen.add(index_hash(built))
    lengths.unlink()
    seen.add(index_hash(built))
    assert len(seen) == 10


def test_bytes_do_not_wander_from_file_to_file(tmp_path: Path) -> None:
    for split in (1, 2):
        (tmp_path / str(split)).mkdir()
        (tmp_path / str(split) / "a").write_text("abc"[:split])
        (tmp_path / str(split) / "b").write_text("abc"[split:])
    assert index_hash(tmp_path / "1") != index_hash(tmp_path / "2")


def test_the_same_index_elsewhere_is_the_same(built: Path, tmp_path: Path) -> None:
    keep_index(built, tmp_path / "kept")
    assert index_hash(tmp_path / "kept") == index_hash(built)
