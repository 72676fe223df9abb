import shutil
from collections import namedtuple
from pathlib import Path

import huggingface_hub
import pytest

from matrix_capture import __main__ as command
from matrix_capture import environment, runner
from matrix_capture.__main__ import main
from matrix_capture.schema import digest_path, read_record

ROOT = Path(__file__).parents[2]
Usage = namedtuple("Usage", ["total", "used", "free"])


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the repository, with a compiler and room enough."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(command, "compiler", lambda: "c++")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 10**12))


def arguments(name: str, sources: Path, *more: str, **changed: str) -> list[str]:
    given = {
        "torch": "2.8.0",
        "lane": "cpu-pinned",
        "data": str(sources.parents[1] / "data"),
        "cache": str(sources.parent),
        "passages": "8",
        **changed,
    }
    return [name, *(word for key, value in given.items() for word in (f"--{key}", value)), *more]


def written(sources: Path) -> list[Path]:
    return sorted((sources.parents[1] / "data").rglob("*.parquet"))


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error."""
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    return told.err.removeprefix("error: ").strip()


# Help and usage.


@pytest.mark.parametrize("name", ["check", "run", "fail"])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    told = capsys.readouterr().out
    assert caught.value.code == 0
    assert all(
        option in told for option in ("--torch", "--lane", "--data", "--passages", "--colbert")
    )


@pytest.mark.parametrize("words", [[], ["chek"], ["check"], ["run", "--torch", "2.8.0"]])
def test_bad_usage_is_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


# Bad input is one line.


@pytest.mark.parametrize("name", ["check", "run", "fail"])
@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"torch": "2.8.7"}, "no torch release '2.8.7' in matrix.toml; the nearest is 2.8.0"),
        (
            {"torch": "2.16.0.dev20261121"},
            "lane cpu-pinned does not take 2.16.0.dev20261121, only releases; nightly builds are "
            "for --lane cpu-nightly",
        ),
        ({"lane": "cpu-pined"}, "no lane 'cpu-pined' in matrix.toml; it has cpu-pinned"),
        ({"lane": "cpu-pinned+01234567"}, "cpu-pinned+01234567 is named after options"),
        (
            {"colbert": "main"},
            "--colbert 'main' is neither a version (0.2.21), nor git+URL@SHA, nor",
        ),
        ({"colbert": "git+https://example.org/x@main"}, "--colbert git+...: expected git+https:"),
        ({"colbert": "tests"}, "--colbert 'tests' is no source tree of colbert-ai: it needs"),
        ({"passages": "0"}, "a collection has at least one passage, not 0; choose another"),
        ({"passages": "-5"}, "a collection has at least one passage, not -5; choose another"),
        ({"passages": "99999"}, "networkx has 96 passages, fewer than 99999; choose another"),
    ],
)
def test_bad_input_is_one_line(
    name: str,
    changed: dict[str, str],
    expected: str,
    sources: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = sources.parent / "install.log"
    log.write_text("error: no\n")
    more = ["--log", str(log)] if name == "fail" else []
    assert main(arguments(name, sources, *more, **changed)) == 2
    assert error(capsys).startswith(expected)
    assert written(sources) == []


def test_a_nightly_build_is_recorded_under_its_name(sources: Path) -> None:
    build = "2.16.0.dev20261121"
    assert main(arguments("run", sources, torch=build, lane="cpu-nightly")) == 0
    (path,) = (sources.parents[1] / "data" / "digests").rglob("*.parquet")
    assert path.name == f"torch-{build}.parquet"
    assert (read_record(path).torch, path.parent.name[:12]) == (build, "cpu-nightly+")


def test_another_colbert_is_recorded_in_a_lane_of_its_own(sources: Path) -> None:
    assert main(arguments("run", sources)) == 0
    assert main(arguments("run", sources, colbert="0.2.22")) == 0
    assert len(written(sources)) == 2  # the second is the first one's lane, which kept a copy
    assert main(arguments("run", sources, colbert="0.2.21")) == 0
    (older,) = [path for path in written(sources) if read_record(path).options.get("colbert")]
    assert read_record(older).options == {"passages": 8, "colbert": "0.2.21"}


@pytest.mark.parametrize("name", ["check", "run", "fail"])
def test_a_copy_is_refused_where_inputs_are_embedded(
    name: str, sources: Path, hub_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = sources.parent / "install.log"
    log.write_text("error: no\n")
    more = ["--log", str(log)] if name == "fail" else []
    assert main(arguments(name, sources, *more, inputs=str(hub_copy))) == 2
    assert error(capsys) == "lane cpu-pinned has embedded inputs; --inputs is not for it"
    assert written(sources) == []


def test_a_lane_of_the_hub_takes_a_copy(
    sources: Path, hub_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"lane": "cpu-conditionalqa", "inputs": str(hub_copy)}
    assert main(arguments("check", sources, **given)) == 0
    assert capsys.readouterr().out == "needed: no capture on record\n"
    assert main(arguments("check", sources, **given, passages="49")) == 2
    assert "has 48 passages, not 49; choose another --passages" in error(capsys)


def test_a_hub_out_of_reach_is_one_line_with_the_cure(
    sources: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api = huggingface_hub.HfApi(endpoint="http://127.0.0.1:1")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
    assert main(arguments("check", sources, lane="cpu-conditionalqa")) == 2
    told = error(capsys)
    assert told.startswith("UKPLab/dapr cannot be fetched from http://127.0.0.1:1 (Connect")
    assert "; give a copy with --inputs DIR, laid out as docs/formats.md says" in told


def test_outside_the_repository_it_says_where_to_stand(
    sources: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments("check", sources)) == 2
    assert "run from the repository's root" in error(capsys)


# check.


def test_check_says_why_a_capture_is_needed_and_then_that_it_is_current(
    sources: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(arguments("check", sources)) == 0
    assert capsys.readouterr().out == "needed: no capture on record\n"
    monkeypatch.setattr(environment, "packages", dict)
    log = tmp_path / "install.log"
    log.write_text("error: no\n")
    assert main(arguments("fail", sources, "--log", str(log))) == 0
    capsys.readouterr()
    assert main(arguments("check", sources)) == 0
    assert capsys.readouterr().out == "current (failed at install; --fresh repeats it)\n"
    assert main(arguments("check", sources, "--fresh")) == 0
    assert capsys.readouterr().out == "needed: asked for with --fresh\n"


def test_check_asks_for_a_compiler_where_one_is_needed(
    sources: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("CXX", "/nowhere/c++")
    assert main(arguments("check", sources)) == 2
    assert error(capsys).startswith("no C++ compiler '/nowhere/c++' on PATH")


def test_check_asks_for_room(
    sources: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 3 * 10**9))
    assert main(arguments("check", sources)) == 2
    assert error(capsys).startswith("3 GB free where environments are made, but a capture needs 12")


def test_check_refuses_a_place_that_cannot_be_written(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(arguments("check", sources, data=str(tmp_path / "file" / "data"))) == 2
    assert error(capsys).endswith("Not a directory; choose another --data")


# run and fail.


def test_run_records_a_failure_and_says_where_the_log_is(
    sources: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments("run", sources, "--install-seconds", "2")) == 0
    told = capsys.readouterr().out.splitlines()
    (path,) = written(sources)
    assert told[0].startswith("failed: import (recorded); the log is ")
    assert Path(told[0].rpartition(" ")[2]).is_file()
    assert told[1:] == [f"wrote {path}"]
    assert read_record(path).seconds["install"] == 2.0


def test_fail_records_the_installers_words(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "install.log"
    log.write_bytes(b"\xff\nerror: No solution found\n  cause: Because of this.\n")
    assert main(arguments("fail", sources, "--log", str(log))) == 0
    (path,) = written(sources)
    assert (
        capsys.readouterr().out == f"failed: install (recorded); Because of this.\nwrote {path}\n"
    )
    assert read_record(path).status["install"].message == "Because of this."
    # Whoever runs this takes a line with `error: ` for bad input, which ends everything.
    log.write_text("error: Failed to build `x`\n", encoding="utf-8")
    assert main(arguments("fail", sources, "--log", str(log))) == 0
    assert ": error: " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "cure"),
    [("Connection refused (os error 111)", "network"), ("No space left on device", "free some")],
)
def test_fail_records_nothing_when_the_surroundings_failed(
    words: str, cure: str, sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "install.log"
    log.write_text(f"error: Request failed\n  cause: {words}\n")
    assert main(arguments("fail", sources, "--log", str(log))) == 2
    told = error(capsys)
    assert told.startswith("torch 2.8.0 was not installed: ")
    assert cure in told
    assert told.endswith("nothing recorded")
    assert written(sources) == []


def test_fail_leaves_the_earlier_record_when_the_network_failed(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "install.log"
    log.write_text("error: no\n")
    main(arguments("fail", sources, "--log", str(log)))
    (path,) = written(sources)
    kept = path.read_bytes()
    log.write_text("error: dns error\n")
    assert main(arguments("fail", sources, "--log", str(log))) == 2
    assert "check the network" in capsys.readouterr().err
    assert (written(sources), path.read_bytes()) == ([path], kept)
    assert not digest_path(path.parents[2], "cpu-pinned", "2.8.0").exists()


def test_an_interrupt_is_one_line(
    sources: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "stale", interrupted)
    assert main(arguments("check", sources)) == 130
    assert capsys.readouterr().err == "error: interrupted; nothing recorded\n"
