"""The Nu HTML checker, which is what the W3C validates with, on every page and stylesheet."""

import json
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Shown

ALLOWED = {
    "Property “paint-order” doesn't exist": "it is in SVG 2 and in every browser",
    "This document appears to be written in": "names and versions are in no language",
    "not in Unicode Normalization Form C": "names in the data are shown as they were recorded",
}
"""Part of a message that is no fault, and why it is none."""


@pytest.fixture(scope="session")
def complaints(checker: Any) -> Callable[..., list[str]]:
    """What the checker says of files, all in one process: it takes a second to start."""
    jar = checker("vnu-jar/build/dist/vnu.jar")

    def check(files: Iterable[Path]) -> list[str]:
        options = ["--format", "json", "--also-check-css", "--also-check-svg", "--exit-zero-always"]
        try:
            done = subprocess.run(
                ["java", "-jar", str(jar), *options, *map(str, files)],
                capture_output=True,
                text=True,
                check=True,
            )
        except FileNotFoundError:
            pytest.skip("no java; Debian's package is default-jre-headless")
        return [
            f"{message.get('url', '')}:{message.get('lastLine', '')}: {message['message']}"
            for message in json.loads(done.stderr)["messages"]
            if not any(part in message["message"] for part in ALLOWED)
        ]

    return check


def test_the_checker_has_nothing_to_say(shown: Shown, complaints: Any) -> None:
    folder = shown.example.folder
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in {".html", ".css", ".svg"}]
    said = complaints(files)
    assert not said, "\n".join(said)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<main><section><p>text</main>", "open elements"),
        ('<img src="x.png">', "must have an “alt” attribute"),
        ('<p id="a">text<p id="a">text', "Duplicate ID “a”"),
        ("<section><p>text</section>", "Section lacks heading"),
        ('<p style="colour: red">text', "Property “colour” doesn"),
    ],
)
def test_a_planted_fault_is_found(body: str, said: str, planted: Any, complaints: Any) -> None:
    found = complaints([Path(planted(body).removeprefix("file://"))])
    assert any(said in one for one in found)


def test_a_page_without_a_fault_is_passed(planted: Any, complaints: Any) -> None:
    assert complaints([Path(planted("<h1>A</h1>").removeprefix("file://"))]) == []
