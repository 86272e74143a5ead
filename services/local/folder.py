"""The data folder, held by one `bowerbird up` at a time, and what a first start that was broken off leaves in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from typing import TYPE_CHECKING

from services.local.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make the folder and lock it. Raises StartError, at once if another `up` runs there.

    The lock is the kernel's: it goes with the process, so that none is ever left behind.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StartError(f"Can't write to {error.filename or folder}: {error.strerror}. BOWERBIRD_DATA names another folder.") from error
    try:
        _lock(lock, folder)
        yield
    finally:
        os.close(lock)


def prepare(data: Path) -> None:
    """Make the folder of a server's data; throw away what is in it if the server was never `used` with it.

    A server that is killed in its very first start may leave half a database, with which it never starts again.
    """
    if not was_used(data):
        shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True, exist_ok=True)


def used(data: Path) -> None:
    """Note that the server has been ready, so that there may be something to keep."""
    _mark(data).touch()


def was_used(data: Path) -> bool:
    """Whether there may be something to keep."""
    return _mark(data).exists()


def _mark(data: Path) -> Path:
    return data.with_name(data.name + ".used")


def _lock(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
        raise StartError(f"Another `bowerbird up` (process {holder}) already runs with its data in {folder}.") from None
    os.truncate(lock, 0)
    os.pwrite(lock, b"%d\n" % os.getpid(), 0)
