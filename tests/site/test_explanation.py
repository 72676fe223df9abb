"""Why two releases differ, as the page of a pair tells it, and what it does not believe."""

import hashlib
from pathlib import Path
from typing import Any

import html5lib
import msgspec
import pytest

from matrix_capture.settings import Settings
from matrix_compare.explanation import (
    SCHEMA_VERSION,
    Cause,
    Control,
    Divergence,
    Explanation,
    Reference,
    Reproduction,
    Shapes,
    Swap,
    explanation_path,
)
from matrix_compare.schema import Verdict
from matrix_site.explanation import ExplanationView, explanation_view
from matrix_site.pair import pair_pages
from matrix_site.publish import publish
from matrix_site.render import write_site
from matrix_site.snapshot import read_snapshot
from tests.site.test_render import FRAME

LANE = "cpu-pinned"
PAIR = ("2.7.1", "2.8.0")
BUILDS = ("2.7.1+cu121", "2.8.0+cu128")
OP = "aten.linalg_vector_norm.default"
SCRIPT = "import torch\nif True:\n    print('<b>', 1 < 2)\n"

DIVERGENCE = Divergence(
    kind="operation",
    matched="exact",
    ops=(493, 493),
    unmatched=(0, 0),
    number=(484, 484),
    op=OP,
    arguments="[_, 2, [2], True]",
    operands=("float32[32, 150, 96]",),
)
SHAPES = Shapes(
    op=OP,
    operands=("float32[32, 150, 96]",),
    batches=(1, 2),
    lengths=(8, 16, 32),
    equal=((True, False, None), (False, False, True)),
    invariant=(((True, True, True),) * 2, ((True, False, None), (True, True, True))),
)
CAUSE = Cause(
    artifact="normalized",
    scopes={"sample": (0, 1, 2, 5), "chunk.0": (1,), "heldout": ()},
    injected=("normalized",),
    necessary=True,
    divergence=DIVERGENCE,
    alone=(True, True),
    reference=Reference(
        max_a=5.41e-07,
        max_b=5.51e-07,
        max_ab=4.77e-07,
        mean_a=2.2e-08,
        mean_b=2.3e-08,
        mean_ab=7.8e-09,
        elements=1760,
        nearer=(1083, 676, 1),
    ),
    controls=(
        Control(name="one thread", environ={"OMP": "1"}, same=False, moved=(False, False)),
        Control(name="no vectors", environ={"ATEN": "x"}, same=True, moved=(True, False)),
    ),
    reproduction=Reproduction(
        name="repro_2.7.1_2.8.0.py",
        script=SCRIPT,
        seed=5,
        printed=("2.7.1+cu121 1e38d19e", "2.8.0+cu128 f430c952"),
    ),
    shapes=SHAPES,
    gaps=("nothing was found out about the weather",),
)
BARE = Cause(artifact="D", scopes={"sample": (0,)}, injected=(), necessary=False)
EXPLANATION = Explanation(
    schema_version=SCHEMA_VERSION,
    lane=LANE,
    a=PAIR[0],
    b=PAIR[1],
    started="2025-11-22T10:48:32+00:00",
    seconds=324.3,
    command="rm -rf /",
    builds=BUILDS,
    swaps=(
        Swap(
            source=PAIR[0],
            target=PAIR[1],
            injected=("normalized:0", "normalized:2"),
            remains={
                "embs": Verdict.CLOSE,
                "codes": Verdict.DIFFERS,
                "centroids": Verdict.CLOSE,
            },
            identical=174,
        ),
        Swap(
            source=PAIR[0],
            target=PAIR[1],
            injected=("normalized",),
            remains={},
            identical=181,
        ),
    ),
    causes=(CAUSE,),
    residue={},
)


def _changed(**changes: Any) -> Explanation:
    return msgspec.structs.replace(EXPLANATION, **changes)


def _cause(**changes: Any) -> Cause:
    return msgspec.structs.replace(CAUSE, **changes)


def _broken(*keys: str | int, to: Any) -> bytes:
    """The file with one thing in it that it cannot hold."""
    whole = inner = msgspec.json.decode(msgspec.json.encode(EXPLANATION))
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    return msgspec.json.encode(whole)


def _view(**changes: Any) -> ExplanationView:
    return explanation_view(_changed(**changes), BUILDS)


@pytest.fixture
def lane(tmp_path: Path, write_lane: Any) -> Path:
    """A data folder with the one pair."""
    data = tmp_path / "data"
    write_lane(data, releases=PAIR, failed=())
    return data


def _put(data: Path, content: bytes) -> Path:
    path = explanation_path(data, LANE, *PAIR)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _site(data: Path, settings: Settings, out: str = "site") -> Path:
    target = data.parent / out
    publish(read_snapshot(data, settings), target)
    return target


def _page(data: Path, settings: Settings) -> str:
    """The page of the pair without the others, which would take longer than it."""
    (page,) = pair_pages(read_snapshot(data, settings))
    assert write_site(FRAME, [page], (), data.parent / "page") == 1
    return (data.parent / "page" / page.path).read_text("utf-8")


def _text(html: str) -> str:
    """The words of the page, on one line."""
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)
    return " ".join(" ".join(tree.itertext()).split())


def test_a_swap_tells_what_remains_the_worst_first() -> None:
    first, second = _view().swaps.shown
    assert first.injected.shown == ("normalized:0", "normalized:2")
    assert (first.source, first.target, first.identical) == (*PAIR, 174)
    assert [(left.verdict, left.names.shown) for left in first.left] == [
        (Verdict.DIFFERS, ("codes",)),
        (Verdict.CLOSE, ("embs", "centroids")),
    ]
    assert (first.sufficient, second.sufficient, second.left) == (False, True, ())


def test_a_cause_tells_its_place_and_all_that_is_known() -> None:
    (cause,) = _view().causes.shown
    assert (cause.artifact, cause.op, cause.open, cause.stand_in.shown) == (
        *("normalized", OP),
        *(True, ()),
    )
    assert cause.places.shown == (
        "sample (occurrences 0-2, 5)",
        "chunk.0 (occurrence 1)",
        "heldout",
    )
    assert any(line.startswith("called alone") for line in cause.lines.shown)
    assert cause.lines.shown[-1] == "nothing was found out about the weather"
    assert [(held.name, held.environ, held.moved, held.same) for held in cause.controls.shown] == [
        ("one thread", "OMP=1", (False, False), False),
        ("no vectors", "ATEN=x", (True, False), True),
    ]
    assert [(row.largest, row.mean, row.nearer) for row in cause.distances] == [
        ("5.4e-07", "2.2e-08", "1,083"),
        ("5.5e-07", "2.3e-08", "676"),
        ("4.8e-07", "7.8e-09", "neither: 1"),
    ]


def test_a_grid_is_drawn_of_where_both_agree_and_of_the_side_whose_batches_matter() -> None:
    (cause,) = _view().causes.shown
    agree, batches = cause.grids
    assert agree.caption == (
        "2.7.1 and 2.8.0 agree in 2 of 5 cases: = equal, ≠ differs, \N{EN DASH} not run"
    )
    assert agree.lengths.shown == (8, 16, 32)
    same, other, idle = Verdict.IDENTICAL, Verdict.DIFFERS, Verdict.NOT_RUN
    assert agree.rows.shown == ((1, (same, other, idle)), (2, (other, other, same)))
    assert batches.caption.startswith("2.8.0: rows are as in the largest batch in 4 of 5")


def test_a_cause_of_the_same_operation_is_folded_and_so_are_those_behind_the_third() -> None:
    def of(op: str) -> Cause:
        return _cause(divergence=msgspec.structs.replace(DIVERGENCE, op=op))

    causes = tuple(of(op) for op in ("one", "one", "two", "three", "four"))
    shown = _view(causes=causes).causes.shown
    assert [(cause.told, cause.open) for cause in shown] == [
        (False, True),
        (True, False),
        (False, True),
        (False, False),
        (False, False),
    ]


@pytest.mark.parametrize("kind", ["replaced", "outside", "none"])
def test_only_an_operation_that_gives_something_else_names_a_cause(kind: str) -> None:
    divergence = msgspec.structs.replace(DIVERGENCE, kind=kind, number=None)
    cause = _cause(divergence=divergence)
    views = _view(causes=(cause, cause)).causes.shown
    assert [(view.op, view.told) for view in views] == [("", False)] * 2


def test_what_is_absent_leaves_no_trace(lane: Path, settings: Settings) -> None:
    stand_in = msgspec.structs.replace(BARE, injected=("batches", "sample"))
    _put(lane, msgspec.json.encode(_changed(causes=(BARE, stand_in), swaps=())))
    html = _page(lane, settings)
    text = _text(html)
    assert text.count("Starts in sample (occurrence 0).") == 2
    assert text.count("Not necessary") == 2
    assert "In its place batches , sample is swapped." in text
    why = html.partition('<h2 id="why">')[2].partition("</section>")[0]
    absent = ("<figure", 'class="grid"', 'class="swaps"', "float64", "<ul>\n</ul>")
    assert not any(sign in why for sign in absent)
    assert "#script" not in html
    assert "not explained: what no swap reaches." in text


def test_nothing_to_explain_is_said_in_a_sentence(lane: Path, settings: Settings) -> None:
    _put(lane, msgspec.json.encode(_changed(causes=(), swaps=())))
    text = _text(_page(lane, settings))
    assert "nothing differs between torch 2.7.1 and 2.8.0: there is nothing to explain." in text


def test_the_page_shows_the_whole_in_words(lane: Path, settings: Settings) -> None:
    _put(
        lane,
        msgspec.json.encode(
            _changed(residue={"ivf": "missing"}, sweeps=(SHAPES,), causes=(CAUSE, CAUSE))
        ),
    )
    html = _page(lane, settings)
    text = _text(html)
    assert "everything downstream is identical." in text
    assert "✓ proof" in text
    assert "○ not enough" in text
    assert "No swap explains: ? missing ivf" in text
    assert "✓ agree moves stays" in text
    assert "2.7.1+cu121 1e38d19e 2.8.0+cu128 f430c952" in text
    assert f"{OP} on random inputs" in text
    assert "Found out on 22 November 2025 in 5 min 24 s, installing" in text
    assert "import torch\nif True:\n    print(&#39;&lt;b&gt;&#39;, 1 &lt; 2)\n" in html
    assert html.count("<details class=") == 1
    assert "Not explained yet" not in text


def test_the_command_is_made_of_the_pair_and_never_of_the_file(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    quick = f"{LANE}+0123abcd"
    options = {"passages": 96, "depth": "sublayers; rm"}
    records = [record(quick, release, options=options) for release in PAIR]
    write_lane(tmp_path, lane=quick, releases=PAIR, failed=(), records=records)
    path = explanation_path(tmp_path, quick, *PAIR)
    path.parent.mkdir(parents=True)
    path.write_bytes(msgspec.json.encode(_changed(lane=quick)))
    (page,) = pair_pages(read_snapshot(tmp_path, settings, [quick]))
    assert page.view["pair"].explain == (
        "nox -s explain -- 2.7.1 2.8.0 --lane cpu-pinned --depth 'sublayers; rm' --passages 96"
    )
    assert page.view["pair"].why


def test_a_pair_that_differs_says_how_to_find_out_and_one_that_does_not_is_silent(
    data: Path, settings: Settings
) -> None:
    rest = pair_pages(read_snapshot(data, settings))
    views = {page.path: page.view["pair"] for page in rest}
    differs = views["pair/2.7.1...2.8.0/index.html"]
    assert (differs.why, differs.explain) == (
        None,
        "nox -s explain -- 2.7.1 2.8.0 --lane cpu-pinned",
    )
    for silent in ("pair/2.1.0...2.7.1/index.html", "pair/2.8.0...2.9.0/index.html"):
        assert views[silent].explain == ""


def test_the_first_page_leads_to_an_explanation(lane: Path, settings: Settings) -> None:
    before = (_site(lane, settings) / "index.html").read_text("utf-8")
    _put(lane, msgspec.json.encode(EXPLANATION))
    site = _site(lane, settings)
    after = (site / "index.html").read_text("utf-8")
    link = f'href="pair/{PAIR[0]}...{PAIR[1]}/index.html#why"'
    assert (before.count(link), after.count(link)) == (0, 1)
    assert 'id="why"' in (site / f"pair/{PAIR[0]}...{PAIR[1]}/index.html").read_text("utf-8")


def test_an_explanation_of_other_builds_says_so() -> None:
    assert explanation_view(EXPLANATION, BUILDS).other_builds == ""
    assert explanation_view(EXPLANATION, ("", "")).other_builds == ""
    other = explanation_view(EXPLANATION, (BUILDS[0], "2.8.0+cpu"))
    assert other.other_builds == " and ".join(BUILDS)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not a readable explanation"),
        (b"[" * 100_000, "not a readable explanation"),
        (b'{"schema_version": 1}', "not a readable explanation"),
        (msgspec.json.encode(EXPLANATION)[:-9], "not a readable explanation"),
        (msgspec.json.encode(EXPLANATION).replace(b"torch", b"\xff"), "not a readable"),
        (msgspec.json.encode(_changed(schema_version=0)), "schema version 0"),
        (msgspec.json.encode(_changed(lane="cuda-pinned")), "belongs"),
        (msgspec.json.encode(_changed(a="2.7.0")), "belongs"),
        (msgspec.json.encode(_changed(b=PAIR[0], a=PAIR[1])), "belongs"),
        (msgspec.json.encode(_changed(command="x" * 2**20)), "more than 1,048,576 bytes"),
        (_broken("residue", "ivf", to="fine"), "fine"),
        (
            _broken("causes", 0, "divergence", "number", to=None),
            "an operation without its number",
        ),
        *(
            (_broken("causes", 0, "shapes", name, to=value), "gaps")
            for name, value in (
                ("equal", [[True], [True, True, True]]),
                ("equal", []),
                ("batches", [1, 2, 3]),
                ("invariant", [[[True] * 3] * 2, []]),
            )
        ),
    ],
)
def test_a_file_that_cannot_be_believed_is_one_problem_and_the_page_does_without(
    content: bytes, told: str, lane: Path, settings: Settings
) -> None:
    path = _put(lane, content)
    (problem,) = read_snapshot(lane, settings).problems
    assert str(path) in problem
    assert told in problem
    text = _text(_page(lane, settings))
    assert "is not explained yet; nox -s explain -- 2.7.1 2.8.0 --lane cpu-pinned finds" in text
    assert str(path) not in text


def test_a_folder_in_the_place_of_an_explanation_is_a_problem(
    lane: Path, settings: Settings
) -> None:
    explanation_path(lane, LANE, *PAIR).mkdir(parents=True)
    (problem,) = read_snapshot(lane, settings).problems
    assert "no explanation" in problem


HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</code></pre></td></table></details></body>",
    "{{ 7 * 7 }}{% raw %}",
    "../../../../etc/passwd",
    "javascript:alert(1)",
    "\u202eright to left\u202c \u2066isolate",
    "nul\x00 bell\x07 escape\x1b[31m \r\n\ttab",
    "\ufdd0\uffff\U0010ffff",
    "x" * 5000,
    "",
)


def _planted(text: str) -> Explanation:
    """An explanation that has a text wherever there may be one."""
    shapes = msgspec.structs.replace(SHAPES, op=text, operands=(text, text))
    cause = Cause(
        artifact=text,
        scopes={text: (-1, 2**62)},
        injected=(text, text),
        necessary=False,
        divergence=msgspec.structs.replace(
            DIVERGENCE, op=text, module=text, arguments=text, operands=(text,), faithful=False
        ),
        alone=(False, True),
        reference=CAUSE.reference,
        controls=(Control(name=text, environ={text: text}, same=True, moved=(True, True)),),
        reproduction=Reproduction(name=text, script=text, seed=None, printed=(text, text)),
        shapes=shapes,
        gaps=(text,),
    )
    replaced = msgspec.structs.replace(DIVERGENCE, kind="replaced", replaced=((text,), (text,)))
    return _changed(
        started=text,
        seconds=-1e300,
        command=text,
        builds=(text, text),
        swaps=(
            Swap(
                source=text,
                target=text,
                injected=(text,),
                remains={text: Verdict.FAILED},
                identical=-1,
            ),
        ),
        causes=(cause, msgspec.structs.replace(cause, divergence=replaced)),
        residue={text: Verdict.DIFFERS},
        sweeps=(shapes,),
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_strings_stay_text(text: str, lane: Path, settings: Settings) -> None:
    _put(lane, msgspec.json.encode(_planted(text)))
    assert read_snapshot(lane, settings).problems == ()
    html = _page(lane, settings)
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)
    assert [e.attrib for e in tree.iter() if e.tag in {"script", "img"}] == [
        {"src": "../../static/site.js", "defer": "", "blocking": "render"}
    ]
    assert not any(name.startswith("on") for e in tree.iter() for name in e.attrib)
    links = [e.attrib["href"] for e in tree.iter() if "href" in e.attrib]
    assert not any(text and text in link for link in links)
    assert not any(mark in html for mark in "\u202e\u2066\x00\x1b\r\t\ufdd0")
    if len(text) > 1000:
        assert html.count(text) == 2  # the scripts alone may be so long


def test_what_is_too_much_is_counted(lane: Path, settings: Settings) -> None:
    swap = EXPLANATION.swaps[0]
    many = tuple(f"artifact_{number}" for number in range(100))
    shapes = msgspec.structs.replace(
        SHAPES,
        batches=tuple(range(50)),
        lengths=tuple(range(60)),
        equal=((True,) * 60,) * 50,
        invariant=(((True,) * 60,) * 50,) * 2,
    )
    big = _cause(
        scopes=dict.fromkeys(many, (0,)),
        injected=many,
        controls=CAUSE.controls * 50,
        reproduction=Reproduction(name="r", script="y\n" * 5000, seed=None, printed=("", "")),
        shapes=shapes,
        gaps=many,
    )
    found = _changed(
        causes=(big, *(BARE,) * 40),
        swaps=(msgspec.structs.replace(swap, injected=many), *(swap,) * 70),
        residue=dict.fromkeys(many, "differs"),
        sweeps=(SHAPES,) * 6,
    )
    view = explanation_view(found, BUILDS)
    first = view.causes.shown[0]
    script = first.script
    assert script
    (grid,) = first.grids
    assert (view.causes.more, view.swaps.more, view.sweeps.more) == (11, 11, 2)
    assert view.swaps.shown[0].injected.more == view.residue[0].names.more == 92
    assert (first.places.more, first.stand_in.more, first.controls.more) == (92, 92, 80)
    assert len(first.lines.shown) + first.lines.more == 106
    assert (script.more, len(script.text)) == (2000, 8000)
    assert (grid.rows.more, grid.lengths.more, len(grid.rows.shown[0][1])) == (10, 20, 40)
    _put(lane, msgspec.json.encode(found))
    text = _text(_page(lane, settings))
    for said in ("11 more causes", "11 more swaps", "2 more sweeps", "20 more lengths"):
        assert said in text
    assert "2000 characters more are not shown" in text


def test_one_click_leads_to_the_first_script(lane: Path, settings: Settings) -> None:
    _put(lane, msgspec.json.encode(_changed(causes=(BARE, CAUSE, _cause(artifact="D")))))
    html = _page(lane, settings)
    assert html.count('href="#script"') == html.count('id="script"') == 1
    assert '<figure id="script">\n<figcaption>repro_2.7.1_2.8.0.py' in html


def test_the_same_explanation_gives_the_same_bytes(lane: Path, settings: Settings) -> None:
    _put(lane, msgspec.json.encode(EXPLANATION))
    here, there = (
        {
            path.relative_to(site).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in site.rglob("*")
            if path.is_file()
        }
        for site in (_site(lane, settings, "here"), _site(lane, settings, "there"))
    )
    assert here == there
