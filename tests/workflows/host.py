"""What workflows run on: a server with repositories, and a folder for jobs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

TOKEN = "token-of-the-job"  # noqa: S105 - it opens nothing


class HarnessError(Exception):
    """GitHub would not start this, or we do not know what it would do."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """Where workflows run: `server` has bare repositories by owner/name, `folder` is ours.

    `environment` is what every step gets besides GitHub's variables, `variables` are those of the
    repository, `secrets` those of its environments.
    """

    folder: Path
    server: Path
    repository: str
    environment: Mapping[str, str]
    api: str = "http://127.0.0.1:9"  # nobody listens
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)

    @property
    def pages(self) -> Path:
        """What was deployed."""
        return self.folder / "pages"


def installers(environment: Mapping[str, str]) -> dict[str, str]:
    """What installers need to know of this machine, and nothing else."""
    known = re.compile(r"(?i)(?:PIP|UV)_\w+|\w*_proxy|(?:SSL_CERT|\w*_CA)_\w+|LANG|PATH")
    found = {name: value for name, value in environment.items() if known.fullmatch(name)}
    # Each job has a home of its own, and none should download what is here.
    return {"UV_CACHE_DIR": str(Path("~/.cache/uv").expanduser())} | found
