"""What the action for colbert-ai's own repository runs, with a stand-in for nox."""

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from matrix_compare.check import Check
from matrix_compare.document import encoded
from matrix_compare.policy import Level
from tests.compare.checks import check_line, check_of, checked

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / ".github/actions/check/action.yml").read_text(encoding="utf-8"))

GOOD = check_of(checked(), number=0, sha="")
BAD = check_of(checked(check_line("index_codes", level=Level.FAILURE), level=Level.FAILURE))

# Makes an environment whose Python notes what nox is asked for, and is this one for all else.
UV = """\
#!/bin/bash
[ "$1" = venv ] || exit 0
mkdir -p "${@: -1}/bin"
cat > "${@: -1}/bin/python" <<'END'
#!/bin/bash
if [ "$2" = nox ]; then
  printf '%s\\n' "$@" > "$OUT/asked"
  cp "$OUT/found.json" "$OUT/check.json"
else
  exec PYTHON "$@"
fi
END
chmod +x "${@: -1}/bin/python"
"""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a run of the action left behind."""

    status: int
    asked: list[str]
    output: dict[str, str]
    summary: str
    log: str


def ran(folder: Path, check: Check, **inputs: str) -> Ran:
    """Run the action's own step as a runner does."""
    out = folder / "colbert-matrix"
    (folder / "bin").mkdir()
    (folder / "bin" / "uv").write_text(UV.replace("PYTHON", shlex.quote(sys.executable)))
    (folder / "bin" / "uv").chmod(0o755)
    out.mkdir()
    (out / "found.json").write_bytes(encoded(check))
    defaults = {name: str(one.get("default", "")) for name, one in ACTION["inputs"].items()}
    contexts = {f"inputs.{name}": value for name, value in {**defaults, **inputs}.items()}
    contexts |= {
        "github.action_path": str(ROOT / ".github/actions/check"),
        "github.workspace": "/workspace",
        "runner.temp": str(folder),
    }
    (step,) = (step for step in ACTION["runs"]["steps"] if "run" in step)
    environment = {name: filled(text, contexts) for name, text in step["env"].items()}
    files = {name: folder / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    script = folder / "script.sh"
    script.write_text(step["run"], encoding="utf-8")
    process = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
        cwd=folder,
        env={
            **os.environ,
            **environment,
            **{name: str(path) for name, path in files.items()},
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    lines = files["GITHUB_OUTPUT"].read_text("utf-8").splitlines()
    return Ran(
        status=process.returncode,
        asked=(out / "asked").read_text("utf-8").splitlines(),
        output=dict(line.split("=", 1) for line in lines),
        summary=files["GITHUB_STEP_SUMMARY"].read_text("utf-8"),
        log=process.stdout,
    )


def filled(text: str, contexts: dict[str, str]) -> str:
    """A value with its expressions replaced; there are none but names."""
    for name, value in contexts.items():
        text = text.replace(f"${{{{ {name} }}}}", value)
    assert "${{" not in text
    return text


def test_a_good_head_is_green_and_told(tmp_path: Path) -> None:
    found = ran(tmp_path, GOOD, base="base", head="head")
    assert found.status == 0
    assert found.asked[:6] == ["-m", "nox", "-s", "check", "--", "2.7.1"]
    assert found.asked[6:11] == ["2.8.0", "--base", "/workspace/base", "--head", "/workspace/head"]
    assert found.asked[11:15] == ["--lane", "cpu-pinned", "--passages", "96"]
    assert found.summary.startswith("**✓ pass**: changes nothing")
    assert found.log == "::notice title=torch 2.8.0::changes nothing\n"
    assert Path(found.output["check"]).is_file()
    assert Path(found.output["junit"]).read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(("fail_on", "status"), [("failure", 1), ("never", 0)])
def test_a_bad_head_is_red_where_that_is_wanted(fail_on: str, status: int, tmp_path: Path) -> None:
    found = ran(tmp_path, BAD, base="base", head="head", **{"fail-on": fail_on})
    assert found.status == status
    assert found.log.startswith("::error title=torch 2.8.0::changes the index; ")
    assert found.summary
    assert found.output.keys() == {"check", "junit"}


def test_inputs_are_words_and_no_program(tmp_path: Path) -> None:
    evil = "2.8.0 $(touch${IFS}x) `touch x`; *"
    found = ran(tmp_path, GOOD, base="a b", head="$(touch y)", releases=evil)
    assert found.asked[5:10] == ["2.8.0", "$(touch${IFS}x)", "`touch", "x`;", "*"]
    assert "/workspace/a b" in found.asked
    assert "/workspace/$(touch y)" in found.asked
    assert not [*tmp_path.glob("[xy]"), *ROOT.glob("[xy]")]
