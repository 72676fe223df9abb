"""What every test of the commands begins with."""

import pytest


@pytest.fixture(autouse=True)
def _on_any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on GitHub's, where our own tests run, a test says itself that it is there."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
