"""What is printed where GitHub's runner reads along and obeys what looks like a command."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unheeded() -> Iterator[None]:
    """Have the runner take nothing that is printed inside for a command: it may be anybody's.

    `::name::` counts where a line begins, `##[name]` anywhere in it.
    """
    if os.environ.get("GITHUB_ACTIONS") != "true":
        yield
        return
    token = secrets.token_hex(16)
    print(f"::stop-commands::{token}", flush=True)
    try:
        yield
    finally:
        # On a line of its own, whatever the last one lacks.
        print(f"\n::{token}::", flush=True)
