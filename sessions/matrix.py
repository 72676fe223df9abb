"""What `matrix.toml` says, and where things are kept."""

import tomllib
from pathlib import Path
from typing import Any

MATRIX: dict[str, Any] = tomllib.loads(
    (Path(__file__).parents[1] / "matrix.toml").read_text(encoding="utf-8")
)
RELEASES: list[str] = MATRIX["releases"]
LANES: dict[str, dict[str, Any]] = MATRIX["lanes"]
DEFAULT_LANE = next(iter(LANES))
NIGHTLY_LANES = [name for name, lane in LANES.items() if "nightly" in lane]
DEFAULT_RELEASES = ["2.7.1", "2.8.0"]  # a boundary that shows on every machine

CACHE = Path("_cache")  # inputs, compiled extensions, logs: may be deleted at any time
DATA = Path("_data")
SITE = Path("_site")

TREES = CACHE / "colbert"  # source trees of colbert-ai given with --colbert, each under its hash
