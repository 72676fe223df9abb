"""From views to files: escaped, defined, reproducible, and whole."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import html5lib
import pytest
from jinja2 import UndefinedError

from matrix_capture.errors import MatrixError
from matrix_capture.schema import Control, Observer, StageStatus
from matrix_capture.settings import Settings
from matrix_site.page import Page
from matrix_site.pages import pages
from matrix_site.publish import publish
from matrix_site.render import Frame, environment, write_site
from matrix_site.snapshot import read_snapshot

LANE = "cpu-pinned"
FRAME = Frame(date="", day="", stale_after_days=14, url="https://example.org/", places=())
PAIR = ("2.7.0", "2.7.1")

HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "' onmouseover='alert(1)",
    "</table></body>",
    "{{ 7 * 7 }}{% raw %}",
    "../../../../etc/passwd",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "&lt;b&gt;&#60;",
    "\u202eright to left\u202c \u2066isolate",
    "nul\x00 bell\x07 escape\x1b[31m",
    "\ufdd0\uffff\U0010ffff",
    "`code` ``` --> ]]> <!--",
    "Z\u0351\u036b\u0343algo " + "x" * 5000,
    "",
)


def _hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_strings_stay_text(
    *,
    text: str,
    tmp_path: Path,
    settings: Settings,
    write_lane: Any,
    record: Any,
    comparison: Any,
) -> None:
    quick = f"{LANE}+0123abcd"
    failed = StageStatus(state="failed", error=text, message=text)
    record_of = record(
        quick,
        PAIR[0],
        torch_build=text,
        packages={text: text},
        host={text: text},
        environ={text: text},
        inputs={text: text},
        options={text: text},
        missing={text: text},
        started=text,
        status={"install": failed},
    )
    on_gpu = record(
        quick,
        PAIR[1],
        host=dict.fromkeys(("gpu", "gpu_driver", "cudnn", "cublas", "cpu_model"), text),
        factors={"kmeans": text, "colbert-ai": text, text: text},
        note=text,
        control=Control(identical=False, tensors=9, unstable=(text, text), unstable_tensors=-1),
        observer=Observer(identical=False, tensors=9, differing=(text,)),
        status={"load": StageStatus(state="not_run", message=text)},
    )
    changes = {"kind": text, "stage": text, "reason": text, "role": text, "profiles": [text]}
    rows = [
        comparison(quick, PAIR, (artifact, text, text, "", 1), verdict=verdict, **changes)
        for artifact in (text, "ivf")
        for verdict in ("identical", "differs", "missing")
    ]
    write_lane(
        tmp_path / "data", lane=quick, releases=PAIR, records=[record_of, on_gpu], extra=rows
    )
    snapshot = read_snapshot(tmp_path / "data", settings, [quick])
    publish(snapshot, tmp_path / "out" / "site")

    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert (tmp_path / "out/site" / quick / "pair/2.7.0...2.7.1/index.html").is_file()
    assert all(path.is_relative_to(tmp_path / "out/site") for path in files)
    for path in files:
        assert re.fullmatch(r"[A-Za-z0-9._+/-]+", path.relative_to(tmp_path).as_posix())
        if path.suffix != ".html":
            continue
        html = path.read_text("utf-8")
        tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)
        assert "img" not in {element.tag for element in tree.iter()}
        (script,) = tree.iter("script")
        assert script.attrib["src"].endswith("static/site.js")
        assert not script.text
        assert not any(name.startswith("on") for e in tree.iter() for name in e.attrib)
        assert not text or not any(mark in html for mark in "\u202e\u2066\x00\x1b\ufdd0")
        assert "x" * 700 not in html


def test_what_a_template_shows_is_escaped_and_visible_without_its_help() -> None:
    template = environment().from_string("<p title='{{ text }}'>{{ text }}")
    assert template.render(text="<'\u202e") == (
        "<p title='&lt;&#39;&lt;U+202E&gt;'>&lt;&#39;&lt;U+202E&gt;"
    )


def test_the_same_data_gives_the_same_bytes(
    settings: Settings, tmp_path: Path, write_lane: Any
) -> None:
    for name in ("here", "there"):
        write_lane(tmp_path / name, releases=("2.7.1", "2.8.0", "2.9.0"))
        publish(read_snapshot(tmp_path / name, settings), tmp_path / f"of-{name}")
    assert _hashes(tmp_path / "of-here") == _hashes(tmp_path / "of-there")


def test_no_path_of_the_machine_is_published(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path / "data", releases=("2.7.1", "2.8.0"), failed=())
    for file in (tmp_path / "data").rglob("*2.8.0.parquet"):
        file.write_bytes(b"")
    publish(read_snapshot(tmp_path / "data", settings), tmp_path / "out")
    for page in (tmp_path / "out").rglob("*.html"):
        assert str(tmp_path) not in page.read_text("utf-8")


def test_an_undefined_variable_raises(data: Path, settings: Settings) -> None:
    index = next(iter(pages(read_snapshot(data, settings))))
    view = {name: value for name, value in index.view.items() if name != "sentence"}
    template = environment().get_template(index.template)
    with pytest.raises(UndefinedError, match="sentence"):
        template.render(page=index, root=index.root, frame=FRAME, **view)


def made(path: str, view: dict[str, Any]) -> Page:
    return Page(path=path, template="empty.html", title="t", description="d", view=view)


def test_an_earlier_site_is_replaced_whole(tmp_path: Path) -> None:
    def page(path: str) -> Page:
        return made(path, {"newest": ("1", "2")})

    out = tmp_path / "out"
    assert write_site(FRAME, [page("index.html"), page("old/index.html")], (), out) == 2
    assert write_site(FRAME, [page("index.html")], (), out) == 1
    static = [f"static/{name}" for name in ("icon.svg", "site.js", "style.css")]
    assert sorted(_hashes(out)) == ["index.html", *static]
    assert list(tmp_path.iterdir()) == [out]


def test_a_failure_leaves_the_earlier_site_and_no_rubbish(tmp_path: Path) -> None:
    good = made("index.html", {"newest": ()})
    out = tmp_path / "out"
    write_site(FRAME, [good], (), out)
    before = _hashes(out)
    with pytest.raises(UndefinedError):
        write_site(FRAME, [good, replace(good, path="x.html", view={})], (), out)
    assert _hashes(out) == before
    assert list(tmp_path.iterdir()) == [out]


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("ten years of work")
    with pytest.raises(MatrixError, match="holds other files"):
        write_site(FRAME, [], (), tmp_path)
    assert (tmp_path / "thesis.tex").exists()
