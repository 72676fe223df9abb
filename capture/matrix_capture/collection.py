"""Passages and queries from the docstrings of a package: real technical prose, free of charge.

Standard library only and careful about what differs between interpreters, so that every one of them
reads the same collection.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Characters. Shorter paragraphs are mostly headings; colbert-ai pads every passage of a call to the
# longest one, so that a few longer ones would double the time of a capture and add nothing to it.
_SHORTEST_PASSAGE, _LONGEST_PASSAGE = 200, 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A one-line question and the passages known to answer it, by position in the collection."""

    text: str
    relevant: tuple[int, ...]


def read_collection(package: Path, passages: int) -> tuple[tuple[str, ...], tuple[Query, ...]]:
    """The first `passages` docstring paragraphs of a package, and the queries they answer.

    A passage is a paragraph of prose; a query is the one-line summary above it. Files are taken in
    order of name, docstrings in order of line.

    Raises:
        ValueError: the package does not hold so many, or none were asked for.
    """
    if passages < 1:
        raise ValueError(f"a collection has at least one passage, not {passages}")
    collection: dict[str, int] = {}
    queries: list[Query] = []
    for summary, paragraphs in _docstrings(package):
        relevant: list[int] = []
        for paragraph in paragraphs:
            if len(collection) == passages and paragraph not in collection:
                continue
            place = collection.setdefault(paragraph, len(collection))
            if place not in relevant:
                relevant.append(place)
        if relevant and summary:
            queries.append(Query(text=summary, relevant=tuple(relevant)))
    if len(collection) < passages:
        raise ValueError(f"{package.name} has {len(collection)} passages, fewer than {passages}")
    return tuple(collection), tuple(queries)


def _docstrings(package: Path) -> Iterator[tuple[str, list[str]]]:
    """Summary line and prose paragraphs of every docstring of a package."""
    files = sorted(package.rglob("*.py"), key=lambda path: path.relative_to(package).as_posix())
    for file in files:
        if "tests" in file.relative_to(package).parts:
            continue
        with warnings.catch_warnings():
            # Newer interpreters warn about escapes in older sources; the text is the same.
            warnings.simplefilter("ignore")
            tree = ast.parse(file.read_text(encoding="utf-8"))
        documented = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        for node in sorted(documented, key=lambda node: getattr(node, "lineno", 0)):
            # Not cleaned by ast: what cleaning means has changed between interpreters.
            text = ast.get_docstring(node, clean=False) or ""
            summary, *rest = [" ".join(part.split()) for part in re.split(r"\n[ \t]*\n", text)]
            yield summary, [part for part in rest if _is_prose(part)]


def _is_prose(paragraph: str) -> bool:
    return (
        _SHORTEST_PASSAGE <= len(paragraph) <= _LONGEST_PASSAGE
        and paragraph[0].isalpha()
        and not any(mark in paragraph for mark in (">>>", "----", "====", ".. ["))
    )
