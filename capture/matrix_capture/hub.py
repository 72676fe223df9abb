"""Repositories of the Hugging Face hub: from there, or from a folder laid out like it."""

import tempfile
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from matrix_capture.errors import MatrixError

_SECONDS = 10.0  # to wait for an answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """A repository of the hub, and the files that are read of it; a `*` never spans folders."""

    kind: Literal["dataset", "model"]
    name: str
    revision: str
    files: tuple[str, ...]


def obtain(repository: Repository, copy: Path | None, cache: Path) -> Path:
    """A folder with the files of a repository: in a `copy` if there is one, else fetched.

    What was fetched once is kept below `cache`; a revision never changes.

    Raises:
        MatrixError: the hub does not give them, or one is missing.
    """
    folder = copy / repository.name if copy else _fetched(repository, cache)
    if missing := _missing(repository, folder):
        raise MatrixError(f"{folder / missing} is missing; docs/formats.md lists what is read")
    return folder


def _fetched(repository: Repository, cache: Path) -> Path:
    """The repository's folder below `cache`, fetched whole on first use."""
    folder = cache / "hub" / repository.revision / repository.name
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".hub") as scratch:
            _download(repository, Path(scratch) / "files")
            folder.parent.mkdir(parents=True, exist_ok=True)
            (Path(scratch) / "files").rename(folder)
    return folder


def _download(repository: Repository, folder: Path) -> None:
    # Here, because a capture of the embedded inputs does without them.
    from huggingface_hub import HfApi, errors, utils  # noqa: PLC0415

    utils.disable_progress_bars()
    utils.logging.set_verbosity_error()
    api = HfApi()
    which = {"repo_type": repository.kind, "revision": repository.revision}
    try:
        found = api.repo_info(repository.name, timeout=_SECONDS, **which)
        for file in found.siblings or ():
            name = file.rfilename
            if _is_read(name, repository):
                api.hf_hub_download(
                    repository.name, name, local_dir=folder, etag_timeout=_SECONDS, **which
                )
    except errors.RepositoryNotFoundError:
        why = f"is not at {api.endpoint}, or not open to everybody"
    except errors.RevisionNotFoundError:
        why = f"has no revision {repository.revision} at {api.endpoint}"
    except Exception as error:  # of requests, httpx or xet: that is the library's own affair
        why = f"cannot be fetched from {api.endpoint} ({type(error).__name__})"
    else:
        missing = _missing(repository, folder)
        if missing is None:
            return
        why = f"has no {missing} at {api.endpoint}"
    raise MatrixError(
        f"{repository.name} {why}; give a copy with --inputs DIR, laid out as docs/formats.md says"
    )


def _missing(repository: Repository, folder: Path) -> str | None:
    return next((name for name in repository.files if not any(folder.glob(name))), None)


def _is_read(name: str, repository: Repository) -> bool:
    return any(
        fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")
        for pattern in repository.files
    )
