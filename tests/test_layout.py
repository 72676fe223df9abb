"""What the distribution holds, and who may import whom."""

import ast
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "matrix_capture": ROOT / "capture/matrix_capture",
    "matrix_compare": ROOT / "compare/matrix_compare",
    "matrix_operate": ROOT / "operate/matrix_operate",
    "matrix_site": ROOT / "site/matrix_site",
}

# What each package may import of the others; a package's name stands for all of it.
ALLOWED = {
    "matrix_capture": ("matrix_capture",),
    "matrix_compare": ("matrix_compare", "matrix_capture"),
    "matrix_operate": ("matrix_operate", "matrix_compare", "matrix_capture", "matrix_site.page"),
    "matrix_site": (
        "matrix_site",
        "matrix_compare.schema",
        "matrix_compare.advice",
        "matrix_compare.change",
        "matrix_compare.comparable",
        "matrix_compare.check",
        "matrix_compare.explanation",
        "matrix_compare.explained",
        "matrix_compare.finding",
        "matrix_compare.known",
        "matrix_compare.layout",
        "matrix_compare.policy",
        "matrix_capture.schema",
        "matrix_capture.catalogue",
        "matrix_capture.settings",
        "matrix_capture.errors",
        "matrix_capture.measurement",
        "matrix_capture.names",
    ),
}

# What runs inside a torch environment only, and what has no place in the site.
HEAVY = ("torch", "transformers", "colbert", "faiss")
FORBIDDEN = {
    "matrix_capture": (),
    "matrix_compare": HEAVY,
    "matrix_operate": HEAVY,
    "matrix_site": (*HEAVY, "numpy", "scipy", "pandas"),
}

TORCH_FREE = ("schema", "catalogue", "settings", "errors", "digest", "values")


# The wheel.


def held_files(root: Path, package: str) -> set[str]:
    """The files of a package, as the wheel should name them."""
    folder = root / PACKAGES[package].relative_to(ROOT)
    return {
        path.relative_to(folder.parent).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


def wheel_files(root: Path, target: Path) -> set[str]:
    """Build the wheel of a checkout and list its files."""
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = target.glob("colbert_matrix-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_all_packages_and_nothing_else(tmp_path: Path) -> None:
    expected = set().union(*(held_files(ROOT, package) for package in PACKAGES))
    assert {f"{package}/__init__.py" for package in PACKAGES} <= expected
    names = wheel_files(ROOT, tmp_path)
    assert sorted(expected - names) == []
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_a_wheel_without_the_site_would_be_seen(tmp_path: Path) -> None:
    """Ignoring `/site`, as generators' templates do, makes hatchling drop it without a word."""
    root = tmp_path / "checkout"
    for folder in ("capture", "compare", "operate", "site"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root)
    (root / ".gitignore").write_text("/site\n")
    names = wheel_files(root, tmp_path / "dist")
    assert held_files(root, "matrix_compare") <= names
    assert not held_files(root, "matrix_site") & names


@pytest.mark.parametrize("folder", ["capture", "compare", "operate", "site"])
def test_no_package_around_a_package(folder: str) -> None:
    """`site/__init__.py` would shadow the standard library's `site`."""
    assert not (ROOT / folder / "__init__.py").exists()


# Imports.


def imported_modules(source: str, package: str) -> set[str]:
    """Every module a source names in an import, at any depth; `package` is where it lives."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parents = package.split(".")
                module = ".".join([*parents[: len(parents) - node.level + 1], module]).rstrip(".")
            # `from package import module` names the module, not the package.
            found |= (
                {f"{module}.{alias.name}" for alias in node.names}
                if module in PACKAGES
                else {module}
            )
    return found


def within(module: str, names: Iterable[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def misdirected(source: str, package: str) -> set[str]:
    """The imports of a source that its package may not make."""
    return {
        module
        for module in imported_modules(source, package)
        if (within(module, PACKAGES) and not within(module, ALLOWED[package]))
        or within(module, FORBIDDEN[package])
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    sources = sorted(PACKAGES[package].rglob("*.py"))
    assert sources
    faults = {
        path.relative_to(ROOT).as_posix(): wrong
        for path in sources
        if (wrong := misdirected(path.read_text(encoding="utf-8"), package))
    }
    assert faults == {}


@pytest.mark.parametrize(
    ("package", "source", "found"),
    [
        ("matrix_capture", "import matrix_compare", "matrix_compare"),
        ("matrix_capture", "from matrix_compare.schema import Verdict", "matrix_compare.schema"),
        ("matrix_capture", "def f():\n    import matrix_site.pages as p", "matrix_site.pages"),
        ("matrix_compare", "from matrix_site import pages", "matrix_site.pages"),
        ("matrix_compare", "import torch.nn", "torch.nn"),
        ("matrix_compare", "if x:\n    from torch import Tensor", "torch"),
        ("matrix_site", "from matrix_capture.digest import snapshot", "matrix_capture.digest"),
        ("matrix_site", "from matrix_capture import values", "matrix_capture.values"),
        ("matrix_site", "from matrix_compare import schema, verdict", "matrix_compare.verdict"),
        ("matrix_site", "import numpy as np", "numpy"),
        ("matrix_site", "import matrix_compare", "matrix_compare"),
    ],
)
def test_a_wrong_import_is_seen(package: str, source: str, found: str) -> None:
    assert misdirected(source, package) == {found}


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("matrix_capture", "import torch\nfrom matrix_capture.errors import MatrixError"),
        ("matrix_compare", "from matrix_capture import digest, values\nimport numpy"),
        ("matrix_site", "from matrix_compare.schema import Verdict"),
        ("matrix_site", "from matrix_capture import schema, catalogue, settings, errors"),
        ("matrix_site", "from . import pages\nfrom .pages import index\nimport torchless"),
    ],
)
def test_a_right_import_is_left_alone(package: str, source: str) -> None:
    assert misdirected(source, package) == set()


_IMPORTER = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy!r}:
            raise ImportError(f"{{name}} must not be imported here")

sys.meta_path.insert(0, Refuse())
for name in {modules!r}:
    importlib.import_module(name)
assert not {heavy!r} & {{name.partition(".")[0] for name in sys.modules}}
"""


def import_without_torch(*modules: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", _IMPORTER.format(heavy={*HEAVY}, modules=modules)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_readers_of_captures_need_no_torch() -> None:
    tried = import_without_torch(*(f"matrix_capture.{name}" for name in TORCH_FREE))
    assert (tried.returncode, tried.stderr) == (0, "")


def test_a_hidden_torch_would_be_seen() -> None:
    tried = import_without_torch("torch.nn")
    assert tried.returncode == 1
    assert "torch must not be imported here" in tried.stderr
