"""A commit is what a pull request is now, or nothing of it runs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from matrix_operate.__main__ import main
from tests.compare.reports import EVIL
from tests.compare.test_markdown import ALLOWED, outside_code, rendered
from tests.operate.github_server import State, hub, pull_of

__all__ = ["hub"]

HEAD, OTHER, BASE = "0123456789" * 4, "f" * 40, "b" * 40
WATCHED = "them/ColBERT"
Vet = Callable[..., tuple[int, str]]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Where the outputs of a step go; an earlier step has written there."""
    path = tmp_path / "output"
    path.write_text("before=1\n", encoding="utf-8")
    return path


@pytest.fixture
def summary(tmp_path: Path) -> Path:
    return tmp_path / "summary.md"


@pytest.fixture
def vet(output: Path, summary: Path, capsys: pytest.CaptureFixture[str]) -> Vet:
    """Runs the command; returns its status and what it says."""

    def vet(pull: str = "402", sha: str = HEAD) -> tuple[int, str]:
        words = ["vet", "--pull", pull, "--sha", sha, "--watched", WATCHED]
        status = main([*words, "--output", str(output), "--summary", str(summary)])
        said = capsys.readouterr()
        return status, said.out + said.err

    return vet


def test_the_head_of_an_open_pull_request(
    hub: State, vet: Vet, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base is where it left its branch and not where that is now; a token is not needed."""
    hub.pulls[WATCHED] = [pull_of(402, HEAD)]
    hub.files[402] = ["README.md"]
    monkeypatch.delenv("GITHUB_TOKEN")
    status, said = vet()
    assert (status, said.count("\n")) == (0, 1)
    owner, name = WATCHED.split("/")
    told = [f"head={HEAD}", f"base={BASE}", f"owner={owner}", f"name={name}"]
    assert output.read_text().splitlines() == ["before=1", "number=402", *told]
    paths = [path.partition("?")[0] for _, path in hub.log]
    assert f"/repos/{WATCHED}/compare/{'a' * 40}...{HEAD}" in paths
    assert {method for method, _ in hub.log} == {"GET"}


def test_a_head_that_has_moved(hub: State, vet: Vet, output: Path, summary: Path) -> None:
    hub.pulls[WATCHED] = [pull_of(402, OTHER)]
    assert vet() == (
        1,
        f"pull request 402 of {WATCHED} has moved to {OTHER}; read that, then start anew\n",
    )
    assert output.read_text() == "before=1\n"
    assert not summary.exists()


@pytest.mark.parametrize("sha", ["", "abc", HEAD[:-1], HEAD + "0", "A" * 40, HEAD + "\n", "main"])
def test_what_is_no_commit_is_refused_unasked(hub: State, vet: Vet, output: Path, sha: str) -> None:
    status, said = vet(sha=sha)
    assert status == 2
    assert said.startswith("error: --sha")
    assert hub.log == []
    assert output.read_text() == "before=1\n"


@pytest.mark.parametrize("number", ["", "0", "-1", "1e3", "402/files", "402\nhead=x", "٤"])
def test_what_is_no_number_is_refused_unasked(hub: State, vet: Vet, number: str) -> None:
    assert vet(pull=number)[0] == 2
    assert hub.log == []


def test_a_pull_request_that_is_closed_or_unheard_of(hub: State, vet: Vet, output: Path) -> None:
    hub.pulls[WATCHED] = [pull_of(402, HEAD, state="closed")]
    assert vet() == (2, f"error: pull request 402 of {WATCHED} is not open\n")
    assert vet(pull="403")[0] == 2
    assert output.read_text() == "before=1\n"


@pytest.mark.parametrize("answer", ["", "main", "b" * 39, "b" * 40 + "\nhead=" + OTHER])
def test_no_answer_becomes_an_output_unless_it_is_a_commit(
    hub: State, vet: Vet, output: Path, answer: str
) -> None:
    hub.pulls[WATCHED] = [pull_of(402, HEAD)]
    hub.merge_base = answer
    status, said = vet()
    assert status == 75
    assert said.count("\n") == 1
    assert output.read_text() == "before=1\n"
    hub.merge_base = BASE
    hub.pulls[WATCHED] = [pull_of(402, answer)]
    assert vet()[0] == 75
    assert output.read_text() == "before=1\n"


def test_the_summary_names_what_to_read_twice(hub: State, vet: Vet, summary: Path) -> None:
    risky = ["setup.py", ".github/workflows/ci.yml", "colbert/search/filter_pids.cpp", "a/b.cu"]
    hub.pulls[WATCHED] = [pull_of(402, HEAD, title="Faster")]
    hub.files[402] = ["README.md", "colbert/infra/config/settings.py", *risky]
    hub.files[402] += [f"docs/{number}.md" for number in range(200)]
    vet()
    text = summary.read_text(encoding="utf-8")
    assert f"`Faster` by `somebody`: commit `{HEAD}`, held against `{BASE}`." in text
    assert "It changes 206 files. Any Python runs" in text
    assert "**By their names, 4 of them" in text
    assert [line[3:-1] for line in text.splitlines() if line.startswith("- ")] == risky
    hub.files[402] = ["README.md"]
    vet()
    assert summary.read_text(encoding="utf-8").endswith("cannot be read as text.\n")


def test_nothing_breaks_out_of_the_summary(hub: State, vet: Vet, summary: Path) -> None:
    evil = "".join(EVIL).replace("\ud800", "")
    hub.files[402] = [f"{part}.cpp" for part in EVIL if part != "\ud800"] * 3
    hub.pulls[WATCHED] = [pull_of(402, HEAD, title=evil, user={"login": evil, "url": ""})]
    assert vet()[0] == 0
    text = summary.read_text(encoding="utf-8")
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    page = rendered(text)
    assert {element.tag for element in page.iter()} <= {*ALLOWED, "h3"}
    assert not any(element.attrib for element in page.iter())
    assert "@" not in outside_code(page)
    assert "more" in text.splitlines()[-1]
