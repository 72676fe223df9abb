"""What is said, its commands set as code, and where its grounds lead."""

import pytest

from matrix_compare.advice import Sentence
from matrix_site.statement import Ground, Sources, commands, statement

SOURCES = Sources(
    environments={"2.7.1": "../../env/0a/index.html"},
    known={"numpy-2": "../../known/index.html#numpy-2"},
    rankings="../../api/v1/x/pair/a...b.json",
    anchors={"environment", "why", "a-index_codes"},
)


def grounds(*evidence: str) -> list[tuple[str, str]]:
    """Name and place of each ground of a sentence."""
    said = statement(Sentence(claim="x", text="x", evidence=evidence), SOURCES)
    return [(one.name, one.href) for one in said.grounds]


def test_grounds_lead_to_where_they_are() -> None:
    assert grounds("rankings:2.7.1/2.7.1", "rankings:2.7.1/2.8.0") == [
        ("rankings 2.7.1/2.7.1, 2.7.1/2.8.0", SOURCES.rankings)
    ]
    assert grounds("capture:2.7.1", "capture:2.8.0") == [
        ("capture 2.7.1", "../../env/0a/index.html"),
        ("capture 2.8.0", "#environment"),
    ]
    assert grounds("known:numpy-2", "explanation") == [
        ("known numpy-2", "../../known/index.html#numpy-2"),
        ("the explanation", "#why"),
    ]


def test_whatever_a_file_names_no_link_leads_nowhere() -> None:
    assert grounds("verdicts:index_codes", "verdicts:codes", "verdicts:nowhere") == [
        ("index_codes", "#a-index_codes"),
        ("codes", ""),
    ]
    assert grounds("known:../x", "reproduction", "javascript:alert(1)") == [
        ("known ../x", ""),
        ("the script below", ""),
    ]


def test_many_captures_are_told_as_a_span() -> None:
    evidence = (f"capture:2.{n}.0" for n in range(9))
    assert grounds(*evidence) == [("captures of 2.0.0 to 2.8.0", "#environment")]


def test_a_statement_without_grounds_has_none() -> None:
    assert statement(Sentence(claim="x", text="x"), SOURCES).grounds == ()
    assert Ground(name="x", href="") not in statement(Sentence(claim="", text=""), SOURCES).grounds


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nobody did; nox -s search -- 2.7.1 2.8.0 does so.", "nox -s search -- 2.7.1 2.8.0"),
        (
            "2.8.0 did not; nox -s matrix -- 2.7.1 2.8.0 --lane cuda-pinned --fresh has it do so.",
            "nox -s matrix -- 2.7.1 2.8.0 --lane cuda-pinned --fresh",
        ),
        ("why; nox -s explain -- 2.7.1 2.8.0 finds out", "nox -s explain -- 2.7.1 2.8.0"),
    ],
)
def test_commands_are_code_and_end_where_they_end(text: str, code: str) -> None:
    assert commands(text) == text.replace(code, f"<code>{code}</code>")


def test_what_comes_from_outside_is_no_markup_and_no_code() -> None:
    assert commands("Assertion `a < b' failed `again`") == (
        "Assertion `a &lt; b&#39; failed `again`"
    )
    assert commands("nox -s <b> -- 1 2\u202e") == "nox -s &lt;b&gt; -- 1 2&lt;U+202E&gt;"


@pytest.mark.parametrize(
    ("text", "brief"),
    [
        ("If kept, it changes for 3 of 428 queries; rank-biased overlap 0.9.", "If kept, it "
         "changes for 3 of 428 queries."),
        ("After re-indexing, no measure moves: MRR@10 0.1 → 0.1.", "After re-indexing, no measure "
         "moves."),
        ("Nothing changes.", "Nothing changes."),
    ],
)  # fmt: skip
def test_what_is_brief_leaves_its_figures_to_the_table(text: str, brief: str) -> None:
    assert statement(Sentence(claim="x", text=text), SOURCES, brief=True).text == brief
