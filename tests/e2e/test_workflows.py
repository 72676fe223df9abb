"""A night as GitHub would run it: plan, real captures, record, publish, tell."""

import re
from pathlib import Path

from tests.e2e.conftest import PASSAGES, RELEASES
from tests.operate.github_server import BOT, State, serving
from tests.workflows.conftest import Stage, language, stage  # noqa: F401 - fixtures
from tests.workflows.host import TOKEN
from tests.workflows.staging import checkout, of_releases, recorded, write_index

LANE = "cpu-pinned"
PAIR = "...".join(RELEASES)


def test_a_night_with_real_captures(stage: Stage, tmp_path: Path) -> None:  # noqa: F811
    files = checkout()
    settings = of_releases(files["matrix.toml"].decode(), RELEASES)
    heading = f"[lanes.{LANE}]\n"
    assert heading in settings
    sliced = settings.replace(heading, f"{heading}passages = {PASSAGES}\n")
    files["matrix.toml"] = sliced.encode()
    state = State(tokens={TOKEN: BOT})
    with serving(state) as api:
        harness = stage(
            files,
            repository="us/matrix",
            api=api,
            variables={"MATRIX_LANES": LANE},
            more={"PIP_INDEX_URL": write_index(tmp_path / "simple", RELEASES)},
        )
        run = harness.run(".github/workflows/nightly.yml", "schedule")
    print(run.show())
    assert set(run.results().values()) == {"success"}
    digests = {f"digests/{LANE}/torch-{torch}.parquet" for torch in RELEASES}
    on_record = recorded(harness.host.server / "us" / "matrix")
    made = {f"{what}/{LANE}.parquet" for what in ("rankings", "verdicts")}
    assert digests | made <= on_record
    assert "2 of 2 captures arrived" in run["Capture / Collect"].summary
    # These two part on every machine, which takes a second night to be believed.
    assert f"torch {PAIR} in {LANE}" in run["Alert"].log
    assert state.issues == []
    (page,) = harness.host.pages.rglob(f"pair/{PAIR}/index.html")
    assert re.search(r"normali[sz]e", page.read_text(encoding="utf-8"))
