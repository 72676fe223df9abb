import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

import pytest

from matrix_capture.catalogue import BY_NAME, CATALOGUE, POSITION, Artifact

STAGES = ("probe", "encode", "kmeans", "codec", "index", "ivf", "search", "train")
SINGLE = (
    *("file_layout", "num_passages", "avg_residual", "index_avg_residual"),
    *("train_loss", "gradient_norm"),
)
RULES = ("none", "elements", "rows", "per_key", "per_list")


def repeated_names(table: Iterable[Artifact]) -> list[str]:
    names = [artifact.name for artifact in table]
    return sorted({name for name in names if names.count(name) > 1})


def late_references(table: Iterable[Artifact]) -> list[str]:
    """Parents and order keys that do not come earlier: then columns would not be in order."""
    seen: set[str] = set()
    faults = []
    for artifact in table:
        needed = {*artifact.parents} | ({artifact.order_key} - {None})
        faults += [f"{artifact.name} <- {name}" for name in needed if name not in seen]
        seen.add(artifact.name)
    return faults


def disorder(table: Iterable[Artifact]) -> list[str]:
    """Artifacts whose stage is unknown or comes before the stage of the row above."""
    stages = [(artifact.name, artifact.stage) for artifact in table]
    unknown = [name for name, stage in stages if stage not in STAGES]
    known = [(name, STAGES.index(stage)) for name, stage in stages if stage in STAGES]
    return unknown + [name for (_, above), (name, below) in pairwise(known) if below < above]


def unsafe_names(table: Iterable[Artifact]) -> list[str]:
    """Names that need escaping in an address, a file name or a CSS class."""
    return [
        artifact.name
        for artifact in table
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", artifact.name)
    ]


def names_alike(table: Iterable[Artifact]) -> list[str]:
    """Names that are one file where upper and lower case are the same."""
    names = [artifact.name.lower() for artifact in table]
    return sorted({name for name in names if names.count(name) > 1})


def odd_rules(table: Iterable[Artifact]) -> list[str]:
    faults = []
    for artifact in table:
        rule, colon, key = artifact.order.partition(":")
        if rule not in RULES or bool(colon and key) != (rule in ("per_key", "per_list")):
            faults.append(f"{artifact.name}: {artifact.order}")
    return faults


def odd_kinds(table: Iterable[Artifact]) -> list[str]:
    """Probes are the stage `probe` and nothing else is; a file has something it was made from."""
    faults = []
    for artifact in table:
        if (artifact.kind == "probe") != (artifact.stage == "probe"):
            faults.append(artifact.name)
        if artifact.kind == "final" and not artifact.parents:
            faults.append(artifact.name)
    return faults


def repeated_parents(table: Iterable[Artifact]) -> list[str]:
    return [a.name for a in table if len({*a.parents}) < len(a.parents)]


def undescribed(table: Iterable[Artifact]) -> list[str]:
    return [a.name for a in table if not a.meaning.strip() or not a.source.strip()]


def odd_axes(table: Iterable[Artifact]) -> list[str]:
    """Axes that a word cannot be made of; and a single value is a number that needs none."""
    faults = []
    for artifact in table:
        if not all(re.fullmatch(r"[a-z]+( [a-z -]*[a-z])?", axis) for axis in artifact.axes[:1]):
            faults.append(f"{artifact.name}: {artifact.axes}")
        if not all(re.fullmatch(r"[a-z]*", axis) for axis in artifact.axes[1:]):
            faults.append(f"{artifact.name}: {artifact.axes}")
        if not artifact.axes and artifact.name not in SINGLE:
            faults.append(f"{artifact.name}: no axes")
    return faults


Check = Callable[[Iterable[Artifact]], list[str]]
CHECKS: tuple[Check, ...] = (
    repeated_names,
    late_references,
    disorder,
    unsafe_names,
    names_alike,
    odd_rules,
    odd_kinds,
    repeated_parents,
    undescribed,
    odd_axes,
)


@pytest.mark.parametrize("check", CHECKS)
def test_the_catalogue_holds(check: Check) -> None:
    assert check(CATALOGUE) == []


def faulty(name: str, /, **changes: str | tuple[str, ...]) -> tuple[Artifact, ...]:
    return tuple(
        replace(artifact, **changes) if artifact.name == name else artifact  # type: ignore[arg-type]
        for artifact in CATALOGUE
    )


@pytest.mark.parametrize(
    ("check", "table", "found"),
    [
        (repeated_names, (*CATALOGUE, CATALOGUE[-1]), [CATALOGUE[-1].name]),
        (late_references, faulty("codes", parents=("ivf",)), ["codes <- ivf"]),
        (late_references, faulty("codes", parents=("codes",)), ["codes <- codes"]),
        (late_references, faulty("ivf", parents=("nothing",)), ["ivf <- nothing"]),
        (late_references, faulty("ivf", order="per_list:nothing"), ["ivf <- nothing"]),
        (disorder, faulty("codes", stage="probe"), ["codes"]),
        (disorder, faulty("codes", stage="indexing"), ["codes"]),
        (unsafe_names, faulty("codes", name="codes/0"), ["codes/0"]),
        (unsafe_names, faulty("codes", name="codes 0"), ["codes 0"]),
        (names_alike, faulty("codes", name="d"), ["d"]),
        (odd_rules, faulty("codes", order="columns"), ["codes: columns"]),
        (odd_rules, faulty("codes", order="per_key"), ["codes: per_key"]),
        (odd_rules, faulty("codes", order="per_key:"), ["codes: per_key:"]),
        (odd_rules, faulty("codes", order="rows:codes"), ["codes: rows:codes"]),
        (odd_kinds, faulty("codes", kind="probe"), ["codes"]),
        (odd_kinds, faulty("index_ivf", parents=()), ["index_ivf"]),
        (repeated_parents, faulty("codes", parents=("embs", "embs")), ["codes"]),
        (undescribed, faulty("codes", meaning=" "), ["codes"]),
        (odd_axes, faulty("codes", axes=()), ["codes: no axes"]),
        (odd_axes, faulty("codes", axes=("",)), ["codes: ('',)"]),
        (odd_axes, faulty("codes", axes=("Row",)), ["codes: ('Row',)"]),
        (odd_axes, faulty("codes", axes=("row", "of it ")), ["codes: ('row', 'of it ')"]),
    ],
)
def test_the_checks_see_a_fault(
    check: Check, table: tuple[Artifact, ...], found: list[str]
) -> None:
    assert check(table) == found


def test_lookups_agree_with_the_table() -> None:
    assert list(BY_NAME.values()) == list(CATALOGUE)
    assert [CATALOGUE[POSITION[artifact.name]] for artifact in CATALOGUE] == list(CATALOGUE)


@pytest.mark.parametrize(
    ("order", "key"),
    [("none", None), ("elements", None), ("per_key:codes", "codes"), ("per_list:x", "x")],
)
def test_the_order_key(order: str, key: str | None) -> None:
    assert replace(BY_NAME["ivf"], order=order).order_key == key


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("codes_sorted_indices", "per_key:codes_sorted_values"),
        ("probe_sort_indices", "per_key:probe_sort_values"),
        ("ivf", "per_list:ivf_lengths"),
        ("index_ivf", "per_list:index_ivf_lengths"),
        ("codes", "none"),
        ("centroids", "none"),
    ],
)
def test_what_may_be_reordered(name: str, rule: str) -> None:
    assert BY_NAME[name].order == rule
