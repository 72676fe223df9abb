"""A branch that is only ever appended to, in a repository that others push to as well."""

import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from matrix_capture.errors import MatrixError
from matrix_operate.errors import OutageError


class Branch:
    """The newest commit of a branch, checked out in `folder`, which is empty where there is none.

    `exists` says which. What begins with a dot, `values` and `indexes` are never committed.

    Raises:
        MatrixError: the address of the remote has a password in it.
        OutageError: the remote cannot be reached.
    """

    def __init__(self, remote: str, name: str, folder: Path) -> None:
        # Git runs elsewhere.
        self._remote = str(Path(remote).absolute()) if Path(remote).exists() else remote
        self._name, self._ref, self._folder = name, f"refs/heads/{name}", folder
        self._settings = [*_SETTINGS, *_credentials(remote)]
        self._git("init", "--quiet", "--template=", f"--initial-branch={name}")
        (folder / ".git" / "info").mkdir()
        (folder / ".git" / "info" / "exclude").write_text(_IGNORED, encoding="ascii")
        # Status 2 says that there is no such branch.
        found = self._git("ls-remote", "--exit-code", self._remote, self._ref, may=(0, 2))
        self.exists = found.returncode == 0
        if self.exists:
            self._git("fetch", "--quiet", "--depth=1", "--no-tags", self._remote, self._ref)
            self._git("checkout", "--quiet", "-B", name, "FETCH_HEAD")

    def commit(self, message: str) -> str:
        """Commit what the folder holds; returns which files that changes, nothing if none."""
        self._git("add", "--all")
        changed = self._git("diff", "--cached", "--stat", "--no-color").stdout
        if changed:
            self._git("commit", "--quiet", "--file=-", given=message)
        return changed

    def push(self) -> None:
        """Append the commit to the branch of the remote.

        Raises:
            OutageError: the remote cannot be reached, or somebody else was faster.
        """
        self._git("push", "--quiet", self._remote, f"HEAD:{self._ref}")

    def _git(
        self, *arguments: str, given: str = "", may: tuple[int, ...] = (0,)
    ) -> subprocess.CompletedProcess[str]:
        settings = [part for setting in self._settings for part in ("-c", setting)]
        try:
            done = subprocess.run(
                ["git", *settings, *arguments],
                cwd=self._folder,
                env={**os.environ, **_WHO, "GIT_TERMINAL_PROMPT": "0"},
                input=given,
                capture_output=True,
                check=False,
                encoding="utf-8",
                errors="replace",
                timeout=_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise OutageError(f"git {arguments[0]}: {type(error).__name__}") from None
        if done.returncode not in may:
            raise OutageError(f"git {arguments[0]}: {done.stderr.strip() or done.returncode}")
        return done


_WHO = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "colbert-matrix"), ("EMAIL", "record@colbert-matrix.example"))
}

_SETTINGS = (
    "commit.gpgSign=false",
    "core.autocrlf=false",
    f"core.hooksPath={os.devnull}",
    "gc.auto=0",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
)

_IGNORED = ".*\nvalues\nindexes\n"

_SECONDS = 1800

# The token is read by the shell that git asks: it is in no argument, in no file, in no output.
_HELPER = (
    '!f() { test "$1" = get && '
    'printf "username=x-access-token\\npassword=%s\\n" "$GITHUB_TOKEN"; }; f'
)


def _credentials(remote: str) -> tuple[str, ...]:
    """The settings with which git finds the token for that host and no other."""
    address = urlsplit(remote)
    if address.scheme not in ("http", "https"):
        return ()
    if "@" in address.netloc:
        raise MatrixError("the address of the remote names a user; the token is GITHUB_TOKEN")
    if "GITHUB_TOKEN" not in os.environ:
        return ()
    name = f"credential.{address.scheme}://{address.netloc}.helper"
    return f"{name}=", f"{name}={_HELPER}"  # the first forgets what others have set
