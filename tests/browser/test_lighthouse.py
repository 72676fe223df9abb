"""Lighthouse on one page of each kind, on a local server as a phone would load it."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import SCORES, Shown
from tests.browser.kinds import fullest, is_listed
from tests.browser.serving import serving

pytestmark = pytest.mark.slow

LEAST = {"performance": 0.95, "accessibility": 1.0, "best-practices": 1.0, "seo": 1.0}


@pytest.fixture(scope="module")
def lighthouse(
    checker: Any, chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Mapping[str, Any]]:
    """The report on an address."""
    program = checker("lighthouse/cli/index.js")
    if not shutil.which("node"):
        pytest.skip("no node; Debian's package is nodejs")
    folder = tmp_path_factory.mktemp("lighthouse")
    flags = "--headless=new --no-sandbox" if os.geteuid() == 0 else "--headless=new"

    def report(address: str) -> Mapping[str, Any]:
        path = folder / "report.json"
        command = ["node", str(program), address, "--quiet", f"--chrome-flags={flags}"]
        command += [f"--only-categories={','.join(LEAST)}", "--no-enable-error-reporting"]
        command += ["--output=json", f"--output-path={path}"]
        subprocess.run(command, env=os.environ | {"CHROME_PATH": chromium}, check=True)
        found: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
        return found

    return report


def scores(report: Mapping[str, Any]) -> dict[str, float]:
    """Category to score, 0 where there is none."""
    return {name: report["categories"][name]["score"] or 0.0 for name in LEAST}


def lacking(report: Mapping[str, Any]) -> list[str]:
    """Categories below what they must have, each with the audits that are to blame."""
    return [
        f"{name} {score}: {', '.join(_failed(report, name))}"
        for name, score in scores(report).items()
        if score < LEAST[name]
    ]


def _failed(report: Mapping[str, Any], category: str) -> list[str]:
    weighed = (audit for audit in report["categories"][category]["auditRefs"] if audit["weight"])
    audits = [report["audits"][audit["id"]] for audit in weighed]
    return [
        audit["id"]
        for audit in audits
        if (audit["score"] or 0) < 1 and audit["scoreDisplayMode"] != "notApplicable"
    ]


def test_every_kind_of_page_has_its_scores(shown: Shown, lighthouse: Any) -> None:
    found = []
    for pages in shown.kinds.values():
        path = fullest(shown.example.folder, pages)
        listed = is_listed(shown.example.folder / path)
        report = lighthouse(shown.address(path))
        SCORES[path] = scores(report)
        # What is kept from search engines on purpose need not please them.
        found += [f"{path}: {one}" for one in lacking(report) if listed or "seo" not in one]
    assert not found, "\n".join(found)


def test_planted_faults_cost_scores(tmp_path: Path, lighthouse: Any) -> None:
    busy = "const end = Date.now() + 3000; while (Date.now() < end);"
    body = f"<p>text</p><img src='absent.png'><script>{busy}; missing()</script>"
    (tmp_path / "index.html").write_text(f"<html><body>{body}", encoding="utf-8")
    with serving(tmp_path) as origin:
        found = lacking(lighthouse(f"{origin}index.html"))
    assert [one.partition(" ")[0] for one in found] == list(LEAST)
    # Which of its timings suffers depends on the moment: whether the script runs before the paint.
    assert found[0].startswith("performance 0.")
    assert "image-alt" in found[1]
    assert "errors-in-console" in found[2]
    assert "meta-description" in found[3]
