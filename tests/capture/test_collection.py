import json
import shutil
import subprocess
from pathlib import Path

import pytest

from matrix_capture import collection
from matrix_capture.collection import Query, read_collection

PROSE = "A paragraph that says enough about graphs and their edges to be taken for prose. " * 3
OTHER = "Another one, about the shortest of all paths between two nodes of a weighted graph. " * 3


def flat(text: str) -> str:
    return " ".join(text.split())


def module(folder: Path, source: str, name: str = "a.py") -> Path:
    path = folder / "package" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(source.encode("utf-8"))
    return folder / "package"


def test_a_passage_is_a_paragraph_and_a_query_the_line_above(tmp_path: Path) -> None:
    package = module(
        tmp_path, f'def f():\n    """Ask this.\n\n    {PROSE}\n\n    {OTHER}\n    """\n'
    )
    passages, queries = read_collection(package, 2)
    assert passages == (flat(PROSE), flat(OTHER))
    assert queries == (Query(text="Ask this.", relevant=(0, 1)),)


@pytest.mark.parametrize(
    "paragraph",
    [
        "Too short to say anything.",
        "Words without end. " * 40,
        f">>> {PROSE}",
        f"Example: >>> f() {PROSE}",
        f"References ---------- {PROSE}",
        f"Title ==== {PROSE}",
        f".. [1] {PROSE}",
        f"See {PROSE} .. [2] there",
        f"* {PROSE}",
        f"1. {PROSE}",
    ],
)
def test_what_is_no_prose_is_left_out(paragraph: str, tmp_path: Path) -> None:
    package = module(tmp_path, f'"""Ask.\n\n{paragraph}\n\n{PROSE}\n"""\n')
    passages, queries = read_collection(package, 1)
    assert passages == (flat(PROSE),)
    assert queries == (Query(text="Ask.", relevant=(0,)),)


@pytest.mark.parametrize(
    ("length", "taken"), [(199, False), (200, True), (500, True), (501, False)]
)
def test_the_bounds_of_a_passage(length: int, taken: bool, tmp_path: Path) -> None:
    package = module(tmp_path, f'"""Ask.\n\n{"x" * length}\n\n{PROSE}\n"""\n')
    passages, _ = read_collection(package, 1)
    assert (len(passages[0]) == length) == taken


def test_a_repeated_paragraph_is_one_passage_of_several_queries(tmp_path: Path) -> None:
    functions = [
        f'def {name}():\n    """{name}?\n\n    {PROSE}\n\n    {PROSE}\n    """\n' for name in "fg"
    ]
    package = module(tmp_path, "\n".join(functions))
    passages, queries = read_collection(package, 1)
    assert passages == (flat(PROSE),)
    assert queries == (Query(text="f?", relevant=(0,)), Query(text="g?", relevant=(0,)))


def test_files_in_order_of_name_and_docstrings_in_order_of_line(tmp_path: Path) -> None:
    def documented(word: str) -> str:
        return f'"""{word}?\n\n{word} {PROSE}\n"""'

    module(tmp_path, documented("last"), "z.py")
    module(tmp_path, documented("tested"), "sub/tests/test_x.py")
    module(tmp_path, documented("inner"), "sub/a.py")
    source = "\n".join(
        [
            documented("first"),
            "class C:",
            f'    """second?\n\n    second {PROSE}\n    """',
            "    @property",
            f'    def m(self):\n        """third?\n\n        third {PROSE}\n        """',
            "        async def n():",
            f'            """fourth?\n\n            fourth {PROSE}\n            """',
            f'def f():\n    """fifth?\n\n    fifth {PROSE}\n    """',
        ]
    )
    package = module(tmp_path, source, "m.py")
    passages, queries = read_collection(package, 7)
    order = ["first", "second", "third", "fourth", "fifth", "inner", "last"]
    assert [passage.split()[0] for passage in passages] == order
    assert [query.text for query in queries] == [f"{word}?" for word in order]


def test_a_docstring_without_a_summary_asks_nothing(tmp_path: Path) -> None:
    package = module(tmp_path, f'"""\n\n{PROSE}\n"""\n')
    assert read_collection(package, 1) == ((flat(PROSE),), ())


# Slices.


@pytest.mark.parametrize("fewer", [1, 2, 17, 50, 95])
def test_a_slice_is_a_prefix(fewer: int, sources: Path) -> None:
    whole, _ = read_collection(sources / "networkx", 96)
    passages, queries = read_collection(sources / "networkx", fewer)
    assert passages == whole[:fewer]
    assert {place for query in queries for place in query.relevant} == set(range(fewer))
    assert all(len(set(query.relevant)) == len(query.relevant) for query in queries)


@pytest.mark.parametrize(
    ("passages", "message"),
    [
        (0, "at least one passage, not 0"),
        (-3, "at least one passage, not -3"),
        (97, "networkx has 96 passages, fewer than 97"),
    ],
)
def test_a_slice_that_cannot_be(passages: int, message: str, sources: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_collection(sources / "networkx", passages)


# Interpreters.

# Written to files with PROSE in place of its name.
TRICKY = {
    "escapes.py": r"""def f():
    '''A path\\to {x}?

    In \d and \_ and \x41\u00e9\t PROSE
    '''
""",
    "raw.py": r"""def f():
    r'''Raw \alpha?

    Where \alpha \in \N PROSE
    '''
""",
    "tabs.py": "class C:\n\t'''Tabs?\n\t\n\tIndented\twith tabs PROSE\n\t  deeper\n\t'''\n",
    "crlf.py": "def f():\r\n    '''Ends?\r\n\r\n    Carriage\r\n    return PROSE\r\n    '''\r\n",
    "unicode.py": "'''Größe?\n\nÉtale\u00a0und\u2003Größe \u2211 日本 PROSE\n'''\n",
    "ragged.py": "def f():\n    '''Ragged?\n\n  Less indented PROSE\n        more\n    '''\n",
    "async_.py": "async def f():\n    '''Later?\n\n    Some time PROSE\n    '''\n",
    "nested.py": """@g(
    1,
)
class C:
    '''Outer?

    Outside PROSE
    '''

    @g
    def f(self):
        '''Inner?

        Inside PROSE
        '''
        def h():
            '''Innermost?

            Deep PROSE
            '''
""",
    "joined.py": "def f():\n    ('Joined?\\n\\n' 'Pieces of PROSE')\n",
    "noise.py": "x = '\\d'\nif x is 1:\n    assert (x, 'always')\nf'{x!r:>{10}}'\n",
    "repeated.py": "'''Again?\n\nPROSE\n\nPROSE\n\nShort.\n\n>>> PROSE\n\n.. [1] PROSE'''\n",
}

SCRIPT = """
import importlib.util, json, pathlib, sys
spec = importlib.util.spec_from_file_location("collection", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["collection"] = module
spec.loader.exec_module(module)
passages, queries = module.read_collection(pathlib.Path(sys.argv[2]), int(sys.argv[3]))
print(json.dumps([passages, [[query.text, query.relevant] for query in queries]]))
"""


def interpreters() -> list[str]:
    """Every Python from 3.11 on that PATH knows, and those beside a version manager's shim."""
    found: dict[str, str] = {}
    for minor in range(11, 20):
        path = shutil.which(f"python3.{minor}")
        if path is None:
            continue
        asked = subprocess.run(
            [path, "-c", "import sys; print(sys.executable)"],
            check=False,  # a shim of a version that is not switched on fails
            capture_output=True,
            text=True,
        )
        candidates = [asked.stdout.strip()] if asked.returncode == 0 else []
        behind_shims = Path(path).parents[1].glob(f"versions/3.{minor}.*/bin/python3.{minor}")
        candidates += map(str, sorted(behind_shims))
        if candidates:
            found[f"3.{minor}"] = candidates[0]
    return list(found.values())


def test_every_interpreter_reads_the_same(tmp_path: Path) -> None:
    for name, source in TRICKY.items():
        package = module(tmp_path, source.replace("PROSE", PROSE), name)
    expected_passages, expected_queries = read_collection(package, 12)
    assert len(expected_queries) == 12
    assert any("A\u00e9" in passage for passage in expected_passages)
    expected = [list(expected_passages), [[q.text, list(q.relevant)] for q in expected_queries]]
    for python in interpreters():
        run = subprocess.run(
            [python, "-W", "error", "-c", SCRIPT, collection.__file__, str(package), "12"],
            capture_output=True,
            check=True,
        )
        assert json.loads(run.stdout) == expected, python
