"""Which batches `bowerbird add` submitted last: for a `bowerbird watch` that names none. In a file of the person's own, or nowhere."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from services.cli.client import BATCH_ID


def remember(api: str, batches: list[str]) -> None:
    """Notes them; where that can't be, they have to be named."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home
        path = _path()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps({"api": api, "batches": batches}), "utf-8")
        new.replace(path)


def recall(api: str) -> list[str]:
    """Those that were submitted to this api last; none if nobody knows."""
    try:
        found = json.loads(_path().read_text("utf-8"))
        return [batch for batch in found["batches"] if BATCH_ID.fullmatch(batch)] if found["api"] == api else []
    except (OSError, RuntimeError, ValueError, LookupError, TypeError):
        return []


def _path() -> Path:
    """XDG Base Directory Specification: what a program remembers from run to run."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "bowerbird" / "last-batches.json"
