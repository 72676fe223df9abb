"""The search for the build that changes an artifact, as far as it goes without another capture."""

import json
from pathlib import Path

from tests.e2e.conftest import PASSAGES, RELEASES, ROOT, Done, run_session


def test_what_is_on_record_is_enough(done: Done, tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    options = ["--passages", str(PASSAGES), "--data", str(done.data), "--json", str(file)]
    output = run_session(ROOT, "bisect", *reversed(RELEASES), "--artifact", "D", *options)
    found = json.loads(file.read_text(encoding="utf-8"))
    assert (found["good"], found["bad"], found["next"]) == (*RELEASES, "")
    assert found["commands"][0] == f"nox -s compare -- {' '.join(RELEASES)} --passages {PASSAGES}"
    # That of the first is looked at and found current, that of the second is like it.
    assert f"torch {RELEASES[0]}: current" in output
    assert "installing" not in output
    assert f"Running session capture-{RELEASES[1]}" not in output
    assert found["sentence"] in " ".join(output.split())
